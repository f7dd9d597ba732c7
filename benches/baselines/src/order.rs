//! An order on its way, and where it goes next.

/// Messages that the relay moves in one commit.
pub const BATCH: usize = 1_024;
/// Products in stock.
pub const PRODUCTS: u64 = 1_000;

/// What a message between services carries.
#[derive(Debug, Clone)]
pub struct Order {
    pub id: u64,
    pub product: u64,
    pub quantity: u32,
    pub cents: u64,
    pub address: String,
}

impl Order {
    /// The same as the bench of the library orders.
    pub fn of(id: u64) -> Order {
        Order {
            id,
            product: id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40 & 0xFFFF,
            quantity: 2,
            cents: 39_90,
            address: "Anna Example, 12 Harbour Street, 20457 Hamburg, Germany".to_owned(),
        }
    }
}

/// Who gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Receiver {
    Stock,
    Payments,
    Shipments,
    Orders,
}

impl Receiver {
    pub const ALL: [Receiver; 4] = [
        Receiver::Stock,
        Receiver::Payments,
        Receiver::Shipments,
        Receiver::Orders,
    ];

    /// Whom this one sends on to.
    pub fn next(self) -> Option<Receiver> {
        match self {
            Receiver::Stock => Some(Receiver::Payments),
            Receiver::Payments => Some(Receiver::Shipments),
            Receiver::Shipments => Some(Receiver::Orders),
            Receiver::Orders => None,
        }
    }

    pub fn of(number: i64) -> Receiver {
        Receiver::ALL[number as usize % Receiver::ALL.len()]
    }
}
