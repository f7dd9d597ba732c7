//! Errors: what the library could not do, and what to do next.
//!
//! A [`Rejection`](crate::Rejection) is a business answer and lives with the service contract; a
//! panic is a bug and is the supervisor's business. Everything here is neither.

use std::io;
use std::path::{Path, PathBuf};

use crate::commit::Position;

/// The store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The cell has stopped after an error of its disk; nothing more is accepted. Whether the
    /// last unanswered commits survived is known after the next start.
    #[error(
        "the cell is closed ({reason}); restart the process to recover it, and if that ends the same way restore the newest backup"
    )]
    Closed {
        /// What closed it.
        reason: String,
    },
    /// Another actor has taken over the service.
    #[error("a newer actor owns the service; this commit is refused")]
    Superseded,
    /// A stored value could not be read back as what it was stored as.
    #[error("damaged {what}: {detail}; keep the data directory and restore the newest backup")]
    Damaged {
        /// What was being read.
        what: String,
        /// What was wrong with it.
        detail: String,
    },
    /// A newer version of the library has written it.
    #[error(
        "{what} has format {found}, this version reads up to {known}; run the version that wrote it, or a newer one"
    )]
    NewerFormat {
        /// What was being read.
        what: String,
        /// Its format.
        found: u32,
        /// The newest this version knows.
        known: u32,
    },
    /// The disk refused an operation.
    #[error("{operation} failed: {detail}")]
    Io {
        /// What was being done, with its subject.
        operation: String,
        /// What the system said.
        detail: String,
    },
    /// The disk is full; turns wait until space is free again.
    #[error("no space left for the journal; free some space, work resumes by itself")]
    Full,
    /// A commit is larger than a journal record may be.
    #[error("a commit of {bytes} bytes exceeds the limit of {limit}; split the turn's work")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A commit that cannot have come from a correct turn.
    #[error("commit of service {service} refused: {detail}; please report this")]
    Refused {
        /// The number of the service.
        service: u32,
        /// What was wrong.
        detail: String,
    },
}

impl StoreError {
    /// What the disk said when it refused to do `doing` (as in "writing") to `path`.
    pub(crate) fn io(doing: &str, path: &Path, error: &io::Error) -> StoreError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
            _ => StoreError::Io {
                operation: format!("{doing} {}", path.display()),
                detail: error.to_string(),
            },
        }
    }

    /// A file that does not hold what it must.
    pub(crate) fn damaged(path: &Path, detail: impl Into<String>) -> StoreError {
        StoreError::Damaged {
            what: path.display().to_string(),
            detail: detail.into(),
        }
    }
}

/// A data directory could not be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "data directory {path} is open in another process (pid {pid}); stop it or choose another directory"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The holder, as it wrote itself into the lock file; "unknown" if it has not yet.
        pid: String,
    },
    /// It may not be written to.
    #[error(
        "data directory {path} cannot be written ({detail}); give this user write access or choose another directory"
    )]
    ReadOnly {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// A newer version of the library has written it.
    #[error(
        "data directory {path} has format {found}, this version reads up to {known}; run the version that wrote it, or a newer one"
    )]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest this version knows.
        known: u32,
    },
    /// Something that was durable cannot be read.
    #[error(
        "{file} is damaged at byte {offset} (commit {position:?}): {detail}; nothing was changed; restore the newest backup"
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where reading stopped.
        offset: u64,
        /// The last commit that could be read.
        position: Position,
        /// What was wrong.
        detail: String,
    },
    /// The disk is full.
    #[error(
        "data directory {path} has no space left for recovery ({needed} bytes needed); free some space and start again"
    )]
    Full {
        /// The directory.
        path: PathBuf,
        /// How much is needed.
        needed: u64,
    },
    /// The disk refused an operation.
    #[error("{operation} {path} failed: {detail}")]
    Io {
        /// What was being done.
        operation: String,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
}
