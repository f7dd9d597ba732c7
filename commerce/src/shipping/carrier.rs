//! The carrier: the outside company that takes parcels to people.
//!
//! Tracking numbers come from a range that the carrier has given to the shop, so a parcel has its
//! number at dispatch; the carrier is told of it afterwards, as an activity. Telling it twice is
//! harmless: the tracking number names the parcel.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use redeliver::prelude::*;

use super::Shipping;
use crate::ids::ShipmentId;
use crate::order::Address;
use crate::privacy::Sealed;

/// The carrier's answer, when it comes.
pub type CarrierFuture<'a> =
    Pin<Box<dyn Future<Output = Result<Announced, CarrierError>> + Send + 'a>>;

/// An outside company that takes parcels to people.
pub trait Carrier: Send + Sync + 'static {
    /// Its name.
    fn name(&self) -> &str;
    /// Tells it of a parcel.
    fn announce(&self, parcel: Parcel) -> CarrierFuture<'_>;
}

/// A parcel, as the carrier is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel {
    /// Its number.
    pub tracking_number: String,
    /// Where it goes.
    pub to: Address,
    /// When it left.
    pub dispatched_at: Timestamp,
}

/// What the carrier says about a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// When it should arrive.
    pub estimated_delivery: Timestamp,
}

/// The carrier did not take a parcel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CarrierError {
    /// It may take it later.
    #[error("carrier is unavailable ({0}); it is told again")]
    Unavailable(String),
    /// It never will.
    #[error("carrier refuses the parcel ({0}); check its address and carrier")]
    Refused(String),
}

/// A carrier in this process: takes every parcel and promises it in three days.
#[derive(Debug, Clone, Copy, Default)]
pub struct SimulatedCarrier;

impl Carrier for SimulatedCarrier {
    fn name(&self) -> &str {
        "Simulated Parcel"
    }

    fn announce(&self, parcel: Parcel) -> CarrierFuture<'_> {
        let estimated_delivery = parcel.dispatched_at.plus(days(3));
        Box::pin(async move { Ok(Announced { estimated_delivery }) })
    }
}

/// Tell the carrier of a parcel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnnounceParcel {
    /// Which.
    pub shipment_id: ShipmentId,
    /// Its number.
    pub tracking_number: String,
    /// Where it goes.
    pub to: Sealed<Address>,
    /// When it left.
    pub dispatched_at: Timestamp,
}

impl Activity<Shipping> for AnnounceParcel {
    const NAME: &'static str = "announce-parcel";
    const DESTINATION: &'static str = "carrier";
    const IDEMPOTENT: bool = true;
    type Output = Announced;

    async fn run(
        self,
        service: Arc<Shipping>,
        _cx: ActivityContext,
    ) -> Result<Announced, ActivityError> {
        // A customer who is deleted by now has no address any more; the parcel's label has.
        let to = service.keyring().open_sealed(&self.to);
        let to = to.map_err(|error| ActivityError::Refused(error.to_string()))?;
        let parcel = Parcel {
            tracking_number: self.tracking_number,
            to,
            dispatched_at: self.dispatched_at,
        };
        let announced = service.carrier().announce(parcel).await;
        announced.map_err(|error| match error {
            CarrierError::Unavailable(_) => ActivityError::Transient(error.to_string()),
            CarrierError::Refused(_) => ActivityError::Refused(error.to_string()),
        })
    }
}
