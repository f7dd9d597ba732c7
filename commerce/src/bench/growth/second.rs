//! A second process of this program, for what has to be killed or looked at from outside.

use std::ffi::OsString;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::super::failed;
use crate::cli::Failure;

/// One that runs until it is killed, at the latest when it is dropped.
pub(super) struct Second {
    process: Child,
    /// The first line that it said; empty if it ended without.
    pub(super) said: String,
}

impl Second {
    /// Starts one and waits until it says something or `stopped`.
    pub(super) async fn start(
        arguments: impl IntoIterator<Item = OsString>,
        stopped: &CancellationToken,
    ) -> Result<Second, Failure> {
        let program = std::env::current_exe().map_err(unusable)?;
        let mut process = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(unusable)?;
        let Some(stdout) = process.stdout.take() else {
            return Err(failed("a second process cannot be heard"));
        };
        let mut lines = BufReader::new(stdout).lines();
        let said = tokio::select! {
            line = lines.next_line() => line.map_err(unusable)?.unwrap_or_default(),
            () = stopped.cancelled() => return Err(failed("the measurement was stopped")),
        };
        Ok(Second { process, said })
    }

    /// The number of its process, while it runs.
    pub(super) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// `kill -9`. Waits until it is gone and its lock with it.
    pub(super) async fn kill(mut self) -> Result<(), Failure> {
        self.process.kill().await.map_err(unusable)
    }
}

fn unusable(error: std::io::Error) -> Failure {
    failed(format!("a second process: {error}"))
}
