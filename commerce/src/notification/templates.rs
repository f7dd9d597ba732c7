//! Templates: what is said of an occasion, by which channel.
//!
//! Every active template of an occasion is sent. To say something in other words, change the
//! template; to say it otherwise for a while, deactivate it and activate another.

use redeliver::Rejection;
use serde::{Deserialize, Serialize};

use super::messages::{PreviewView, TemplateText, TemplateView};
use super::occasion::{Channel, Occasion};
use super::text::{self, Personal, PersonalUse, Piece, TextError, Values};
use crate::ids::TemplateId;

/// Longest name in characters.
pub const NAME_CHARS_MAX: usize = 80;
/// Longest subject in characters.
pub const SUBJECT_CHARS_MAX: usize = 200;
/// Longest body in bytes.
pub const BODY_BYTES_MAX: usize = 10_000;

/// A template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    /// What people call it; no other of its channel is called so.
    pub name: String,
    /// What it tells of. Without one it is a draft, which can be previewed and not activated.
    pub occasion: Option<Occasion>,
    /// How it goes out.
    pub channel: Channel,
    /// Its subject; plain variables only.
    pub subject: String,
    /// Its body.
    pub body: String,
    /// Whether it is sent.
    pub active: bool,
    /// Counts its changes, from 1.
    pub version: u64,
}

/// A template that was read: what is to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// The subject.
    pub subject: Vec<Piece>,
    /// The body.
    pub body: Vec<Piece>,
}

impl Template {
    /// A template as somebody has written it, if it can be used.
    pub fn written(new: TemplateText, version: u64, active: bool) -> Result<Template, Rejection> {
        let template = Template {
            name: new.name.trim().to_owned(),
            occasion: new.event,
            channel: new.channel,
            subject: new.subject,
            body: new.body,
            active: new.active.unwrap_or(active),
            version,
        };
        template.check()?;
        if template.active && template.occasion.is_none() {
            return Err(no_event());
        }
        Ok(template)
    }

    /// Whether it can be used; what is wrong, and where.
    pub fn check(&self) -> Result<(), Rejection> {
        let blank = self.name.is_empty() || self.name.chars().any(char::is_control);
        if blank || self.name.chars().count() > NAME_CHARS_MAX {
            return Err(Rejection::invalid(
                "invalid_name",
                format!("name must have 1 to {NAME_CHARS_MAX} visible characters"),
            ));
        }
        let subject_chars = self.subject.chars().count();
        if self.subject.trim().is_empty() || subject_chars > SUBJECT_CHARS_MAX {
            return Err(Rejection::invalid(
                "invalid_subject",
                format!("subject has {subject_chars} characters; use 1 to {SUBJECT_CHARS_MAX}"),
            ));
        }
        if self.subject.chars().any(char::is_control) {
            return Err(Rejection::invalid(
                "invalid_subject",
                "subject must be one line without control characters",
            ));
        }
        if self.body.trim().is_empty() || self.body.len() > BODY_BYTES_MAX {
            let bytes = self.body.len();
            return Err(Rejection::invalid(
                "invalid_body",
                format!("body has {bytes} bytes; use 1 to {BODY_BYTES_MAX}"),
            ));
        }
        self.parse().map(drop)
    }

    /// Reads subject and body.
    pub fn parse(&self) -> Result<Parsed, Rejection> {
        let known = self.variables();
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let in_body = self
            .occasion
            .map_or(PersonalUse::Allowed, Occasion::personal);
        let in_subject = match in_body {
            PersonalUse::Allowed => PersonalUse::NotInSubject,
            other => other,
        };
        let wrong = |field: &'static str| {
            move |error: TextError| {
                Rejection::invalid("invalid_template", format!("{field}, {error}"))
                    .with("field", field)
                    .with("line", error.line)
                    .with("column", error.column)
            }
        };
        Ok(Parsed {
            subject: text::parse(&self.subject, &names, in_subject).map_err(wrong("subject"))?,
            body: text::parse(&self.body, &names, in_body).map_err(wrong("body"))?,
        })
    }

    /// Its plain variables with samples. A draft may use those of every occasion.
    fn variables(&self) -> Vec<(&'static str, &'static str)> {
        match self.occasion {
            Some(occasion) => occasion.variables().to_vec(),
            None => {
                let all = Occasion::ALL.into_iter();
                let mut all: Vec<_> = all
                    .flat_map(|one| one.variables().iter().copied())
                    .collect();
                all.sort_unstable();
                all.dedup_by_key(|(name, _)| *name);
                all
            }
        }
    }

    /// What it would say, with samples for what `given` leaves out.
    pub fn preview(&self, given: &[(String, String)]) -> Result<PreviewView, Rejection> {
        let Parsed { subject, body } = self.parse()?;
        let mut values: Values = Vec::new();
        for (name, sample) in self.variables() {
            values.push((name.to_owned(), sample.to_owned()));
        }
        let person = self
            .occasion
            .map_or(PersonalUse::Allowed, Occasion::personal);
        if person == PersonalUse::Allowed {
            for part in Personal::ALL {
                values.push((part.name().to_owned(), part.sample().to_owned()));
            }
        }
        for (name, value) in given {
            match values.iter_mut().find(|(known, _)| known == name) {
                Some((_, sample)) => sample.clone_from(value),
                None => {
                    let known: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
                    let shown: String = name.chars().take(40).collect();
                    return Err(Rejection::invalid(
                        "unknown_variable",
                        format!(
                            "`{shown}` is no variable of this template; use one of: {}",
                            known.join(", ")
                        ),
                    ));
                }
            }
        }
        // A preview has no recipient: what is personal is filled in like the rest.
        let plain = body.into_iter().map(|piece| match piece {
            Piece::Personal(part) => Piece::Variable(part.name().to_owned()),
            Piece::Text(_) | Piece::Variable(_) => piece,
        });
        Ok(PreviewView {
            subject: text::subject(subject, &values),
            body: text::body(&text::fill(plain.collect(), &values), None),
        })
    }

    /// As the outside sees it.
    pub fn view(&self, id: TemplateId) -> TemplateView {
        let mut variables: Vec<String> = Vec::new();
        variables.extend(self.variables().iter().map(|(name, _)| (*name).to_owned()));
        let person = self
            .occasion
            .map_or(PersonalUse::Allowed, Occasion::personal);
        if person == PersonalUse::Allowed {
            variables.extend(Personal::ALL.map(|part| part.name().to_owned()));
        }
        TemplateView {
            id,
            name: self.name.clone(),
            event: self.occasion,
            channel: self.channel,
            subject: self.subject.clone(),
            body: self.body.clone(),
            active: self.active,
            version: self.version,
            variables,
        }
    }
}

/// A draft tells of nothing.
pub fn no_event() -> Rejection {
    Rejection::invalid(
        "no_event",
        "a template without an event is never sent; give it one, then activate it",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn text(subject: &str, body: &str) -> TemplateText {
        TemplateText {
            name: " Mine ".into(),
            event: Some(Occasion::OrderShipped),
            channel: Channel::Email,
            subject: subject.into(),
            body: body.into(),
            active: None,
        }
    }

    fn refused(subject: &str, body: &str) -> Rejection {
        Template::written(text(subject, body), 1, false).unwrap_err()
    }

    #[test]
    fn a_template_that_cannot_be_filled_in_is_refused_with_the_place() {
        let error = refused("On its way", "Dear {{first_name}},\n  {{total}}");
        assert_eq!(error.code, "invalid_template");
        assert!(error.message.starts_with("body, line 2, column 3: `total`"));
        assert_eq!(refused("{{email}}", "x").code, "invalid_template");
        assert!(
            refused("{{email}}", "x")
                .message
                .starts_with("subject, line 1")
        );
        assert!(refused("a", "{{carrier").message.contains("not closed"));
    }

    #[test]
    fn what_is_empty_or_too_long_is_refused_by_its_field() {
        assert_eq!(refused(" ", "x").code, "invalid_subject");
        assert_eq!(refused(&"x".repeat(201), "x").code, "invalid_subject");
        assert_eq!(refused("a\nb", "x").code, "invalid_subject");
        assert_eq!(refused("a", "").code, "invalid_body");
        assert_eq!(refused("a", &"x".repeat(10_001)).code, "invalid_body");
        let mut unnamed = text("a", "b");
        unnamed.name = "\t".into();
        let error = Template::written(unnamed, 1, false).unwrap_err();
        assert_eq!(error.code, "invalid_name");
    }

    #[test]
    fn a_draft_may_use_every_variable_and_cannot_be_active() {
        let mut draft = text("{{sku}}", "{{total}} {{until}} {{last_name}}");
        draft.event = None;
        let template = Template::written(draft.clone(), 1, false).unwrap();
        assert_eq!(template.name, "Mine");
        draft.active = Some(true);
        assert_eq!(
            Template::written(draft, 1, false).unwrap_err().code,
            "no_event"
        );
    }

    #[test]
    fn a_preview_shows_samples_and_what_was_given() {
        let body = "Dear {{first_name}}: {{carrier}}, {{tracking_number}}";
        let template = Template::written(text("{{order_id}}", body), 1, false).unwrap();
        let given = [("carrier".to_owned(), "{{email}}".to_owned())];
        let preview = template.preview(&given).unwrap();
        assert_eq!(preview.body, "Dear Ada: {{email}}, RD0001");
        let unknown = [("total".to_owned(), "1".to_owned())];
        assert_eq!(
            template.preview(&unknown).unwrap_err().code,
            "unknown_variable"
        );
    }
}
