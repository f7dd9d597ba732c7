//! Preferences (RFC 7240): how long a caller would like to wait for an outcome.

use std::time::Duration;

use warp::http::HeaderMap;

/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// The wait that `Prefer: wait=N` asks for, at most 30 s, which is also what a bare `wait` means.
/// What cannot be read is no preference, as the RFC says; of several, the first counts.
pub(super) fn wait(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|preference| preference.split(';').next())
        .map(|preference| match preference.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (preference, None),
        })
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("wait"))
        .and_then(|(_, value)| match value {
            Some(value) => value
                .trim()
                .trim_matches('"')
                .parse()
                .ok()
                .map(Duration::from_secs),
            None => Some(WAIT_MAX),
        })
        .map(|wait| wait.min(WAIT_MAX))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn seconds(values: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("prefer", value.parse().unwrap());
        }
        wait(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wait_is_read_wherever_it_stands_and_capped() {
        assert_eq!(seconds(&["wait=5"]), Some(5));
        assert_eq!(seconds(&["respond-async, Wait = \"7\"; x=1"]), Some(7));
        assert_eq!(seconds(&["handling=lenient", "wait=0"]), Some(0));
        assert_eq!(seconds(&["wait=3, wait=9"]), Some(3));
        assert_eq!(seconds(&["wait=4000"]), Some(30));
        assert_eq!(seconds(&["wait"]), Some(30));
    }

    #[test]
    fn what_cannot_be_read_is_no_preference() {
        for values in [&["wait=-1"][..], &["wait=soon"], &["waiting=1"], &[]] {
            assert_eq!(seconds(values), None, "{values:?}");
        }
    }
}
