//! A system's stand-in: answers what a test tells it to and remembers what it was asked.

use std::sync::{Arc, Mutex};

use redeliver::http::Host;
use redeliver::{CallError, CallOptions, Check, Health, JsonAnswer};
use serde_json::json;

#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) service: String,
    pub(crate) message: String,
    pub(crate) json: String,
    pub(crate) options: CallOptions,
}

#[derive(Clone)]
pub(crate) struct StandIn {
    pub(crate) calls: Arc<Mutex<Vec<Call>>>,
    pub(crate) ready: bool,
    answer: fn(&Call) -> Result<JsonAnswer, CallError>,
}

impl StandIn {
    pub(crate) fn new(answer: fn(&Call) -> Result<JsonAnswer, CallError>) -> StandIn {
        StandIn {
            calls: Arc::default(),
            ready: true,
            answer,
        }
    }

    pub(crate) fn last(&self) -> Call {
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

    fn health(&self) -> Health {
        Health {
            ready: self.ready,
            checks: vec![Check {
                name: "store".to_owned(),
                ok: self.ready,
                detail: "open".to_owned(),
            }],
        }
    }

    fn report(&self) -> impl serde::Serialize {
        json!({ "services": [{ "name": "counter", "state": "running" }] })
    }

    fn topology(&self) -> impl serde::Serialize {
        json!({ "services": ["counter"] })
    }
}
