//! Failed logins by address: who fails too often in a minute waits.
//!
//! Only failures count. The library that limits other requests counts whoever asks it, so it
//! cannot be asked before anybody knows whether a login fails; this one looks first and counts
//! afterwards. Of logins that are under way together none is refused for the others, as they may
//! all be good: if they fail, as many as the password pool takes, all of them count, and the wait
//! is as much longer. It keeps one instant an address: when its failures so far are made up for
//! (a generic cell rate algorithm).

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const MINUTE: Duration = Duration::from_secs(60);
/// Addresses that are told apart. Further ones count together.
const ADDRESSES_MAX: usize = 10_000;

/// Counts failed logins by address.
#[derive(Debug)]
pub struct FailedLogins {
    /// How long it takes to make up for a failure; `None` if none counts.
    interval: Option<Duration>,
    made_up_at: Mutex<HashMap<Place, Instant>>,
}

/// Where logins come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    V4([u8; 4]),
    /// Whoever has one address of version 6 has at least so many.
    V6([u8; 8]),
    /// All that are too many to be told apart.
    Elsewhere,
}

impl FailedLogins {
    /// So many in a minute; 0 for any number.
    pub fn new(per_minute: u32) -> FailedLogins {
        FailedLogins {
            interval: MINUTE.checked_div(per_minute),
            made_up_at: Mutex::default(),
        }
    }

    /// How long an address has to wait before it may try again, if it has to.
    pub fn wait(&self, address: Option<IpAddr>, now: Instant) -> Option<Duration> {
        let interval = self.interval?;
        let places = self.lock();
        let place = Place::of(address);
        let known = places.get(&place);
        let full = places.len() >= ADDRESSES_MAX;
        let at = known.or_else(|| places.get(&Place::Elsewhere).filter(|_| full))?;
        let after_one_more = at.saturating_duration_since(now) + interval;
        after_one_more
            .checked_sub(MINUTE)
            .filter(|wait| !wait.is_zero())
    }

    /// Counts a failure.
    pub fn count(&self, address: Option<IpAddr>, now: Instant) {
        let Some(interval) = self.interval else {
            return;
        };
        let mut places = self.lock();
        let mut place = Place::of(address);
        if places.len() >= ADDRESSES_MAX && !places.contains_key(&place) {
            places.retain(|_, made_up_at| *made_up_at > now);
            if places.len() >= ADDRESSES_MAX {
                place = Place::Elsewhere;
            }
        }
        let at = places.entry(place).or_insert(now);
        *at = (*at).max(now) + interval;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Place, Instant>> {
        self.made_up_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn of(address: Option<IpAddr>) -> Place {
        match address.map(|address| address.to_canonical()) {
            Some(IpAddr::V4(address)) => Place::V4(address.octets()),
            Some(IpAddr::V6(address)) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Place::V6([a, b, c, d, e, f, g, h])
            }
            None => Place::Elsewhere,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn so_many_failures_pass_at_once_and_then_one_an_interval() {
        let logins = FailedLogins::new(30);
        let (here, mut now) = (address("192.0.2.1"), Instant::now());
        for _ in 0..30 {
            assert_eq!(logins.wait(here, now), None);
            logins.count(here, now);
        }
        assert_eq!(logins.wait(here, now), Some(Duration::from_secs(2)));
        assert_eq!(logins.wait(address("192.0.2.2"), now), None);
        now += Duration::from_secs(2);
        assert_eq!(logins.wait(here, now), None);
        logins.count(here, now);
        assert!(logins.wait(here, now).is_some());
        assert_eq!(logins.wait(here, now + MINUTE), None);
    }

    #[test]
    fn a_network_of_version_6_is_one_address() {
        let logins = FailedLogins::new(1);
        let now = Instant::now();
        logins.count(address("2001:db8::1"), now);
        assert!(logins.wait(address("2001:db8::2"), now).is_some());
        assert_eq!(logins.wait(address("2001:db8:0:1::1"), now), None);
    }

    #[test]
    fn zero_is_no_limit() {
        let logins = FailedLogins::new(0);
        for _ in 0..100 {
            logins.count(None, Instant::now());
        }
        assert_eq!(logins.wait(None, Instant::now()), None);
    }

    #[test]
    fn more_addresses_than_are_told_apart_count_together() {
        let logins = FailedLogins::new(1);
        let now = Instant::now();
        for n in 0..=u32::try_from(ADDRESSES_MAX).unwrap() {
            logins.count(Some(IpAddr::from(n.to_be_bytes())), now);
        }
        assert!(logins.lock().len() <= ADDRESSES_MAX + 1);
        assert!(logins.wait(address("255.0.0.1"), now).is_some());
        logins.count(address("255.0.0.1"), now + MINUTE);
        assert!(logins.lock().len() < 10, "what is made up for is forgotten");
    }
}
