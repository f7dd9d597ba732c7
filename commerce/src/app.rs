//! The shop put together: its services over one data directory, with its payment provider.
//!
//! The command line, the tests and the benches all start it here.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use redeliver::clock::{Clock, SystemClock};
use redeliver::{
    ServiceHandle, ShutdownError, StartError, System, SystemBuilder, Topology, TopologyError, days,
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::analytics::Analytics;
use crate::catalog::Catalog;
use crate::config::{Config, SenderChoice};
use crate::currency_note::{self, CurrencyError, Known};
use crate::http::{Views, receive_webhook};
use crate::identity::guesses::Guesses;
use crate::identity::password_pool::{CostOutOfRange, PasswordPool};
use crate::identity::token::{AccessTokens, CannotIssue};
use crate::identity::{Accounts, FailedLogins, Identity};
use crate::inventory::Inventory;
use crate::money::Currency;
use crate::notification::smtp::SmtpConfigError;
use crate::notification::{
    Letter, LocalSender, Notifications, SendError, Sender, SenderFuture, SentAtOnce, SmtpSender,
};
use crate::order::{Deadlines, Orders};
use crate::payment::provider::{
    Answer, Order as ProviderOrder, PaymentProvider, ProviderError, ProviderFuture,
};
use crate::payment::simulated::ledger::LedgerError;
use crate::payment::simulated::{Pace, SignedWebhook, WebhookSink};
use crate::payment::webhook::WebhookSecret;
use crate::payment::{CardToken, Payment, SimulatedProvider};
use crate::privacy::{Keyring, KeyringError};
use crate::shipping::{Shipping, SimulatedCarrier};
use crate::syncs::Syncs;

/// Webhooks of the simulated provider that may be on their way; it waits with further ones.
const WEBHOOKS_WAITING_MAX: usize = 1_024;

/// The shop cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenShopError {
    /// The system could not start.
    #[error(transparent)]
    System(#[from] StartError),
    /// What is there is in another currency than the configured one.
    #[error(transparent)]
    Currency(#[from] CurrencyError),
    /// The simulated provider's ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The keys of personal data cannot be used.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// Passwords cannot be compared at the configured cost.
    #[error(transparent)]
    Passwords(#[from] CostOutOfRange),
    /// Access tokens cannot be made.
    #[error(transparent)]
    Tokens(#[from] CannotIssue),
    /// What carries letters cannot be used as it is configured.
    #[error(transparent)]
    Sender(#[from] SenderError),
}

/// What carries letters cannot be used as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// The address that letters come from is none.
    #[error("notification.from `{from}` is no mail address; write it as Shop <shop@example.com>")]
    From {
        /// What was given.
        from: String,
    },
    /// The mail server cannot be used.
    #[error(transparent)]
    Smtp(#[from] SmtpConfigError),
}

/// The running shop. Cheap to clone.
#[derive(Clone)]
pub struct Shop {
    /// The system its services run in.
    pub system: System,
    /// The one currency of the shop.
    pub currency: Currency,
    /// What webhooks must be signed with.
    pub webhook_secret: WebhookSecret,
    /// The keys of personal data.
    pub keyring: Keyring,
    /// Where passwords and tokens are checked.
    pub accounts: Accounts,
    /// Addresses from which logins fail too often.
    pub failed_logins: Arc<FailedLogins>,
    /// Who looked at which product lately.
    pub views: Views,
    /// Counts the syncs of what the shop keeps beside the system: keys, letters, the ledger.
    pub syncs: Syncs,
    /// Ends with the last clone.
    _webhooks: Option<Arc<Courier>>,
}

/// The parties outside of the shop: who takes payments, and who carries letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outsiders {
    /// The simulated provider with its ledger in the data directory, and the configured sender.
    Configured,
    /// They answer at once, so that what is measured is the shop and not its stand-ins for them:
    /// nothing waits for the disk to have the provider's ledger, and letters are written as mail
    /// and given to nobody. For benches.
    AtOnce,
}

impl Shop {
    /// Starts the shop over the configured data directory.
    pub async fn open(config: &Config, outsiders: Outsiders) -> Result<Shop, OpenShopError> {
        let secret = webhook_secret(config);
        let (opened, provider) = watch::channel(None);
        let passwords = PasswordPool::new(config.passwords())?;
        let syncs = Syncs::default();
        let letters = sender(config, outsiders, &syncs)?;
        let currency = currency_note::check(&config.data, config.currency, &syncs)?;
        let keyring = keyring(config, &syncs)?;
        let lifetime = Duration::from_secs(config.identity.access_token_s);
        let tokens = AccessTokens::new(&keyring.secret_for("access-token"), lifetime)?;
        let provider = Arc::new(LaterProvider(provider));
        let system = builder(config, provider, keyring.clone(), letters)
            .start()
            .await?;
        if currency == Known::ByPrices {
            let catalog = system.service();
            let checked =
                currency_note::check_prices(&config.data, &catalog, config.currency, &syncs);
            if let Err(error) = checked.await {
                close(&system).await;
                return Err(error.into());
            }
        }
        let accounts = Accounts {
            identity: system.service(),
            keyring: keyring.clone(),
            passwords,
            guesses: Guesses::new(config.identity.password_waiting_max),
            tokens,
        };
        let failed_logins = FailedLogins::new(config.identity.failed_logins_per_minute);
        let mut shop = Shop {
            system,
            accounts,
            failed_logins: Arc::new(failed_logins),
            currency: config.currency,
            webhook_secret: secret.clone(),
            keyring,
            views: Views::new(),
            syncs: syncs.clone(),
            _webhooks: None,
        };
        let (courier, sink) = Courier::start(shop.clone());
        shop._webhooks = Some(Arc::new(courier));
        // Only now: the data directory is ours, so no other process writes to the ledger, and
        // what a crash tore off its end can be repaired.
        match simulated(config, outsiders, &syncs) {
            Ok(simulated) => {
                let simulated: Arc<dyn PaymentProvider> =
                    Arc::new(simulated.webhooks(Arc::new(sink), secret));
                opened.send_replace(Some(simulated));
                Ok(shop)
            }
            Err(error) => {
                drop(opened);
                close(&shop.system).await;
                Err(error.into())
            }
        }
    }

    /// The identity service.
    pub fn identity(&self) -> ServiceHandle<Identity> {
        self.system.service()
    }

    /// The catalog service.
    pub fn catalog(&self) -> ServiceHandle<Catalog> {
        self.system.service()
    }

    /// The order service.
    pub fn order(&self) -> ServiceHandle<Orders> {
        self.system.service()
    }

    /// The payment service.
    pub fn payment(&self) -> ServiceHandle<Payment> {
        self.system.service()
    }

    /// The inventory service.
    pub fn inventory(&self) -> ServiceHandle<Inventory> {
        self.system.service()
    }

    /// The shipping service.
    pub fn shipping(&self) -> ServiceHandle<Shipping> {
        self.system.service()
    }

    /// The analytics service.
    pub fn analytics(&self) -> ServiceHandle<Analytics> {
        self.system.service()
    }

    /// The notification service.
    pub fn notification(&self) -> ServiceHandle<Notifications> {
        self.system.service()
    }

    /// Drains and stops the shop.
    pub async fn shutdown(&self, within: Duration) -> Result<(), ShutdownError> {
        self.system.shutdown(within).await
    }
}

impl fmt::Debug for Shop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shop").field(&self.system).finish()
    }
}

/// Ends what was started before something else failed to.
async fn close(system: &System) {
    if let Err(error) = system.shutdown(Duration::ZERO).await {
        tracing::warn!(%error, "shutdown after a failed start");
    }
}

/// Who says what to whom, without opening anything.
pub fn topology() -> Result<Topology, TopologyError> {
    let (_, never) = watch::channel(None);
    let keyring = Keyring::in_memory(0);
    let provider = Arc::new(LaterProvider(never));
    builder(&Config::default(), provider, keyring, Arc::new(NoSender)).topology()
}

/// A system over the configured data directory, with all services.
pub fn builder(
    config: &Config,
    provider: Arc<dyn PaymentProvider>,
    keyring: Keyring,
    letters: Arc<dyn Sender>,
) -> SystemBuilder {
    services(
        System::open(&config.data).config(config.storage.system()),
        config,
        provider,
        keyring,
        letters,
    )
}

/// Puts the services with their configuration onto a system: over a payment provider, the keys of
/// personal data and what carries letters.
pub fn services(
    onto: SystemBuilder,
    config: &Config,
    provider: Arc<dyn PaymentProvider>,
    keyring: Keyring,
    letters: Arc<dyn Sender>,
) -> SystemBuilder {
    let seconds = Duration::from_secs;
    let told = &config.notification;
    let mut notifications = Notifications::new(letters, keyring.clone());
    notifications.shop = told.shop_recipient.clone();
    notifications.contact_wait = seconds(told.contact_wait_s);
    notifications.retry_for = seconds(told.retry_s);
    notifications.retention = days(told.retention_days.into());
    let mut payment = Payment::new(provider, keyring.clone());
    payment.answer_within = seconds(config.order.provider_s);
    onto.service(Identity {
        keyring: keyring.clone(),
        limits: config.sessions(),
    })
    .service(Catalog {
        currency: config.currency,
    })
    .service(Orders {
        currency: config.currency,
        deadlines: Deadlines {
            reservation: seconds(config.order.reservation_s),
            authorisation: seconds(config.order.authorisation_s),
            compensation: seconds(config.order.compensation_s),
        },
    })
    .service(payment)
    .service(Inventory {
        reservation_ttl: seconds(config.order.reservation_ttl_s),
        reorder_level: config.inventory.reorder_level,
        ..Inventory::default()
    })
    .service(Shipping::new(Arc::new(SimulatedCarrier), keyring))
    .service(Analytics {
        currency: config.currency,
    })
    .service(notifications)
}

/// What carries letters, as configured. Nothing is written or connected yet.
fn sender(
    config: &Config,
    outsiders: Outsiders,
    syncs: &Syncs,
) -> Result<Arc<dyn Sender>, SenderError> {
    let told = &config.notification;
    let from = told.from.parse().map_err(|_| SenderError::From {
        from: told.from.clone(),
    })?;
    if outsiders == Outsiders::AtOnce {
        return Ok(Arc::new(SentAtOnce::new(from)));
    }
    Ok(match told.sender {
        SenderChoice::Local => Arc::new(LocalSender::new(
            config.data.join("mail"),
            from,
            syncs.clone(),
        )),
        SenderChoice::Smtp => Arc::new(SmtpSender::new(&told.smtp, from)?),
    })
}

/// Carries nothing: for a shop that is only looked at.
struct NoSender;

impl Sender for NoSender {
    fn send(&self, _: Letter) -> SenderFuture<'_> {
        Box::pin(async { Err(SendError::Unavailable("not_running".to_owned())) })
    }
}

/// The keyring of the data directory. A shop that has been open before must have one.
fn keyring(config: &Config, syncs: &Syncs) -> Result<Keyring, KeyringError> {
    let path = config.data.join("keys").join("keyring");
    Keyring::open(&path, !config.data.join("cells").exists(), syncs)
}

fn simulated(
    config: &Config,
    outsiders: Outsiders,
    syncs: &Syncs,
) -> Result<SimulatedProvider, LedgerError> {
    let millis = Duration::from_millis;
    let path: PathBuf = config.data.join("provider").join("ledger.jsonl");
    match outsiders {
        Outsiders::AtOnce => SimulatedProvider::unsynced(&path),
        Outsiders::Configured => {
            let pace = Pace {
                answer: millis(config.provider.answer_ms),
                slow: millis(config.provider.slow_ms),
                no_answer: millis(config.provider.no_answer_ms),
            };
            SimulatedProvider::open(&path, pace, syncs)
        }
    }
}

fn webhook_secret(config: &Config) -> WebhookSecret {
    let secret = config.webhook_secret.reveal();
    if !secret.is_empty() {
        return WebhookSecret::new(secret);
    }
    let random: Vec<u8> = (0..4)
        .flat_map(|_| SystemClock.entropy().to_le_bytes())
        .collect();
    WebhookSecret::new(random)
}

/// A provider that is there as soon as its ledger is open. Activities that a restart finds
/// waiting ask for it before that.
struct LaterProvider(watch::Receiver<Option<Arc<dyn PaymentProvider>>>);

impl LaterProvider {
    async fn opened(&self) -> Result<Arc<dyn PaymentProvider>, ProviderError> {
        let mut provider = self.0.clone();
        let opened = provider.wait_for(Option::is_some).await;
        match opened.as_deref() {
            Ok(Some(provider)) => Ok(provider.clone()),
            Ok(None) | Err(_) => Err(ProviderError::Unavailable(
                "its ledger could not be opened".to_owned(),
            )),
        }
    }
}

impl PaymentProvider for LaterProvider {
    fn authorise(&self, order: ProviderOrder, token: CardToken) -> ProviderFuture<'_, Answer> {
        Box::pin(async move { self.opened().await?.authorise(order, token).await })
    }

    fn capture(&self, order: ProviderOrder, held: String) -> ProviderFuture<'_, Answer> {
        Box::pin(async move { self.opened().await?.capture(order, held).await })
    }

    fn void(&self, order: ProviderOrder, held: String) -> ProviderFuture<'_, Answer> {
        Box::pin(async move { self.opened().await?.void(order, held).await })
    }

    fn refund(&self, order: ProviderOrder, held: String) -> ProviderFuture<'_, Answer> {
        Box::pin(async move { self.opened().await?.refund(order, held).await })
    }

    fn look_up(&self, key: String) -> ProviderFuture<'_, Option<Answer>> {
        Box::pin(async move { self.opened().await?.look_up(key).await })
    }
}

/// Carries the simulated provider's webhooks to where those of a real one arrive.
///
/// The provider belongs to the payment service and so to the system; were it to hold the system
/// in turn, neither would ever be dropped.
struct Courier(JoinHandle<()>);

type Parcel = (SignedWebhook, oneshot::Sender<()>);

impl Courier {
    fn start(shop: Shop) -> (Courier, Sink) {
        let (send, mut receive) = mpsc::channel::<Parcel>(WEBHOOKS_WAITING_MAX);
        let carry = tokio::spawn(async move {
            while let Some((webhook, carried)) = receive.recv().await {
                let SignedWebhook { signature, body } = webhook;
                if let Err(problem) = receive_webhook(&shop, &signature, &body).await {
                    tracing::warn!(?problem, "webhook of the simulated provider refused");
                }
                // Whoever sent it may have stopped waiting.
                let _ = carried.send(());
            }
        });
        (Courier(carry), Sink(send))
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Sink(mpsc::Sender<Parcel>);

impl WebhookSink for Sink {
    fn deliver(
        &self,
        webhook: SignedWebhook,
    ) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let (carried, done) = oneshot::channel();
            if self.0.send((webhook, carried)).await.is_ok() {
                // An error means that the shop has closed; so will the provider.
                let _ = done.await;
            }
        })
    }
}
