//! Sagas behind the contract of [`Saga`](crate::Saga): the pure machine, the table of steps, the
//! stored row, and the driver that turns the machine's actions into a turn's effects.

pub(crate) mod drive;
pub(crate) mod machine;
#[cfg(test)]
mod machine_tests;
pub(crate) mod row;
pub(crate) mod state;
pub(crate) mod steps;
mod strays;
#[cfg(test)]
mod tests;
