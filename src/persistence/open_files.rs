//! Open files: how many the process may have, and how many of them are for the store.
//!
//! A journal that cannot open its next segment closes its cell. So connections, which strangers
//! open, never take the last files: the store's share is kept from them.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that connections leave to the store: segments, snapshots, the engine, the event log.
const STORE_FILES: u64 = 256;

/// How many connections there may be of `wanted`, after the soft limit was raised as far as they
/// need and the hard limit allows. A process with few files gives the store three quarters.
pub(crate) fn connections_max(wanted: usize) -> usize {
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    let files = raised(wanted.saturating_add(STORE_FILES));
    usize::try_from(share(wanted, files)).unwrap_or(usize::MAX)
}

fn share(wanted: u64, files: u64) -> u64 {
    let store = STORE_FILES.min(files / 4 * 3);
    wanted.min(files - store).max(1)
}

/// The soft limit, raised to `needed` if it is lower and may be.
fn raised(needed: u64) -> u64 {
    let limits = getrlimit(Resource::Nofile);
    let Some(soft) = limits.current.filter(|soft| *soft < needed) else {
        return limits.current.unwrap_or(u64::MAX);
    };
    let higher = limits.maximum.map_or(needed, |hard| hard.min(needed));
    let asked = Rlimit {
        current: Some(higher),
        maximum: limits.maximum,
    };
    match setrlimit(Resource::Nofile, asked) {
        Ok(()) => higher,
        Err(_) => soft,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_the_store_its_files() {
        for (wanted, files, granted) in [
            (4_096, u64::MAX, 4_096),
            (4_096, 4_096 + STORE_FILES, 4_096),
            (4_096, 1_024, 1_024 - STORE_FILES),
            (100, 1_024, 100),
            (4_096, 120, 30),
            (4_096, 0, 1),
            (0, 1_024, 1),
        ] {
            assert_eq!(share(wanted, files), granted, "{wanted} of {files}");
        }
    }
}
