//! The command line: the commands of the program `redeliver`, for hosts to offer as their own.
//!
//! A host adds [`Command`] to its subcommands and ends with [`Failure`]'s exit code. The commands
//! work on data directories and backups, not on running systems: they take the lock.

mod show;

use std::fmt;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

// clap: arguments, their help and the usage errors. We would leave for our own parser.
use clap::{Parser, Subcommand};
use serde::Serialize;

use crate::clock::SystemClock;
use crate::error::{OpenError, StoreError};
use crate::persistence::backup::{BackupError, back_up_at_rest};
use crate::persistence::real_disk::RealDisk;
use crate::persistence::restore::restore;
use crate::persistence::verify::{Verified, VerifyError, verify};

/// The commands on data directories and backups.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read a data directory or a backup from end to end, changing nothing, and say what is there
    /// and what is wrong
    Verify {
        /// The data directory, which no process may have open, or the backup
        #[arg(value_name = "DATA")]
        data: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Write everything of a data directory at rest into one file
    Backup {
        /// The data directory, which no process may have open
        #[arg(value_name = "DATA")]
        data: PathBuf,
        /// The file, which must not exist
        #[arg(value_name = "TO")]
        to: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Make a data directory from a backup
    Restore {
        /// The backup
        #[arg(value_name = "FROM")]
        from: PathBuf,
        /// The data directory, which must be missing or empty
        #[arg(value_name = "DATA")]
        data: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

/// How a process ends. The numbers are a promise to whoever starts it. (2, a usage error, is
/// clap's.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Something failed; what, stands on standard error.
    Failure = 1,
    /// No server answers and there is no data directory.
    Unavailable = 69,
    /// Data is damaged, or the disk failed.
    Data = 74,
    /// Another process has the data directory.
    InUse = 75,
    /// The configuration cannot be used.
    Configuration = 78,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// Why a process ends otherwise than in success, in one sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    exit: Exit,
    sentence: String,
}

impl Failure {
    /// A failure with its sentence.
    pub fn new(exit: Exit, sentence: impl Into<String>) -> Failure {
        Failure {
            exit,
            sentence: sentence.into(),
        }
    }

    /// How the process ends.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Failure {}

/// Data directories of services: verify, back up, restore.
#[derive(Debug, Parser)]
#[command(
    name = "redeliver",
    version,
    after_help = "Exit codes: 0 success, 1 failure, 2 usage, 69 there is no data directory, 74 \
                  damaged data or I/O error, 75 data directory in use."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Runs the program `redeliver` with this process's arguments.
pub fn run() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("redeliver: {failure}");
            ExitCode::from(failure.exit.code())
        }
    }
}

impl Command {
    /// Runs it. What it has to say goes to standard output, also before a failure.
    pub fn run(self) -> Result<(), Failure> {
        let disk = || Arc::new(RealDisk::default());
        match self {
            Command::Verify { data, json } => {
                let verified = verify(disk(), &data)?;
                let ok = verified.problems().is_empty();
                print(
                    json,
                    &Judged {
                        ok,
                        verified: &verified,
                    },
                    || show::verified(&verified),
                )?;
                judge(&verified)
            }
            Command::Backup { data, to, json } => {
                let info = back_up_at_rest(&data, &to)?;
                print(json, &info, || show::backed_up(&info))
            }
            Command::Restore { from, data, json } => {
                let restored = restore(disk(), &SystemClock, &from, &data)?;
                print(json, &restored, || show::restored(&restored))
            }
        }
    }
}

/// What was verified, and whether it is as it was written.
#[derive(Serialize)]
struct Judged<'a> {
    ok: bool,
    #[serde(flatten)]
    verified: &'a Verified,
}

fn judge(verified: &Verified) -> Result<(), Failure> {
    let problems = verified.problems();
    let Some(first) = problems.first() else {
        return Ok(());
    };
    let sentence = match problems.len() {
        1 => first.sentence.clone(),
        more => format!("{} (the first of {more} problems)", first.sentence),
    };
    Err(Failure::new(Exit::Data, sentence))
}

fn print(json: bool, value: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
    let failed = |error: &dyn fmt::Display| {
        Failure::new(
            Exit::Failure,
            format!("standard output cannot be written: {error}"),
        )
    };
    let text = match json {
        true => serde_json::to_string_pretty(value).map_err(|error| failed(&error))?,
        false => text(),
    };
    match writeln!(std::io::stdout(), "{}", text.trim_end()) {
        Ok(()) => Ok(()),
        // Whoever read it has read enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(failed(&error)),
    }
}

fn exit_of_open(error: &OpenError) -> Exit {
    match error {
        OpenError::InUse { .. } => Exit::InUse,
        OpenError::ReadOnly { .. }
        | OpenError::NewerFormat { .. }
        | OpenError::Damaged { .. }
        | OpenError::Full { .. }
        | OpenError::Io { .. } => Exit::Data,
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::new(Exit::Data, error.to_string())
    }
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Failure {
        let exit = match &error {
            VerifyError::Missing { .. } => Exit::Unavailable,
            VerifyError::Open(error) => exit_of_open(error),
            VerifyError::Store(_) => Exit::Data,
        };
        Failure::new(exit, error.to_string())
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Failure {
        let exit = match &error {
            BackupError::NoData { .. } | BackupError::Missing { .. } => Exit::Unavailable,
            BackupError::Exists { .. }
            | BackupError::NotEmpty { .. }
            | BackupError::SeveralCells { .. } => Exit::Failure,
            BackupError::Open(error) => exit_of_open(error),
            BackupError::Store(StoreError::Refused { .. }) => Exit::Failure,
            BackupError::Damaged { .. }
            | BackupError::NewerFormat { .. }
            | BackupError::Unfinished { .. }
            | BackupError::Store(_) => Exit::Data,
        };
        Failure::new(exit, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["redeliver", "backup", "data", "to", "--json"]);
        assert!(matches!(cli.command, Command::Backup { json: true, .. }));
        let lacking = Cli::try_parse_from(["redeliver", "restore", "from"]);
        assert_eq!(lacking.unwrap_err().exit_code(), 2);
    }
}
