//! The world as it is seen from outside once it is quiet: what every service says, and what the
//! payment provider has written down.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::patient::Patient;

/// Longer than every deadline of an order that is not a day, so that what hangs is seen to hang.
const QUIET_MAX: Duration = Duration::from_secs(240);
const LOOK_AGAIN: Duration = Duration::from_millis(25);

/// Everything there is.
pub struct World {
    pub orders: BTreeMap<String, Value>,
    pub payments: HashMap<String, Value>,
    pub shipments: HashMap<String, Value>,
    pub products: Vec<Value>,
    pub reservations: Vec<Value>,
    pub ledger: Vec<Value>,
    pub system: Value,
}

impl World {
    /// Looks at everything.
    pub fn look(client: &mut Patient, data: &Path) -> World {
        let orders: BTreeMap<String, Value> = all(client, "/api/v1/orders")
            .into_iter()
            .map(|order| (order["id"].as_str().unwrap().to_owned(), order))
            .collect();
        let mut payments = HashMap::new();
        let mut shipments = HashMap::new();
        for id in orders.keys() {
            for (of, into) in [("payments", &mut payments), ("shipments", &mut shipments)] {
                let answer = client.get(&format!("/api/v1/{of}/order/{id}"));
                if answer.status == 200 {
                    into.insert(id.clone(), answer.json());
                } else {
                    answer.expect(404);
                }
            }
        }
        let products = all(client, "/api/v1/inventory/products");
        let mut reservations = Vec::new();
        for product in &products {
            let id = product["product_id"].as_str().unwrap();
            reservations.extend(all(
                client,
                &format!("/api/v1/inventory/products/{id}/reservations"),
            ));
        }
        World {
            orders,
            payments,
            shipments,
            products,
            reservations,
            ledger: ledger(data),
            system: client.get("/admin/system").expect(200),
        }
    }

    /// How many orders there are of each status.
    pub fn by_status(&self) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for order in self.orders.values() {
            *counts
                .entry(order["status"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
        counts
    }
}

/// The provider's ledger.
pub fn ledger(data: &Path) -> Vec<Value> {
    let text = fs::read_to_string(data.join("provider").join("ledger.jsonl")).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// All pages of a list.
pub fn all(client: &mut Patient, path: &str) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("{path}?limit=200{cursor}")).expect(200);
        items.extend(page["items"].as_array().unwrap().iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
    }
}

/// Waits until nothing is on its way any more; what still is, when it takes too long.
pub fn wait_until_quiet(client: &mut Patient) -> Result<Duration, String> {
    let began = Instant::now();
    let mut quiet_before = false;
    loop {
        let moving = moving(client);
        match (&moving, quiet_before) {
            (None, true) => return Ok(began.elapsed()),
            (None, false) => quiet_before = true,
            (Some(what), _) => {
                quiet_before = false;
                if began.elapsed() > QUIET_MAX {
                    return Err(format!("not quiet after {QUIET_MAX:?}: {what}"));
                }
            }
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// What is still on its way, if anything is.
fn moving(client: &mut Patient) -> Option<String> {
    let system = client.get("/admin/system").expect(200);
    for stream in system["streams"].as_array().unwrap() {
        if stream["waiting"] != 0 || stream["parked"] != 0 {
            return Some(format!("stream {stream}"));
        }
    }
    for service in system["services"].as_array().unwrap() {
        let busy = [
            "requests_waiting",
            "messages_waiting",
            "parked",
            "activities",
        ];
        if service["state"] != "running" || busy.iter().any(|what| service[*what] != 0) {
            return Some(format!("service {service}"));
        }
    }
    for status in ["pending", "reserved", "paid", "cancelling"] {
        let list = client
            .get(&format!("/api/v1/orders?status={status}&limit=1"))
            .expect(200);
        if let Some(order) = list["items"].as_array().unwrap().first() {
            return Some(format!("order {order}"));
        }
    }
    None
}
