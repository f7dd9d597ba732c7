//! The demo: a shopper and a warehouse that keep a shop alive, for whoever wants to watch one.
//!
//! Both run in the server's process, beside its routes, and do what people would: the shopper
//! plays the stories of the [`mix`], the warehouse sends what was ordered and fills what runs low.
//! They say what a route would say, with personal data sealed at the edge. How much is under way
//! is bounded, a shop that is too busy is left in peace for as long as it asks, and the order to
//! stop ends everything at once. A panic ends one story or, at worst, restarts one of the two.
//!
//! What they buy most and what runs low is a product of their own, `DEMO-LIMITED`, so that the
//! stock of others is only bought, never counted down.

mod chance;
mod customers;
mod floor;
pub mod mix;
mod shopper;
mod story;
mod warehouse;

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::app::Shop;
use crate::config::DemoConfig;
use crate::money::Currency;
use floor::Floor;

/// Before one that has panicked starts again.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// A running demo. It ends when this is dropped.
#[derive(Debug)]
pub struct Demo {
    stop: DropGuard,
    parties: [JoinHandle<()>; 2],
}

impl Demo {
    /// Starts the shopper and the warehouse.
    pub fn start(shop: &Shop, currency: Currency, config: &DemoConfig) -> Demo {
        let stop = CancellationToken::new();
        let floor = Floor::new(shop.clone(), currency, config.interval());
        let seed = config.seed();
        let shopper = {
            let floor = floor.clone();
            move || shopper::shop(floor.clone(), seed)
        };
        let warehouse = move || warehouse::work(floor.clone(), seed);
        tracing::debug!(seed, orders_per_minute = config.rate(), "demo started");
        Demo {
            parties: [
                tokio::spawn(supervise("shopper", stop.clone(), shopper)),
                tokio::spawn(supervise("warehouse", stop.clone(), warehouse)),
            ],
            stop: stop.drop_guard(),
        }
    }

    /// Ends it. What was under way is left as it is; the shop itself finishes it.
    pub async fn stop(self) {
        drop(self.stop);
        for party in self.parties {
            if let Err(error) = party.await {
                tracing::debug!(%error, "demo ended badly");
            }
        }
    }
}

/// Keeps a party at work until it is told to stop.
async fn supervise<F>(party: &'static str, stop: CancellationToken, work: impl Fn() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    loop {
        let mut working = tokio::spawn(work());
        tokio::select! {
            biased;
            () = stop.cancelled() => {
                working.abort();
                // Its stories end with it.
                let _ = working.await;
                return;
            }
            ended = &mut working => {
                tracing::warn!(party, ended = ?ended.err(), "a party of the demo starts again");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RESTART_PAUSE) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_party_that_panics_starts_again_and_ends_when_told() {
        let stop = CancellationToken::new();
        let starts = Arc::new(AtomicU32::new(0));
        let seen = starts.clone();
        let work = move || {
            let nth = seen.fetch_add(1, Ordering::SeqCst);
            async move {
                assert!(nth >= 2, "panics twice");
                std::future::pending::<()>().await;
            }
        };
        let party = tokio::spawn(supervise("party", stop.clone(), work));
        tokio::time::sleep(RESTART_PAUSE * 5).await;
        assert_eq!(starts.load(Ordering::SeqCst), 3);
        stop.cancel();
        party.await.unwrap();
    }
}
