//! Versions: whether a thing is still as a caller has seen it.

use redeliver::{Rejection, RejectionKind};

/// Refuses a change that was decided on another version than the thing has, or than any of those
/// that the caller named. Whoever names none takes it as it is.
pub fn unchanged(what: &str, version: u64, seen: Option<&[u64]>) -> Result<(), Rejection> {
    match seen {
        Some(seen) if !seen.contains(&version) => Err(Rejection::new(
            RejectionKind::Precondition,
            "version_changed",
            format!(
                "{what} has version {version} by now, which is none of those asked for; look at \
                 it and decide again"
            ),
        )
        .with("version", version)),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_change_decided_on_another_version_is_refused() {
        assert!(unchanged("it", 3, None).is_ok());
        assert!(unchanged("it", 3, Some(&[1, 3])).is_ok());
        let error = unchanged("it", 3, Some(&[2])).unwrap_err();
        assert_eq!(error.kind, RejectionKind::Precondition);
    }
}
