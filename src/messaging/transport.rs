//! The transport: moves runs of messages and their acknowledgements between services.
//!
//! A transport may lose, double, delay and reorder what it is given; it must not change or invent
//! anything. It never blocks.

use bytes::Bytes;

use crate::commit::{Incarnation, Sequence, StreamId};

/// A run of messages of one stream.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) stream: StreamId,
    /// The history that the numbers belong to.
    pub(crate) incarnation: Incarnation,
    pub(crate) first: Sequence,
    pub(crate) entries: Vec<Bytes>,
}

/// See the module.
pub(crate) trait Transport: Send + Sync {
    /// Sender to receiver: these messages.
    fn deliver(&self, delivery: Delivery);
    /// Sender to receiver: what is the last you have? I have promised up to `last`.
    fn hello(&self, stream: StreamId, incarnation: Incarnation, last: Sequence);
    /// Receiver to sender: consumed up to here.
    fn acknowledge(&self, stream: StreamId, consumed: Sequence);
    /// Receiver to sender: send again what follows this number.
    fn resume(&self, stream: StreamId, accepted: Sequence);
}
