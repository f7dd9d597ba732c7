//! A sender that answers at once: it writes each letter as mail, and gives it to nobody.
//!
//! For benches, where a stand-in for a mail server must not cost what no mail server would.

use std::hint::black_box;

use super::mail::{self, Mailbox};
use super::sender::{Letter, Sender, SenderFuture};

/// Writes letters as mail and forgets them.
#[derive(Debug, Clone)]
pub struct SentAtOnce {
    from: Mailbox,
}

impl SentAtOnce {
    /// A sender of letters from this address.
    pub fn new(from: Mailbox) -> SentAtOnce {
        SentAtOnce { from }
    }
}

impl Sender for SentAtOnce {
    fn send(&self, letter: Letter) -> SenderFuture<'_> {
        let written = mail::message(&letter, &self.from);
        Box::pin(async {
            black_box(written?.formatted());
            Ok(())
        })
    }
}
