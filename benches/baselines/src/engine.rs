//! What every engine does: groups.

/// What a client asks for. Its ticket comes back when it is durable.
#[derive(Debug, Clone, Copy)]
pub enum Ask {
    /// Add one to a counter.
    Increment { ticket: u64, counter: u32 },
    /// Place an order; the ticket is its number, and comes back when its last step is durable.
    Place { ticket: u64 },
}

/// Anything that ends a run.
pub type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Takes groups and makes each durable as a whole.
pub trait Engine: Send {
    /// Does what is asked, moves on a batch of what was on its way, and commits both: the tickets
    /// that are done and durable by then.
    fn group(&mut self, asks: &[Ask]) -> Result<Vec<u64>, Failure>;

    /// Whether there is something to move on.
    fn under_way(&self) -> bool;
}
