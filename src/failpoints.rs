//! Deliberate failures from outside, for trying a real process: feature `failpoints`, never in a
//! default build.
//!
//! `REDELIVER_FAIL=service/message:panic|abort:probability`, several separated by commas, `*` for
//! any service or message:
//!
//! ```text
//! REDELIVER_FAIL='payment/payment-requested:panic:0.1,*/order-created:abort:0.01'
//! ```

use std::sync::Arc;

use crate::actors::cell::Faults;

/// The environment variable.
pub(crate) const VARIABLE: &str = "REDELIVER_FAIL";

/// What the environment asks for; `None` if nothing.
pub(crate) fn from_environment() -> Option<Arc<dyn Faults>> {
    let text = std::env::var(VARIABLE).ok()?;
    match parse(&text) {
        Ok(points) if points.is_empty() => None,
        Ok(points) => {
            tracing::warn!(points = text, "failpoints are active");
            Some(Arc::new(FailPoints { points }))
        }
        Err(error) => {
            tracing::error!(variable = VARIABLE, error, "failpoints are ignored");
            None
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct FailPoint {
    service: String,
    message: String,
    abort: bool,
    probability: f64,
}

struct FailPoints {
    points: Vec<FailPoint>,
}

impl Faults for FailPoints {
    fn before_handler(&self, service: &str, message: &str) {
        let matches = |pattern: &str, name: &str| pattern == "*" || pattern == name;
        for point in &self.points {
            if !matches(&point.service, service) || !matches(&point.message, message) {
                continue;
            }
            let draw = fastrand::f64();
            if draw >= point.probability {
                continue;
            }
            if point.abort {
                std::process::abort();
            }
            panic!("failpoint {service}/{message}");
        }
    }
}

fn parse(text: &str) -> Result<Vec<FailPoint>, String> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(parse_point)
        .collect()
}

fn parse_point(part: &str) -> Result<FailPoint, String> {
    let wanted = || format!("`{part}` is not `service/message:panic|abort:probability`");
    let mut fields = part.split(':');
    let (Some(place), Some(action), Some(probability), None) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(wanted());
    };
    let (service, message) = place.split_once('/').ok_or_else(wanted)?;
    let abort = match action {
        "panic" => false,
        "abort" => true,
        _ => return Err(wanted()),
    };
    let probability: f64 = probability.parse().map_err(|_| wanted())?;
    if !(0.0..=1.0).contains(&probability) {
        return Err(format!(
            "the probability of `{part}` is not between 0 and 1"
        ));
    }
    Ok(FailPoint {
        service: service.to_owned(),
        message: message.to_owned(),
        abort,
        probability,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failpoints_are_read_as_documented() {
        let points = parse("payment/payment-requested:panic:0.1, */order-created:abort:1");
        let point = |service: &str, message: &str, abort, probability| FailPoint {
            service: service.into(),
            message: message.into(),
            abort,
            probability,
        };
        assert_eq!(
            points,
            Ok(vec![
                point("payment", "payment-requested", false, 0.1),
                point("*", "order-created", true, 1.0)
            ])
        );
        for bad in [
            "x",
            "a/b:explode:1",
            "a/b:panic:2",
            "a:panic:1",
            "a/b:panic:1:2",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
