//! Texts of templates: `{{name}}` stands for a value.
//!
//! A text is read once into pieces, and only pieces are filled in: a value is never read as part
//! of a template, whatever it contains. Values that are personal stay unfilled until a sender has
//! opened the recipient's contact. No conditions and no loops: what a template can say follows
//! from its variables alone, so it can be checked when it is written.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identity::Contact;
use crate::money::Money;

/// A part of a template's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Piece {
    /// As it stands.
    Text(String),
    /// The value of a variable.
    Variable(String),
    /// Something of the recipient, known only to whoever sends.
    Personal(Personal),
}

/// Something of the recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Personal {
    /// First name.
    FirstName,
    /// Last name.
    LastName,
    /// E-mail address.
    Email,
}

/// Values by variable.
pub type Values = Vec<(String, String)>;

/// A text that is no template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {fault}")]
pub struct TextError {
    /// Line of the fault, from 1.
    pub line: usize,
    /// Character of that line, from 1.
    pub column: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What can be wrong with a template's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Braces are opened and not closed.
    #[error("`{{{{` is not closed; write `}}}}` behind the variable's name")]
    Unclosed,
    /// Braces are closed and were not opened.
    #[error("`}}}}` closes nothing; write `{{{{` before the variable's name")]
    Unopened,
    /// No value has this name here.
    #[error("`{name}` is no variable of this text; use one of: {known}")]
    Unknown {
        /// What stands there, short enough to repeat.
        name: String,
        /// What may.
        known: String,
    },
    /// Personal values have no place in a subject, which is stored and shown as it is.
    #[error("`{name}` is personal and may stand in the body only")]
    PersonalInSubject {
        /// What stands there.
        name: &'static str,
    },
}

impl Personal {
    /// All.
    pub const ALL: [Personal; 3] = [Personal::FirstName, Personal::LastName, Personal::Email];

    /// Its variable.
    pub const fn name(self) -> &'static str {
        match self {
            Personal::FirstName => "first_name",
            Personal::LastName => "last_name",
            Personal::Email => "email",
        }
    }

    /// What stands for it in a preview.
    pub const fn sample(self) -> &'static str {
        match self {
            Personal::FirstName => "Ada",
            Personal::LastName => "Lovelace",
            Personal::Email => "ada@example.com",
        }
    }

    fn of(self, contact: &Contact) -> &str {
        match self {
            Personal::FirstName => &contact.first_name,
            Personal::LastName => &contact.last_name,
            Personal::Email => &contact.email,
        }
    }
}

/// Reads a text. `variables` are the plain ones it may use, `personal` whether it may use those
/// of the recipient.
///
/// # Errors
///
/// The first fault, with its place.
pub fn parse(
    text: &str,
    variables: &[&str],
    personal: PersonalUse,
) -> Result<Vec<Piece>, TextError> {
    let fault = |at: usize, fault: Fault| {
        let before = &text[..at];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        TextError {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            fault,
        }
    };
    let mut pieces = Vec::new();
    let mut from = 0;
    while from < text.len() {
        let rest = &text[from..];
        let (open, close) = (rest.find("{{"), rest.find("}}"));
        let plain_to = match (open, close) {
            (_, Some(close)) if open.is_none_or(|open| close < open) => {
                return Err(fault(from + close, Fault::Unopened));
            }
            (Some(open), _) => open,
            (None, _) => rest.len(),
        };
        if plain_to > 0 {
            pieces.push(Piece::Text(rest[..plain_to].to_owned()));
        }
        if plain_to == rest.len() {
            break;
        }
        let at = from + plain_to;
        let inside = &rest[plain_to + 2..];
        let unclosed = || fault(at, Fault::Unclosed);
        let end = inside.find("}}").ok_or_else(unclosed)?;
        let name = inside[..end].trim();
        if name.contains("{{") {
            return Err(unclosed());
        }
        let piece = variable(name, variables, personal).map_err(|found| fault(at, found))?;
        pieces.push(piece);
        from = at + 2 + end + 2;
    }
    Ok(pieces)
}

/// Whether a text may use what is personal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PersonalUse {
    /// It may.
    Allowed,
    /// It is a subject.
    NotInSubject,
    /// Its recipient is nobody in particular.
    NoPerson,
}

fn variable(name: &str, variables: &[&str], personal: PersonalUse) -> Result<Piece, Fault> {
    if variables.contains(&name) {
        return Ok(Piece::Variable(name.to_owned()));
    }
    let person = Personal::ALL.into_iter().find(|part| part.name() == name);
    match (person, personal) {
        (Some(part), PersonalUse::Allowed) => return Ok(Piece::Personal(part)),
        (Some(part), PersonalUse::NotInSubject) => {
            return Err(Fault::PersonalInSubject { name: part.name() });
        }
        (Some(_), PersonalUse::NoPerson) | (None, _) => {}
    }
    const SHOWN_CHARS_MAX: usize = 40;
    let mut known: Vec<&str> = variables.to_vec();
    if personal == PersonalUse::Allowed {
        known.extend(Personal::ALL.map(Personal::name));
    }
    Err(Fault::Unknown {
        name: name.chars().take(SHOWN_CHARS_MAX).collect(),
        known: if known.is_empty() {
            "(there are none)".to_owned()
        } else {
            known.join(", ")
        },
    })
}

/// Fills in what is plain; personal pieces stay.
pub fn fill(pieces: Vec<Piece>, values: &Values) -> Vec<Piece> {
    let mut filled: Vec<Piece> = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let text = match piece {
            Piece::Personal(_) => {
                filled.push(piece);
                continue;
            }
            Piece::Text(text) => text,
            Piece::Variable(name) => value(values, &name).to_owned(),
        };
        match filled.last_mut() {
            Some(Piece::Text(before)) => before.push_str(&text),
            Some(Piece::Variable(_) | Piece::Personal(_)) | None => filled.push(Piece::Text(text)),
        }
    }
    filled
}

/// A text that is plain through and through, in one line and not too long for a header.
pub fn subject(pieces: Vec<Piece>, values: &Values) -> String {
    const CHARS_MAX: usize = 250;
    let text: String = fill(pieces, values).iter().map(plain).collect();
    one_line(&text).chars().take(CHARS_MAX).collect()
}

/// A body for this recipient. Without one, what is personal stays empty.
pub fn body(pieces: &[Piece], contact: Option<&Contact>) -> String {
    let of = |piece: &Piece| match (piece, contact) {
        (Piece::Personal(part), Some(contact)) => one_line(part.of(contact)),
        (Piece::Personal(_), None) => String::new(),
        (Piece::Text(_) | Piece::Variable(_), _) => plain(piece).to_owned(),
    };
    pieces.iter().map(of).collect()
}

fn plain(piece: &Piece) -> &str {
    match piece {
        Piece::Text(text) => text,
        Piece::Variable(_) | Piece::Personal(_) => "",
    }
}

fn value<'a>(values: &'a Values, name: &str) -> &'a str {
    let found = values.iter().find(|(known, _)| known == name);
    found.map_or("", |(_, value)| value)
}

/// A text as one line: nothing in it can begin a header of its own.
pub fn one_line(text: &str) -> String {
    let blank = |c: char| if c.is_control() { ' ' } else { c };
    text.chars()
        .map(blank)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// Money as people write it: `19.98 EUR`.
pub fn in_words(money: Money) -> String {
    let currency = money.currency.to_string();
    let digits: usize = match currency.as_str() {
        "BIF" | "CLP" | "DJF" | "GNF" | "ISK" | "JPY" | "KMF" | "KRW" | "PYG" | "RWF" | "UGX"
        | "UYI" | "VND" | "VUV" | "XAF" | "XOF" | "XPF" => 0,
        "BHD" | "IQD" | "JOD" | "KWD" | "LYD" | "OMR" | "TND" => 3,
        _ => 2,
    };
    let sign = if money.amount < 0 { "-" } else { "" };
    let all = format!("{:0>1$}", money.amount.unsigned_abs(), digits + 1);
    let (whole, part) = all.split_at(all.len() - digits);
    let point = if digits == 0 { "" } else { "." };
    format!("{sign}{whole}{point}{part} {currency}")
}

impl fmt::Display for Personal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::money::Currency;

    fn body_of(text: &str) -> Result<Vec<Piece>, TextError> {
        parse(text, &["order_id", "total"], PersonalUse::Allowed)
    }

    fn values() -> Values {
        vec![
            ("order_id".into(), "7".into()),
            ("total".into(), "{{email}}".into()),
        ]
    }

    fn ada() -> Contact {
        Contact {
            email: "ada@example.com".into(),
            first_name: "Ada".into(),
            last_name: "Love\r\nlace".into(),
        }
    }

    #[track_caller]
    fn complaint(text: &str) -> String {
        body_of(text).unwrap_err().to_string()
    }

    #[test]
    fn a_text_is_filled_in_where_it_says() {
        let pieces = body_of("Dear {{first_name}}, {{ order_id }} { is } here.\n").unwrap();
        let filled = fill(pieces, &values());
        assert_eq!(body(&filled, Some(&ada())), "Dear Ada, 7 { is } here.\n");
        assert_eq!(body(&filled, None), "Dear , 7 { is } here.\n");
    }

    #[test]
    fn a_value_is_never_read_as_a_template() {
        let filled = fill(body_of("{{total}}").unwrap(), &values());
        assert_eq!(body(&filled, Some(&ada())), "{{email}}");
    }

    #[test]
    fn nothing_personal_is_among_the_pieces_that_are_stored() {
        let filled = fill(body_of("{{first_name}} {{email}}").unwrap(), &values());
        let stored = format!("{filled:?}");
        assert!(!stored.contains("Ada") && !stored.contains('@'), "{stored}");
    }

    #[test]
    fn a_name_with_a_line_break_starts_no_new_line() {
        let filled = body_of("{{last_name}}").unwrap();
        assert_eq!(body(&filled, Some(&ada())), "Love  lace");
    }

    #[test]
    fn faults_are_named_with_their_place() {
        let unknown = complaint("a\nb {{totl}}");
        assert!(unknown.starts_with("line 2, column 3: `totl`"), "{unknown}");
        assert!(unknown.ends_with("order_id, total, first_name, last_name, email"));
        assert!(complaint("äö {{total").starts_with("line 1, column 4: `{{` is not closed"));
        assert!(complaint("{{total {{order_id}}").contains("not closed"));
        assert!(complaint("x }} {{total}}").starts_with("line 1, column 3: `}}` closes nothing"));
        assert!(complaint("{{}}").contains("`` is no variable"));
    }

    #[test]
    fn a_subject_takes_nothing_personal_and_becomes_one_line() {
        let subject_of = |text| parse(text, &["reason"], PersonalUse::NotInSubject);
        let error = subject_of("Hello {{first_name}}").unwrap_err();
        assert_eq!(error.fault, Fault::PersonalInSubject { name: "first_name" });
        let values = vec![("reason".to_owned(), "x\r\nBcc: all@example.com".to_owned())];
        let line = subject(subject_of("Why: {{reason}}").unwrap(), &values);
        assert_eq!(line, "Why: x  Bcc: all@example.com");
        let long = vec![("reason".to_owned(), "x".repeat(1_000))];
        assert_eq!(subject(subject_of("{{reason}}").unwrap(), &long).len(), 250);
    }

    #[test]
    fn money_is_written_with_its_currencys_digits() {
        for (amount, currency, text) in [
            (1_998, "EUR", "19.98 EUR"),
            (5, "EUR", "0.05 EUR"),
            (-150, "USD", "-1.50 USD"),
            (1_998, "JPY", "1998 JPY"),
            (1_998, "KWD", "1.998 KWD"),
            (i64::MIN, "EUR", "-92233720368547758.08 EUR"),
        ] {
            let currency: Currency = currency.parse().unwrap();
            assert_eq!(in_words(Money::new(amount, currency)), text);
        }
    }
}
