//! A parcel's way: which act leads from which status to which.
//!
//! ```text
//! pending ─▶ dispatched ─▶ in_transit ─▶ out_for_delivery ─▶ delivered ─▶ returned
//!    │             ╰──────────┴────┬────────────┤                            ▲
//!    ▼                             ▼            ▼     third failure          │
//! cancelled                     delivered   delivery_failed ─────────────────╯
//! ```
//!
//! What nobody has been offered yet does not come back: a return is of a parcel that was delivered
//! or that somebody did not take.

use std::time::Duration;

use redeliver::days;

use super::{ShipmentStatus, TrackStatus};

/// Failed deliveries after which a parcel goes back.
pub const DELIVERIES_MAX: u32 = 3;
/// How long after its delivery a parcel may come back.
pub const RETURN_WITHIN: Duration = days(30);

/// What happens to a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// It is not to be sent.
    Cancel,
    /// It leaves.
    Dispatch,
    /// It is seen on its way.
    Track(TrackStatus),
    /// Nobody takes it, for the n-th time.
    FailDelivery {
        /// How often by now, this time included.
        failures: u32,
    },
    /// It arrives.
    Deliver,
    /// It comes back.
    Return {
        /// How long after its delivery, if it was delivered.
        after: Option<Duration>,
    },
}

/// Why an act is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impossible {
    /// It has not left yet.
    NotDispatched,
    /// It has left already.
    AlreadyDispatched,
    /// It is still on its way to its first delivery or the next.
    NotDelivered,
    /// Its way is over.
    Over,
    /// It was delivered too long ago.
    TooLate,
}

/// The status that an act leads to.
pub fn next(status: ShipmentStatus, act: Act) -> Result<ShipmentStatus, Impossible> {
    use ShipmentStatus::{
        Cancelled, Delivered, DeliveryFailed, Dispatched, InTransit, OutForDelivery, Pending,
        Returned,
    };
    match (status, act) {
        (Pending, Act::Cancel) => Ok(Cancelled),
        (Pending, Act::Dispatch) => Ok(Dispatched),
        (Pending, Act::Track(_) | Act::FailDelivery { .. } | Act::Deliver | Act::Return { .. }) => {
            Err(Impossible::NotDispatched)
        }

        (
            Dispatched | InTransit | OutForDelivery | DeliveryFailed | Delivered,
            Act::Cancel | Act::Dispatch,
        ) => Err(Impossible::AlreadyDispatched),
        (Dispatched | InTransit | OutForDelivery, Act::Return { .. }) => {
            Err(Impossible::NotDelivered)
        }
        (Dispatched | InTransit | OutForDelivery | DeliveryFailed, act) => Ok(match act {
            Act::Track(TrackStatus::InTransit) => InTransit,
            Act::Track(TrackStatus::OutForDelivery) => OutForDelivery,
            Act::FailDelivery { failures } if failures >= DELIVERIES_MAX => Returned,
            Act::FailDelivery { .. } => DeliveryFailed,
            Act::Deliver => Delivered,
            Act::Return { .. } => Returned,
            Act::Cancel | Act::Dispatch => return Err(Impossible::AlreadyDispatched),
        }),

        (Delivered, Act::Return { after }) => match after {
            Some(after) if after <= RETURN_WITHIN => Ok(Returned),
            Some(_) | None => Err(Impossible::TooLate),
        },
        (Delivered, Act::Track(_) | Act::FailDelivery { .. } | Act::Deliver)
        | (Cancelled | Returned, _) => Err(Impossible::Over),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ShipmentStatus::{
        Cancelled, Delivered, DeliveryFailed, Dispatched, InTransit, OutForDelivery, Pending,
        Returned,
    };

    const ALL: [ShipmentStatus; 8] = [
        Pending,
        Dispatched,
        InTransit,
        OutForDelivery,
        DeliveryFailed,
        Delivered,
        Cancelled,
        Returned,
    ];

    fn allowed(act: Act) -> Vec<ShipmentStatus> {
        ALL.into_iter()
            .filter(|status| next(*status, act).is_ok())
            .collect()
    }

    #[test]
    fn only_a_waiting_parcel_can_be_cancelled_or_sent() {
        assert_eq!(allowed(Act::Cancel), [Pending]);
        assert_eq!(allowed(Act::Dispatch), [Pending]);
    }

    #[test]
    fn only_a_parcel_on_its_way_can_be_tracked_delivered_or_missed() {
        let under_way = [Dispatched, InTransit, OutForDelivery, DeliveryFailed];
        assert_eq!(allowed(Act::Track(TrackStatus::InTransit)), under_way);
        assert_eq!(allowed(Act::Track(TrackStatus::OutForDelivery)), under_way);
        assert_eq!(allowed(Act::Deliver), under_way);
        assert_eq!(allowed(Act::FailDelivery { failures: 1 }), under_way);
    }

    #[test]
    fn the_third_failed_delivery_sends_it_back() {
        let fail = |failures| next(OutForDelivery, Act::FailDelivery { failures });
        assert_eq!(fail(2), Ok(DeliveryFailed));
        assert_eq!(fail(3), Ok(Returned));
    }

    #[test]
    fn only_a_parcel_that_was_delivered_or_not_taken_comes_back() {
        let back = Act::Return {
            after: Some(Duration::ZERO),
        };
        assert_eq!(allowed(back), [DeliveryFailed, Delivered]);
        for status in [Dispatched, InTransit, OutForDelivery] {
            assert_eq!(next(status, back), Err(Impossible::NotDelivered));
        }
    }

    #[test]
    fn a_delivered_parcel_comes_back_within_thirty_days_or_not_at_all() {
        let back = |after| next(Delivered, Act::Return { after: Some(after) });
        assert_eq!(back(RETURN_WITHIN), Ok(Returned));
        assert_eq!(
            back(RETURN_WITHIN + Duration::from_micros(1)),
            Err(Impossible::TooLate)
        );
    }

    #[test]
    fn nothing_happens_to_a_parcel_whose_way_is_over() {
        for status in [Cancelled, Returned] {
            for act in [
                Act::Cancel,
                Act::Dispatch,
                Act::Deliver,
                Act::Return { after: None },
            ] {
                assert_eq!(next(status, act), Err(Impossible::Over));
            }
        }
    }
}
