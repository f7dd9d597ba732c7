//! The simulated provider's ledger: a file of one JSON object a line, outside of the shop's data.
//!
//! A line is synced before its operation is answered, and a key has one line at most. One thread
//! owns the file and takes whatever waits as one group, so many callers share a sync. What a
//! crash tore at the end of the file is cut off when it is opened: nobody was told of it.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::books::{Books, LedgerOperation, Line, Wish};
use crate::payment::provider::Order;
use crate::syncs::Syncs;

/// Callers that may wait before further ones wait outside.
const WAITING_MAX: usize = 1_024;
/// Operations that share one sync at most.
const GROUP_MAX: usize = 512;

/// The ledger cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The file system refused something.
    #[error("provider ledger {path}: {operation} failed: {detail}; nothing was charged")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        detail: String,
    },
    /// A line before the last one is no line of a ledger.
    #[error(
        "provider ledger {path} is damaged in line {line}: {detail}; move it away or repair it by hand"
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// An earlier write or sync failed, so nothing more is accepted.
    #[error("provider ledger is closed ({0}); restart to open it again")]
    Closed(String),
}

/// The ledger, with its books.
#[derive(Debug)]
pub struct Ledger {
    keeper: Keeper,
}

#[derive(Debug)]
enum Keeper {
    File(mpsc::Sender<Request>),
    Memory(Box<Mutex<Books>>),
    Unsynced(Box<Mutex<(Books, BufWriter<File>)>>),
}

#[derive(Debug)]
enum Request {
    Enter {
        operation: LedgerOperation,
        order: Order,
        authorisation: String,
        wish: Wish,
        answer: oneshot::Sender<Result<Line, LedgerError>>,
    },
    LookUp {
        key: String,
        answer: oneshot::Sender<Result<Option<Line>, LedgerError>>,
    },
}

impl Ledger {
    /// A ledger in memory, for tests.
    pub fn in_memory() -> Ledger {
        Ledger {
            keeper: Keeper::Memory(Box::default()),
        }
    }

    /// What the books of a ledger in memory say.
    #[cfg(test)]
    pub(super) fn books<T>(&self, ask: impl FnOnce(&Books) -> T) -> T {
        match &self.keeper {
            Keeper::Memory(books) => ask(&books.lock().unwrap_or_else(PoisonError::into_inner)),
            Keeper::Unsynced(kept) => ask(&kept.lock().unwrap_or_else(PoisonError::into_inner).0),
            Keeper::File(_) => ask(&Books::default()),
        }
    }

    /// A ledger that answers from memory and writes its file as it can, without a sync: whole
    /// only when it was dropped. For benches, whose provider takes no time.
    pub fn unsynced(path: &Path) -> Result<Ledger, LedgerError> {
        let (file, books) = open(path, &Syncs::default())?;
        Ok(Ledger {
            keeper: Keeper::Unsynced(Box::new(Mutex::new((books, BufWriter::new(file))))),
        })
    }

    /// Opens the ledger of this file, or begins one.
    pub fn open(path: &Path, syncs: &Syncs) -> Result<Ledger, LedgerError> {
        let (file, books) = open(path, syncs)?;
        let (requests, waiting) = mpsc::channel(WAITING_MAX);
        let writer = Writer {
            path: path.to_owned(),
            file,
            syncs: syncs.clone(),
            books,
            closed: None,
            is_full: false,
        };
        std::thread::Builder::new()
            .name("provider-ledger".to_owned())
            .spawn(move || writer.run(waiting))
            .map_err(|error| io(path, "starting its thread", &error))?;
        Ok(Ledger {
            keeper: Keeper::File(requests),
        })
    }

    /// Does an operation, or answers with what became of it before.
    pub async fn enter(
        &self,
        operation: LedgerOperation,
        order: Order,
        authorisation: String,
        wish: Wish,
    ) -> Result<Line, LedgerError> {
        match &self.keeper {
            Keeper::Memory(books) => {
                let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
                let known = books.line(&order.key).cloned();
                Ok(known.unwrap_or_else(|| {
                    let line = books.decide(operation, &order, &authorisation, wish);
                    books.enter(line.clone());
                    line
                }))
            }
            Keeper::Unsynced(kept) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let (books, file) = &mut *kept;
                if let Some(known) = books.line(&order.key) {
                    return Ok(known.clone());
                }
                let line = books.decide(operation, &order, &authorisation, wish);
                let mut bytes = Vec::new();
                write_line(&mut bytes, &line);
                // Nothing else can be lost by it than lines of a bench.
                file.write_all(&bytes)
                    .map_err(|error| LedgerError::Closed(error.to_string()))?;
                books.enter(line.clone());
                Ok(line)
            }
            Keeper::File(requests) => {
                let (answer, answered) = oneshot::channel();
                let request = Request::Enter {
                    operation,
                    order,
                    authorisation,
                    wish,
                    answer,
                };
                requests.send(request).await.map_err(|_| gone())?;
                answered.await.map_err(|_| gone())?
            }
        }
    }

    /// What became of a key.
    pub async fn look_up(&self, key: String) -> Result<Option<Line>, LedgerError> {
        match &self.keeper {
            Keeper::Memory(books) => {
                let books = books.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(books.line(&key).cloned())
            }
            Keeper::Unsynced(kept) => {
                let kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                Ok(kept.0.line(&key).cloned())
            }
            Keeper::File(requests) => {
                let (answer, answered) = oneshot::channel();
                let request = Request::LookUp { key, answer };
                requests.send(request).await.map_err(|_| gone())?;
                answered.await.map_err(|_| gone())?
            }
        }
    }
}

struct Writer {
    path: PathBuf,
    file: File,
    syncs: Syncs,
    books: Books,
    closed: Option<LedgerError>,
    /// Whether it is closed for lack of space alone: no sync has failed, so the file has what it
    /// shows, and can be read again.
    is_full: bool,
}

/// An answer that waits for the sync.
type Held = (oneshot::Sender<Result<Line, LedgerError>>, Line);

impl Writer {
    fn run(mut self, mut waiting: mpsc::Receiver<Request>) {
        let mut group = Vec::with_capacity(GROUP_MAX);
        loop {
            group.clear();
            // The next group is whatever arrived while the last one was synced.
            if waiting.blocking_recv_many(&mut group, GROUP_MAX) == 0 {
                return;
            }
            self.serve(&mut group);
        }
    }

    fn serve(&mut self, group: &mut Vec<Request>) {
        if self.is_full {
            self.read_again();
        }
        let mut bytes = Vec::new();
        let mut held: Vec<Held> = Vec::with_capacity(group.len());
        let mut look_ups = Vec::new();
        for request in group.drain(..) {
            match request {
                Request::Enter {
                    operation,
                    order,
                    authorisation,
                    wish,
                    answer,
                } => {
                    if let Some(closed) = &self.closed {
                        // Whoever no longer waits needs no answer.
                        let _ = answer.send(Err(closed.clone()));
                        continue;
                    }
                    let line = match self.books.line(&order.key) {
                        Some(known) => known.clone(),
                        None => {
                            let line = self.books.decide(operation, &order, &authorisation, wish);
                            write_line(&mut bytes, &line);
                            self.books.enter(line.clone());
                            line
                        }
                    };
                    held.push((answer, line));
                }
                Request::LookUp { key, answer } => look_ups.push((key, answer)),
            }
        }
        if !bytes.is_empty() {
            self.make_durable(&bytes);
        }
        for (answer, line) in held {
            let _ = answer.send(match &self.closed {
                None => Ok(line),
                Some(closed) => Err(closed.clone()),
            });
        }
        // Answered last, so that they see nothing that is not durable.
        for (key, answer) in look_ups {
            let _ = answer.send(match &self.closed {
                None => Ok(self.books.line(&key).cloned()),
                Some(closed) => Err(closed.clone()),
            });
        }
    }

    /// After a failure nobody knows what is on the disk: the books are not believed any more
    /// until the file is read again.
    fn make_durable(&mut self, bytes: &[u8]) {
        let written = self
            .file
            .write_all(bytes)
            .map_err(|error| ("writing", error));
        let synced = written.and_then(|()| {
            self.syncs
                .data(&self.file)
                .map_err(|error| ("syncing", error))
        });
        if let Err((operation, error)) = synced {
            self.is_full = operation == "writing" && error.kind() == ErrorKind::StorageFull;
            let error = io(&self.path, operation, &error);
            tracing::error!(%error, "provider ledger is closed");
            self.closed = Some(LedgerError::Closed(error.to_string()));
        }
    }
}

impl Writer {
    /// Begins again with what is in the file, without the line that did not fit.
    fn read_again(&mut self) {
        self.is_full = false;
        match open(&self.path, &self.syncs) {
            Ok((file, books)) => {
                self.file = file;
                self.books = books;
                self.closed = None;
            }
            Err(error) => self.closed = Some(LedgerError::Closed(error.to_string())),
        }
    }
}

fn write_line(bytes: &mut Vec<u8>, line: &Line) {
    // Strings and numbers always have a JSON form.
    if serde_json::to_writer(&mut *bytes, line).is_ok() {
        bytes.push(b'\n');
    }
}

fn open(path: &Path, syncs: &Syncs) -> Result<(File, Books), LedgerError> {
    let failed = |operation| move |error: std::io::Error| io(path, operation, &error);
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).map_err(failed("creating its folder"))?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(failed("opening"))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(failed("reading"))?;
    let (books, whole) = read_lines(path, &bytes)?;
    if whole < bytes.len() {
        tracing::warn!(path = %path.display(), bytes = bytes.len() - whole, "provider ledger ended in a torn line; cut off");
        file.set_len(whole as u64).map_err(failed("cutting"))?;
    }
    file.seek(SeekFrom::Start(whole as u64))
        .map_err(failed("seeking"))?;
    syncs.all(&file).map_err(failed("syncing"))?;
    if let Some(folder) = folder {
        // The folder's own name too, or a power loss takes the books with it.
        let above = folder.parent().unwrap_or(folder);
        syncs
            .names(folder)
            .and_then(|()| syncs.names(above))
            .map_err(failed("syncing its folder"))?;
    }
    Ok((file, books))
}

/// The books of a ledger, and how many of its bytes are whole lines.
fn read_lines(path: &Path, bytes: &[u8]) -> Result<(Books, usize), LedgerError> {
    let mut books = Books::default();
    let mut whole = 0;
    let mut torn: Option<(usize, String)> = None;
    for (index, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let complete = line.ends_with(b"\n");
        match serde_json::from_slice::<Line>(line) {
            // A line behind a bad one: the bad one is no torn end.
            Ok(_) if complete && torn.is_some() => break,
            Ok(line_read) if complete => {
                books.enter(line_read);
                whole += line.len();
            }
            Ok(_) => torn = torn.or(Some((index + 1, "no end of line".to_owned()))),
            Err(error) => torn = torn.or(Some((index + 1, error.to_string()))),
        }
    }
    let good_behind = torn.is_some()
        && bytes[whole..]
            .split_inclusive(|byte| *byte == b'\n')
            .any(|line| line.ends_with(b"\n") && serde_json::from_slice::<Line>(line).is_ok());
    match torn {
        Some((line, detail)) if good_behind => Err(LedgerError::Damaged {
            path: path.to_owned(),
            line,
            detail,
        }),
        Some(_) | None => Ok((books, whole)),
    }
}

fn io(path: &Path, operation: &'static str, error: &std::io::Error) -> LedgerError {
    LedgerError::Io {
        path: path.to_owned(),
        operation,
        detail: error.to_string(),
    }
}

fn gone() -> LedgerError {
    LedgerError::Closed("its thread has ended".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ids::OrderId;
    use crate::money::{Currency, Money};
    use crate::payment::simulated::books::LedgerOutcome;
    use redeliver::Timestamp;
    use uuid::Uuid;

    fn order(n: u128, key: &str, amount: i64) -> Order {
        Order {
            key: key.to_owned(),
            order_id: OrderId(Uuid::from_u128(n)),
            amount: Money::new(amount, Currency::EUR),
            at: Timestamp(1_772_366_400_000_000),
        }
    }

    async fn enter(ledger: &Ledger, operation: LedgerOperation, order: Order) -> Line {
        let line = ledger
            .enter(operation, order, String::new(), Wish::Do)
            .await;
        line.unwrap()
    }

    /// Its folder's name was not durable: a power loss took the books with it, and the provider
    /// knew nothing of holds that orders were confirmed upon.
    #[test]
    fn a_new_ledger_is_durable_with_its_folder_and_the_name_of_that() {
        let directory = tempfile::tempdir().unwrap();
        let syncs = Syncs::default();
        open(
            &directory.path().join("provider").join("ledger.jsonl"),
            &syncs,
        )
        .unwrap();
        assert_eq!(syncs.count(), 3);
    }

    #[tokio::test]
    async fn a_repeated_key_adds_no_line_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("provider/ledger.jsonl");
        let first = {
            let ledger = Ledger::open(&path, &Syncs::default()).unwrap();
            let first = enter(&ledger, LedgerOperation::Authorise, order(1, "a", 100)).await;
            assert_eq!(
                enter(&ledger, LedgerOperation::Authorise, order(1, "a", 100)).await,
                first
            );
            first
        };
        let ledger = Ledger::open(&path, &Syncs::default()).unwrap();
        assert_eq!(
            enter(&ledger, LedgerOperation::Authorise, order(1, "a", 100)).await,
            first
        );
        assert_eq!(ledger.look_up("a".to_owned()).await.unwrap(), Some(first));
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "{\"at\":\"2026-03-01T12:00:00.000000Z\",\"key\":\"a\",\"operation\":\"authorise\",\
             \"order_id\":\"00000000-0000-0000-0000-000000000001\",\"amount\":100,\
             \"currency\":\"EUR\",\"outcome\":\"ok\"}\n"
        );
    }

    #[tokio::test]
    async fn many_callers_of_one_key_at_once_make_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let ledger = std::sync::Arc::new(Ledger::open(&path, &Syncs::default()).unwrap());
        let mut callers = tokio::task::JoinSet::new();
        for n in 0..64 {
            let ledger = ledger.clone();
            let order = order(1, &format!("key-{}", n % 4), 5);
            callers.spawn(async move { enter(&ledger, LedgerOperation::Authorise, order).await });
        }
        assert_eq!(callers.join_all().await.len(), 64);
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 4);
    }

    #[tokio::test]
    async fn a_torn_end_is_cut_and_its_key_is_free_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        for key in ["a", "b"] {
            let ledger = Ledger::open(&path, &Syncs::default()).unwrap();
            enter(&ledger, LedgerOperation::Authorise, order(1, key, 1)).await;
        }
        let whole = std::fs::read(&path).unwrap();
        let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for cut in first..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let ledger = Ledger::open(&path, &Syncs::default()).unwrap();
            assert!(ledger.look_up("a".to_owned()).await.unwrap().is_some());
            assert_eq!(
                ledger.look_up("b".to_owned()).await.unwrap(),
                None,
                "cut {cut}"
            );
            enter(&ledger, LedgerOperation::Authorise, order(1, "b", 1)).await;
            assert_eq!(std::fs::read(&path).unwrap(), whole, "cut {cut}");
        }
    }

    #[test]
    fn a_bad_line_before_a_good_one_is_damage_and_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let books = Books::default();
        let line = books.decide(LedgerOperation::Authorise, &order(1, "a", 1), "", Wish::Do);
        let mut bytes = b"{\"key\":\n".to_vec();
        write_line(&mut bytes, &line);
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(
            Ledger::open(&path, &Syncs::default()),
            Err(LedgerError::Damaged { line: 1, .. })
        ));
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    #[tokio::test]
    async fn the_provider_takes_only_what_it_holds_and_pays_back_only_what_it_took() {
        let ledger = Ledger::in_memory();
        let outcome = async |operation, key: &str, amount| {
            enter(&ledger, operation, order(1, key, amount))
                .await
                .outcome
        };
        use LedgerOperation::{Authorise, Capture, Refund, Void};
        assert_eq!(outcome(Capture, "c0", 1).await, LedgerOutcome::Declined);
        assert_eq!(outcome(Authorise, "a", 100).await, LedgerOutcome::Ok);
        assert_eq!(outcome(Refund, "r0", 1).await, LedgerOutcome::Declined);
        assert_eq!(outcome(Capture, "c1", 101).await, LedgerOutcome::Declined);
        assert_eq!(outcome(Capture, "c2", 100).await, LedgerOutcome::Ok);
        assert_eq!(outcome(Void, "v", 100).await, LedgerOutcome::Declined);
        assert_eq!(outcome(Refund, "r1", 60).await, LedgerOutcome::Ok);
        assert_eq!(outcome(Refund, "r2", 41).await, LedgerOutcome::Declined);
        assert_eq!(outcome(Refund, "r3", 40).await, LedgerOutcome::Ok);
    }
}
