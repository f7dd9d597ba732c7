//! Configuration: one struct, filled from flags, the environment, a file and defaults, in that
//! order of precedence.
//!
//! Every value has one name. `http.body_bytes_max` in the file is `COMMERCE_HTTP_BODY_BYTES_MAX`
//! in the environment; what people change often is a flag too. A name that the file should not
//! have is refused, so that a typing error does not pass for a default.

mod storage;

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use redeliver::clock::{Clock, SystemClock};
use redeliver::http::ServerConfig;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::identity::Limits;
use crate::identity::password_pool::PoolConfig;
use crate::money::Currency;

pub use storage::StorageConfig;

/// Everything that can be configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The data directory, created at the first start.
    pub data: PathBuf,
    /// Address to listen on; port 0 takes a free one.
    pub listen: String,
    /// Leave an empty data directory without products.
    pub no_seed: bool,
    /// The one currency of the shop, as in ISO 4217.
    pub currency: Currency,
    /// What to log: a level, or directives such as `info,redeliver=debug`.
    pub log: String,
    /// What the payment provider signs its webhooks with. Empty: a random one for this run, which
    /// only the simulated provider knows.
    pub webhook_secret: Secret,
    /// The first administrator's password, which only the first start reads. Empty: one is made
    /// up and printed.
    pub admin_password: Secret,
    /// Limits of the HTTP server.
    pub http: HttpConfig,
    /// Sign-in: how long it lasts, what it costs, and what ends it.
    pub identity: IdentityConfig,
    /// How long the steps of an order may take.
    pub order: OrderConfig,
    /// Times of the payment provider.
    pub provider: ProviderConfig,
    /// Sizes of what is kept on the disk.
    pub storage: StorageConfig,
    /// What counts as little stock.
    pub inventory: InventoryConfig,
    /// How users are told what happens.
    pub notification: NotificationConfig,
    /// A shopper and a warehouse that keep the shop alive. `demo = true` is short for
    /// `demo.enabled = true`, in the file and, as `COMMERCE_DEMO`, in the environment.
    pub demo: DemoConfig,
}

/// Orders a minute at most that a demo places.
pub const DEMO_ORDERS_PER_MINUTE_MAX: u32 = 1_200;

/// A shopper and a warehouse that keep the shop alive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DemoConfig {
    /// Whether there are any.
    pub enabled: bool,
    /// Orders a minute, or other things that a shopper does: 1 to 1,200.
    pub orders_per_minute: u32,
    /// Where chance begins; 0 for another one at each start.
    pub seed: u64,
}

impl DemoConfig {
    /// Orders a minute.
    pub fn rate(&self) -> u32 {
        self.orders_per_minute.clamp(1, DEMO_ORDERS_PER_MINUTE_MAX)
    }

    /// Time between two orders.
    pub fn interval(&self) -> Duration {
        Duration::from_secs(60) / self.rate()
    }

    /// Where chance begins this time.
    pub fn seed(&self) -> u64 {
        match self.seed {
            0 => SystemClock.entropy(),
            seed => seed,
        }
    }
}

impl Default for DemoConfig {
    fn default() -> DemoConfig {
        DemoConfig {
            enabled: false,
            orders_per_minute: 30,
            seed: 0,
        }
    }
}

/// What counts as little stock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InventoryConfig {
    /// At how many available units it is time to reorder a new product.
    pub reorder_level: u64,
}

/// Limits of the HTTP server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Connections at a time.
    pub connections_max: usize,
    /// Longest request body in bytes.
    pub body_bytes_max: u64,
    /// Longest time for a request head, in seconds.
    pub header_timeout_s: u64,
    /// Longest silence of a connection between requests, in seconds.
    pub idle_timeout_s: u64,
    /// How long running requests may take after the order to stop, in seconds.
    pub drain_s: u64,
    /// Requests a second that a caller may send: who is signed in by who they are, everybody else
    /// by their address; 0 is no limit.
    pub requests_per_s: u32,
    /// Directory that backups taken over HTTP go to; empty: none are taken.
    pub backup_dir: PathBuf,
    /// Origins, such as `https://shop.example`, whose web pages may ask. In the environment with
    /// a comma between two.
    pub cors_origins: Vec<String>,
}

/// How long the steps of an order may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrderConfig {
    /// Life of a reservation whose order is not confirmed, in seconds.
    pub reservation_ttl_s: u64,
    /// Until inventory has answered, in seconds.
    pub reservation_s: u64,
    /// Until payment has answered, in seconds.
    pub authorisation_s: u64,
    /// Until the payment provider has answered, in seconds; after that its outcome is unknown and
    /// it is asked what became of it.
    pub provider_s: u64,
    /// Until something that is being undone is undone, in seconds.
    pub compensation_s: u64,
}

/// Times of the payment provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// How long the simulated provider takes for an answer, in milliseconds.
    pub answer_ms: u64,
    /// How long it takes to answer `tok_slow`, in milliseconds.
    pub slow_ms: u64,
    /// How long a caller waits for an answer that does not come, in milliseconds.
    pub no_answer_ms: u64,
}

/// How users are told what happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NotificationConfig {
    /// What carries letters: `local` writes them below the data directory, `smtp` hands them to
    /// the mail server.
    pub sender: SenderChoice,
    /// Whom letters come from, such as `Shop <shop@example.com>`.
    pub from: String,
    /// Where the shop itself is told, for example of products that are running out.
    pub shop_recipient: String,
    /// How long a letter waits for its recipient to become known, in seconds.
    pub contact_wait_s: u64,
    /// How long a letter that cannot be sent is tried again, in seconds.
    pub retry_s: u64,
    /// How long it is remembered what users were told, in days.
    pub retention_days: u32,
    /// The mail server.
    pub smtp: SmtpConfig,
}

/// What carries letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SenderChoice {
    /// Nobody: they are written into files.
    Local,
    /// The mail server.
    Smtp,
}

/// The mail server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SmtpConfig {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whom to log in as; empty: nobody.
    pub user: String,
    /// Their password.
    pub password: Secret,
    /// How the connection is kept private.
    pub tls: SmtpTls,
}

/// How the connection to the mail server is kept private.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// Begun in the open and then encrypted, as on port 587.
    Starttls,
    /// Encrypted from the beginning, as on port 465.
    Tls,
    /// Not at all: for a server on this machine.
    None,
}

/// Sign-in: how long it lasts, what it costs, and what ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdentityConfig {
    /// How long an access token is good, in seconds.
    pub access_token_s: u64,
    /// How long a refresh token is good, in seconds.
    pub refresh_token_s: u64,
    /// Sessions of one user at a time; one more ends the oldest.
    pub sessions_max: usize,
    /// Wrong passwords in a row that lock an account.
    pub lockout_failures: u32,
    /// For how long, in seconds.
    pub lockout_s: u64,
    /// Failed logins that one address may have in a minute; 0 for any number.
    pub failed_logins_per_minute: u32,
    /// Passwords compared at a time; 0 for one a processor, less one for everything else.
    pub password_workers: usize,
    /// Further logins that wait for that, and as many who register; more are told to come back.
    pub password_waiting_max: usize,
    /// Memory that comparing a password takes, in KiB.
    pub argon2_memory_kib: u32,
    /// Passes over that memory.
    pub argon2_passes: u32,
    /// Lanes of that memory.
    pub argon2_lanes: u32,
}

/// A value that is not shown.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// A configuration that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {path} cannot be read: {detail}; correct it or leave it out")]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// An environment variable cannot be read.
    #[error("environment variable {name} cannot be read: {detail}")]
    Environment {
        /// Which.
        name: String,
        /// What is wrong with it.
        detail: String,
    },
    /// A value is of the wrong kind or has a name that does not exist.
    #[error("configuration {origin}: {detail}")]
    Value {
        /// Where it comes from.
        origin: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The address is none.
    #[error("listen address `{listen}` cannot be read; write it as 127.0.0.1:8080")]
    Listen {
        /// What was given.
        listen: String,
    },
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data: PathBuf::from("./data"),
            listen: "127.0.0.1:8080".to_owned(),
            no_seed: false,
            currency: Currency::EUR,
            log: "info".to_owned(),
            webhook_secret: Secret::default(),
            admin_password: Secret::default(),
            http: HttpConfig::default(),
            identity: IdentityConfig::default(),
            order: OrderConfig::default(),
            provider: ProviderConfig::default(),
            storage: StorageConfig::default(),
            inventory: InventoryConfig::default(),
            notification: NotificationConfig::default(),
            demo: DemoConfig::default(),
        }
    }
}

impl Default for HttpConfig {
    fn default() -> HttpConfig {
        HttpConfig {
            connections_max: 4_096,
            body_bytes_max: 256 * 1024,
            header_timeout_s: 30,
            idle_timeout_s: 60,
            drain_s: 10,
            requests_per_s: 1_000,
            backup_dir: PathBuf::new(),
            cors_origins: Vec::new(),
        }
    }
}

impl Default for IdentityConfig {
    fn default() -> IdentityConfig {
        IdentityConfig {
            access_token_s: 15 * 60,
            refresh_token_s: 30 * 24 * 60 * 60,
            sessions_max: 1_000,
            lockout_failures: 5,
            lockout_s: 15 * 60,
            failed_logins_per_minute: 120,
            password_workers: 0,
            password_waiting_max: 64,
            // What OWASP recommends for argon2id.
            argon2_memory_kib: 19 * 1024,
            argon2_passes: 2,
            argon2_lanes: 1,
        }
    }
}

impl Default for OrderConfig {
    fn default() -> OrderConfig {
        OrderConfig {
            reservation_ttl_s: 15 * 60,
            reservation_s: 30,
            authorisation_s: 2 * 60,
            provider_s: 10,
            compensation_s: 24 * 60 * 60,
        }
    }
}

impl Default for InventoryConfig {
    fn default() -> InventoryConfig {
        InventoryConfig { reorder_level: 10 }
    }
}

impl Default for ProviderConfig {
    fn default() -> ProviderConfig {
        ProviderConfig {
            answer_ms: 3,
            slow_ms: 3_000,
            no_answer_ms: 1_000,
        }
    }
}

impl Default for NotificationConfig {
    fn default() -> NotificationConfig {
        NotificationConfig {
            sender: SenderChoice::Local,
            from: "Shop <shop@example.com>".to_owned(),
            shop_recipient: "admin@example.com".to_owned(),
            contact_wait_s: 10 * 60,
            retry_s: 24 * 60 * 60,
            retention_days: 90,
            smtp: SmtpConfig::default(),
        }
    }
}

impl Default for SmtpConfig {
    fn default() -> SmtpConfig {
        SmtpConfig {
            host: String::new(),
            port: 587,
            user: String::new(),
            password: Secret::default(),
            tls: SmtpTls::Starttls,
        }
    }
}

impl Config {
    /// The configuration from its layers. `flags` holds what the command line says, `variable`
    /// reads the environment.
    pub fn load(
        flags: Table,
        file: Option<&Path>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Config, ConfigError> {
        let mut table = names()?;
        if let Some(path) = file {
            let read = read(path)?;
            // Checked by itself, so that what is said about it is said about the file.
            checked(read.clone(), &path.display().to_string())?;
            overlay(&mut table, read);
        }
        from_environment(&mut table, "COMMERCE", &variable)?;
        overlay(&mut table, flags);
        let config = checked(table, "as a whole")?;
        // It would be the present directory, among whatever is there.
        if config.data.as_os_str().is_empty() {
            return Err(ConfigError::Value {
                origin: "data".to_owned(),
                detail: "the data directory has no name; write it as ./data".to_owned(),
            });
        }
        let rate = config.demo.orders_per_minute;
        if rate != config.demo.rate() {
            return Err(ConfigError::Value {
                origin: "demo.orders_per_minute".to_owned(),
                detail: format!(
                    "{rate} orders a minute are out of range; use 1 to {DEMO_ORDERS_PER_MINUTE_MAX}"
                ),
            });
        }
        Ok(config)
    }

    /// A step without any time would always fail, and a time that no clock reaches never end.
    fn check_ranges(&self, origin: &str) -> Result<(), ConfigError> {
        const DAYS_30_S: u64 = 30 * 24 * 60 * 60;
        const MINUTES_10_MS: u64 = 10 * 60 * 1_000;
        let (order, provider) = (&self.order, &self.provider);
        for (name, value, range) in [
            (
                "order.reservation_ttl_s",
                order.reservation_ttl_s,
                1..=DAYS_30_S,
            ),
            ("order.reservation_s", order.reservation_s, 1..=DAYS_30_S),
            (
                "order.authorisation_s",
                order.authorisation_s,
                1..=DAYS_30_S,
            ),
            ("order.provider_s", order.provider_s, 1..=DAYS_30_S),
            ("order.compensation_s", order.compensation_s, 1..=DAYS_30_S),
            ("provider.answer_ms", provider.answer_ms, 0..=MINUTES_10_MS),
            ("provider.slow_ms", provider.slow_ms, 0..=MINUTES_10_MS),
            (
                "provider.no_answer_ms",
                provider.no_answer_ms,
                0..=MINUTES_10_MS,
            ),
        ] {
            if !range.contains(&value) {
                let (least, most) = range.into_inner();
                return Err(ConfigError::Value {
                    origin: origin.to_owned(),
                    detail: format!("{name} is {value}; use {least} to {most}"),
                });
            }
        }
        Ok(())
    }

    /// The address to listen on.
    pub fn address(&self) -> Result<SocketAddr, ConfigError> {
        address(&self.listen)
    }

    /// Limits of sessions and failures as the identity service takes them.
    pub fn sessions(&self) -> Limits {
        Limits {
            failures_max: self.identity.lockout_failures.max(1),
            lockout: Duration::from_secs(self.identity.lockout_s),
            session: Duration::from_secs(self.identity.refresh_token_s),
            sessions_max: self.identity.sessions_max.max(1),
        }
    }

    /// Where passwords are compared, and at what cost.
    pub fn passwords(&self) -> PoolConfig {
        let identity = &self.identity;
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        PoolConfig {
            workers: match identity.password_workers {
                0 => (processors - 1).max(1),
                workers => workers,
            },
            waiting_max: identity.password_waiting_max,
            memory_kib: identity.argon2_memory_kib,
            passes: identity.argon2_passes,
            lanes: identity.argon2_lanes,
        }
    }

    /// The limits as the HTTP server takes them.
    pub fn server(&self) -> ServerConfig {
        ServerConfig {
            connections_max: self.http.connections_max,
            header_timeout: Duration::from_secs(self.http.header_timeout_s),
            body_bytes_max: self.http.body_bytes_max,
            idle_timeout: Duration::from_secs(self.http.idle_timeout_s),
            drain_timeout: Duration::from_secs(self.http.drain_s),
            ..ServerConfig::default()
        }
    }
}

impl Secret {
    /// Wraps it.
    pub fn new(secret: impl Into<String>) -> Secret {
        Secret(secret.into())
    }

    /// Shows it, to whoever needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// The address that somebody wrote down to be listened on.
pub fn address(listen: &str) -> Result<SocketAddr, ConfigError> {
    let numbers = match listen.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => listen.to_owned(),
    };
    numbers.parse().map_err(|_| ConfigError::Listen {
        listen: listen.to_owned(),
    })
}

/// Every name there is, with its default.
fn names() -> Result<Table, ConfigError> {
    Table::try_from(Config::default()).map_err(|error| ConfigError::Value {
        origin: "defaults".to_owned(),
        detail: error.to_string(),
    })
}

fn read(path: &Path) -> Result<Table, ConfigError> {
    let error = |detail: String| ConfigError::File {
        path: path.to_owned(),
        detail: detail.trim().replace('\n', " "),
    };
    let text = std::fs::read_to_string(path).map_err(|e| error(e.to_string()))?;
    let mut table: Table = text
        .parse()
        .map_err(|e: toml::de::Error| error(e.to_string()))?;
    if let Some(enabled @ Value::Boolean(_)) = table.get("demo").cloned() {
        table.insert("demo".to_owned(), enabling(enabled));
    }
    Ok(table)
}

/// What is on or off and has more to it.
fn enabling(enabled: Value) -> Value {
    Value::Table(Table::from_iter([("enabled".to_owned(), enabled)]))
}

fn checked(table: Table, origin: &str) -> Result<Config, ConfigError> {
    let config: Config = table
        .try_into()
        .map_err(|error: toml::de::Error| ConfigError::Value {
            origin: origin.to_owned(),
            detail: error.to_string().trim().replace('\n', " "),
        })?;
    config.check_ranges(origin)?;
    config.storage.check_ranges(origin)?;
    Ok(config)
}

fn overlay(under: &mut Table, over: Table) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(Value::Table(under)), Value::Table(over)) => overlay(under, over),
            (_, value) => {
                under.insert(name, value);
            }
        }
    }
}

fn from_environment(
    table: &mut Table,
    prefix: &str,
    variable: &impl Fn(&str) -> Option<String>,
) -> Result<(), ConfigError> {
    for (key, value) in table.iter_mut() {
        let name = format!("{prefix}_{}", key.to_uppercase());
        let mut value = value;
        if let Value::Table(inner) = value {
            from_environment(inner, &name, variable)?;
            // The name of the whole turns it on.
            match inner.get_mut("enabled") {
                Some(enabled) => value = enabled,
                None => continue,
            }
        }
        let Some(text) = variable(&name) else {
            continue;
        };
        let error = |wanted: &str| ConfigError::Environment {
            name: name.clone(),
            detail: format!("it must be {wanted}"),
        };
        *value = match value {
            Value::Integer(_) => Value::Integer(text.parse().map_err(|_| error("a whole number"))?),
            Value::Boolean(_) => Value::Boolean(match text.as_str() {
                "1" | "true" | "yes" => true,
                "0" | "false" | "no" | "" => false,
                _ => return Err(error("true or false")),
            }),
            Value::Array(_) => Value::Array(
                text.split(',')
                    .map(str::trim)
                    .filter(|one| !one.is_empty())
                    .map(|one| Value::String(one.to_owned()))
                    .collect(),
            ),
            _ => Value::String(text),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn flags(text: &str) -> Table {
        text.parse().unwrap()
    }

    #[test]
    fn flags_go_before_the_environment_before_the_file_before_defaults() {
        let file = file("data = 'f'\nlisten = '127.0.0.1:1'\nlog = 'warn'\n[http]\ndrain_s = 3");
        let environment = |name: &str| match name {
            "COMMERCE_DATA" => Some("e".to_owned()),
            "COMMERCE_LISTEN" => Some("127.0.0.1:2".to_owned()),
            "COMMERCE_HTTP_BODY_BYTES_MAX" => Some("77".to_owned()),
            _ => None,
        };
        let config = Config::load(flags("data = 'a'"), Some(file.path()), environment).unwrap();
        assert_eq!(config.data, PathBuf::from("a"));
        assert_eq!(config.listen, "127.0.0.1:2");
        assert_eq!(config.log, "warn");
        assert_eq!(config.http.drain_s, 3);
        assert_eq!(config.http.body_bytes_max, 77);
        assert_eq!(config.http.idle_timeout_s, 60);
    }

    #[test]
    fn a_name_that_does_not_exist_and_a_value_of_the_wrong_kind_are_refused() {
        for text in ["dta = 'x'", "[http]\nbody = 1", "no_seed = 'maybe'", "= 1"] {
            let file = file(text);
            let error = Config::load(Table::new(), Some(file.path()), |_| None).unwrap_err();
            let path = file.path().display().to_string();
            assert!(error.to_string().contains(&path), "{error}");
            assert!(!error.to_string().contains('\n'), "{error}");
        }
        let wrong = |name: &str| (name == "COMMERCE_HTTP_DRAIN_S").then(|| "soon".to_owned());
        let error = Config::load(Table::new(), None, wrong).unwrap_err();
        assert!(
            error.to_string().contains("COMMERCE_HTTP_DRAIN_S"),
            "{error}"
        );
    }

    #[test]
    fn any_address_can_be_listened_on_and_what_is_none_is_refused() {
        let address = |listen: &str| {
            Config {
                listen: listen.to_owned(),
                ..Config::default()
            }
            .address()
        };
        for (listen, read) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("localhost:80", "127.0.0.1:80"),
            ("[::]:8080", "[::]:8080"),
            ("192.0.2.1:80", "192.0.2.1:80"),
        ] {
            assert_eq!(address(listen).unwrap(), read.parse().unwrap());
        }
        for listen in ["8080", "nowhere", ""] {
            assert!(matches!(address(listen), Err(ConfigError::Listen { .. })));
        }
    }

    #[test]
    fn a_step_has_some_time_and_not_for_ever() {
        for (text, name) in [
            ("[order]\nprovider_s = 0", "order.provider_s"),
            ("[order]\ncompensation_s = 2592001", "order.compensation_s"),
            ("[provider]\nslow_ms = 600001", "provider.slow_ms"),
        ] {
            let file = file(text);
            let error = Config::load(Table::new(), Some(file.path()), |_| None).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        let right = file("[order]\nprovider_s = 1\ncompensation_s = 2592000");
        assert!(Config::load(Table::new(), Some(right.path()), |_| None).is_ok());
    }

    #[test]
    fn a_demo_is_turned_on_by_its_name_and_its_rate_is_bounded() {
        let on = |name: &str| (name == "COMMERCE_DEMO").then(|| "true".to_owned());
        let config = Config::load(Table::new(), None, on).unwrap();
        assert!(config.demo.enabled && config.demo.orders_per_minute == 30);
        for text in ["demo = true", "[demo]\nenabled = true"] {
            let file = file(text);
            let config = Config::load(Table::new(), Some(file.path()), |_| None).unwrap();
            assert!(config.demo.enabled, "{text}");
        }
        for rate in ["0", "1201"] {
            let rate =
                |name: &str| (name == "COMMERCE_DEMO_ORDERS_PER_MINUTE").then(|| rate.to_owned());
            assert!(Config::load(Table::new(), None, rate).is_err());
        }
    }

    #[test]
    fn a_secret_does_not_show() {
        let config = Config {
            webhook_secret: Secret::new("whsec"),
            admin_password: Secret::new("adminsec"),
            ..Config::default()
        };
        let shown = format!("{config:?}");
        assert!(!shown.contains("whsec") && !shown.contains("adminsec"));
    }
}
