//! The shop under simulation: all its services in virtual time, with shoppers, a warehouse and an
//! office at work, while by the seed everything goes wrong that may.
//!
//! ```text
//! people (shoppers, warehouse, office) ──▶ shop ◀──▶ outside (payment provider, mail, webhooks)
//!        │ told                              │ look          │ books
//!        └────────────────▶ laws ◀───────────┴───────────────┘
//! ```
//!
//! Feature `simulate`; never in a default build. The command line is [`command`].

pub mod command;
mod laws;
mod look;
mod office;
mod outside;
mod people;
mod probe;
mod told;
mod warehouse;

use std::sync::{Arc, Mutex};

use redeliver::minutes;
use tokio::sync::OnceCell;

use redeliver::testing::{Client, Simulation};

use crate::app;
use crate::config::Config;
use outside::Outside;
use told::Told;

/// Shoppers at work.
const SHOPPERS: u64 = 4;
/// People in the warehouse.
const PACKERS: u64 = 2;

/// What a run's people, services and laws share: the world outside of the shop, and what its
/// people were told.
pub(crate) struct Town {
    outside: Outside,
    told: Told,
    /// What the probe's caller was told, and where its errands went.
    probed: Mutex<probe::Told>,
    errands: Arc<probe::Errands>,
    /// What there is in the end: looked at once, for all laws.
    seen: OnceCell<Result<look::Seen, String>>,
}

/// The shop in virtual time under the faults of this seed.
pub fn shop(seed: u64) -> Simulation<impl Send + Sync + 'static> {
    town(seed)
}

fn town(seed: u64) -> Simulation<Town> {
    let config = Config::default();
    let simulation = Simulation::new(seed)
        .history(|seed| Town {
            outside: Outside::new(seed),
            told: Told::default(),
            probed: Mutex::default(),
            errands: Arc::default(),
            seen: OnceCell::new(),
        })
        .services(move |system, town: &Arc<Town>| {
            let outside = &town.outside;
            let (provider, keyring) = (outside.provider.clone(), outside.keyring.clone());
            app::services(system, &config, provider, keyring, outside.mail.clone())
                .service(probe::Caller)
                .service(probe::Listener::new(town.errands.clone()))
        })
        // Small, so that all of them are reached: segments, checkpoints and snapshots within minutes,
        // a window by any pile of messages.
        .config(redeliver::Config {
            journal_segment_bytes: 256 * 1024,
            checkpoint_after_bytes: 128 * 1024,
            snapshot_after_bytes: 512 * 1024,
            stream_window: 32,
            ..redeliver::Config::default()
        })
        .workload("shopper", SHOPPERS, people::shopper)
        .workload("packer", PACKERS, warehouse::packer)
        .workload("office", 1, office::clerk)
        .workload("postman", 1, outside::postman)
        .workload("caller", 1, probe::caller)
        .workload("hasty caller", 1, probe::hasty_caller)
        .check("probe", probe::check)
        // Longer than any step of an order waits when nothing goes wrong.
        .settle(minutes(4));
    laws::ALL
        .iter()
        .fold(simulation, |simulation, (name, law)| {
            simulation.check(*name, move |client: Client, town: Arc<Town>| async move {
                let seen = town.seen.get_or_init(|| look::around(&client, &town));
                law(seen.await.as_ref().map_err(Clone::clone)?)
            })
        })
}
