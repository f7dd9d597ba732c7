//! The payment provider's ledger, read as anybody outside the shop would.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use serde::{Deserialize, Serialize};

/// What the provider did, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Charged {
    pub(super) captured: i64,
    pub(super) refunded: i64,
    pub(super) net: i64,
    /// Lines that were read.
    pub(super) lines: u64,
}

#[derive(Deserialize)]
struct Line {
    operation: String,
    amount: i64,
    outcome: String,
}

/// Reads the ledger; `None` if there is none.
pub(super) fn read(path: &Path) -> io::Result<Option<Charged>> {
    match File::open(path) {
        Ok(file) => sum(BufReader::new(file)).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn sum(lines: impl BufRead) -> io::Result<Charged> {
    let mut charged = Charged::default();
    for line in lines.lines() {
        // The last one may just be being written.
        let Ok(line) = serde_json::from_str::<Line>(&line?) else {
            continue;
        };
        charged.lines += 1;
        if line.outcome != "ok" {
            continue;
        }
        match line.operation.as_str() {
            "capture" => charged.captured += line.amount,
            "refund" => charged.refunded += line.amount,
            // Nothing moves.
            _ => {}
        }
    }
    charged.net = charged.captured - charged.refunded;
    Ok(charged)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn captures_and_refunds_that_were_done_count_and_nothing_else() {
        let text = r#"{"operation":"authorise","amount":500,"outcome":"ok"}
{"operation":"capture","amount":500,"outcome":"ok"}
{"operation":"capture","amount":700,"outcome":"declined"}
{"operation":"void","amount":0,"outcome":"ok"}
{"operation":"refund","amount":120,"outcome":"ok"}
{"operation":"refund","amo"#;
        let charged = sum(text.as_bytes()).unwrap();
        let expected = Charged {
            captured: 500,
            refunded: 120,
            net: 380,
            lines: 5,
        };
        assert_eq!(charged, expected);
    }

    #[test]
    fn no_ledger_is_none() {
        assert_eq!(read(Path::new("/nonexistent/ledger.jsonl")).unwrap(), None);
    }
}
