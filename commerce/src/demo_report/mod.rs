//! `commerce demo-report`: what has happened in a shop, as tables or as JSON.
//!
//! It asks the running server as the administrator, over the routes that everybody has. If no
//! server answers, it opens the data directory itself and asks the services the same questions.
//! What the shop says of money is put beside the payment provider's own ledger.

mod client;
mod figures;
mod ledger;
mod part;
mod source;
mod tables;

use std::net::{Ipv4Addr, SocketAddr};

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use toml::{Table, Value};

use crate::cli::{Exit, Failure};
use crate::config::{Config, Secret};
use figures::Report;
use source::Source;

/// What is to be reported.
#[derive(Debug, Args)]
pub struct DemoReportArgs {
    /// Data directory: its ledger is read, and it is opened if no server answers
    /// [default: ./data]
    #[arg(long, value_name = "DIR", value_parser = NonEmptyStringValueParser::new())]
    data: Option<String>,
    /// Where the server is [default: http:// and what it is configured to listen on]
    #[arg(long, value_name = "URL", value_parser = authority)]
    url: Option<String>,
    /// The administrator's password; better given as COMMERCE_ADMIN_PASSWORD, which others on
    /// this machine do not see
    #[arg(long, value_name = "PASSWORD", value_parser = secret)]
    password: Option<Secret>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

impl DemoReportArgs {
    /// What the command line says of the configuration.
    pub fn flags(&self) -> Table {
        let data = self.data.clone();
        data.map(|data| ("data".to_owned(), Value::String(data)))
            .into_iter()
            .collect()
    }
}

/// The report, ready to be printed.
pub async fn run(config: &Config, args: &DemoReportArgs) -> Result<String, Failure> {
    let password = args.password.as_ref().unwrap_or(&config.admin_password);
    let address = match &args.url {
        Some(address) => Some(address.clone()),
        None => listening(config.address()?),
    };
    let mut source = Source::find(config, address.as_deref(), password).await?;
    let report = Report::gather(&mut source, config).await;
    source.close().await?;
    let report = report?;
    if args.json {
        serde_json::to_string_pretty(&report).map_err(failed)
    } else {
        Ok(report.tables())
    }
}

/// Where a server that listens here is found; `None` on a port that nobody knows beforehand.
fn listening(address: SocketAddr) -> Option<String> {
    let host = match address.ip() {
        ip if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    (address.port() != 0).then(|| SocketAddr::new(host, address.port()).to_string())
}

/// Host and port of a URL.
fn authority(url: &str) -> Result<String, String> {
    let wrong = || "write it as http://127.0.0.1:8080".to_owned();
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = rest.rsplit_once(':').unwrap_or((rest, "80"));
    if host.is_empty() || rest.contains(['/', '@', '?', '#']) || port.parse::<u16>().is_err() {
        return Err(wrong());
    }
    Ok(format!("{host}:{port}"))
}

fn secret(text: &str) -> Result<Secret, std::convert::Infallible> {
    Ok(Secret::new(text))
}

/// A failure that says what could not be done.
fn failed(what: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Failure, format!("demo-report: {what}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_url_names_a_host_and_a_port_and_nothing_else() {
        assert_eq!(authority("http://shop:81/").unwrap(), "shop:81");
        assert_eq!(authority("http://shop").unwrap(), "shop:80");
        for url in [
            "shop:81",
            "https://shop",
            "http://",
            "http://shop:x",
            "http://a/b",
        ] {
            assert!(authority(url).is_err(), "{url}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_this_machine() {
        let at = |text: &str| listening(text.parse().unwrap());
        assert_eq!(at("0.0.0.0:80").as_deref(), Some("127.0.0.1:80"));
        assert_eq!(at("127.0.0.2:81").as_deref(), Some("127.0.0.2:81"));
        assert_eq!(at("127.0.0.1:0"), None);
    }
}
