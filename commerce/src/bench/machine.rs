//! The machine: the data directory, the disk under it, and what the process has used of both.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::fdatasync::Fdatasync;
use super::{Case, failed};
use crate::cli::Failure;

/// Samples of the idle disk, before and after each.
const DISK_SAMPLES: usize = 200;

/// A fresh data directory.
pub(super) enum Directory {
    /// Goes with the value.
    Passing(TempDir),
    /// Stays.
    Kept(PathBuf),
}

impl Directory {
    /// A directory below the present one, or the one that is to be kept: for a single measurement
    /// itself, otherwise with one below it for each.
    pub(super) fn fresh(keep: Option<&Path>, case: Case, single: bool) -> Result<Self, Failure> {
        let Some(keep) = keep else {
            let directory = tempfile::Builder::new()
                .prefix("commerce-bench-")
                .tempdir_in(".");
            return match directory {
                Ok(directory) => Ok(Directory::Passing(directory)),
                Err(error) => Err(failed(format!(
                    "no directory can be made here ({error}); start it where there is one to write"
                ))),
            };
        };
        let path = if single {
            keep.to_owned()
        } else {
            keep.join(case.to_string())
        };
        let unusable = |error| failed(format!("directory {}: {error}", path.display()));
        fs::create_dir_all(&path).map_err(unusable)?;
        if fs::read_dir(&path).map_err(unusable)?.next().is_some() {
            return Err(failed(format!(
                "directory {} is not empty; empty it or choose another",
                path.display()
            )));
        }
        Ok(Directory::Kept(path))
    }

    pub(super) fn path(&self) -> &Path {
        match self {
            Directory::Passing(directory) => directory.path(),
            Directory::Kept(path) => path,
        }
    }
}

/// Times of durable 4 KiB overwrites; nothing else should use the disk meanwhile.
pub(super) fn disk(dir: &Path) -> Result<Vec<Duration>, Failure> {
    let unusable = |error| failed(format!("the disk cannot be measured: {error}"));
    let mut disk = Fdatasync::prepare(dir).map_err(unusable)?;
    (0..DISK_SAMPLES)
        .map(|_| disk.once().map_err(unusable))
        .collect()
}

/// Bytes that this process has had written to the disk, and the memory it takes in KiB; 0 where
/// the system does not say.
pub(super) fn usage() -> (u64, u64) {
    (
        number("/proc/self/io", "write_bytes:"),
        number("/proc/self/status", "VmRSS:"),
    )
}

/// Processor time of this process, in microseconds; 0 where the system does not say.
pub(super) fn cpu_micros() -> u64 {
    // In hundredths of a second, whatever the machine: proc(5), USER_HZ.
    const MICROS_PER_TICK: u64 = 10_000;
    let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name, which may hold anything but ends the last bracket.
    let fields = text.rsplit(')').next().unwrap_or_default();
    let (user, system) = (11, 12);
    let fields: Vec<&str> = fields.split_whitespace().collect();
    [user, system]
        .iter()
        .filter_map(|at| fields.get(*at)?.parse::<u64>().ok())
        .sum::<u64>()
        .saturating_mul(MICROS_PER_TICK)
}

fn number(path: &str, name: &str) -> u64 {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::bench::{Over, Workload};

    const CASE: Case = Case {
        workload: Workload::W1,
        over: Over::Process,
        clients: 1,
    };

    #[test]
    fn a_directory_with_something_in_it_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let keep = dir.path().join("kept");
        let fresh = Directory::fresh(Some(&keep), CASE, true).unwrap();
        fs::write(fresh.path().join("something"), "").unwrap();
        assert!(Directory::fresh(Some(&keep), CASE, true).is_err());
        let below = Directory::fresh(Some(&keep), CASE, false).unwrap();
        assert_eq!(below.path(), keep.join("w1-process-1"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_and_processor_time_of_this_process_are_known() {
        assert!(usage().1 > 0);
        let mut spun = 0_u64;
        while cpu_micros() == 0 {
            spun = std::hint::black_box(spun.wrapping_add(1));
        }
    }
}
