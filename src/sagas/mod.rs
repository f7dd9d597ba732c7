//! Sagas behind the contract of [`Saga`](crate::Saga): the pure machine, the table of steps, the
//! stored row, and the driver that turns the machine's actions into a turn's effects.

pub(crate) mod drive;
pub(crate) mod machine;
pub(crate) mod row;
pub(crate) mod steps;
#[cfg(test)]
mod tests;
