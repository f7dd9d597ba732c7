//! The content of a data directory as the store gives it out, to be compared with another one's.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use redeliver::clock::SystemClock;
use redeliver::commit::{EventNumber, Sequence};
use redeliver::persistence::engine::Direction;
use redeliver::persistence::options::{Driving, StoreOptions};
use redeliver::persistence::real_disk::RealDisk;
use redeliver::persistence::running::noted;
use redeliver::persistence::sled::SledFactory;
use redeliver::persistence::store::Store;

const PAGE_ROWS: usize = 1_000;
const PAGE_BYTES: usize = 1 << 20;

/// What came of opening a directory and reading all of it.
pub enum Found {
    /// It was refused, with this sentence.
    Refused(String),
    /// It opened, and reading it was refused with this sentence.
    Unreadable(String),
    /// This is in it.
    Content(Content),
}

/// Everything that a store gives out.
#[derive(Debug, Default, PartialEq)]
pub struct Content {
    /// The last commit.
    pub position: u64,
    /// Up to where `running` said that the journal is durable.
    pub noted: u64,
    /// Rows, marks and waiting messages, by what they are of and their key.
    pub rows: BTreeMap<(String, Bytes), Bytes>,
    /// Events by number.
    pub events: BTreeMap<u64, Bytes>,
    /// Numbers of events that are told to be missing.
    pub gaps: Vec<(u64, u64)>,
    pub last_event: u64,
}

/// Opens a copy of a directory and reads all of it. What reading brings to light is for the next
/// opening to mend, so there is one more.
pub fn look(copy: &Path) -> Found {
    match look_once(copy) {
        Found::Unreadable(_) => look_once(copy),
        found => found,
    }
}

fn look_once(copy: &Path) -> Found {
    let running = fs::read(copy.join("cells/main/running")).unwrap_or_default();
    let mut options = StoreOptions::new(copy);
    options.first_segment_bytes = 64 << 10;
    options.reserve_bytes = 0;
    options.low_space_bytes = 0;
    let engines = Arc::new(SledFactory {
        dir: options.cell_dir().join("sled"),
        cache_bytes: 8 << 20,
    });
    let disk = Arc::new(RealDisk::default());
    let driving = Driving::Manual(Arc::new(|| {}));
    let opened = Store::open(options, disk, engines, Arc::new(SystemClock), driving);
    let (store, recovered) = match opened {
        Ok(opened) => opened,
        Err(error) => return Found::Refused(error.to_string()),
    };
    let mut content = Content {
        position: recovered.position.0,
        noted: noted(&running, store.incarnation()).map_or(0, |noted| noted.0),
        ..Content::default()
    };
    match content.read(&store) {
        Ok(()) => Found::Content(content),
        Err(error) => {
            // Closes it.
            let _ = store.maintain();
            Found::Unreadable(error.to_string())
        }
    }
}

impl Content {
    fn read(&mut self, store: &Store) -> Result<(), redeliver::StoreError> {
        for (service, name, _) in store.services() {
            for (table, of) in store.tables(service) {
                let mut range = (Bound::Unbounded, Bound::Unbounded);
                loop {
                    let page = store.scan(table, &range, Direction::Ascending, PAGE_ROWS)?;
                    let Some((last, _)) = page.last() else {
                        break;
                    };
                    range.0 = Bound::Excluded(last.clone());
                    let named = page
                        .into_iter()
                        .map(|(key, value)| ((format!("{name}/{of}"), key), value));
                    self.rows.extend(named);
                }
            }
        }
        for stream in store.streams() {
            let of = format!("stream {:?}", stream.id);
            let state = format!("{:?} {:?}", stream.sent, stream.mark);
            self.rows.insert((of.clone(), Bytes::new()), state.into());
            let mut after = Sequence(0);
            loop {
                let page = store.outbox(stream.id, after, PAGE_ROWS, PAGE_BYTES)?;
                let Some((last, _)) = page.last() else {
                    break;
                };
                after = *last;
                for (sequence, message) in page {
                    let key = Bytes::copy_from_slice(&sequence.0.to_be_bytes());
                    self.rows.insert((of.clone(), key), message);
                }
            }
        }
        self.last_event = store.last_event().0;
        let mut next = EventNumber(1);
        while next.0 <= self.last_event {
            let page = store.events(next, PAGE_ROWS)?;
            if page.next <= next {
                break;
            }
            next = page.next;
            let gaps = page.gaps.iter().map(|gap| (gap.first.0, gap.last.0));
            self.gaps.extend(gaps);
            for event in page.events {
                self.events.insert(event.number.0, event.envelope);
            }
        }
        Ok(())
    }

    /// What this has not, or otherwise, that the other one has; or the other way round.
    pub fn differences(&self, other: &Content) -> Vec<String> {
        let mut found = Vec::new();
        if self.position != other.position {
            found.push(format!(
                "the last commit is {} instead of {}",
                self.position, other.position
            ));
        }
        let keys = self.rows.keys().chain(other.rows.keys());
        for key in keys.collect::<std::collections::BTreeSet<_>>() {
            if self.rows.get(key) != other.rows.get(key) {
                let is = |content: &Content| content.rows.get(key).map(Bytes::len);
                found.push(format!(
                    "{} {:02x?}: bytes {:?} instead of {:?}",
                    key.0,
                    &key.1[..],
                    is(self),
                    is(other)
                ));
            }
        }
        if self.last_event != other.last_event {
            found.push(format!(
                "the last event is {} instead of {}",
                self.last_event, other.last_event
            ));
        }
        for (number, event) in &other.events {
            let told = |gap: &(u64, u64)| gap.0 <= *number && *number <= gap.1;
            match self.events.get(number) {
                Some(same) if same == event => {}
                None if self.gaps.iter().any(told) => {}
                got => found.push(format!("event {number} is {:?}", got.map(Bytes::len))),
            }
        }
        found
    }
}
