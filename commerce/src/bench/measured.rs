//! A measurement as it is shown.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::figures::Figures;
use super::{Case, Workload, chain, failed};
use crate::cli::Failure;

/// What was measured. The names are for other programs and stay as they are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Measured {
    workload: String,
    over: String,
    clients: usize,
    seconds: f64,
    ops_s: f64,
    turns_s: f64,
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
    ops: u64,
    overloaded: u64,
    fsyncs: u64,
    bytes_written: u64,
    journal_bytes: u64,
    rss_mib: f64,
    cpu_us_op: f64,
    fdatasync_p50_us: u64,
    journal_ceiling_ops_s: f64,
    mpsc_ceiling_ops_s: f64,
    /// Bytes that went into the journal, and to the disk in all, for each byte of messages and
    /// rows; where these are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    journal_per_payload: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    written_per_payload: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http_ceiling_ops_s: Option<f64>,
}

/// What the machine can do, measured in the same run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ceilings {
    /// One durable 4 KiB overwrite.
    pub(super) fdatasync: Duration,
    /// Operations per second of the bare journal.
    pub(super) journal: f64,
    /// Round trips per second over channels.
    pub(super) mpsc: f64,
    /// Answers per second of a server that says always the same, if it was asked over HTTP.
    pub(super) http: Option<f64>,
}

/// What the clients have seen.
pub(super) struct Driven {
    /// Microseconds of each operation.
    pub(super) latencies: Histogram<u64>,
    pub(super) took: Duration,
    pub(super) overloaded: u64,
    pub(super) used: Figures,
}

impl Measured {
    pub(super) const HEADING: &str = "workload over    clients      ops/s    turns/s   p50 us   p99 us p99.9 us  syncs/op bytes/op  rss MiB cpu us/op  fdatasync us  journal ops/s     mpsc ops/s     http ops/s";

    pub(super) fn new(case: Case, driven: &Driven, ceilings: Ceilings) -> Measured {
        let (used, seconds) = (&driven.used, driven.took.as_secs_f64());
        let at = |quantile| driven.latencies.value_at_quantile(quantile);
        let payload = match case.workload {
            // The first clients' numbers are short, those of others as long as most are.
            Workload::W2 => chain::payload_bytes(1 << 41).ok(),
            Workload::W1 | Workload::W3 => None,
        };
        let per_payload = |bytes: u64| {
            let payload = payload? * driven.latencies.len().max(1);
            Some((bytes as f64 / payload as f64 * 100.0).round() / 100.0)
        };
        Measured {
            workload: case.workload.to_string(),
            over: case.over.to_string(),
            clients: case.clients,
            seconds: rounded(seconds),
            ops_s: rounded(driven.latencies.len() as f64 / seconds),
            turns_s: rounded(used.turns as f64 / seconds),
            p50_us: at(0.5),
            p99_us: at(0.99),
            p999_us: at(0.999),
            ops: driven.latencies.len(),
            overloaded: driven.overloaded,
            fsyncs: used.syncs,
            bytes_written: used.written_bytes,
            journal_bytes: used.journal_bytes,
            rss_mib: rounded(used.rss_kib as f64 / 1024.0),
            cpu_us_op: rounded(used.cpu_micros as f64 / driven.latencies.len().max(1) as f64),
            fdatasync_p50_us: u64::try_from(ceilings.fdatasync.as_micros()).unwrap_or(u64::MAX),
            journal_ceiling_ops_s: rounded(ceilings.journal),
            mpsc_ceiling_ops_s: rounded(ceilings.mpsc),
            journal_per_payload: per_payload(used.journal_bytes),
            written_per_payload: per_payload(used.written_bytes),
            http_ceiling_ops_s: ceilings.http.map(rounded),
        }
    }
}

/// One digit after the point is more than a measurement holds.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each = |total: u64| total as f64 / self.ops.max(1) as f64;
        write!(
            f,
            "{:<8} {:<7} {:>7} {:>10.0} {:>10.0} {:>8} {:>8} {:>8} {:>9.2} {:>8.0} {:>8.1} {:>9.1} {:>13} {:>14.0} {:>14.0} {:>14}",
            self.workload,
            self.over,
            self.clients,
            self.ops_s,
            self.turns_s,
            self.p50_us,
            self.p99_us,
            self.p999_us,
            each(self.fsyncs),
            each(self.bytes_written),
            self.rss_mib,
            self.cpu_us_op,
            self.fdatasync_p50_us,
            self.journal_ceiling_ops_s,
            self.mpsc_ceiling_ops_s,
            self.http_ceiling_ops_s
                .map_or_else(|| "-".to_owned(), |rate| format!("{rate:.0}")),
        )?;
        if self.overloaded > 0 {
            write!(f, "  ({} times told to come back later)", self.overloaded)?;
        }
        Ok(())
    }
}

/// One object for one measurement, otherwise a list.
pub(super) fn json(all: &[Measured]) -> Result<String, Failure> {
    match all {
        [one] => serde_json::to_string(one),
        more => serde_json::to_string(more),
    }
    .map_err(failed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bench::Over;

    #[test]
    fn the_names_that_other_programs_read_are_there() {
        let case = Case {
            workload: Workload::W2,
            over: Over::Process,
            clients: 16,
        };
        let mut latencies = Histogram::new(3).unwrap();
        latencies.record_n(200, 10).unwrap();
        let driven = Driven {
            latencies,
            took: Duration::from_secs(2),
            overloaded: 0,
            used: Figures {
                turns: 50,
                syncs: 20,
                written_bytes: 4_096,
                ..Figures::default()
            },
        };
        let ceilings = Ceilings {
            fdatasync: Duration::from_micros(150),
            journal: 9_000.0,
            mpsc: 1_000_000.0,
            http: None,
        };
        let measured = Measured::new(case, &driven, ceilings);
        let one: serde_json::Value =
            serde_json::from_str(&json(std::slice::from_ref(&measured)).unwrap()).unwrap();
        for (name, value) in [
            ("ops_s", 5.0),
            ("turns_s", 25.0),
            ("p50_us", 200.0),
            ("p99_us", 200.0),
            ("p999_us", 200.0),
            ("ops", 10.0),
            ("fsyncs", 20.0),
            ("bytes_written", 4_096.0),
            ("rss_mib", 0.0),
            ("fdatasync_p50_us", 150.0),
            ("journal_ceiling_ops_s", 9_000.0),
            ("mpsc_ceiling_ops_s", 1_000_000.0),
        ] {
            assert_eq!(one[name].as_f64(), Some(value), "{name}");
        }
        let two = json(&[measured.clone(), measured]).unwrap();
        assert!(two.starts_with('['));
    }
}
