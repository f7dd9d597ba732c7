//! How far a measurement has come, on standard error: a bar for people, lines for files.

use std::fmt;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Shows it.
pub(super) struct Progress {
    of: String,
    bar: ProgressBar,
}

impl Progress {
    pub(super) fn of(what: impl fmt::Display, measured_for: Duration) -> Progress {
        let bar = ProgressBar::new(millis(measured_for)).with_prefix(what.to_string());
        if let Ok(style) = ProgressStyle::with_template("{prefix:>14} {wide_bar} {msg}") {
            bar.set_style(style);
        }
        Progress {
            of: what.to_string(),
            bar,
        }
    }

    /// What is being done now.
    pub(super) fn say(&self, doing: &str) {
        match self.bar.is_hidden() {
            true => eprintln!("{}: {doing}", self.of),
            false => self.bar.set_message(doing.to_owned()),
        }
    }

    /// How much of the measured time is over, and what was done in a second of it.
    pub(super) fn at(&self, elapsed: Duration, ops_s: f64) {
        self.bar.set_position(millis(elapsed));
        self.bar.set_message(format!("{ops_s:.0} ops/s"));
    }

    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
