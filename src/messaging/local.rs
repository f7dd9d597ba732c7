//! The local transport: a function call between two services of one process.

use std::sync::{Arc, OnceLock, Weak};

use crate::commit::{Incarnation, Sequence, StreamId};
use crate::messaging::transport::{Delivery, Transport};

/// What the transport reaches in the process: the ports and relays of its services.
pub(crate) trait Exchange: Send + Sync {
    fn delivered(&self, delivery: Delivery);
    fn greeted(&self, stream: StreamId, incarnation: Incarnation, last: Sequence);
    fn acknowledged(&self, stream: StreamId, consumed: Sequence);
    fn resumed(&self, stream: StreamId, accepted: Sequence);
}

/// Calls straight into the exchange.
#[derive(Default)]
pub(crate) struct LocalTransport {
    exchange: OnceLock<Weak<dyn Exchange>>,
}

impl LocalTransport {
    /// Connects the transport. Until then, and once the exchange is gone, everything is lost, as
    /// a transport may do.
    pub(crate) fn connect(&self, exchange: Weak<dyn Exchange>) {
        let _ = self.exchange.set(exchange);
    }

    fn exchange(&self) -> Option<Arc<dyn Exchange>> {
        self.exchange.get().and_then(Weak::upgrade)
    }
}

impl Transport for LocalTransport {
    fn deliver(&self, delivery: Delivery) {
        if let Some(exchange) = self.exchange() {
            exchange.delivered(delivery);
        }
    }

    fn hello(&self, stream: StreamId, incarnation: Incarnation, last: Sequence) {
        if let Some(exchange) = self.exchange() {
            exchange.greeted(stream, incarnation, last);
        }
    }

    fn acknowledge(&self, stream: StreamId, consumed: Sequence) {
        if let Some(exchange) = self.exchange() {
            exchange.acknowledged(stream, consumed);
        }
    }

    fn resume(&self, stream: StreamId, accepted: Sequence) {
        if let Some(exchange) = self.exchange() {
            exchange.resumed(stream, accepted);
        }
    }
}
