//! A system's stand-in: answers what a test tells it to and remembers what it was asked.

use std::sync::{Arc, Mutex};

use redeliver::http::{CallError, CallOptions, Check, Health, Host, JsonAnswer};
use serde_json::{Value, json};

#[derive(Debug, Clone)]
pub struct Call {
    pub service: String,
    pub message: String,
    pub json: String,
    pub options: CallOptions,
}

#[derive(Clone)]
pub struct StandIn {
    pub calls: Arc<Mutex<Vec<Call>>>,
    pub ready: bool,
    answer: fn(&Call) -> Result<JsonAnswer, CallError>,
}

impl StandIn {
    pub fn new(answer: fn(&Call) -> Result<JsonAnswer, CallError>) -> StandIn {
        StandIn {
            calls: Arc::default(),
            ready: true,
            answer,
        }
    }

    pub fn last(&self) -> Call {
        self.calls.lock().unwrap().last().unwrap().clone()
    }
}

impl Host for StandIn {
    async fn call(
        &self,
        service: &str,
        message: &str,
        json: &[u8],
        options: CallOptions,
    ) -> Result<JsonAnswer, CallError> {
        let call = Call {
            service: service.to_owned(),
            message: message.to_owned(),
            json: String::from_utf8(json.to_vec()).unwrap(),
            options,
        };
        self.calls.lock().unwrap().push(call.clone());
        (self.answer)(&call)
    }

    async fn health(&self) -> Health {
        Health {
            ready: self.ready,
            checks: vec![Check {
                name: "store".to_owned(),
                ok: self.ready,
                detail: "open".to_owned(),
            }],
        }
    }

    async fn report(&self) -> Value {
        json!({ "services": [{ "name": "counter", "state": "running" }] })
    }

    async fn topology(&self) -> Value {
        json!({ "services": ["counter"] })
    }
}
