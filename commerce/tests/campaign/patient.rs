//! A client that asks again where handlers panic on purpose.

use std::time::Duration;

use serde_json::Value;

use crate::common::{Answer, Client};

/// More than any chance of panics explains.
const TRIES_MAX: usize = 40;

/// Asks until it is answered by something other than a panic.
pub struct Patient(Client);

impl Patient {
    pub fn new(address: &str) -> Patient {
        Patient(Client::new(address))
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.again(|client| client.get(path))
    }

    pub fn post_with(&mut self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.again(|client| client.post_with(path, headers, body))
    }

    fn again(&mut self, ask: impl Fn(&mut Client) -> Answer) -> Answer {
        let mut tries = 1;
        loop {
            let answer = ask(&mut self.0);
            if !matches!(answer.status, 500 | 503) || tries == TRIES_MAX {
                return answer;
            }
            tries += 1;
            // A panicked service is back within a few of these.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}
