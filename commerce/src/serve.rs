//! `commerce serve`: the shop from its first look at the data directory to its orderly end.
//!
//! ```text
//! signals ─ listener ─ seed planned ─ shop opened ─ seeded ─ ready ─ … ─ drained ─ closed
//!            1          74             74, 75       1, 74    stdout
//! ```
//!
//! Standard output carries one line, for programs: that requests are answered, and where.
//! Everything for people goes to standard error.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use redeliver::{OpenError, ShutdownError, StartError, System, http as server};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::app::{OpenShopError, Outsiders, Shop};
use crate::cli::{Exit, Failure};
use crate::config::Config;
use crate::currency_note::CurrencyError;
use crate::demo::Demo;
use crate::http;
use crate::identity::Password;
use crate::identity::accounts::{AccountError, FIRST_ADMIN_EMAIL};
use crate::seed::{SeedError, Seeding};

/// Serves until a signal, or until the data can no longer be written.
pub async fn serve(config: &Config) -> Result<(), Failure> {
    let mut stop = Stop::listen()?;
    let address = config.address()?;
    let listener = bind(address).await?;
    let address = listener.local_addr().map_err(|error| {
        Failure::new(
            Exit::Failure,
            format!("address {address} cannot be used: {error}"),
        )
    })?;
    let shop = tokio::select! {
        opened = open(config) => opened?,
        // What was recovered so far is recovered again by the next start.
        () = stop.asked() => return Ok(()),
    };
    run(config, &shop, listener, address, stop).await
}

/// Opens and seeds the shop, and says what was found.
async fn open(config: &Config) -> Result<Shop, Failure> {
    let seeding = Seeding::plan(&config.data, !config.no_seed)?;
    let first_start = seeding.first_start;
    let shop = Shop::open(config, Outsiders::Configured).await?;
    let data = config.data.display();
    let recovered = shop.system.report().recovered;
    if first_start {
        eprintln!("created data directory {data}");
    } else {
        eprintln!(
            "recovered {} commits from {data} in {} ms{}",
            recovered.commits,
            recovered.ms,
            if recovered.clean {
                ""
            } else {
                " after an unclean end"
            }
        );
    }
    if let Some(reason) = recovered.rebuilt {
        eprintln!("the materialised state was rebuilt: {reason}");
    }
    let furnished = async {
        appoint_admin(config, &shop).await?;
        Ok(seeding.complete(&shop, config.currency).await?)
    };
    match furnished.await {
        Ok(()) => Ok(shop),
        Err(failure) => Err(why_closed(&shop.system).await.unwrap_or(failure)),
    }
}

/// Why the cell has closed, if it has: then no service can do what it is asked, and says only that.
async fn why_closed(system: &System) -> Option<Failure> {
    /// Whoever was refused may have heard of it before the cell says so.
    const SAID_WITHIN: Duration = Duration::from_secs(1);
    let closed = tokio::time::timeout(SAID_WITHIN, system.closed()).await;
    closed.ok().map(Failure::from)
}

/// Somebody must be able to sign in to a new shop, and to let others do more than buy.
async fn appoint_admin(config: &Config, shop: &Shop) -> Result<(), Failure> {
    let given = config.admin_password.reveal();
    let password = (!given.is_empty()).then(|| Password::new(given));
    let tell = |made_up: &str| {
        eprintln!("{FIRST_ADMIN_EMAIL} signs in with the password {made_up} (shown this once)");
    };
    let appointed = shop.accounts.appoint_first_admin(password, tell).await;
    appointed.map_err(|error| {
        let exit = match &error {
            AccountError::Keyring(_) => Exit::Data,
            AccountError::Call(_)
            | AccountError::Length(_)
            | AccountError::Email(_)
            | AccountError::Name { .. }
            | AccountError::Pool(_)
            | AccountError::Token(_) => Exit::Failure,
        };
        let said =
            format!("{FIRST_ADMIN_EMAIL} could not be made an administrator: {error}; start again");
        Failure::new(exit, said)
    })
}

async fn run(
    config: &Config,
    shop: &Shop,
    listener: TcpListener,
    address: SocketAddr,
    mut stop: Stop,
) -> Result<(), Failure> {
    let drain = CancellationToken::new();
    let routes = http::routes(shop.clone(), &config.http);
    let serving = tokio::spawn(server::serve(
        listener,
        routes,
        config.server(),
        drain.clone().cancelled_owned(),
    ));
    eprintln!("{}", addresses(address));
    ready(address);
    let demo = config
        .demo
        .enabled
        .then(|| Demo::start(shop, config.currency, &config.demo));
    let closed = tokio::select! {
        () = stop.asked() => None,
        error = shop.system.closed() => Some(error),
    };
    drain.cancel();
    if let Some(demo) = demo {
        demo.stop().await;
    }
    if let Some(error) = closed {
        // Nothing can be answered any more; whoever waits learns it from the closed connection.
        serving.abort();
        return Err(error.into());
    }
    eprintln!("stopping; once more to stop at once");
    stop.exit_when_asked_again();
    match serving.await {
        Ok(served) => tracing::info!(
            requests = served.requests,
            connections = served.connections,
            cut_off = served.cut_off,
            "http server stopped"
        ),
        Err(error) => tracing::error!(%error, "http server ended badly"),
    }
    match shop
        .shutdown(Duration::from_secs(config.http.drain_s))
        .await
    {
        Ok(()) => Ok(()),
        // They were told to come back; nothing they were promised is lost.
        Err(error @ ShutdownError::TimedOut { .. }) => {
            tracing::warn!(%error, "shutdown");
            Ok(())
        }
        Err(error) => Err(Failure::new(Exit::Data, error.to_string())),
    }
}

/// Where people find what there is.
fn addresses(address: SocketAddr) -> String {
    let (api, ui) = (http::API, http::UI);
    format!("API http://{address}{api} (described at /docs), dashboard http://{address}{ui}")
}

/// Tells whoever started us that requests are answered. If they no longer listen, others do.
fn ready(address: SocketAddr) {
    let mut out = io::stdout().lock();
    let said = writeln!(out, "ready http://{address}").and_then(|()| out.flush());
    if let Err(error) = said {
        tracing::debug!(%error, "standard output is closed");
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let said = if error.kind() == io::ErrorKind::AddrInUse {
            format!(
                "address {address} is in use; stop what listens on port {} or choose another \
                 with --listen",
                address.port()
            )
        } else {
            format!("address {address} cannot be used ({error}); choose another with --listen")
        };
        Failure::new(Exit::Failure, said)
    })
}

/// The order to stop: SIGTERM or Ctrl-C.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Stop, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(
                    Exit::Failure,
                    format!("signals cannot be received: {error}"),
                )
            })
        };
        Ok(Stop {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// From now on another signal ends the process; the next start recovers.
    fn exit_when_asked_again(mut self) {
        tokio::spawn(async move {
            self.asked().await;
            eprintln!("stopped at once; the next start recovers");
            std::process::exit(Exit::Failure.code().into());
        });
    }
}

impl From<OpenShopError> for Failure {
    fn from(error: OpenShopError) -> Failure {
        let exit = match &error {
            OpenShopError::System(StartError::Open(OpenError::InUse { .. })) => Exit::InUse,
            OpenShopError::System(
                StartError::Open(_) | StartError::Store(_) | StartError::Recovery { .. },
            )
            | OpenShopError::Ledger(_)
            | OpenShopError::Currency(CurrencyError::Io { .. } | CurrencyError::Garbled { .. })
            | OpenShopError::Keyring(_) => Exit::Data,
            OpenShopError::Currency(CurrencyError::Other { .. })
            | OpenShopError::Passwords(_)
            | OpenShopError::Sender(_) => Exit::Configuration,
            OpenShopError::System(_) | OpenShopError::Tokens(_) => Exit::Failure,
        };
        Failure::new(exit, error.to_string())
    }
}

impl From<SeedError> for Failure {
    fn from(error: SeedError) -> Failure {
        let exit = match &error {
            SeedError::Marker { .. } => Exit::Data,
            SeedError::Refused { .. } | SeedError::Unheard { .. } => Exit::Failure,
        };
        Failure::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use redeliver::prelude::*;
    use redeliver::testing::{Fault, TestSystem};

    use super::*;

    const NOTES: Table<u64, String> = Table::new("notes");

    #[derive(Clone)]
    struct Desk;
    impl Service for Desk {
        const NAME: &'static str = "desk";
        fn handlers(on: &mut Handlers<Self>) {
            on.table(NOTES);
            on.command(
                |_: &Self, Note(text), cx: &mut Context<Self>| Ok(cx.put(NOTES, &1, &text)?),
            );
        }
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Note(String);
    impl Message for Note {
        const NAME: &'static str = "note";
    }
    impl Command for Note {
        type Reply = ();
    }

    /// The story: started on a full disk, the program said that a service had failed and ended with
    /// 1, which no supervisor takes for a lack of space.
    #[tokio::test(start_paused = true)]
    async fn a_start_that_fails_because_the_cell_has_closed_ends_as_one_of_the_data() {
        let test = TestSystem::start(1, |system| system.service(Desk)).await;
        let test = test.unwrap();
        assert!(why_closed(test.system()).await.is_none());
        test.disk()
            .fail_at(test.disk().operations() + 1, Fault::FailedSync);
        let refused = test.system().service::<Desk>().call(Note("x".into())).await;
        refused.unwrap_err();
        let failure = why_closed(test.system()).await.unwrap();
        assert_eq!(failure.exit().code(), Exit::Data.code());
    }
}
