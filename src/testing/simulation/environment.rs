//! What the environment says about which seeds are run, and for how long.

use std::ops::Range;
use std::time::Duration;

/// Runs this seed alone and prints its trace.
pub(super) const SEED: &str = "REDELIVER_SIM_SEED";
/// Runs these seeds; the end is not one of them.
pub(super) const SEEDS: &str = "REDELIVER_SIM_SEEDS";
/// How many virtual hours each run lasts.
pub(super) const HOURS: &str = "REDELIVER_SIM_HOURS";

/// What the environment wants otherwise than the program.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Environment {
    pub(super) seeds: Option<Range<u64>>,
    pub(super) time: Option<Duration>,
    /// Whether the trace is printed.
    pub(super) print: bool,
}

impl Environment {
    /// Reads it through `variable`; the message says what is wrong with it.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Environment, String> {
        let mut wanted = Environment::default();
        if let Some(text) = variable(SEEDS) {
            let range = text.split_once("..");
            let range = range.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
            match range {
                Some(range) if range.start < range.end => wanted.seeds = Some(range),
                _ => return Err(format!("{SEEDS}={text} is no range; write it as 0..100")),
            }
        }
        if let Some(text) = variable(SEED) {
            let seed: u64 = text
                .parse()
                .map_err(|_| format!("{SEED}={text} is no number"))?;
            let end = seed
                .checked_add(1)
                .ok_or_else(|| format!("{SEED}={text} is too large"))?;
            wanted.seeds = Some(seed..end);
            wanted.print = true;
        }
        if let Some(text) = variable(HOURS) {
            let hours: f64 = text.parse().unwrap_or(f64::NAN);
            let time = Duration::try_from_secs_f64(hours * 3_600.0)
                .map_err(|_| format!("{HOURS}={text} is no number of hours"))?;
            wanted.time = Some(time);
        }
        Ok(wanted)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, String> {
        Environment::read(|wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn seeds_and_hours_can_be_wanted_otherwise() {
        assert_eq!(read(&[]).unwrap(), Environment::default());
        let several = read(&[(SEEDS, "3..7"), (HOURS, "0.5")]).unwrap();
        assert_eq!(several.seeds, Some(3..7));
        assert_eq!(several.time, Some(Duration::from_secs(1_800)));
        assert!(!several.print);
        let one = read(&[(SEEDS, "3..7"), (SEED, "5")]).unwrap();
        assert_eq!((one.seeds, one.print), (Some(5..6), true));
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        for (name, value) in [
            (SEEDS, "7"),
            (SEEDS, "7..7"),
            (SEEDS, "a..b"),
            (SEED, "x"),
            (SEED, "18446744073709551615"),
            (HOURS, "-1"),
            (HOURS, "soon"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
    }
}
