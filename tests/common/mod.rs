//! Two services to try the runtime with: one notes numbers, one keeps a copy of the notes.
#![allow(dead_code, clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use redeliver::prelude::*;
use redeliver::{Config, SystemBuilder};

pub const NOTES: Table<(String, u64), u64> = Table::new("notes");
pub const COPIES: Table<String, Vec<u64>> = Table::new("copies");

/// A number whose copy is larger than a value may be.
pub const TOO_LARGE: u64 = 17_000_000;

/// Notes numbers under keys and tells of it.
pub struct Notes;

/// Keeps the numbers of each key in the order of their arrival. Panics over poisonous numbers.
#[derive(Default, Clone)]
pub struct Copies {
    pub poison: Arc<Mutex<BTreeSet<u64>>>,
    pub calls: Arc<Mutex<Vec<u64>>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Note {
    pub key: String,
    pub n: u64,
}
impl Message for Note {
    const NAME: &'static str = "note";
}
impl Command for Note {
    type Reply = u64;
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Noted {
    pub key: String,
    pub n: u64,
}
impl Message for Noted {
    const NAME: &'static str = "noted";
    fn key(&self) -> Key {
        Key::of(&self.key)
    }
}
impl Event for Noted {}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CopiesOf {
    pub key: String,
}
impl Message for CopiesOf {
    const NAME: &'static str = "copies-of";
}
impl Query for CopiesOf {
    type Answer = Vec<u64>;
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NotesOf {
    pub key: String,
}
impl Message for NotesOf {
    const NAME: &'static str = "notes-of";
}
impl Query for NotesOf {
    type Answer = Vec<u64>;
}

impl Service for Notes {
    const NAME: &'static str = "notes";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(NOTES)
            .command(Self::note)
            .query(Self::notes_of)
            .publishes::<Noted>();
    }
}

impl Notes {
    fn note(&self, note: Note, cx: &mut Context<Self>) -> Result<u64, Rejection> {
        if note.n == 0 {
            // What a rejection has planned must not happen.
            cx.publish(Noted {
                key: note.key,
                n: 0,
            });
            return Err(Rejection::invalid("zero", "zero is not a number to note").with("n", 0));
        }
        assert!(note.n != 666, "the number of the beast");
        let place = cx.scan(NOTES, &Span::prefix(&note.key))?.len() as u64;
        cx.put(NOTES, &(note.key.clone(), place), &note.n)?;
        cx.publish(Noted {
            key: note.key,
            n: note.n,
        });
        Ok(place + 1)
    }

    fn notes_of(&self, question: NotesOf, view: &View<Self>) -> Result<Vec<u64>, Rejection> {
        Ok(view
            .scan(NOTES, &Span::prefix(&question.key))?
            .into_iter()
            .map(|(_, n)| n)
            .collect())
    }
}

impl Service for Copies {
    const NAME: &'static str = "copies";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(COPIES).event(Self::noted).query(Self::copies_of);
    }
}

impl Copies {
    fn noted(&self, noted: Noted, cx: &mut Context<Self>) -> Result<(), Rejection> {
        self.calls.lock().unwrap().push(noted.n);
        assert!(
            !self.poison.lock().unwrap().contains(&noted.n),
            "{} is poison",
            noted.n
        );
        if noted.n == 404 {
            return Err(Rejection::not_found(
                "no_such_note",
                "nobody knows this number",
            ));
        }
        let mut copies = cx.get(COPIES, &noted.key)?.unwrap_or_default();
        copies.push(noted.n);
        if noted.n == TOO_LARGE {
            copies = vec![u64::MAX; 2_000_000];
        }
        cx.put(COPIES, &noted.key, &copies)?;
        Ok(())
    }

    fn copies_of(&self, question: CopiesOf, view: &View<Self>) -> Result<Vec<u64>, Rejection> {
        Ok(view.get(COPIES, &question.key)?.unwrap_or_default())
    }
}

/// Both services.
pub fn both(copies: &Copies) -> impl Fn(SystemBuilder) -> SystemBuilder + Send + Sync + 'static {
    let copies = copies.clone();
    move |system| {
        system
            .config(small())
            .service(Notes)
            .service(copies.clone())
    }
}

/// Small limits, so that tests reach them.
pub fn small() -> Config {
    Config {
        journal_segment_bytes: 256 * 1024,
        checkpoint_after_bytes: 64 * 1024,
        ..Config::default()
    }
}

pub fn note(key: &str, n: u64) -> Note {
    Note {
        key: key.to_owned(),
        n,
    }
}

pub async fn copies_of(system: &redeliver::System, key: &str) -> Vec<u64> {
    system
        .service::<Copies>()
        .query(CopiesOf {
            key: key.to_owned(),
        })
        .await
        .unwrap()
}

/// Declares messages: type, wire name, fields.
#[macro_export]
macro_rules! messages {
    ($($type:ident = $name:literal { $($field:ident: $of:ty),* })*) => {$(
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        pub struct $type { $(pub $field: $of),* }
        impl Message for $type {
            const NAME: &'static str = $name;
        }
    )*};
}

/// What handlers and activities have done, in order, over all lives of a system.
#[derive(Debug, Default, Clone)]
pub struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn add(&self, line: impl Into<String>) {
        self.0.lock().unwrap().push(line.into());
    }
    pub fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
    pub fn count(&self, line: &str) -> usize {
        self.0
            .lock()
            .unwrap()
            .iter()
            .filter(|other| *other == line)
            .count()
    }
    pub fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

/// A stream's report.
pub fn stream(system: &redeliver::System, from: &str, to: &str) -> redeliver::StreamReport {
    let streams = system.report().streams;
    let found = streams
        .iter()
        .find(|stream| (stream.from.as_str(), stream.to.as_str()) == (from, to));
    found
        .unwrap_or_else(|| panic!("no stream from {from} to {to}: {streams:?}"))
        .clone()
}

/// A service's report.
pub fn service(system: &redeliver::System, name: &str) -> redeliver::ServiceReport {
    let services = system.report().services;
    let found = services.iter().find(|service| service.name == name);
    found.unwrap_or_else(|| panic!("no service {name}")).clone()
}
