//! The command line: what can be asked for, and how the process ends.

use std::ffi::OsString;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;
use toml::{Table, Value};
use tracing_subscriber::EnvFilter;

use crate::bench::{self, BenchArgs};
use crate::config::{self, Config, ConfigError};
use crate::demo_report::{self, DemoReportArgs};
use crate::{app, serve};

pub use redeliver::cli::{Exit, Failure};

/// A shop of durable services in one process and one data directory.
#[derive(Debug, Parser)]
#[command(
    name = "commerce",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Every option is also an environment variable (--data is COMMERCE_DATA) and a \
                  name in the configuration file.\n\n\
                  Exit codes: 0 success, 1 failure (also: address in use), 2 usage, 69 no \
                  server answers and there is no data directory, 74 damaged data or I/O \
                  error, 75 data directory in use, 78 configuration."
)]
struct Cli {
    #[command(flatten)]
    serve: ServeArgs,
    #[command(subcommand)]
    command: Option<Asked>,
}

#[derive(Debug, Subcommand)]
enum Asked {
    /// Serve the shop over HTTP (the default)
    Serve(ServeArgs),
    /// Show who says what to whom, without opening a data directory
    Topology {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Show in tables what has happened in the shop: asks the server, or opens the data directory
    /// if none answers
    DemoReport {
        /// Configuration file
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        args: DemoReportArgs,
    },
    /// Those of the program `redeliver`, on data directories and backups
    #[command(flatten)]
    Redeliver(redeliver::cli::Command),
    /// Drive the shop and measure it
    Bench {
        /// Configuration file
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        args: BenchArgs,
    },
    /// Run the whole shop in virtual time, on a simulated disk, under faults by seed, and check
    /// everything
    #[cfg(feature = "simulate")]
    Simulate(crate::simulate::command::SimulateArgs),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Data directory, created at the first start [default: ./data]
    #[arg(long, value_name = "DIR", value_parser = NonEmptyStringValueParser::new())]
    data: Option<String>,
    /// Address to listen on; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    listen: Option<String>,
    /// Leave an empty data directory without products
    #[arg(long)]
    no_seed: bool,
    /// Also run a shopper and a warehouse, so that there is something to see
    #[arg(long)]
    demo: bool,
    /// What the shopper does in a minute, 1 to 1200 [default: 30]
    #[arg(long, value_name = "ORDERS_PER_MINUTE", value_parser = clap::value_parser!(u32).range(1..=1200))]
    demo_rate: Option<u32>,
    /// What to log to standard error: a level, or directives such as info,redeliver=debug
    /// [default: info]
    #[arg(long, value_name = "DIRECTIVES", value_parser = directives)]
    log: Option<String>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::new(Exit::Configuration, error.to_string())
    }
}

/// Runs the command of this process's arguments and environment.
pub fn run() -> ExitCode {
    match command(Cli::parse()) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("commerce: {failure}");
            ExitCode::from(failure.exit().code())
        }
    }
}

fn command(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command.unwrap_or(Asked::Serve(cli.serve)) {
        Asked::Serve(args) => {
            let config = configured(args.config.clone(), args.flags())?;
            on_runtime(&config, serve::serve(&config))??;
            Ok(ExitCode::SUCCESS)
        }
        Asked::Topology { json } => topology(json),
        Asked::DemoReport { config, args } => {
            let config = configured(config, args.flags())?;
            print(&on_runtime(&config, demo_report::run(&config, &args))??)
        }
        Asked::Redeliver(command) => {
            command.run()?;
            Ok(ExitCode::SUCCESS)
        }
        Asked::Bench { config, args } => {
            let config = configured(config, Table::new())?;
            on_runtime(&config, bench::run(&config, &args))??;
            Ok(ExitCode::SUCCESS)
        }
        #[cfg(feature = "simulate")]
        Asked::Simulate(args) => Ok(crate::simulate::command::run(&args)?),
    }
}

fn configured(file: Option<PathBuf>, flags: Table) -> Result<Config, Failure> {
    let variable = |name: &str| std::env::var_os(name).map(OsString::into_string);
    let file = match (file, variable("COMMERCE_CONFIG")) {
        (Some(file), _) => Some(file),
        (None, Some(file)) => Some(file.map_or_else(PathBuf::from, PathBuf::from)),
        (None, None) => None,
    };
    // What is no text cannot be a value of ours; it is read as what it looks like.
    let text = |name: &str| {
        variable(name).map(|value| value.unwrap_or_else(|raw| raw.to_string_lossy().into_owned()))
    };
    Ok(Config::load(flags, file.as_deref(), text)?)
}

impl ServeArgs {
    fn flags(self) -> Table {
        let text = |name: &str, value: Option<String>| {
            value.map(|value| (name.to_owned(), Value::String(value)))
        };
        let mut demo = Table::new();
        if self.demo {
            demo.insert("enabled".to_owned(), Value::Boolean(true));
        }
        if let Some(rate) = self.demo_rate {
            demo.insert("orders_per_minute".to_owned(), Value::Integer(rate.into()));
        }
        [
            text("data", self.data),
            text("listen", self.listen),
            text("log", self.log),
            self.no_seed
                .then(|| ("no_seed".to_owned(), Value::Boolean(true))),
            (!demo.is_empty()).then(|| ("demo".to_owned(), Value::Table(demo))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

// What the command line alone says wrong is wrong usage; clap asks these before anything is read.

fn address(text: &str) -> Result<String, ConfigError> {
    config::address(text).map(|_| text.to_owned())
}

fn directives(text: &str) -> Result<String, Failure> {
    filter(text).map(|_| text.to_owned())
}

/// Runs `work` with logs and a runtime. Threads that still work on something at its end do not
/// hold the process: what they do is durable or recovered.
fn on_runtime<T>(config: &Config, work: impl Future<Output = T>) -> Result<T, Failure> {
    const THREADS_END: Duration = Duration::from_secs(1);
    log(config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(
                Exit::Failure,
                format!("the runtime could not start: {error}"),
            )
        })?;
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(THREADS_END);
    Ok(done)
}

fn log(config: &Config) -> Result<(), Failure> {
    let directives = filter(&config.log)?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(directives)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .finish();
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|error| Failure::new(Exit::Failure, format!("logs cannot be written: {error}")))
}

fn filter(directives: &str) -> Result<EnvFilter, Failure> {
    EnvFilter::try_new(directives).map_err(|error| {
        Failure::new(
            Exit::Configuration,
            format!(
                "log directives `{directives}` cannot be read ({error}); write them as \
                 info,redeliver=debug"
            ),
        )
    })
}

/// The services as other programs read them.
#[derive(Debug, Serialize)]
struct TopologyShown<'a> {
    services: Vec<ServiceShown<'a>>,
}

#[derive(Debug, Serialize)]
struct ServiceShown<'a> {
    name: &'a str,
    tables: &'a [String],
    publishes: Vec<PublishedShown<'a>>,
    handles: Vec<HandledShown<'a>>,
}

#[derive(Debug, Serialize)]
struct PublishedShown<'a> {
    message: &'a str,
    version: u16,
}

#[derive(Debug, Serialize)]
struct HandledShown<'a> {
    message: &'a str,
    version: u16,
    from: &'a [String],
}

fn topology(json: bool) -> Result<ExitCode, Failure> {
    let failure = |error: String| Failure::new(Exit::Failure, error);
    let topology = app::topology().map_err(|error| failure(error.to_string()))?;
    let services = topology.services.iter().map(|service| ServiceShown {
        name: &service.name,
        tables: &service.tables,
        publishes: service
            .publishes
            .iter()
            .map(|published| PublishedShown {
                message: &published.message,
                version: published.version,
            })
            .collect(),
        handles: service
            .handles
            .iter()
            .map(|handled| HandledShown {
                message: &handled.message,
                version: handled.version,
                from: &handled.from,
            })
            .collect(),
    });
    let shown = TopologyShown {
        services: services.collect(),
    };
    let text = if json {
        serde_json::to_string_pretty(&shown).map_err(|error| failure(error.to_string()))?
    } else {
        lines(&shown)
    };
    print(&text)
}

fn print(text: &str) -> Result<ExitCode, Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => Ok(ExitCode::SUCCESS),
        // Whoever read it has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::new(
            Exit::Failure,
            format!("standard output cannot be written: {error}"),
        )),
    }
}

/// The topology for people: a paragraph for each service.
fn lines(shown: &TopologyShown<'_>) -> String {
    let paragraphs = shown.services.iter().map(|service| {
        let mut lines = vec![
            service.name.to_owned(),
            format!("  tables     {}", service.tables.join(", ")),
        ];
        for published in &service.publishes {
            lines.push(format!(
                "  publishes  {} v{}",
                published.message, published.version
            ));
        }
        for handled in &service.handles {
            lines.push(format!(
                "  handles    {} v{} from {}",
                handled.message,
                handled.version,
                handled.from.join(", ")
            ));
        }
        lines.join("\n")
    });
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn without_a_subcommand_the_shop_is_served() {
        let cli = Cli::parse_from(["commerce", "--data", "d", "--no-seed"]);
        assert!(cli.command.is_none());
        let flags = cli.serve.flags();
        assert_eq!(flags["data"].as_str(), Some("d"));
        assert_eq!(flags["no_seed"].as_bool(), Some(true));
        assert!(!flags.contains_key("listen"));
        let cli = Cli::parse_from(["commerce", "serve", "--listen", "127.0.0.1:0"]);
        assert!(matches!(cli.command, Some(Asked::Serve(_))));
    }
}
