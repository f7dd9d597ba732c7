//! Shoppers, who are the warehouse too: each has one connection, works through a mix of orders,
//! cancellations, dispatches and returns, and repeats every command under its key until it is
//! answered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::chance::Chance;
use super::told::{Doors, Told};
use crate::common::{Answer, Client, order_of, product};

/// Orders a shopper remembers for what may follow.
const REMEMBERED_MAX: usize = 24;
/// Before a refused request is repeated.
const PAUSE: Duration = Duration::from_millis(4);

const TOKENS: [(u64, &str); 8] = [
    (60, "tok_ok"),
    (8, "tok_declined"),
    (8, "tok_insufficient_funds"),
    (7, "tok_timeout_charged"),
    (7, "tok_timeout_lost"),
    (4, "tok_duplicate_webhook"),
    (4, "tok_slow"),
    (2, "tok_capture_fails"),
];

/// What a shopper does, and pays with, by weight.
#[derive(Clone, Copy)]
pub struct Habits {
    pub acts: &'static [(u64, Act)],
    pub tokens: &'static [(u64, &'static str)],
}

/// Everything there is to do in the shop.
pub const EVERYTHING: Habits = Habits {
    acts: &ACTS,
    tokens: &TOKENS,
};

/// Orders that nothing goes wrong with.
pub const GOOD_ORDERS: Habits = Habits {
    acts: &[
        (4, Act::Place),
        (1, Act::PlaceAndWait),
        (1, Act::LookAtOrder),
    ],
    tokens: &[(1, "tok_ok")],
};

/// What a shopper saw and was told.
#[derive(Default)]
pub struct Account {
    pub told: Vec<Told>,
    /// What must never be seen, whenever one looks.
    pub violations: Vec<String>,
    /// Requests that a kill left without an answer.
    pub interrupted: u64,
    /// Answers of 503.
    pub unavailable: u64,
    /// Answers of 500.
    pub failed: u64,
}

pub struct Shopper {
    number: u64,
    habits: Habits,
    chance: Chance,
    doors: Arc<Doors>,
    client: Client,
    at: String,
    commands: u64,
    recent: VecDeque<String>,
    account: Account,
}

/// Something to do.
#[derive(Clone, Copy)]
pub enum Act {
    Place,
    PlaceAndWait,
    Cancel,
    Dispatch,
    Deliver,
    Return,
    PayAgain,
    Restock,
    LookAtStock,
    LookAtOrder,
}

const ACTS: [(u64, Act); 10] = [
    (44, Act::Place),
    (12, Act::PlaceAndWait),
    (9, Act::Cancel),
    (10, Act::Dispatch),
    (6, Act::Deliver),
    (2, Act::Return),
    (6, Act::PayAgain),
    (1, Act::Restock),
    (4, Act::LookAtStock),
    (6, Act::LookAtOrder),
];

impl Shopper {
    /// The shopper of this number in this leg of a campaign.
    pub fn new(seed: u64, leg: u64, number: u64, habits: Habits, doors: Arc<Doors>) -> Shopper {
        let number = leg * 1_000 + number;
        Shopper {
            number,
            habits,
            chance: Chance::new(seed, number + 1),
            doors,
            client: Client::new(""),
            at: String::new(),
            commands: 0,
            recent: VecDeque::new(),
            account: Account::default(),
        }
    }

    /// Shops until the doors close.
    pub fn shop(mut self) -> Account {
        while !self.doors.closing() {
            match self.chance.weighted(self.habits.acts) {
                Act::Place => self.place(false),
                Act::PlaceAndWait => self.place(true),
                Act::Cancel => self.cancel(),
                Act::Dispatch => self.with_shipment("pending", "dispatch", |_| json!({})),
                Act::Deliver => self.with_shipment("dispatched", "delivered", |_| json!({})),
                Act::Return => self.with_shipment("delivered", "returned", all_of_it),
                Act::PayAgain => self.pay_again(),
                Act::Restock => self.restock(),
                Act::LookAtStock => self.look_at_stock(),
                Act::LookAtOrder => self.look_at_order(),
            }
        }
        self.account
    }

    fn place(&mut self, wait: bool) {
        let token = self.chance.weighted(self.habits.tokens);
        let products = commerce::seed::PRODUCTS.len() as u64;
        let first = self.chance.below(products);
        let quantity = 1 + self.chance.below(3);
        let mut body = order_of(&product(first as usize), quantity as i64, token);
        if self.chance.below(3) == 0 {
            let second = (first + 1 + self.chance.below(products - 1)) % products;
            let line = json!({ "product_id": product(second as usize), "quantity": 1 });
            body["items"].as_array_mut().unwrap().push(line);
        }
        let answer = self.tell("/api/v1/orders".to_owned(), body, wait);
        if !matches!(answer.status, 200 | 202) {
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            self.violation(format!(
                "a good order was refused: {} {said}",
                answer.status
            ));
            return;
        }
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        self.recent.push_back(id);
        if self.recent.len() > REMEMBERED_MAX {
            self.recent.pop_front();
        }
    }

    fn cancel(&mut self) {
        if let Some(id) = self.one_of_recent() {
            let wait = self.chance.below(4) == 0;
            let body = json!({ "reason": "changed my mind" });
            self.tell(format!("/api/v1/orders/{id}/cancel"), body, wait);
        }
    }

    /// Does something with the shipment of a recent order, if it is in this status.
    fn with_shipment(&mut self, status: &str, verb: &str, body: fn(&Value) -> Value) {
        let Some(order) = self.one_of_recent() else {
            return;
        };
        let answer = self.ask(&format!("/api/v1/shipments/order/{order}"));
        if answer.status != 200 {
            return;
        }
        let shipment = answer.json();
        if shipment["status"] == status {
            let id = shipment["id"].as_str().unwrap();
            self.tell(
                format!("/api/v1/shipments/{id}/{verb}"),
                body(&shipment),
                false,
            );
        }
    }

    fn pay_again(&mut self) {
        // The newest may still be on their way; any of them may be waiting for its customer.
        let waiting = "/api/v1/orders?status=payment_failed&limit=16";
        let list = self.ask(waiting).json();
        let items = list["items"].as_array().cloned().unwrap_or_default();
        if items.is_empty() {
            return;
        }
        let id = self.chance.one_of(&items)["id"]
            .as_str()
            .unwrap()
            .to_owned();
        let tokens = [
            (6, "tok_ok"),
            (2, "tok_insufficient_funds"),
            (1, "tok_timeout_charged"),
        ];
        let token = self.chance.weighted(&tokens);
        let body = json!({ "payment_method": { "type": "card", "token": token } });
        self.tell(format!("/api/v1/orders/{id}/payment/retry"), body, false);
    }

    fn restock(&mut self) {
        let path = format!(
            "/api/v1/inventory/products/{}/adjust-stock",
            self.any_product()
        );
        let delta = 1 + self.chance.below(500);
        let answer = self.tell(path, json!({ "delta": delta, "reason": "received" }), false);
        if answer.status != 200 {
            let said = String::from_utf8_lossy(&answer.body).into_owned();
            self.violation(format!("stock was not received: {} {said}", answer.status));
        }
    }

    fn look_at_stock(&mut self) {
        let path = format!("/api/v1/inventory/products/{}", self.any_product());
        let stock = self.ask(&path).json();
        let number = |name: &str| stock[name].as_u64();
        let whole = match (number("on_hand"), number("available"), number("reserved")) {
            (Some(on_hand), Some(available), Some(reserved)) => on_hand == available + reserved,
            _ => false,
        };
        if !whole {
            self.violation(format!("stock does not add up: {stock}"));
        }
    }

    fn look_at_order(&mut self) {
        if let Some(id) = self.one_of_recent() {
            let answer = self.ask(&format!("/api/v1/orders/{id}"));
            if answer.status != 200 {
                self.violation(format!("acknowledged order {id} answers {}", answer.status));
            }
        }
    }

    /// A command, under one key, until it is answered.
    fn tell(&mut self, path: String, body: Value, wait: bool) -> Answer {
        self.commands += 1;
        let key = format!("shopper-{}-{}", self.number, self.commands);
        let text = body.to_string();
        let mut headers = vec![
            ("content-type", "application/json"),
            ("idempotency-key", &key),
            // Shown in the answer: who records the program sees when each command is answered.
            ("x-request-id", &key),
        ];
        if wait {
            headers.push(("prefer", "wait=2"));
        }
        let answer = self.until_answered("POST", &path, &headers, Some(text.as_bytes()));
        self.account.told.push(Told {
            path,
            key: key.clone(),
            body,
            waited: wait,
            status: answer.status,
            answer: serde_json::from_slice(&answer.body).unwrap_or_default(),
        });
        answer
    }

    fn ask(&mut self, path: &str) -> Answer {
        self.until_answered("GET", path, &[], None)
    }

    fn until_answered(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        loop {
            let address = self.doors.address();
            if address != self.at {
                self.client.move_to(&address);
                self.at = address;
            }
            match self.client.try_request(method, path, headers, body) {
                Ok(answer) if answer.status == 503 => self.account.unavailable += 1,
                Ok(answer) if answer.status == 500 => self.account.failed += 1,
                Ok(answer) => return answer,
                Err(_) => self.account.interrupted += 1,
            }
            // Not a wait for a condition: whoever is refused does not ask again at once.
            std::thread::sleep(PAUSE);
        }
    }

    fn one_of_recent(&mut self) -> Option<String> {
        let (front, back) = self.recent.as_slices();
        let all: Vec<&String> = front.iter().chain(back).collect();
        (!all.is_empty()).then(|| (*self.chance.one_of(&all)).clone())
    }

    fn any_product(&mut self) -> String {
        let products = commerce::seed::PRODUCTS.len() as u64;
        product(self.chance.below(products) as usize)
    }

    fn violation(&mut self, what: String) {
        self.account
            .violations
            .push(format!("shopper {}: {what}", self.number));
    }
}

/// Everything in the parcel comes back; every other product can be sold again.
fn all_of_it(shipment: &Value) -> Value {
    let items = shipment["items"].as_array().unwrap().iter().enumerate();
    let items = items.map(|(place, item)| {
        json!({
            "product_id": item["product_id"], "quantity": item["quantity"],
            "restock": place % 2 == 0
        })
    });
    json!({ "items": items.collect::<Vec<_>>() })
}
