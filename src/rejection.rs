//! Rejections: the business answer "no".

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a business refusal is about; the HTTP facade turns it into a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum RejectionKind {
    /// The request breaks a rule (422).
    Invalid,
    /// There is no such thing, or the caller may not know of it (404).
    NotFound,
    /// The state does not allow it now (409).
    Conflict,
    /// The caller's precondition does not hold (412).
    Precondition,
    /// The caller may not (403).
    Forbidden,
    /// The library could not complete the turn; the turn is not committed. Handlers do not make
    /// these: `?` on an error of [`Context`](crate::Context) does.
    Failed,
}

/// A business answer: no. It commits what was decided (the message is consumed, the answer is
/// stored) and discards the turn's writes, messages, timers and activities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    /// What it is about.
    pub kind: RejectionKind,
    /// Stable name for programs, such as `out_of_stock`.
    pub code: String,
    /// A sentence a person can act on.
    pub message: String,
    /// Further facts as name and value.
    pub details: Vec<(String, String)>,
}

impl Rejection {
    /// A refusal of this kind.
    pub fn new(
        kind: RejectionKind,
        code: impl Into<String>,
        message: impl Into<String>,
    ) -> Rejection {
        Rejection {
            kind,
            code: code.into(),
            message: message.into(),
            details: Vec::new(),
        }
    }

    /// The request breaks a rule.
    pub fn invalid(code: impl Into<String>, message: impl Into<String>) -> Rejection {
        Rejection::new(RejectionKind::Invalid, code, message)
    }

    /// There is no such thing.
    pub fn not_found(code: impl Into<String>, message: impl Into<String>) -> Rejection {
        Rejection::new(RejectionKind::NotFound, code, message)
    }

    /// The state does not allow it now.
    pub fn conflict(code: impl Into<String>, message: impl Into<String>) -> Rejection {
        Rejection::new(RejectionKind::Conflict, code, message)
    }

    /// The caller may not.
    pub fn forbidden(code: impl Into<String>, message: impl Into<String>) -> Rejection {
        Rejection::new(RejectionKind::Forbidden, code, message)
    }

    /// Adds a fact.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl fmt::Display) -> Rejection {
        self.details.push((name.into(), value.to_string()));
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Rejection {}
