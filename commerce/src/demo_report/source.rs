//! Where a report comes from: the running server, or the data directory without one.

use std::time::Duration;

use serde_json::Value;

use super::client::Client;
use super::failed;
use super::part::Part;
use crate::app::{Outsiders, Shop};
use crate::cli::{Exit, Failure};
use crate::config::{Config, Secret};

/// How long the shop may take to close.
const CLOSE_WITHIN: Duration = Duration::from_secs(10);

/// Whom the report asks.
pub(super) enum Source {
    /// The server.
    Server(Client, String),
    /// The services, in this process.
    Opened(Shop, String),
}

impl Source {
    /// The server if it answers, else the data directory.
    pub(super) async fn find(
        config: &Config,
        address: Option<&str>,
        password: &Secret,
    ) -> Result<Source, Failure> {
        if let Some(address) = address
            && let Some(client) = Client::connect(address, password).await?
        {
            return Ok(Source::Server(client, format!("http://{address}")));
        }
        let data = config.data.display().to_string();
        // Opening would make a shop where there is none.
        if !config.data.join("FORMAT").exists() {
            let asked = match address {
                Some(address) => format!("no server answers at http://{address}"),
                None => "the server's port is not known".to_owned(),
            };
            let said = format!(
                "{asked} and there is no data directory {data}; name the server with --url or \
                 the directory with --data"
            );
            return Err(Failure::new(Exit::Unavailable, said));
        }
        let opened = Shop::open(config, Outsiders::Configured).await;
        let shop = opened.map_err(|error| {
            let failure = Failure::from(error);
            match failure.exit() {
                Exit::InUse => Failure::new(
                    Exit::InUse,
                    format!("{failure}, or name the address of its server with --url"),
                ),
                Exit::Failure | Exit::Unavailable | Exit::Data | Exit::Configuration => failure,
            }
        })?;
        Ok(Source::Opened(shop, data))
    }

    /// How it is called.
    pub(super) fn name(&self) -> &str {
        match self {
            Source::Server(_, name) | Source::Opened(_, name) => name,
        }
    }

    /// What there is; `None` if there is nothing.
    pub(super) async fn look(&mut self, part: Part) -> Result<Option<Value>, Failure> {
        self.page(part, None).await
    }

    /// What there must be.
    pub(super) async fn get(&mut self, part: Part) -> Result<Value, Failure> {
        let found = self.look(part).await?;
        found.ok_or_else(|| failed(format!("{} has no {part:?}", self.name())))
    }

    /// The rows of a list, at most so many.
    pub(super) async fn list(&mut self, part: Part, max: usize) -> Result<Vec<Value>, Failure> {
        let mut rows = Vec::new();
        let mut cursor = None;
        loop {
            let Some(mut page) = self.page(part, cursor.as_deref()).await? else {
                return Ok(rows);
            };
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                rows.extend(items);
            }
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() || rows.len() >= max {
                rows.truncate(max);
                return Ok(rows);
            }
        }
    }

    async fn page(&mut self, part: Part, cursor: Option<&str>) -> Result<Option<Value>, Failure> {
        match self {
            Source::Server(client, _) => client.get(&part.path(cursor)).await,
            Source::Opened(shop, _) => part.of(shop, cursor).await,
        }
    }

    /// Closes what was opened.
    pub(super) async fn close(self) -> Result<(), Failure> {
        match self {
            Source::Server(..) => Ok(()),
            Source::Opened(shop, _) => shop
                .shutdown(CLOSE_WITHIN)
                .await
                .map_err(|error| Failure::new(Exit::Data, error.to_string())),
        }
    }
}
