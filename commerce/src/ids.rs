//! Ids: one type for each thing that has an identity, so that none passes for another.
//!
//! All are UUIDs, made by [`Context::new_id`](redeliver::Context::new_id) (version 7, so they
//! sort by time of creation). JSON shows them as text, stored data as 16 bytes.

use std::fmt;
use std::str::FromStr;

use redeliver::{KeyReader, TableKey};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
            ToSchema,
        )]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                Uuid::parse_str(text).map($name)
            }
        }

        impl TableKey for $name {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }
            fn read(from: &mut KeyReader<'_>) -> Option<Self> {
                Uuid::read(from).map($name)
            }
        }
    };
}

id!(
    /// An order.
    OrderId
);
id!(
    /// A user: a customer, or one of the shop's own people.
    UserId
);
id!(
    /// One sign-in of a user, and every token that has come from it since.
    SessionId
);
id!(
    /// A product of the catalog.
    ProductId
);
id!(
    /// A category of the catalog.
    CategoryId
);
id!(
    /// Something that one user is told once.
    NotificationId
);
id!(
    /// What is said of an occasion by one channel.
    TemplateId
);
id!(
    /// What the shop knows about paying one order: all attempts, the capture, the refunds.
    PaymentId
);
id!(
    /// One return of money. Asking again under the same id asks for the same return.
    RefundId
);
id!(
    /// The one parcel of an order.
    ShipmentId
);

impl RefundId {
    /// The return of everything an order has cost, when it is cancelled or sent back. The same
    /// however often it is asked for.
    pub fn of_whole_order(order: OrderId) -> RefundId {
        RefundId(order.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn an_id_is_text_in_json_and_sorts_as_its_key() {
        let id: OrderId = "0190a5b0-0000-7000-8000-000000000001".parse().unwrap();
        assert_eq!(
            serde_json::to_string(&id).unwrap(),
            "\"0190a5b0-0000-7000-8000-000000000001\""
        );
        assert_eq!(OrderId::from_bytes(&id.to_bytes()), Some(id));
        assert!("order-1".parse::<OrderId>().is_err());
    }
}
