//! The program `redeliver`: data directories verified, backed up and restored.

use std::process::ExitCode;

fn main() -> ExitCode {
    redeliver::cli::run()
}
