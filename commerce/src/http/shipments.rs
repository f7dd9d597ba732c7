//! Shipments: parcels and what happens to them.

use redeliver::http::Problem;
use serde::Deserialize;
use warp::http::StatusCode;

use super::answer;
use super::ask::Ask;
use super::caller::Role;
use super::table::{Answer, Table};
use crate::shipping::{
    DelayedShipments, Deliver, Dispatch, PendingShipments, RecordDeliveryAttempt, ReturnShipment,
    ReturnedItem, ShipmentById, ShipmentByTracking, ShipmentOfOrder, ShipmentView, Track,
    TrackStatus,
};

pub(super) fn routes(on: &mut Table) {
    on.get("/shipments/pending", pending)
        .get("/shipments/delayed", delayed)
        .get("/shipments/{}", one)
        .get("/shipments/order/{}", of_order)
        .get("/shipments/tracking/{}", by_tracking)
        .post("/shipments/{}/dispatch", dispatch)
        .post("/shipments/{}/tracking", track)
        .post("/shipments/{}/delivery-attempt", delivery_attempt)
        .post("/shipments/{}/delivered", delivered)
        .post("/shipments/{}/returned", returned);
}

async fn pending(ask: Ask) -> Answer {
    ask.caller.must_have(Role::Warehouse)?;
    let page = ask.page()?;
    let query = PendingShipments { page };
    answer::ok(&ask.query(ask.shop.shipping(), query).await?)
}

async fn delayed(ask: Ask) -> Answer {
    ask.caller.must_have(Role::Warehouse)?;
    let page = ask.page()?;
    let query = DelayedShipments { page };
    answer::ok(&ask.query(ask.shop.shipping(), query).await?)
}

async fn one(ask: Ask) -> Answer {
    let shipment_id = ask.id()?;
    let shipment = ask.query(ask.shop.shipping(), ShipmentById { shipment_id });
    show(&ask, &shipment.await?)
}

async fn of_order(ask: Ask) -> Answer {
    let order_id = ask.id()?;
    let shipment = ask.query(ask.shop.shipping(), ShipmentOfOrder { order_id });
    show(&ask, &shipment.await?)
}

async fn by_tracking(ask: Ask) -> Answer {
    let tracking_number = ask.captured().to_owned();
    let query = ShipmentByTracking { tracking_number };
    let shipment = ask.query(ask.shop.shipping(), query);
    show(&ask, &shipment.await?)
}

fn show(ask: &Ask, shipment: &ShipmentView) -> Answer {
    if !ask.caller.may_see(shipment.customer_id, Role::Warehouse) {
        return Err(Problem::not_found("there is no such shipment"));
    }
    answer::ok(shipment)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dispatching {
    carrier: Option<String>,
    tracking_number: Option<String>,
}

async fn dispatch(ask: Ask) -> Answer {
    ask.caller.must_have(Role::Warehouse)?;
    let shipment_id = ask.id()?;
    let Dispatching {
        carrier,
        tracking_number,
    } = ask.json_or_nothing()?;
    let command = Dispatch {
        shipment_id,
        carrier,
        tracking_number,
    };
    let answered = ask.send(ask.shop.shipping(), command).await?;
    answer::answered(StatusCode::OK, &answered)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tracking {
    status: TrackStatus,
    location: Option<String>,
    description: Option<String>,
}

async fn track(ask: Ask) -> Answer {
    ask.caller.must_have(Role::Warehouse)?;
    let shipment_id = ask.id()?;
    let Tracking {
        status,
        location,
        description,
    } = ask.json()?;
    let command = Track {
        shipment_id,
        status,
        location,
        description,
    };
    let answered = ask.send(ask.shop.shipping(), command).await?;
    answer::answered(StatusCode::OK, &answered)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attempt {
    reason: String,
}

async fn delivery_attempt(ask: Ask) -> Answer {
    ask.caller.must_have(Role::Warehouse)?;
    let shipment_id = ask.id()?;
    let Attempt { reason } = ask.json()?;
    let command = RecordDeliveryAttempt {
        shipment_id,
        reason,
    };
    let answered = ask.send(ask.shop.shipping(), command).await?;
    answer::answered(StatusCode::OK, &answered)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

async fn delivered(ask: Ask) -> Answer {
    ask.caller.must_have(Role::Warehouse)?;
    let shipment_id = ask.id()?;
    let Nothing {} = ask.json_or_nothing()?;
    let answered = ask.send(ask.shop.shipping(), Deliver { shipment_id });
    answer::answered(StatusCode::OK, &answered.await?)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Return {
    items: Vec<ReturnedItem>,
}

async fn returned(ask: Ask) -> Answer {
    ask.caller.must_have(Role::Warehouse)?;
    let shipment_id = ask.id()?;
    let Return { items } = ask.json()?;
    let command = ReturnShipment { shipment_id, items };
    let answered = ask.send(ask.shop.shipping(), command).await?;
    answer::answered(StatusCode::OK, &answered)
}
