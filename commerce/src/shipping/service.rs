//! The shipping service's handlers.

use std::sync::Arc;
use std::time::Duration;

use redeliver::prelude::*;

use super::carrier::{AnnounceParcel, Announced, Carrier};
use super::messages::{
    Deliver, Dispatch, HistoryEntry, RecordDeliveryAttempt, ReturnShipment, ReturnedItem,
    ShipmentCancellationRefused, ShipmentCancelled, ShipmentCreated, ShipmentDelivered,
    ShipmentDeliveryFailed, ShipmentDispatched, ShipmentReturned, ShipmentStatus,
    ShipmentTrackingUpdated, ShipmentView, Track, TrackStatus,
};
use super::queries::show;
use super::status::{Act, Impossible, RETURN_WITHIN, next};
use super::tables::{
    SHIPMENT_HISTORY, SHIPMENTS, SHIPMENTS_BY_ARRIVAL, SHIPMENTS_BY_ORDER, SHIPMENTS_BY_STATUS,
    SHIPMENTS_BY_TRACKING, Shipment,
};
use crate::ids::ShipmentId;
use crate::privacy::Keyring;

/// Entries of a parcel's history; further sightings are refused.
const HISTORY_MAX: u32 = 200;
/// Longest text that a person or a carrier may give.
const TEXT_BYTES_MAX: usize = 500;
/// When a parcel should arrive whose carrier has not said.
const USUAL_DELIVERY: Duration = days(5);

/// The parcel of each order, from its creation to its delivery or return.
#[derive(Clone)]
pub struct Shipping {
    carrier: Arc<dyn Carrier>,
    keyring: Keyring,
    /// How long orders that will have no parcel are remembered.
    pub remember: Duration,
}

impl Service for Shipping {
    const NAME: &'static str = "shipping";

    fn handlers(on: &mut Handlers<Self>) {
        on.table(SHIPMENTS)
            .index(SHIPMENTS_BY_STATUS)
            .index(SHIPMENTS_BY_TRACKING)
            .index(SHIPMENTS_BY_ARRIVAL)
            .table(SHIPMENTS_BY_ORDER)
            .table(SHIPMENT_HISTORY);
        on.event(Self::order_confirmed)
            .event(Self::order_cancelled)
            .event(Self::cancellation_requested)
            .activity::<AnnounceParcel>(Self::announced)
            .timer(Self::forget);
        on.command(Self::dispatch)
            .command(Self::track)
            .command(Self::delivery_attempt)
            .command(Self::deliver)
            .command(Self::take_back);
        on.query(Self::by_id)
            .query(Self::of_order)
            .query(Self::by_tracking)
            .query(Self::pending)
            .query(Self::delayed);
        on.publishes_outside::<ShipmentCreated>()
            .publishes_outside::<ShipmentDispatched>()
            .publishes_outside::<ShipmentTrackingUpdated>()
            .publishes_outside::<ShipmentDelivered>()
            .publishes_outside::<ShipmentDeliveryFailed>()
            .publishes_outside::<ShipmentCancelled>()
            .publishes_outside::<ShipmentCancellationRefused>()
            .publishes_outside::<ShipmentReturned>();
    }
}

impl Shipping {
    /// The service with this carrier, and the keys that addresses are sealed with.
    pub fn new(carrier: Arc<dyn Carrier>, keyring: Keyring) -> Shipping {
        Shipping {
            carrier,
            keyring,
            remember: days(30),
        }
    }

    /// The keys that addresses are sealed with.
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// The carrier.
    pub fn carrier(&self) -> &dyn Carrier {
        &*self.carrier
    }

    fn dispatch(&self, asked: Dispatch, cx: &mut Context<Self>) -> Result<ShipmentView, Rejection> {
        let id = asked.shipment_id;
        let mut shipment = self.load(id, cx)?;
        shipment.status = self.step(&shipment, Act::Dispatch)?;
        let carrier = text("carrier", asked.carrier)?;
        let carrier = carrier.unwrap_or_else(|| self.carrier.name().to_owned());
        let given = text("tracking_number", asked.tracking_number)?;
        let announce = given.is_none();
        let tracking_number = match given {
            Some(number) => {
                let span = Span::prefix(&number).limit(1);
                if !cx.index(SHIPMENTS_BY_TRACKING, &span)?.is_empty() {
                    return Err(Rejection::conflict(
                        "tracking_number_taken",
                        format!("tracking number {number} belongs to another shipment"),
                    ));
                }
                number
            }
            None => format!("RD{}", cx.new_id().simple()).to_uppercase(),
        };
        let at = cx.now();
        shipment.carrier = Some(carrier.clone());
        shipment.tracking_number = Some(tracking_number.clone());
        shipment.estimated_delivery = Some(at.plus(USUAL_DELIVERY));
        self.save(id, &mut shipment, Note::default(), cx)?;
        if announce {
            cx.plan(AnnounceParcel {
                shipment_id: id,
                tracking_number: tracking_number.clone(),
                to: shipment.ship_to.clone(),
                dispatched_at: at,
            });
        }
        cx.publish(ShipmentDispatched {
            order_id: shipment.order_id,
            shipment_id: id,
            customer_id: shipment.customer_id,
            carrier,
            tracking_number,
            lines: shipment.lines.clone(),
            at,
        });
        show(id, shipment, cx)
    }

    fn announced(
        &self,
        done: Finished<AnnounceParcel, Announced>,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let id = done.input.shipment_id;
        let mut shipment = self.load(id, cx)?;
        let note = match done.outcome {
            Outcome::Done(announced) => {
                shipment.estimated_delivery = Some(announced.estimated_delivery);
                Note::described("announced to the carrier")
            }
            // The parcel is on its way all the same; whoever looks at it sees what is wrong.
            Outcome::Failed(reason) | Outcome::GaveUp { reason, .. } => {
                tracing::warn!(shipment = %id, reason, "carrier was not told of a parcel");
                Note::described(&format!("not announced to the carrier: {reason}"))
            }
        };
        self.save(id, &mut shipment, note, cx)
    }

    fn track(&self, seen: Track, cx: &mut Context<Self>) -> Result<ShipmentView, Rejection> {
        let id = seen.shipment_id;
        let mut shipment = self.load(id, cx)?;
        shipment.status = self.step(&shipment, Act::Track(seen.status))?;
        if shipment.history >= HISTORY_MAX {
            return Err(Rejection::conflict(
                "history_full",
                format!("a shipment has at most {HISTORY_MAX} entries; deliver or return it"),
            ));
        }
        let note = Note {
            location: text("location", seen.location)?,
            description: text("description", seen.description)?,
        };
        self.save(id, &mut shipment, note.clone(), cx)?;
        cx.publish(ShipmentTrackingUpdated {
            order_id: shipment.order_id,
            shipment_id: id,
            customer_id: shipment.customer_id,
            status: match seen.status {
                TrackStatus::InTransit => ShipmentStatus::InTransit,
                TrackStatus::OutForDelivery => ShipmentStatus::OutForDelivery,
            },
            location: note.location,
            description: note.description,
            at: cx.now(),
        });
        show(id, shipment, cx)
    }

    fn delivery_attempt(
        &self,
        missed: RecordDeliveryAttempt,
        cx: &mut Context<Self>,
    ) -> Result<ShipmentView, Rejection> {
        let id = missed.shipment_id;
        let mut shipment = self.load(id, cx)?;
        let failures = shipment.delivery_failures + 1;
        shipment.status = self.step(&shipment, Act::FailDelivery { failures })?;
        shipment.delivery_failures = failures;
        let reason = text("reason", Some(missed.reason))?.unwrap_or_default();
        let going_back = shipment.status == ShipmentStatus::Returned;
        self.save(id, &mut shipment, Note::described(&reason), cx)?;
        cx.publish(ShipmentDeliveryFailed {
            order_id: shipment.order_id,
            shipment_id: id,
            customer_id: shipment.customer_id,
            attempt: failures,
            reason,
            going_back,
            at: cx.now(),
        });
        if going_back {
            // It was never opened: all of it can be sold again.
            let items = shipment.lines.iter().map(|line| ReturnedItem {
                product_id: line.product_id,
                quantity: line.quantity,
                restock: true,
            });
            self.say_returned(id, &shipment, items.collect(), cx);
        }
        show(id, shipment, cx)
    }

    fn deliver(&self, asked: Deliver, cx: &mut Context<Self>) -> Result<ShipmentView, Rejection> {
        let id = asked.shipment_id;
        let mut shipment = self.load(id, cx)?;
        shipment.status = self.step(&shipment, Act::Deliver)?;
        let at = cx.now();
        shipment.delivered_at = Some(at);
        self.save(id, &mut shipment, Note::default(), cx)?;
        cx.publish(ShipmentDelivered {
            order_id: shipment.order_id,
            shipment_id: id,
            customer_id: shipment.customer_id,
            at,
        });
        show(id, shipment, cx)
    }

    fn take_back(
        &self,
        back: ReturnShipment,
        cx: &mut Context<Self>,
    ) -> Result<ShipmentView, Rejection> {
        let id = back.shipment_id;
        let mut shipment = self.load(id, cx)?;
        let after = shipment.delivered_at.map(|at| cx.now().since(at));
        shipment.status = self.step(&shipment, Act::Return { after })?;
        check_returned(&shipment, &back.items)?;
        self.save(id, &mut shipment, Note::default(), cx)?;
        self.say_returned(id, &shipment, back.items, cx);
        show(id, shipment, cx)
    }

    fn say_returned(
        &self,
        shipment_id: ShipmentId,
        shipment: &Shipment,
        items: Vec<ReturnedItem>,
        cx: &mut Context<Self>,
    ) {
        cx.publish(ShipmentReturned {
            order_id: shipment.order_id,
            shipment_id,
            customer_id: shipment.customer_id,
            items,
            at: cx.now(),
        });
    }

    pub(super) fn load(&self, id: ShipmentId, cx: &Context<Self>) -> Result<Shipment, Rejection> {
        cx.get(SHIPMENTS, &id)?.ok_or_else(no_such_shipment)
    }

    fn step(&self, shipment: &Shipment, act: Act) -> Result<ShipmentStatus, Rejection> {
        next(shipment.status, act).map_err(|impossible| {
            let (code, message) = match impossible {
                Impossible::NotDispatched => (
                    "not_dispatched",
                    "the shipment has not left yet; dispatch it first".to_owned(),
                ),
                Impossible::AlreadyDispatched => (
                    "already_dispatched",
                    "the shipment has left already".to_owned(),
                ),
                Impossible::NotDelivered => (
                    "not_delivered",
                    "the shipment is on its way; deliver it or record a failed delivery first"
                        .to_owned(),
                ),
                Impossible::Over => ("shipment_over", "the shipment's way is over".to_owned()),
                Impossible::TooLate => (
                    "return_too_late",
                    format!(
                        "a delivered shipment can come back within {} days",
                        RETURN_WITHIN.as_secs() / 86_400
                    ),
                ),
            };
            Rejection::conflict(code, message)
        })
    }

    /// Puts a parcel with one more entry of history.
    pub(super) fn save(
        &self,
        id: ShipmentId,
        shipment: &mut Shipment,
        note: Note,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let at = cx.now();
        let entry = HistoryEntry {
            at,
            status: shipment.status,
            location: note.location,
            description: note.description,
        };
        cx.put(SHIPMENT_HISTORY, &(id, shipment.history), &entry)?;
        shipment.history += 1;
        shipment.updated_at = at;
        cx.put(SHIPMENTS, &id, shipment)?;
        cx.notify(&id);
        Ok(())
    }
}

/// What is noted in a parcel's history.
#[derive(Debug, Clone, Default)]
pub(super) struct Note {
    location: Option<String>,
    description: Option<String>,
}

impl Note {
    pub(super) fn described(description: &str) -> Note {
        Note {
            location: None,
            description: Some(description.to_owned()),
        }
    }
}

/// Whether what came back was in the parcel: each product once, no more than was sent.
fn check_returned(shipment: &Shipment, items: &[ReturnedItem]) -> Result<(), Rejection> {
    let invalid = |message: String| Err(Rejection::invalid("invalid_items", message));
    if items.is_empty() {
        return invalid("a return needs the items that came back".to_owned());
    }
    for (index, item) in items.iter().enumerate() {
        let product = item.product_id;
        if items[..index]
            .iter()
            .any(|other| other.product_id == product)
        {
            return invalid(format!("product {product} stands twice in the items"));
        }
        let sent = shipment
            .lines
            .iter()
            .find(|line| line.product_id == product)
            .map_or(0, |line| line.quantity);
        if item.quantity == 0 || item.quantity > sent {
            return invalid(format!(
                "{} of product {product} cannot come back; {sent} were sent",
                item.quantity
            ));
        }
    }
    Ok(())
}

/// A text from outside, without blanks around it; one that is blank counts as missing.
fn text(field: &str, value: Option<String>) -> Result<Option<String>, Rejection> {
    let Some(value) = value else { return Ok(None) };
    let value = value.trim();
    if value.len() > TEXT_BYTES_MAX {
        return Err(Rejection::invalid(
            "text_too_long",
            format!("{field} is longer than {TEXT_BYTES_MAX} bytes"),
        ));
    }
    Ok((!value.is_empty()).then(|| value.to_owned()))
}

pub(crate) fn no_such_shipment() -> Rejection {
    Rejection::not_found(
        "no_such_shipment",
        "there is no such shipment; check the id",
    )
}
