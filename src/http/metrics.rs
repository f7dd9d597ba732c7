//! Metrics: the figures of a system and its server as Prometheus reads them.
//!
//! Written by hand, for it is a dozen lines of format: no recorder, no global, nothing counted
//! twice. The table of [`telemetry`](crate::telemetry) has every metric.

use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use warp::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use warp::http::{Method, StatusCode};
use warp::reply::Response;
use warp::{Filter, Rejection};

use super::extract::{method, told};
use crate::{ServiceReport, StreamReport, System, SystemReport};

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// In the words of the report.
const STATES: [&str; 5] = ["starting", "running", "restarting", "failed", "stopped"];

/// `GET /metrics`: the figures of [`System::report`] and the answers of this server, as text that
/// Prometheus reads. They name services and messages but nobody's data.
pub fn metrics(system: System) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    metrics_and(system, |_| {})
}

/// The same with the host's own figures behind them.
///
/// ```
/// use redeliver::http::{self, MetricKind};
///
/// # fn mount(system: redeliver::System) {
/// let routes = http::metrics_and(system, |text| {
///     text.family("shop_carts_open", MetricKind::Gauge, "Carts with something in them.")
///         .sample(&[("currency", "EUR")], 17);
/// });
/// # let _ = routes;
/// # }
/// ```
pub fn metrics_and(
    system: System,
    more: impl Fn(&mut MetricsText) + Clone + Send + Sync + 'static,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone {
    warp::path!("metrics")
        .and(method(Method::GET))
        .and(told(|told| told.traffic.clone()))
        .map(move |traffic: Option<Traffic>| {
            let mut text = MetricsText::default();
            let ready = system.health().ready;
            write_report(&mut text, &system.report(), ready, system.events().last().0);
            if let Some(traffic) = traffic {
                traffic.write(&mut text);
            }
            more(&mut text);
            let mut response = Response::new(text.0.into());
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        })
}

/// What a figure does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// It only grows, until the process starts anew.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// Metrics in Prometheus' text format, family by family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MetricsText(String);

/// A family whose samples are being written.
#[derive(Debug)]
pub struct MetricFamily<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl MetricsText {
    /// Begins a family. Its samples follow at once; a name stands here once.
    pub fn family<'a>(
        &'a mut self,
        name: &'a str,
        kind: MetricKind,
        help: &str,
    ) -> MetricFamily<'a> {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        MetricFamily {
            text: &mut self.0,
            name,
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl MetricFamily<'_> {
    /// Adds a sample with its labels.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl fmt::Display) -> &mut Self {
        self.text.push_str(self.name);
        let mut mark = '{';
        for (name, value) in labels {
            self.text.push(mark);
            let _ = write!(self.text, "{name}=\"");
            for c in value.chars() {
                match c {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
            mark = ',';
        }
        if !labels.is_empty() {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
        self
    }
}

/// What a server has answered, by status.
#[derive(Debug, Clone)]
pub(super) struct Traffic(Arc<[AtomicU64; STATUSES]>);

const STATUSES: usize = 500;
const FIRST_STATUS: u16 = 100;

impl Default for Traffic {
    fn default() -> Traffic {
        Traffic(Arc::new([const { AtomicU64::new(0) }; STATUSES]))
    }
}

impl Traffic {
    pub(super) fn count(&self, status: StatusCode) {
        let place = usize::from(status.as_u16().saturating_sub(FIRST_STATUS));
        if let Some(count) = self.0.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn write(&self, text: &mut MetricsText) {
        let mut family = text.family(
            "redeliver_http_answers_total",
            MetricKind::Counter,
            "Answers of this server, by status.",
        );
        for (status, count) in (FIRST_STATUS..).zip(self.0.iter()) {
            match count.load(Ordering::Relaxed) {
                0 => {}
                count => {
                    family.sample(&[("status", &status.to_string())], count);
                }
            }
        }
    }
}

type OfService = (
    &'static str,
    MetricKind,
    &'static str,
    fn(&ServiceReport) -> u64,
);

const OF_SERVICES: [OfService; 10] = {
    use MetricKind::{Counter, Gauge};
    [
        (
            "redeliver_service_restarts_total",
            Counter,
            "Restarts of any of its actors.",
            |s| s.restarts,
        ),
        (
            "redeliver_service_panics_total",
            Counter,
            "Panics of its handlers.",
            |s| s.panics,
        ),
        (
            "redeliver_service_turns_total",
            Counter,
            "Turns committed.",
            |s| s.turns,
        ),
        (
            "redeliver_service_requests_waiting",
            Gauge,
            "Requests from outside that wait for a turn.",
            |s| s.requests_waiting as u64,
        ),
        (
            "redeliver_service_messages_waiting",
            Gauge,
            "Messages of services that wait for a turn.",
            |s| s.messages_waiting as u64,
        ),
        (
            "redeliver_service_parked",
            Gauge,
            "Messages parked for another attempt.",
            |s| s.parked,
        ),
        ("redeliver_service_timers", Gauge, "Timers set.", |s| {
            s.timers
        }),
        (
            "redeliver_service_activities",
            Gauge,
            "Activities whose end has not been handled.",
            |s| s.activities,
        ),
        (
            "redeliver_service_dead_letters",
            Gauge,
            "Dead letters kept.",
            |s| s.dead_letters,
        ),
        (
            "redeliver_service_up",
            Gauge,
            "1 if the service runs.",
            |s| u64::from(s.state == "running"),
        ),
    ]
};

type OfStream = (
    &'static str,
    MetricKind,
    &'static str,
    fn(&StreamReport) -> u64,
);

const OF_STREAMS: [OfStream; 9] = {
    use MetricKind::{Counter, Gauge};
    [
        (
            "redeliver_stream_sent_total",
            Counter,
            "Messages promised since the stream began.",
            |s| s.sent,
        ),
        (
            "redeliver_stream_accepted_total",
            Counter,
            "Messages that the receiver has consumed.",
            |s| s.accepted,
        ),
        (
            "redeliver_stream_applied_total",
            Counter,
            "Turns that succeeded.",
            |s| s.applied,
        ),
        (
            "redeliver_stream_rejected_total",
            Counter,
            "Messages refused, with the sender told.",
            |s| s.rejected,
        ),
        (
            "redeliver_stream_discarded_total",
            Counter,
            "Dead letters thrown away.",
            |s| s.discarded,
        ),
        (
            "redeliver_stream_waiting",
            Gauge,
            "Messages that wait in the outbox.",
            |s| s.waiting,
        ),
        (
            "redeliver_stream_spilled",
            Gauge,
            "Those of them that wait on disk.",
            |s| s.spilled,
        ),
        (
            "redeliver_stream_parked",
            Gauge,
            "Messages parked for another attempt.",
            |s| s.parked,
        ),
        ("redeliver_stream_dead", Gauge, "Dead letters.", |s| s.dead),
    ]
};

type OfSystem = (
    &'static str,
    MetricKind,
    &'static str,
    fn(&SystemReport) -> u64,
);

const OF_SYSTEM: [OfSystem; 10] = {
    use MetricKind::{Counter, Gauge};
    [
        (
            "redeliver_store_queued_position",
            Gauge,
            "Newest position queued.",
            |r| r.store.queued,
        ),
        (
            "redeliver_store_durable_position",
            Gauge,
            "Newest durable position.",
            |r| r.store.durable,
        ),
        (
            "redeliver_store_checkpoint_position",
            Gauge,
            "Position of the last checkpoint.",
            |r| r.store.checkpoint,
        ),
        (
            "redeliver_store_uncheckpointed_bytes",
            Gauge,
            "Bytes not yet checkpointed.",
            |r| r.store.uncheckpointed_bytes,
        ),
        (
            "redeliver_store_outbox_memory_bytes",
            Gauge,
            "Memory of messages that wait.",
            |r| r.store.outbox_memory_bytes,
        ),
        (
            "redeliver_store_outbox_spilled_bytes",
            Gauge,
            "Bytes of messages that wait on disk.",
            |r| r.store.outbox_spilled_bytes,
        ),
        (
            "redeliver_store_journal_bytes_total",
            Counter,
            "Bytes written to the journal.",
            |r| r.store.journal_bytes,
        ),
        (
            "redeliver_store_journal_syncs_total",
            Counter,
            "Syncs of the journal.",
            |r| r.store.syncs,
        ),
        (
            "redeliver_store_disk_syncs_total",
            Counter,
            "Syncs of any file or directory.",
            |r| r.store.disk_syncs,
        ),
        (
            "redeliver_recovered_commits",
            Gauge,
            "Commits that the last start replayed.",
            |r| r.recovered.commits,
        ),
    ]
};

fn write_report(text: &mut MetricsText, report: &SystemReport, ready: bool, last_event: u64) {
    let gauge = MetricKind::Gauge;
    text.family("redeliver_ready", gauge, "1 if the system can take work.")
        .sample(&[], u8::from(ready));
    for (name, kind, help, of) in OF_SERVICES {
        let mut family = text.family(name, kind, help);
        for service in &report.services {
            family.sample(&[("service", &service.name)], of(service));
        }
    }
    let mut family = text.family(
        "redeliver_service_state",
        gauge,
        "1 for the state that the service is in.",
    );
    for service in &report.services {
        for state in STATES {
            let labels = [("service", service.name.as_str()), ("state", state)];
            family.sample(&labels, u8::from(service.state == state));
        }
    }
    for (name, kind, help, of) in OF_STREAMS {
        let mut family = text.family(name, kind, help);
        for stream in &report.streams {
            let labels = [("from", stream.from.as_str()), ("to", stream.to.as_str())];
            family.sample(&labels, of(stream));
        }
    }
    for (name, kind, help, of) in OF_SYSTEM {
        text.family(name, kind, help).sample(&[], of(report));
    }
    text.family(
        "redeliver_recovered_seconds",
        gauge,
        "How long the last start took to recover.",
    )
    .sample(&[], report.recovered.ms as f64 / 1_000.0);
    text.family(
        "redeliver_events_last",
        gauge,
        "Number of the newest durable event.",
    )
    .sample(&[], last_event);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn labels_and_help_cannot_break_out_of_their_lines() {
        let mut text = MetricsText::default();
        text.family("m", MetricKind::Gauge, "a\\b\nc")
            .sample(&[("x", "q\"w\\e\nr"), ("y", "")], 1.5)
            .sample(&[], 2);
        assert_eq!(
            text.as_str(),
            "# HELP m a\\\\b\\nc\n# TYPE m gauge\nm{x=\"q\\\"w\\\\e\\nr\",y=\"\"} 1.5\nm 2\n"
        );
    }

    #[test]
    fn answers_are_counted_by_status() {
        let traffic = Traffic::default();
        for status in [200, 200, 404, 999] {
            traffic.count(StatusCode::from_u16(status).unwrap());
        }
        let mut text = MetricsText::default();
        traffic.write(&mut text);
        let samples: Vec<&str> = text.as_str().lines().skip(2).collect();
        assert_eq!(
            samples,
            [
                "redeliver_http_answers_total{status=\"200\"} 2",
                "redeliver_http_answers_total{status=\"404\"} 1"
            ]
        );
    }
}
