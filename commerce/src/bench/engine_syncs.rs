//! The engine's own syncs: those that sled asks the kernel for by itself, which nobody else sees.
//!
//! sled says of every buffer that it wrote it, in a debug record, right after `sync_file_range`;
//! and of every cut of its file, before it syncs that. So its records are counted, and go no
//! further.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use log::{Level, LevelFilter, Log, Metadata, Record};

use super::failed;
use crate::cli::Failure;

/// How such records come: from where, and how they begin.
const TARGET: &str = "sled::pagecache";
const SYNCED: [&str; 2] = ["wrote lsns ", "truncating file to length "];

/// Counts them, from its making to the end of the process. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct EngineSyncs(Arc<AtomicU64>);

impl EngineSyncs {
    /// Listens to sled.
    pub(super) fn listen() -> Result<EngineSyncs, Failure> {
        let counted = EngineSyncs::default();
        log::set_boxed_logger(Box::new(counted.clone()))
            .map_err(|error| failed(format!("the engine's syncs cannot be counted: {error}")))?;
        log::set_max_level(LevelFilter::Debug);
        Ok(counted)
    }

    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Log for EngineSyncs {
    fn enabled(&self, of: &Metadata<'_>) -> bool {
        of.level() == Level::Debug && of.target().starts_with(TARGET)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let said = record.args().to_string();
        if SYNCED.iter().any(|begin| said.starts_with(begin)) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_sled_says_of_its_syncs_is_counted() {
        let counted = EngineSyncs::default();
        let hear = |target: &str, level, said: std::fmt::Arguments<'_>| {
            let mut record = Record::builder();
            let record = record.target(target).level(level).args(said);
            counted.log(&record.build());
        };
        let (io, debug) = ("sled::pagecache::iobuf", Level::Debug);
        hear(io, debug, format_args!("wrote lsns {}-{} to disk", 1, 2));
        hear(io, debug, format_args!("advancing offset"));
        hear(io, Level::Trace, format_args!("wrote lsns"));
        hear("hyper", debug, format_args!("wrote lsns 1"));
        let (segment, at) = ("sled::pagecache::segment", 4_096);
        hear(
            segment,
            debug,
            format_args!("truncating file to length {at}"),
        );
        assert_eq!(counted.count(), 2);
    }
}
