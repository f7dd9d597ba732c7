//! Wire names: gives a type its name, version 1 and its ordering key, in one line each.

/// `event!(OrderCreated, "order-created", order_id)`: an event of this wire name, ordered with
/// the others of the same key.
macro_rules! event {
    ($type:ty, $name:literal, $key:ident) => {
        impl redeliver::Message for $type {
            const NAME: &'static str = $name;
            fn key(&self) -> redeliver::Key {
                redeliver::Key::of(&self.$key)
            }
        }
        impl redeliver::Event for $type {}
    };
}

/// `command!(AdjustStock, "adjust-stock", product_id, ProductStock)`: a command of this wire name
/// and its reply.
macro_rules! command {
    ($type:ty, $name:literal, $key:ident, $reply:ty) => {
        impl redeliver::Message for $type {
            const NAME: &'static str = $name;
            fn key(&self) -> redeliver::Key {
                redeliver::Key::of(&self.$key)
            }
        }
        impl redeliver::Command for $type {
            type Reply = $reply;
        }
    };
}

/// `query!(PaymentById, "payment-by-id", PaymentView)`: a query of this wire name and its answer.
macro_rules! query {
    ($type:ty, $name:literal, $answer:ty) => {
        impl redeliver::Message for $type {
            const NAME: &'static str = $name;
        }
        impl redeliver::Query for $type {
            type Answer = $answer;
        }
    };
}

/// `timer!(ReservationDue, "reservation-due", order_id)`: a message that a service sends itself
/// later.
macro_rules! timer {
    ($type:ty, $name:literal, $key:ident) => {
        impl redeliver::Message for $type {
            const NAME: &'static str = $name;
            fn key(&self) -> redeliver::Key {
                redeliver::Key::of(&self.$key)
            }
        }
    };
}
