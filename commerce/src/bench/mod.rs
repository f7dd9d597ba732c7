//! `commerce bench`: drives the shop and measures what comes out.

use std::process::ExitCode;

use crate::config::Config;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {}

/// Measures. Everything runs in a directory of its own; the configured data directory is not
/// touched.
pub async fn run(_config: &Config, _args: &BenchArgs) -> ExitCode {
    eprintln!("there is nothing to measure yet");
    ExitCode::FAILURE
}
