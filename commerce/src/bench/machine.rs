//! The machine: the data directory, the disk under it, and what the process has used of both.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tempfile::TempDir;

use super::fdatasync::Fdatasync;
use super::{Case, Over, failed};
use crate::cli::Failure;

/// Samples of the idle disk, before and after each.
const DISK_SAMPLES: usize = 200;

/// A fresh data directory.
pub(super) enum Directory {
    /// Goes with the value.
    Passing(TempDir),
    /// Stays, without what was measured beside it.
    Kept {
        /// The data directory itself.
        data: PathBuf,
        /// On the same disk; goes with the value.
        beside: TempDir,
    },
}

impl Directory {
    /// A directory below the present one, or the one that is to be kept: for a single measurement
    /// itself, otherwise with one below it for each.
    pub(super) fn fresh(
        keep: Option<&Path>,
        what: impl fmt::Display,
        single: bool,
    ) -> Result<Self, Failure> {
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
            keep.join(what.to_string())
        };
        let unusable = |error| failed(format!("directory {}: {error}", path.display()));
        empty(&path)?;
        fs::create_dir_all(&path).map_err(unusable)?;
        let beside = tempfile::Builder::new().prefix(".bench-").tempdir_in(&path);
        let beside = beside.map_err(unusable)?;
        Ok(Directory::Kept { data: path, beside })
    }

    /// Where the services have their data.
    pub(super) fn data(&self) -> PathBuf {
        match self {
            Directory::Passing(directory) => directory.path().join("data"),
            Directory::Kept { data, .. } => data.clone(),
        }
    }

    /// Where anything else may be put that is measured on the same disk.
    pub(super) fn beside(&self) -> &Path {
        match self {
            Directory::Passing(beside) | Directory::Kept { beside, .. } => beside.path(),
        }
    }

    /// Removes what is not to be kept.
    pub(super) fn close(self) -> Result<(), Failure> {
        let (Directory::Passing(directory)
        | Directory::Kept {
            beside: directory, ..
        }) = self;
        let path = directory.path().to_owned();
        directory.close().map_err(|error| {
            failed(format!(
                "directory {} cannot be removed ({error}); remove it by hand",
                path.display()
            ))
        })
    }
}

/// Refuses a directory with something in it; one that is missing is empty.
pub(super) fn empty(dir: &Path) -> Result<(), Failure> {
    let why = match fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => return Ok(()),
            Some(_) => "is not empty; empty it or choose another".to_owned(),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => format!("cannot be read: {error}"),
    };
    Err(failed(format!("directory {} {why}", dir.display())))
}

/// Makes sure that there may be a connection for each client, with both of its ends in this
/// process: raises the soft limit of open files as far as that needs.
pub(super) fn open_files(case: Case) -> Result<(), Failure> {
    /// The services' own, and those of the machine.
    const OTHERS: u64 = 512;
    let needed = match case.over {
        Over::Process => OTHERS,
        Over::Http => OTHERS + 2 * case.clients as u64,
    };
    let limits = getrlimit(Resource::Nofile);
    let enough = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if enough(limits.current) {
        return Ok(());
    }
    let raised = Rlimit {
        current: Some(needed),
        maximum: limits.maximum,
    };
    if enough(limits.maximum) && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    Err(failed(format!(
        "{} clients over {} need {needed} open files and this process may have {}; raise the hard \
         limit (ulimit -Hn) or take fewer clients",
        case.clients,
        case.over,
        limits.maximum.unwrap_or_default()
    )))
}

/// Times of durable 4 KiB overwrites; nothing else should use the disk meanwhile.
pub(super) fn disk(dir: &Path) -> Result<Vec<Duration>, Failure> {
    let unusable = |error| failed(format!("the disk cannot be measured: {error}"));
    let mut disk = Fdatasync::prepare(dir).map_err(unusable)?;
    (0..DISK_SAMPLES)
        .map(|_| disk.once().map_err(unusable))
        .collect()
}

/// This process, as the functions below want it named.
pub(super) const SELF: &str = "self";

/// Bytes that a process has had written to the disk, and the memory it takes in KiB; 0 where the
/// system does not say.
pub(super) fn usage(process: &str) -> (u64, u64) {
    (
        number(&format!("/proc/{process}/io"), "write_bytes:"),
        number(&format!("/proc/{process}/status"), "VmRSS:"),
    )
}

/// Processor time of a process, in microseconds; 0 where the system does not say.
pub(super) fn cpu_micros(process: &str) -> u64 {
    // In hundredths of a second, whatever the machine: proc(5), USER_HZ.
    const MICROS_PER_TICK: u64 = 10_000;
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
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
        fs::write(fresh.data().join("something"), "").unwrap();
        fresh.close().unwrap();
        assert!(Directory::fresh(Some(&keep), CASE, true).is_err());
        let below = Directory::fresh(Some(&keep), CASE, false).unwrap();
        assert_eq!(below.data(), keep.join("w1-process-1"));
        below.close().unwrap();
        assert_eq!(fs::read_dir(keep.join("w1-process-1")).unwrap().count(), 0);
    }

    #[test]
    fn more_clients_than_files_are_refused_with_the_limit() {
        let (over, clients) = (Over::Http, usize::MAX / 4);
        let many = Case {
            clients,
            over,
            ..CASE
        };
        if getrlimit(Resource::Nofile).maximum.is_some() {
            let refused = open_files(many).unwrap_err().to_string();
            assert!(refused.contains("ulimit"), "{refused}");
        }
        open_files(CASE).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_and_processor_time_of_this_process_are_known() {
        assert!(usage(SELF).1 > 0);
        let mut spun = 0_u64;
        while cpu_micros(SELF) == 0 {
            spun = std::hint::black_box(spun.wrapping_add(1));
        }
    }
}
