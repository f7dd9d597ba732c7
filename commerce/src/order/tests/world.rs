//! A small world of the other three services, for the interleavings. They keep their contracts and
//! answer when the test lets them; what is left open, luck decides.

use std::collections::VecDeque;

use super::*;

/// What the order asks, and how it takes it back.
pub(super) const REQUESTS: [&str; 6] = [
    "inventory-reservation-requested",
    "payment-requested",
    "order-confirmed",
    "shipment-cancellation-requested",
    "payment-refund-requested",
    "inventory-reservation-released",
];

/// What is on its way to a service of the world.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    Reserve,
    Release,
    Confirmed,
    Pay { attempt: u32 },
    Refund,
    KeepBack,
    Left,
}

/// What is on its way to the order.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    Held,
    Short,
    Expired,
    Free,
    Authorised(u32),
    Declined(u32, FailureKind),
    Charged,
    NotCharged,
    Refunded(RefundKind),
    NotRefunded,
    Packed,
    Dispatched,
    Arrived,
    CameBack,
    KeptBack,
    NotKeptBack,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Stock {
    None,
    Held,
    Committed,
    Expired,
    Released,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Money {
    None,
    Held,
    Taken,
    Back,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Box {
    None,
    Waiting,
    Kept,
    Away,
    There,
    Back,
}

/// The other services, and what is on its way between all four.
#[derive(Debug)]
pub(super) struct World {
    pub(super) to_inventory: VecDeque<Asked>,
    pub(super) to_payment: VecDeque<Asked>,
    pub(super) to_shipping: VecDeque<Asked>,
    // From shipping: streams of their own.
    pub(super) left_to_inventory: VecDeque<Asked>,
    pub(super) left_to_payment: VecDeque<Asked>,
    pub(super) from_inventory: VecDeque<Said>,
    pub(super) from_payment: VecDeque<Said>,
    pub(super) from_shipping: VecDeque<Said>,
    pub(super) stock: Stock,
    pub(super) money: Money,
    pub(super) parcel: Box,
    pub(super) payment_undone: bool,
    /// Everything the order has published.
    pub(super) told: Vec<String>,
}

impl World {
    pub(super) fn new() -> World {
        World {
            to_inventory: VecDeque::new(),
            to_payment: VecDeque::new(),
            to_shipping: VecDeque::new(),
            left_to_inventory: VecDeque::new(),
            left_to_payment: VecDeque::new(),
            from_inventory: VecDeque::new(),
            from_payment: VecDeque::new(),
            from_shipping: VecDeque::new(),
            stock: Stock::None,
            money: Money::None,
            parcel: Box::None,
            payment_undone: false,
            told: Vec::new(),
        }
    }

    /// Inventory handles the next message of this stream.
    pub(super) fn inventory(&mut self, asked: Asked, luck: u8) {
        match (asked, self.stock) {
            (Asked::Reserve, Stock::None) if !luck.is_multiple_of(4) => {
                self.stock = Stock::Held;
                self.from_inventory.push_back(Said::Held);
            }
            (Asked::Reserve, _) => self.from_inventory.push_back(Said::Short),
            // It expired just before it would have been committed.
            (Asked::Confirmed, Stock::Held) if luck.is_multiple_of(4) => {
                self.from_inventory.push_back(Said::Expired);
                self.stock = Stock::Expired;
                self.inventory(Asked::Confirmed, luck / 4);
            }
            (Asked::Confirmed, Stock::Held) => self.stock = Stock::Committed,
            (Asked::Confirmed, Stock::Expired | Stock::None) if !luck.is_multiple_of(2) => {
                self.stock = Stock::Committed;
            }
            (Asked::Confirmed, Stock::Expired | Stock::None | Stock::Released) => {
                self.from_inventory.push_back(Said::Short);
            }
            (Asked::Release, held) => {
                if held != Stock::Gone {
                    self.stock = Stock::Released;
                }
                self.from_inventory.push_back(Said::Free);
            }
            (Asked::Left, _) => self.stock = Stock::Gone,
            _ => {}
        }
    }

    pub(super) fn payment(&mut self, asked: Asked, luck: u8) {
        match asked {
            Asked::Pay { attempt } if self.payment_undone => {
                let no = Said::Declined(attempt, FailureKind::Hard);
                self.from_payment.push_back(no);
            }
            Asked::Pay { attempt } if matches!(self.money, Money::Held | Money::Taken) => {
                self.from_payment.push_back(Said::Authorised(attempt));
            }
            Asked::Pay { attempt } => match luck % 5 {
                0 => {
                    let no = Said::Declined(attempt, FailureKind::Hard);
                    self.from_payment.push_back(no);
                }
                1 => {
                    let no = Said::Declined(attempt, FailureKind::Soft);
                    self.from_payment.push_back(no);
                }
                _ => {
                    self.money = Money::Held;
                    self.from_payment.push_back(Said::Authorised(attempt));
                }
            },
            Asked::Refund => {
                self.payment_undone = true;
                if luck.is_multiple_of(5) && self.money != Money::None {
                    self.from_payment.push_back(Said::NotRefunded);
                    return;
                }
                let kind = match self.money {
                    Money::Taken => RefundKind::Refunded,
                    Money::None | Money::Held | Money::Back => RefundKind::Voided,
                };
                self.money = Money::Back;
                self.from_payment.push_back(Said::Refunded(kind));
            }
            Asked::Left => match (self.money, luck % 4) {
                (Money::Held, 1..) if !self.payment_undone => {
                    self.money = Money::Taken;
                    self.from_payment.push_back(Said::Charged);
                }
                _ => self.from_payment.push_back(Said::NotCharged),
            },
            Asked::Reserve | Asked::Release | Asked::Confirmed | Asked::KeepBack => {}
        }
    }

    pub(super) fn shipping(&mut self, asked: Asked) {
        match (asked, self.parcel) {
            (Asked::Confirmed, Box::None) => {
                self.parcel = Box::Waiting;
                self.from_shipping.push_back(Said::Packed);
            }
            (Asked::KeepBack, Box::None | Box::Waiting | Box::Kept) => {
                self.parcel = Box::Kept;
                self.from_shipping.push_back(Said::KeptBack);
            }
            (Asked::KeepBack, Box::Away | Box::There | Box::Back) => {
                self.from_shipping.push_back(Said::NotKeptBack);
            }
            _ => {}
        }
    }

    /// A service does what it should not: it says again, or after it had said otherwise, that it
    /// holds something.
    pub(super) fn late(&mut self, luck: u8) {
        let asked = self.told.iter().filter(|told| *told == REQUESTS[1]).count();
        let attempts = u32::try_from(asked).unwrap();
        match luck % 3 {
            0 if matches!(self.stock, Stock::Expired | Stock::Released) => {
                self.stock = Stock::Held;
                self.from_inventory.push_back(Said::Held);
            }
            1 if attempts > 0
                && matches!(self.money, Money::None | Money::Back)
                && matches!(self.parcel, Box::None | Box::Waiting | Box::Kept) =>
            {
                self.money = Money::Held;
                self.from_payment.push_back(Said::Authorised(attempts));
            }
            // It was replaced by the next one, so nothing is held for it.
            2 if attempts > 1 => self.from_payment.push_back(Said::Authorised(attempts - 1)),
            _ => {}
        }
    }

    /// A person, or the carrier, does something with the parcel.
    pub(super) fn parcel(&mut self, luck: u8) {
        match self.parcel {
            Box::Waiting => {
                self.parcel = Box::Away;
                self.from_shipping.push_back(Said::Dispatched);
                self.left_to_inventory.push_back(Asked::Left);
                self.left_to_payment.push_back(Asked::Left);
            }
            Box::Away if luck.is_multiple_of(3) => {
                self.parcel = Box::Back;
                self.from_shipping.push_back(Said::CameBack);
            }
            Box::Away => {
                self.parcel = Box::There;
                self.from_shipping.push_back(Said::Arrived);
            }
            Box::There if luck.is_multiple_of(7) => {
                self.parcel = Box::Back;
                self.from_shipping.push_back(Said::CameBack);
            }
            Box::None | Box::Kept | Box::There | Box::Back => {}
        }
    }
}
