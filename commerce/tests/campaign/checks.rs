//! The checks: what must be true of a quiet shop, whatever has happened to it.
//!
//! Each compares two sources that do not know each other: what was answered with what is there,
//! orders with stock, orders with the provider's ledger, streams with themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value;

use super::patient::Patient;
use super::told::Told;
use super::world::World;

/// Complaints that are shown with everything known of their order.
const SHOWN_MAX: usize = 5;

/// Something that is not as it must be.
pub struct Complaint {
    order: Option<String>,
    what: String,
}

/// Everything that is wrong.
#[derive(Default)]
pub struct Complaints(pub Vec<Complaint>);

impl Complaints {
    fn of(&mut self, order: &str, what: impl Into<String>) {
        self.0.push(Complaint {
            order: Some(order.to_owned()),
            what: what.into(),
        });
    }

    fn general(&mut self, what: impl Into<String>) {
        self.0.push(Complaint {
            order: None,
            what: what.into(),
        });
    }

    /// The complaints with what helps to understand them.
    pub fn show(&self, client: &mut Patient, world: &World) -> String {
        let mut text = format!("{} complaints\n", self.0.len());
        for (place, complaint) in self.0.iter().enumerate().take(200) {
            text.push_str(&format!("- {}\n", complaint.what));
            let Some(id) = complaint.order.as_ref().filter(|_| place < SHOWN_MAX) else {
                continue;
            };
            text.push_str(&format!(
                "  order    {}\n",
                world.orders.get(id).unwrap_or(&Value::Null)
            ));
            text.push_str(&format!("  payment  {:?}\n", world.payments.get(id)));
            text.push_str(&format!("  shipment {:?}\n", world.shipments.get(id)));
            for line in world.ledger.iter().filter(|line| line["order_id"] == **id) {
                text.push_str(&format!("  ledger   {line}\n"));
            }
            let timeline = client.get(&format!("/api/v1/orders/{id}/timeline?limit=200"));
            if timeline.status == 200 {
                for entry in timeline.json()["items"].as_array().unwrap() {
                    text.push_str(&format!("  timeline {entry}\n"));
                }
            }
        }
        for stream in world.system["streams"].as_array().unwrap() {
            text.push_str(&format!("stream {stream}\n"));
        }
        for service in world.system["services"].as_array().unwrap() {
            text.push_str(&format!("service {service}\n"));
        }
        text
    }
}

/// Everything that must be true of a quiet world.
pub fn check(world: &World, told: &[Told]) -> Complaints {
    let mut complaints = Complaints::default();
    acknowledged_orders_are_all_there_are(world, told, &mut complaints);
    orders_have_come_to_rest(world, told, &mut complaints);
    acts_have_had_their_effect(world, told, &mut complaints);
    stock_is_conserved(world, told, &mut complaints);
    money_is_conserved(world, &mut complaints);
    streams_are_settled(world, &mut complaints);
    complaints
}

fn status(order: &Value) -> &str {
    order["status"].as_str().unwrap()
}

/// Every acknowledged order exists, once; and as every shopper asks until answered, no other does.
fn acknowledged_orders_are_all_there_are(
    world: &World,
    told: &[Told],
    complaints: &mut Complaints,
) {
    let mut known = HashSet::new();
    for order in told
        .iter()
        .filter(|told| told.is_order() && told.accepted())
    {
        let id = order.answer["id"].as_str().unwrap();
        if !known.insert(id) {
            complaints.of(
                id,
                format!("order {id} answers two keys, one of them {}", order.key),
            );
        }
        match world.orders.get(id) {
            None => complaints.of(
                id,
                format!("acknowledged order {id} ({}) is lost", order.key),
            ),
            Some(now)
                if now["items"] != order.answer["items"]
                    || now["total"] != order.answer["total"] =>
            {
                complaints.of(
                    id,
                    format!("order {id} is not what was acknowledged: {}", order.answer),
                );
            }
            Some(_) => {}
        }
    }
    for id in world
        .orders
        .keys()
        .filter(|id| !known.contains(id.as_str()))
    {
        complaints.of(
            id,
            format!("order {id} exists and nobody was told of it: placed twice"),
        );
    }
}

fn orders_have_come_to_rest(world: &World, told: &[Told], complaints: &mut Complaints) {
    let refuses_capture: HashSet<&str> = told
        .iter()
        .filter(|told| told.is_order() && told.accepted())
        .filter(|told| told.body["payment_method"]["token"] == "tok_capture_fails")
        .map(|told| told.answer["id"].as_str().unwrap())
        .collect();
    for (id, order) in &world.orders {
        match status(order) {
            "confirmed" | "shipped" | "delivered" | "returned" | "cancelled" | "payment_failed" => {
            }
            "manual_review" if refuses_capture.contains(id.as_str()) => {}
            other => complaints.of(id, format!("order {id} rests in {other}")),
        }
    }
}

/// What shoppers and the warehouse were told has happened.
fn acts_have_had_their_effect(world: &World, told: &[Told], complaints: &mut Complaints) {
    let order_of: HashMap<&str, &str> = world
        .shipments
        .iter()
        .map(|(order, shipment)| (shipment["id"].as_str().unwrap(), order.as_str()))
        .collect();
    let mut must = |order: &str, wanted: &[&str], act: &Told| {
        let now = world
            .orders
            .get(order)
            .map_or("missing", |order| status(order));
        if !wanted.contains(&now) {
            complaints.of(
                order,
                format!(
                    "order {order} is {now} although {} {} was answered",
                    act.key, act.path
                ),
            );
        }
    };
    for act in told.iter().filter(|told| told.is_already_shipped()) {
        if let Some(order) = act.subject("orders", "cancel") {
            must(
                order,
                &["shipped", "delivered", "returned", "manual_review"],
                act,
            );
        }
    }
    for act in told.iter().filter(|told| told.accepted()) {
        if let Some(order) = act.subject("orders", "cancel") {
            // Shipping may have refused it: the parcel had left.
            must(
                order,
                &[
                    "cancelled",
                    "shipped",
                    "delivered",
                    "returned",
                    "manual_review",
                ],
                act,
            );
        }
        let shipped = ["dispatch", "delivered", "returned"];
        let (verb, shipment) = match shipped
            .iter()
            .find_map(|verb| Some((*verb, act.subject("shipments", verb)?)))
        {
            Some(found) => found,
            None => continue,
        };
        // A shipment that answered and is of no order any more: no status is right.
        let order = order_of.get(shipment).copied().unwrap_or(shipment);
        match verb {
            "dispatch" => must(
                order,
                &["shipped", "delivered", "returned", "manual_review"],
                act,
            ),
            "delivered" => must(order, &["delivered", "returned", "manual_review"], act),
            _ => must(order, &["returned", "manual_review"], act),
        }
    }
}

fn stock_is_conserved(world: &World, told: &[Told], complaints: &mut Complaints) {
    let mut expected: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for product in &world.products {
        let id = product["product_id"].as_str().unwrap();
        expected.insert(id, (i64::try_from(commerce::seed::UNITS).unwrap(), 0));
    }
    for (id, order) in &world.orders {
        let shipment = world.shipments.get(id);
        let parcel = shipment.map_or("none", |shipment| shipment["status"].as_str().unwrap());
        let left = matches!(
            parcel,
            "dispatched"
                | "in_transit"
                | "out_for_delivery"
                | "delivery_failed"
                | "delivered"
                | "returned"
        );
        let holds = !left && matches!(status(order), "confirmed" | "payment_failed");
        for item in order["items"].as_array().unwrap() {
            let (on_hand, reserved) = expected
                .get_mut(item["product_id"].as_str().unwrap())
                .unwrap();
            let quantity = item["quantity"].as_i64().unwrap();
            *on_hand -= if left { quantity } else { 0 };
            *reserved += if holds { quantity } else { 0 };
        }
    }
    for act in told.iter().filter(|told| told.accepted()) {
        if let Some(product) = act.subject("inventory/products", "adjust-stock") {
            expected.get_mut(product).unwrap().0 += act.body["delta"].as_i64().unwrap();
        }
        if act.subject("shipments", "returned").is_some() {
            for item in act.body["items"].as_array().unwrap() {
                if item["restock"] == true {
                    let product = item["product_id"].as_str().unwrap();
                    expected.get_mut(product).unwrap().0 += item["quantity"].as_i64().unwrap();
                }
            }
        }
    }
    let mut active: HashMap<&str, i64> = HashMap::new();
    for reservation in &world.reservations {
        let product = reservation["product_id"].as_str().unwrap();
        let id = reservation["order_id"].as_str().unwrap();
        let quantity = reservation["quantity"].as_i64().unwrap();
        let holds = matches!(
            reservation["status"].as_str().unwrap(),
            "active" | "committed"
        );
        *active.entry(product).or_default() += if holds { quantity } else { 0 };
        let order = world
            .orders
            .get(id)
            .map_or("missing", |order| status(order));
        if holds && !matches!(order, "confirmed" | "payment_failed") {
            complaints.of(
                id,
                format!("order {id} is {order} and holds stock: {reservation}"),
            );
        }
        if !holds && matches!(order, "confirmed" | "payment_failed") {
            complaints.of(
                id,
                format!("order {id} is {order} and holds no stock: {reservation}"),
            );
        }
    }
    for product in &world.products {
        let id = product["product_id"].as_str().unwrap();
        let number = |name: &str| product[name].as_i64().unwrap();
        let (on_hand, reserved) = expected[id];
        if number("on_hand") != number("available") + number("reserved") {
            complaints.general(format!("stock does not add up: {product}"));
        }
        if number("on_hand") != on_hand {
            complaints.general(format!("{on_hand} should be on hand: {product}"));
        }
        let held = active.get(id).copied().unwrap_or_default();
        if number("reserved") != reserved || reserved != held {
            complaints.general(format!(
                "orders reserve {reserved}, reservations {held}: {product}"
            ));
        }
    }
}

/// What the provider did for one order.
#[derive(Default)]
struct Charged {
    held: Vec<i64>,
    voids: usize,
    captured: i64,
    captures: usize,
    refunded: i64,
}

fn money_is_conserved(world: &World, complaints: &mut Complaints) {
    let mut charged: BTreeMap<&str, Charged> = BTreeMap::new();
    let mut keys = BTreeSet::new();
    for line in &world.ledger {
        let order = line["order_id"].as_str().unwrap();
        if !keys.insert(line["key"].as_str().unwrap()) {
            complaints.of(order, format!("the ledger repeats a key: {line}"));
        }
        if line["outcome"] != "ok" {
            continue;
        }
        let of = charged.entry(order).or_default();
        let amount = line["amount"].as_i64().unwrap();
        match line["operation"].as_str().unwrap() {
            "authorise" => of.held.push(amount),
            "void" => of.voids += 1,
            "capture" => {
                of.captured += amount;
                of.captures += 1;
            }
            "refund" => of.refunded += amount,
            other => complaints.of(order, format!("the ledger has an operation {other}")),
        }
    }
    for order in charged.keys().filter(|id| !world.orders.contains_key(**id)) {
        complaints.of(
            order,
            format!("the provider knows an order {order} that we do not"),
        );
    }
    let nothing = Charged::default();
    for (id, order) in &world.orders {
        let of = charged.get(id.as_str()).unwrap_or(&nothing);
        let total = order["total"]["amount"].as_i64().unwrap();
        let net = of.captured - of.refunded;
        let live = of.held.len() as i64 - of.voids as i64 - of.captures as i64;
        let (should_net, should_live) = match status(order) {
            "confirmed" => (0, 1),
            "shipped" | "delivered" => (total, 0),
            "manual_review" => (0, live),
            _ => (0, 0),
        };
        if net != should_net {
            complaints.of(
                id,
                format!(
                    "order {id} is {} and was charged {net}, not {should_net}",
                    status(order)
                ),
            );
        }
        if live != should_live {
            complaints.of(
                id,
                format!(
                    "order {id} is {} and {live} of its holds live, not {should_live}",
                    status(order)
                ),
            );
        }
        if of.captured > total || of.held.iter().any(|amount| *amount != total) {
            complaints.of(
                id,
                format!(
                    "order {id} costs {total} and the provider took {} of {:?}",
                    of.captured, of.held
                ),
            );
        }
        let said = |name: &str| {
            world
                .payments
                .get(id)
                .map_or(0, |payment| payment[name]["amount"].as_i64().unwrap())
        };
        if said("captured") != of.captured || said("refunded") != of.refunded {
            complaints.of(
                id,
                format!(
                    "payment of {id} and the ledger disagree: captured {} refunded {}",
                    of.captured, of.refunded
                ),
            );
        }
        if world
            .payments
            .get(id)
            .is_some_and(|payment| payment["status"] == "unknown")
        {
            complaints.of(
                id,
                format!("nobody knows what became of the payment of {id}"),
            );
        }
    }
}

fn streams_are_settled(world: &World, complaints: &mut Complaints) {
    for stream in world.system["streams"].as_array().unwrap() {
        let number = |name: &str| stream[name].as_u64().unwrap();
        let settled = number("sent") == number("accepted")
            && number("accepted") == number("applied") + number("rejected")
            && ["waiting", "parked", "dead", "discarded"]
                .iter()
                .all(|name| number(name) == 0);
        if !settled {
            complaints.general(format!("a stream is not settled: {stream}"));
        }
    }
    for service in world.system["services"].as_array().unwrap() {
        if service["state"] != "running" || service["parked"] != 0 || service["dead_letters"] != 0 {
            complaints.general(format!("a service is not as it should be: {service}"));
        }
    }
}

/// Repeats every command under its key: each is answered as it was the first time.
pub fn check_replays(client: &mut Patient, told: &[Told]) -> Complaints {
    let mut complaints = Complaints::default();
    for told in told {
        let headers = [("idempotency-key", told.key.as_str())];
        let again = client.post_with(&told.path, &headers, &told.body);
        let answer: Value = serde_json::from_slice(&again.body).unwrap_or_default();
        let same = match told.status {
            // Who waited was shown a later state of the same order.
            200 | 202 if told.waited => {
                matches!(again.status, 200 | 202) && answer["id"] == told.answer["id"]
            }
            200 | 202 => again.status == told.status && answer == told.answer,
            // Who waited learnt that the order had left; the stored answer is of before that.
            409 if told.waited && again.status == 202 => {
                told.is_already_shipped()
                    && told.subject("orders", "cancel") == answer["id"].as_str()
            }
            // A problem carries the id of its request.
            _ => {
                again.status == told.status
                    && answer["type"] == told.answer["type"]
                    && answer["detail"] == told.answer["detail"]
            }
        };
        let replayed = again.header("idempotency-replayed") == Some("true");
        if !same || !replayed {
            complaints.general(format!(
                "{} {} was answered {} {}, and again (replayed: {replayed}) {} {answer}",
                told.key, told.path, told.status, told.answer, again.status
            ));
        }
    }
    complaints
}
