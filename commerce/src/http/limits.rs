//! Limits: how many requests a caller may send.
//!
//! Whoever is signed in is counted by who they are, everybody else by where they come from. A
//! caller may send the requests of one second at once and then as many as come back: a steady
//! stream at the limit is never refused. Health is not counted, for who restarts us must be able
//! to ask.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};
use redeliver::http::Problem;
use warp::http::HeaderMap;
use warp::http::header::{HeaderName, HeaderValue};

use super::caller::Caller;
use crate::ids::UserId;

/// Callers that are told apart. One that has been silent for a second is forgotten; beyond this
/// many, the addresses share one count.
const CALLERS_MAX: usize = 100_000;
/// Requests between two looks for callers that can be forgotten.
const SWEEP_EVERY: u64 = 4_096;

/// Whose requests are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Counted {
    /// A user's.
    User(UserId),
    /// Those from an address.
    Address(IpAddr),
    /// Those from addresses that there was no more room for.
    Others,
}

/// How many requests each caller may send. Cheap to clone.
#[derive(Clone)]
pub(super) struct Limits<C: Clock = DefaultClock>(Option<Arc<Counts<C>>>);

struct Counts<C: Clock> {
    per_s: NonZeroU32,
    callers_max: usize,
    limiter: RateLimiter<Counted, DefaultKeyedStateStore<Counted>, C, StateInformationMiddleware>,
    clock: C,
    taken: AtomicU64,
}

/// Where a caller stands after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    limit: u32,
    remaining: u32,
}

impl Counted {
    /// Who asks, or else from where.
    pub(super) fn of(caller: Option<&Caller>, peer: Option<SocketAddr>) -> Counted {
        match (caller, peer) {
            (Some(caller), _) if !caller.user.0.is_nil() => Counted::User(caller.user),
            (_, Some(peer)) => Counted::Address(network(peer.ip())),
            (_, None) => Counted::Others,
        }
    }
}

/// The part of an address that its owner cannot choose: of IPv6, everybody gets at least a /64.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

impl Limits {
    /// So many requests a second for each caller; 0 is no limit.
    pub(super) fn new(per_s: u32) -> Limits {
        Limits::with_clock(per_s, CALLERS_MAX, DefaultClock::default())
    }
}

impl<C: Clock + Clone> Limits<C> {
    fn with_clock(per_s: u32, callers_max: usize, clock: C) -> Limits<C> {
        let counts = NonZeroU32::new(per_s).map(|per_s| {
            let limiter = RateLimiter::new(
                Quota::per_second(per_s),
                DefaultKeyedStateStore::default(),
                clock.clone(),
            );
            Arc::new(Counts {
                per_s,
                callers_max,
                limiter,
                clock,
                taken: AtomicU64::new(0),
            })
        });
        Limits(counts)
    }

    /// Takes one request from the caller's share; `None` if there is no limit.
    pub(super) fn take(&self, who: Counted) -> Result<Option<Standing>, Problem> {
        let Some(counts) = &self.0 else {
            return Ok(None);
        };
        let limit = counts.per_s.get();
        match counts.limiter.check_key(&counts.known(who)) {
            Ok(state) => Ok(Some(Standing {
                limit,
                remaining: state.remaining_burst_capacity(),
            })),
            Err(not_yet) => {
                let wait = not_yet.wait_time_from(counts.clock.now());
                let spent = Standing {
                    limit,
                    remaining: 0,
                };
                let problem = Problem::too_many_requests(wait);
                Err(spent
                    .headers()
                    .into_iter()
                    .fold(problem, |problem, (name, value)| {
                        problem.header(name, &value)
                    }))
            }
        }
    }
}

impl<C: Clock> Counts<C> {
    /// The caller; all unknown addresses are one when there are too many.
    fn known(&self, who: Counted) -> Counted {
        let due = self.taken.fetch_add(1, Ordering::Relaxed) % SWEEP_EVERY == SWEEP_EVERY - 1;
        if due {
            self.limiter.retain_recent();
            self.limiter.shrink_to_fit();
        }
        match who {
            Counted::Address(_) if self.limiter.len() >= self.callers_max => Counted::Others,
            Counted::User(_) | Counted::Address(_) | Counted::Others => who,
        }
    }
}

impl Standing {
    /// Says on an answer where the caller stands.
    pub(super) fn show(self, on: &mut HeaderMap) {
        for (name, value) in self.headers() {
            // Digits are always a value.
            if let Ok(value) = HeaderValue::from_str(&value) {
                on.insert(name, value);
            }
        }
    }

    fn headers(self) -> [(HeaderName, String); 4] {
        let spent = u64::from(self.limit.saturating_sub(self.remaining));
        // What was spent comes back at `limit` a second.
        let reset = spent.div_ceil(u64::from(self.limit));
        [
            ("ratelimit-limit", self.limit.to_string()),
            ("ratelimit-remaining", self.remaining.to_string()),
            ("ratelimit-reset", reset.to_string()),
            ("ratelimit-policy", format!("{};w=1", self.limit)),
        ]
        .map(|(name, value)| (HeaderName::from_static(name), value))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use governor::clock::FakeRelativeClock;
    use redeliver::http::Problem;
    use uuid::Uuid;
    use warp::Reply;

    use super::*;

    fn limits(per_s: u32, callers_max: usize) -> (Limits<FakeRelativeClock>, FakeRelativeClock) {
        let clock = FakeRelativeClock::default();
        let limits = Limits::with_clock(per_s, callers_max, clock.clone());
        (limits, clock)
    }

    fn address(n: u8) -> Counted {
        Counted::of(None, Some(SocketAddr::from(([192, 0, 2, n], 1))))
    }

    fn refused(answer: Result<Option<Standing>, Problem>) -> bool {
        answer.is_err_and(|problem| problem.status() == 429)
    }

    #[test]
    fn a_second_of_requests_may_come_at_once_and_then_as_many_as_come_back() {
        let (limits, clock) = limits(10, 100);
        for left in (0..10).rev() {
            let standing = limits.take(address(1)).unwrap().unwrap();
            assert_eq!((standing.limit, standing.remaining), (10, left));
        }
        let problem = limits.take(address(1)).unwrap_err();
        let headers = problem.into_response();
        let header = |name: &str| headers.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("retry-after"), "1");
        assert_eq!(header("ratelimit-limit"), "10");
        assert_eq!(header("ratelimit-remaining"), "0");
        assert_eq!(header("ratelimit-reset"), "1");
        assert_eq!(header("ratelimit-policy"), "10;w=1");
        clock.advance(Duration::from_millis(100));
        assert!(limits.take(address(1)).is_ok());
        assert!(refused(limits.take(address(1))));
    }

    #[test]
    fn one_caller_does_not_use_up_the_share_of_another() {
        let (limits, _) = limits(1, 100);
        let user = Counted::User(UserId(Uuid::from_u128(7)));
        for who in [address(1), address(2), user] {
            assert!(limits.take(who.clone()).is_ok());
            assert!(refused(limits.take(who)));
        }
    }

    #[test]
    fn nobody_gets_more_by_changing_what_they_can_choose_of_their_address() {
        let of = |text: &str| Counted::of(None, Some(text.parse().unwrap()));
        assert_eq!(of("[2001:db8::1]:1"), of("[2001:db8::ffff:2]:9"));
        assert_ne!(of("[2001:db8::1]:1"), of("[2001:db8:0:1::1]:1"));
        assert_eq!(of("[::ffff:192.0.2.1]:1"), of("192.0.2.1:2"));
    }

    #[test]
    fn callers_are_bounded_and_silent_ones_forgotten() {
        let (limits, clock) = limits(1, 3);
        for n in 0..3 {
            assert!(limits.take(address(n)).is_ok());
        }
        assert!(limits.take(address(4)).is_ok(), "the first of the others");
        assert!(refused(limits.take(address(5))), "one count for the rest");
        let user = Counted::User(UserId(Uuid::from_u128(7)));
        assert!(limits.take(user).is_ok(), "users are known");
        clock.advance(Duration::from_secs(2));
        for _ in 0..=SWEEP_EVERY {
            let _ = limits.take(address(1));
        }
        let counts = limits.0.as_ref().unwrap();
        assert!(counts.limiter.len() <= 2);
    }

    #[test]
    fn zero_is_no_limit() {
        let (limits, _) = limits(0, 1);
        for _ in 0..10_000 {
            assert_eq!(limits.take(address(1)).unwrap(), None);
        }
    }
}
