//! Every decoder of the library as a function of bytes, for fuzzing and for replaying what it found
//! (feature `fuzzing`, never in a default build).
//!
//! A decoder must not panic, must not allocate more than its input accounts for, and must give back
//! what was written: each [`Target`] tries that and panics when it does not hold. Where bytes are
//! checksummed, a target also says how to make the checksums fit, because otherwise no change would
//! ever get past them.
#![allow(clippy::unwrap_used)] // A panic is how a target reports.

mod keys;
mod outside;
mod rows;
mod values;

use crate::codec::{self, Subject};
use crate::http::fuzzing as headers;
use crate::persistence::fuzzing::{files, journal};

/// What a decoder made of some bytes: nothing, or why they are none of its.
pub type Verdict = Result<(), String>;

/// One decoder.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// What it decodes.
    pub name: &'static str,
    /// Decodes bytes, and panics if what comes of it is not what the decoder promises.
    pub decode: fn(&[u8]) -> Verdict,
    /// Makes the checksums in the bytes those of the bytes.
    pub mend: Option<fn(&mut [u8])>,
    /// Bytes that decode, to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Whether bytes that decode never decode with a single bit flipped.
    pub is_sealed: bool,
    /// Bytes that may be allocated at once whatever the input is; see [`Target::allocation_max`].
    pub allocates: usize,
}

impl Target {
    /// A decoder of bytes that have no checksum.
    pub const fn open(
        name: &'static str,
        decode: fn(&[u8]) -> Verdict,
        seeds: fn() -> Vec<Vec<u8>>,
    ) -> Target {
        Target {
            name,
            decode,
            mend: None,
            seeds,
            is_sealed: false,
            allocates: 16 << 10,
        }
    }

    /// A decoder of checksummed bytes.
    pub const fn sealed(
        name: &'static str,
        decode: fn(&[u8]) -> Verdict,
        mend: fn(&mut [u8]),
        seeds: fn() -> Vec<Vec<u8>>,
    ) -> Target {
        Target {
            mend: Some(mend),
            is_sealed: true,
            ..Target::open(name, decode, seeds)
        }
    }

    /// The same where a flipped bit may go unnoticed, and why that is so stands beside it.
    pub const fn that_misses_flips(self) -> Target {
        Target {
            is_sealed: false,
            ..self
        }
    }

    /// The same with more room for what does not depend on the input.
    pub const fn allocating(self, allocates: usize) -> Target {
        Target { allocates, ..self }
    }

    /// Decodes bytes as they are, and again with fitting checksums.
    pub fn run(&self, data: &[u8]) -> (Verdict, Option<Verdict>) {
        let plain = (self.decode)(data);
        let mended = self.mend.map(|mend| {
            let mut mended = data.to_vec();
            mend(&mut mended);
            (self.decode)(&mended)
        });
        (plain, mended)
    }

    /// How many bytes [`Target::run`] may hold at once for an input of this length. A small number
    /// in memory can stand for one byte of input, and the target itself keeps copies to compare.
    pub const fn allocation_max(&self, input_bytes: usize) -> usize {
        self.allocates + 256 * input_bytes
    }
}

/// All decoders.
pub const TARGETS: &[Target] = &[
    Target::sealed(
        "journal_record",
        journal::record,
        journal::mend_record,
        journal::records,
    ),
    Target::open("commit_body", journal::commit, journal::commits),
    Target::sealed(
        "segment_header",
        journal::header,
        journal::mend_header,
        journal::headers,
    ),
    // Behind what is known to be durable a flipped bit is a torn tail: less, but never other, is read.
    Target::sealed(
        "journal",
        journal::journal,
        journal::mend_journal,
        journal::journals,
    )
    .that_misses_flips(),
    Target::sealed(
        "envelope",
        values::envelope,
        values::mend_envelope,
        values::envelopes,
    ),
    // A sequence may reserve a mebibyte at each depth before it has seen an element.
    Target::sealed(
        "table_value",
        values::value,
        values::mend_value,
        values::seeds,
    )
    .allocating(6 << 20),
    Target::sealed(
        "upgrade_chain",
        values::upgraded,
        values::mend_value,
        values::older_seeds,
    )
    .allocating(3 << 20),
    Target::open("key", keys::keys, keys::seeds),
    Target::sealed(
        "idempotency_record",
        rows::answer,
        rows::mend_answer,
        rows::answers,
    )
    .allocating(3 << 20),
    Target::sealed(
        "parked_message",
        rows::parked,
        rows::mend_parked,
        rows::parked_rows,
    )
    .allocating(3 << 20),
    Target::sealed("dead_letter", rows::dead, rows::mend_dead, rows::dead_rows).allocating(3 << 20),
    Target::sealed(
        "activity_result",
        rows::result,
        rows::mend_result,
        rows::results,
    )
    .allocating(3 << 20),
    Target::sealed("saga", rows::saga, rows::mend_saga, rows::sagas).allocating(3 << 20),
    Target::sealed(
        "checkpoint_file",
        files::checkpoint,
        files::mend_sealed,
        files::checkpoints,
    ),
    Target::sealed(
        "restored_file",
        files::restored,
        files::mend_sealed,
        files::restored_files,
    ),
    Target::sealed(
        "snapshot",
        files::snapshot,
        files::mend_snapshot,
        files::snapshots,
    )
    .allocating(512 << 10),
    Target::sealed("backup", files::backup, files::mend_backup, files::backups),
    Target::sealed(
        "spill_file",
        files::spill_file,
        files::mend_spill_file,
        files::spill_files,
    )
    .allocating(1 << 20),
    Target::sealed(
        "event_log",
        files::event_log,
        files::mend_event_log,
        files::event_logs,
    )
    .allocating(512 << 10),
    Target::open("running_file", files::running, files::running_files),
    Target::sealed(
        "engine_segments",
        files::engine_segments,
        files::mend_sealed,
        files::engine_segment_lists,
    ),
    Target::open("engine_log", files::engine_log, files::engine_logs),
    Target::open("engine_row", files::engine_row, files::engine_rows),
    Target::open(
        "event_cursor",
        headers::event_cursor,
        headers::event_cursors,
    ),
    Target::open(
        "idempotency_key",
        headers::idempotency,
        headers::idempotency_keys,
    ),
    Target::open("traceparent", outside::traceparent, outside::traceparents),
    Target::open("json_command", outside::json, outside::commands),
];

/// Makes the checksum of a sealed value fit what stands before it.
pub fn mend(subject: Subject<'_>, sealed: &mut [u8]) {
    codec::mend(subject, sealed);
}
