//! The machine: files and names as a record leaves them, what of them is durable, and what a power
//! loss may leave.
//!
//! Durable is what a sync covers that has returned: of a file the changes, of a directory the names,
//! that were made before it was entered. `sync_file_range` makes nothing durable. Of everything else
//! a power loss keeps
//!
//! - of a file's changes: all, none, any first part with the last one torn, or of each page or sector
//!   any first part of what was written to it. A change of size that is lost takes all later changes
//!   of that file with it; a size may be kept of which the content is lost, which is zeros then;
//! - of a directory's names: all, none, any first part, or any part of them. A rename within a
//!   directory happens as a whole.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Component, Path, PathBuf};

use crate::campaign::chance::Chance;
use crate::recorder::{Call, Moment, Record};

const SECTOR: u64 = 512;
const PAGE: u64 = 4096;
const ROOT: usize = 0;

/// A machine at some moment of a record.
pub struct Machine {
    /// Where its root is on the real one; what is elsewhere is not looked at.
    top: PathBuf,
    nodes: Vec<Node>,
    open: HashMap<i64, Open>,
    /// What each sync that is under way covers: changes of one node, by the calls that made them.
    syncing: HashMap<usize, (usize, Vec<usize>)>,
    /// The node that each call on its way is changing.
    changing: HashMap<usize, usize>,
    /// The call that last made the mapped file durable.
    pub mapped_durable: Option<usize>,
}

#[derive(Clone, Copy)]
enum Open {
    Of {
        node: usize,
        offset: u64,
        append: bool,
    },
    Elsewhere,
}

enum Node {
    File(Inode),
    Directory(Names),
}

#[derive(Default)]
struct Inode {
    seen: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Pending<Change>>,
    mapped: bool,
}

#[derive(Default)]
struct Names {
    seen: BTreeMap<String, usize>,
    durable: BTreeMap<String, usize>,
    changes: Vec<Pending<NameChange>>,
}

/// A change that no sync has covered.
struct Pending<C> {
    call: usize,
    returned: bool,
    change: C,
}

enum Change {
    Write(u64, Vec<u8>),
    Cut(u64),
    Extend(u64),
}

enum NameChange {
    Set(String, usize),
    Remove(String),
    Rename(String, String, usize),
}

/// What a power loss has left of what was not durable.
#[derive(Default, Debug)]
pub struct Remains {
    pub kept: u64,
    pub lost: u64,
    pub names_kept: u64,
    pub names_lost: u64,
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Write(at, bytes) => put(content, *at, bytes),
            Change::Cut(size) => content.resize(usize::try_from(*size).unwrap(), 0),
            Change::Extend(size) => {
                let size = usize::try_from(*size).unwrap();
                content.resize(content.len().max(size), 0);
            }
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            NameChange::Set(name, node) => {
                names.insert(name.clone(), *node);
            }
            NameChange::Remove(name) => {
                names.remove(name);
            }
            NameChange::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

fn put(content: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let start = usize::try_from(at).unwrap();
    let end = start + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

impl Machine {
    /// A machine whose disk has what this directory has now, all of it durable.
    pub fn with(top: &Path) -> Machine {
        let mut machine = Machine {
            top: top.to_owned(),
            nodes: Vec::new(),
            open: HashMap::new(),
            syncing: HashMap::new(),
            changing: HashMap::new(),
            mapped_durable: None,
        };
        machine.load(top);
        machine
    }

    fn load(&mut self, path: &Path) -> usize {
        let node = self.nodes.len();
        if !path.is_dir() {
            let content = fs::read(path).unwrap();
            self.nodes.push(Node::File(Inode {
                seen: content.clone(),
                durable: content,
                ..Inode::default()
            }));
            return node;
        }
        self.nodes.push(Node::Directory(Names::default()));
        let mut names = BTreeMap::new();
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            names.insert(name, self.load(&entry.path()));
        }
        let directory = self.directory(node);
        directory.durable = names.clone();
        directory.seen = names;
        node
    }

    /// Goes on by one moment.
    pub fn pass(&mut self, record: &Record, moment: Moment) {
        match moment {
            Moment::Entered(index) if record.calls[index].succeeded() => {
                self.enter(index, &record.calls[index]);
            }
            Moment::Returned(index) if record.calls[index].succeeded() => {
                self.leave(index, &record.calls[index]);
            }
            // What has failed has changed nothing; what never returned may still be on its way.
            Moment::Entered(index) if record.calls[index].result.is_none() => {
                self.enter(index, &record.calls[index]);
            }
            Moment::Entered(_) | Moment::Returned(_) => {}
        }
    }

    fn enter(&mut self, index: usize, call: &Call) {
        match call.name.as_str() {
            "open" | "openat" | "creat" => self.create_or_cut(index, call),
            "mkdir" | "mkdirat" => {
                let Some(path) = self.inside(call, 0) else {
                    return;
                };
                self.nodes.push(Node::Directory(Names::default()));
                let node = self.nodes.len() - 1;
                self.set_name(index, &path, node);
            }
            "rename" | "renameat" | "renameat2" => {
                let (Some(from), Some(to)) = (self.inside(call, 0), self.inside(call, 1)) else {
                    return;
                };
                assert_eq!(
                    from.parent(),
                    to.parent(),
                    "not modelled: {from:?} to {to:?}"
                );
                let node = self.find(&from).unwrap();
                let (parent, from) = self.parent(&from);
                let (_, to) = self.parent(&to);
                self.change_name(index, parent, NameChange::Rename(from, to, node));
            }
            "unlink" | "unlinkat" | "rmdir" => {
                let Some(path) = self.inside(call, 0) else {
                    return;
                };
                let (parent, name) = self.parent(&path);
                self.change_name(index, parent, NameChange::Remove(name));
            }
            "write" | "writev" | "pwrite64" | "pwritev" | "pwritev2" => self.write(index, call),
            "ftruncate" => {
                if let Some(node) = self.node_of(call) {
                    self.change(index, node, Change::Cut(call.number(1)));
                }
            }
            "fallocate" => {
                if let Some(node) = self.node_of(call) {
                    assert_eq!(call.arguments[1], "0", "not modelled");
                    let size = call.number(2) + call.number(3);
                    self.change(index, node, Change::Extend(size));
                }
            }
            "fsync" | "fdatasync" => {
                if let Some(node) = self.node_of(call) {
                    let covered = match &self.nodes[node] {
                        Node::File(file) => returned(&file.changes),
                        Node::Directory(names) => returned(&names.changes),
                    };
                    self.syncing.insert(index, (node, covered));
                }
            }
            "close" => {
                self.open.remove(&call.descriptor().unwrap());
            }
            "mmap" => {
                let shared = call.arguments[3].contains("MAP_SHARED");
                let descriptor: i64 = call.arguments[4].parse().unwrap();
                if let (true, Some(Open::Of { node, .. })) = (shared, self.open.get(&descriptor)) {
                    let node = *node;
                    self.file(node).mapped = true;
                }
            }
            // It covers no metadata and no cache of the disk.
            "sync_file_range" => {}
            "truncate" | "link" | "linkat" | "symlink" | "symlinkat" => {
                assert!(
                    self.inside(call, 0).is_none(),
                    "not modelled: {}",
                    call.name
                );
            }
            "copy_file_range" | "sendfile" | "splice" | "sync" | "syncfs" => {
                panic!("not modelled: {}", call.name);
            }
            "io_uring_setup" => panic!("not seen by the recorder: {}", call.name),
            _ => {}
        }
    }

    fn leave(&mut self, index: usize, call: &Call) {
        let result = call.result.unwrap();
        match call.name.as_str() {
            "open" | "openat" | "creat" => {
                let flags = call.arguments.get(1).cloned().unwrap_or_default();
                let open = match self.inside(call, 0).and_then(|path| self.find(&path)) {
                    Some(node) => Open::Of {
                        node,
                        offset: 0,
                        append: flags.contains("O_APPEND"),
                    },
                    None => Open::Elsewhere,
                };
                self.open.insert(result, open);
            }
            "dup" | "dup2" | "dup3" => self.alias(call, result),
            "fcntl" if call.arguments[1].starts_with("F_DUPFD") => self.alias(call, result),
            "lseek" => {
                if let Some(Open::Of { offset, .. }) =
                    self.open.get_mut(&call.descriptor().unwrap())
                {
                    *offset = u64::try_from(result).unwrap();
                }
            }
            "msync" => self.mapped_durable = Some(index),
            "fsync" | "fdatasync" => {
                if let Some((node, covered)) = self.syncing.remove(&index) {
                    match &mut self.nodes[node] {
                        Node::File(file) => {
                            for change in take(&mut file.changes, &covered) {
                                change.apply(&mut file.durable);
                            }
                        }
                        Node::Directory(names) => {
                            for change in take(&mut names.changes, &covered) {
                                change.apply(&mut names.durable);
                            }
                        }
                    }
                }
            }
            _ => {}
        }
        if let Some(node) = self.changing.remove(&index) {
            match &mut self.nodes[node] {
                Node::File(file) => note(&mut file.changes, index),
                Node::Directory(names) => note(&mut names.changes, index),
            }
        }
    }

    fn alias(&mut self, call: &Call, result: i64) {
        if let Some(open) = self.open.get(&call.descriptor().unwrap()) {
            self.open.insert(result, *open);
        }
    }

    fn create_or_cut(&mut self, index: usize, call: &Call) {
        let Some(path) = self.inside(call, 0) else {
            return;
        };
        let flags = call.arguments.get(1).map_or("", String::as_str);
        match self.find(&path) {
            Some(node) if flags.contains("O_TRUNC") => {
                if !self.file(node).seen.is_empty() {
                    self.change(index, node, Change::Cut(0));
                }
            }
            Some(_) => {}
            None => {
                assert!(flags.contains("O_CREAT"), "{path:?} was never made");
                self.nodes.push(Node::File(Inode::default()));
                let node = self.nodes.len() - 1;
                self.set_name(index, &path, node);
            }
        }
    }

    fn write(&mut self, index: usize, call: &Call) {
        let Some(Open::Of {
            node,
            offset,
            append,
        }) = self.open.get(&call.descriptor().unwrap()).copied()
        else {
            return;
        };
        let mut bytes = call.strings.concat();
        if let Some(written) = call.result {
            bytes.truncate(usize::try_from(written).unwrap());
        }
        let length = bytes.len() as u64;
        let at = match call.name.as_str() {
            "write" | "writev" if append => self.file(node).seen.len() as u64,
            "write" | "writev" => offset,
            "pwrite64" => call.number(2),
            // Its vector counts as one argument without a string of its own.
            _ => call.number(2),
        };
        if call.name.starts_with("write") {
            let open = Open::Of {
                node,
                offset: at + length,
                append,
            };
            self.open.insert(call.descriptor().unwrap(), open);
        }
        self.change(index, node, Change::Write(at, bytes));
    }

    fn change(&mut self, call: usize, node: usize, change: Change) {
        self.changing.insert(call, node);
        let file = self.file(node);
        change.apply(&mut file.seen);
        file.changes.push(Pending {
            call,
            returned: false,
            change,
        });
    }

    fn set_name(&mut self, call: usize, path: &Path, node: usize) {
        let (parent, name) = self.parent(path);
        self.change_name(call, parent, NameChange::Set(name, node));
    }

    fn change_name(&mut self, call: usize, parent: usize, change: NameChange) {
        self.changing.insert(call, parent);
        let names = self.directory(parent);
        change.apply(&mut names.seen);
        names.changes.push(Pending {
            call,
            returned: false,
            change,
        });
    }

    fn file(&mut self, node: usize) -> &mut Inode {
        match &mut self.nodes[node] {
            Node::File(file) => file,
            Node::Directory(_) => panic!("a directory is no file"),
        }
    }

    fn directory(&mut self, node: usize) -> &mut Names {
        match &mut self.nodes[node] {
            Node::Directory(names) => names,
            Node::File(_) => panic!("a file is no directory"),
        }
    }

    fn node_of(&self, call: &Call) -> Option<usize> {
        match self.open.get(&call.descriptor()?)? {
            Open::Of { node, .. } => Some(*node),
            Open::Elsewhere => None,
        }
    }

    /// A path among a call's strings, from the root of this machine; none if it is elsewhere.
    fn inside(&self, call: &Call, place: usize) -> Option<PathBuf> {
        let path = call.path(place);
        if path.is_absolute() {
            return path.strip_prefix(&self.top).ok().map(Path::to_owned);
        }
        // Relative to the present directory, which is the root, or to one that is open.
        match call.descriptor().filter(|_| call.name.ends_with("at")) {
            None => Some(path.to_owned()),
            Some(descriptor) => match self.open.get(&descriptor)? {
                Open::Of { node, .. } => Some(self.path_of(*node)?.join(path)),
                Open::Elsewhere => None,
            },
        }
    }

    fn path_of(&self, wanted: usize) -> Option<PathBuf> {
        if wanted == ROOT {
            return Some(PathBuf::new());
        }
        self.nodes.iter().enumerate().find_map(|(parent, node)| {
            let Node::Directory(names) = node else {
                return None;
            };
            let (name, _) = names.seen.iter().find(|(_, node)| **node == wanted)?;
            Some(self.path_of(parent)?.join(name))
        })
    }

    fn find(&self, path: &Path) -> Option<usize> {
        path.components().try_fold(ROOT, |node, part| match part {
            Component::CurDir => Some(node),
            Component::Normal(name) => match &self.nodes[node] {
                Node::Directory(names) => names.seen.get(name.to_str().unwrap()).copied(),
                Node::File(_) => None,
            },
            _ => panic!("not modelled: {path:?}"),
        })
    }

    fn parent(&self, path: &Path) -> (usize, String) {
        let parent = self.find(path.parent().unwrap_or(Path::new(""))).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (parent, name)
    }

    /// Where the files differ from those that are really there. Not looked at: what is mapped, and
    /// what a call was changing that never returned.
    pub fn differences(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.compare(ROOT, &self.top, &mut found);
        found
    }

    fn compare(&self, node: usize, path: &Path, found: &mut Vec<String>) {
        match &self.nodes[node] {
            Node::File(file) => match fs::read(path) {
                Ok(bytes) if file.mapped || bytes == file.seen => {}
                _ if self.changing.values().any(|changing| *changing == node) => {}
                Ok(bytes) => {
                    let first = bytes.iter().zip(&file.seen).position(|(a, b)| a != b);
                    found.push(format!(
                        "{}: {} bytes instead of {}, other ones from {first:?}",
                        path.display(),
                        bytes.len(),
                        file.seen.len()
                    ));
                }
                Err(error) => found.push(format!("{}: {error}", path.display())),
            },
            Node::Directory(names) => {
                let there: Vec<String> = fs::read_dir(path).map_or_else(
                    |_| Vec::new(),
                    |entries| {
                        let names = entries.map(|entry| entry.unwrap().file_name());
                        names.map(|name| name.into_string().unwrap()).collect()
                    },
                );
                let doubtful = names.doubtful();
                for name in &there {
                    if !names.seen.contains_key(name) && !doubtful.contains(&name.as_str()) {
                        found.push(format!("{} is not recorded", path.join(name).display()));
                    }
                }
                for (name, node) in &names.seen {
                    if doubtful.contains(&name.as_str()) && !there.contains(name) {
                        continue;
                    }
                    self.compare(*node, &path.join(name), found);
                }
            }
        }
    }

    /// Writes what a power loss at this moment leaves into an empty directory. `mapped` is what a
    /// mapped file has.
    pub fn lose_power(&self, chance: &mut Chance, mapped: &[u8], into: &Path) -> Remains {
        let mut remains = Remains::default();
        // Often one thing is as it likes to be everywhere: all is lost, or all is kept.
        let everywhere = (chance.below(3) == 0).then(|| Keeping::any(chance));
        self.leave_behind(ROOT, chance, everywhere, mapped, into, &mut remains);
        remains
    }

    fn leave_behind(
        &self,
        node: usize,
        chance: &mut Chance,
        everywhere: Option<Keeping>,
        mapped: &[u8],
        path: &Path,
        remains: &mut Remains,
    ) {
        let keeping = everywhere.unwrap_or_else(|| Keeping::any(chance));
        match &self.nodes[node] {
            Node::File(file) => {
                let mut content = file.left(keeping, chance, remains);
                if file.mapped {
                    let length = mapped.len().min(content.len());
                    content[..length].copy_from_slice(&mapped[..length]);
                }
                write_sparse(path, &content);
            }
            Node::Directory(names) => {
                let left = names.left(keeping, chance, remains);
                fs::create_dir_all(path).unwrap();
                for (name, node) in left {
                    let path = path.join(name);
                    self.leave_behind(node, chance, everywhere, mapped, &path, remains);
                }
            }
        }
    }
}

/// Marks the change that a call has made as made.
fn note<C>(changes: &mut [Pending<C>], call: usize) {
    for pending in changes.iter_mut().rev() {
        if pending.call == call {
            pending.returned = true;
        }
    }
}

fn returned<C>(changes: &[Pending<C>]) -> Vec<usize> {
    let made = changes.iter().filter(|pending| pending.returned);
    made.map(|pending| pending.call).collect()
}

/// Takes the changes that these calls have made.
fn take<C>(changes: &mut Vec<Pending<C>>, calls: &[usize]) -> Vec<C> {
    let (taken, left) = std::mem::take(changes)
        .into_iter()
        .partition::<Vec<_>, _>(|pending| calls.binary_search(&pending.call).is_ok());
    *changes = left;
    taken.into_iter().map(|pending| pending.change).collect()
}

/// What a power loss keeps of the changes of one file or directory.
#[derive(Clone, Copy)]
enum Keeping {
    All,
    Nothing,
    FirstPart,
    /// Of blocks of this many bytes; each version of one with this chance of a hundred.
    Blocks(u64, u64),
}

impl Keeping {
    fn any(chance: &mut Chance) -> Keeping {
        match chance.below(10) {
            0 => Keeping::All,
            1 => Keeping::Nothing,
            2..4 => Keeping::FirstPart,
            4..7 => Keeping::Blocks(PAGE, *chance.one_of(&[10, 50, 90])),
            _ => Keeping::Blocks(SECTOR, *chance.one_of(&[10, 50, 90, 98])),
        }
    }
}

impl Inode {
    fn left(&self, keeping: Keeping, chance: &mut Chance, remains: &mut Remains) -> Vec<u8> {
        let mut content = self.durable.clone();
        let count = self.changes.len() as u64;
        let (first, block, percent) = match keeping {
            Keeping::All => (count, SECTOR, 100),
            Keeping::Nothing => (0, SECTOR, 0),
            Keeping::FirstPart => (chance.below(count + 1), SECTOR, 100),
            Keeping::Blocks(block, percent) => (count, block, percent),
        };
        let mut stale = std::collections::HashSet::new();
        for (place, pending) in self.changes.iter().enumerate() {
            let place = place as u64;
            match &pending.change {
                Change::Write(at, bytes) if place < first => {
                    let mut done = 0;
                    while done < bytes.len() {
                        let from = at + done as u64;
                        let room = usize::try_from(block - from % block).unwrap();
                        let end = bytes.len().min(done + room);
                        if percent < 100 && chance.below(100) >= percent {
                            stale.insert(from / block);
                        }
                        if stale.contains(&(from / block)) {
                            remains.lost += 1;
                        } else {
                            remains.kept += 1;
                            put(&mut content, from, &bytes[done..end]);
                        }
                        done = end;
                    }
                }
                // The last one is torn.
                Change::Write(at, bytes)
                    if place == first && matches!(keeping, Keeping::FirstPart) =>
                {
                    let sectors = bytes.len() as u64 / SECTOR;
                    let end = usize::try_from(chance.below(sectors + 1) * SECTOR).unwrap();
                    put(&mut content, *at, &bytes[..end]);
                    remains.lost += 1;
                }
                Change::Write(..) => remains.lost += 1,
                change @ (Change::Cut(_) | Change::Extend(_)) => {
                    if place >= first || percent < 100 && chance.below(100) >= percent {
                        remains.lost += 1;
                        if matches!(change, Change::Cut(_)) {
                            return content;
                        }
                    } else {
                        remains.kept += 1;
                        change.apply(&mut content);
                    }
                }
            }
        }
        if percent < 100 && percent > 0 && content.len() < self.seen.len() && chance.below(2) == 0 {
            content.resize(self.seen.len(), 0);
        }
        content
    }
}

impl Names {
    /// Names that a call was changing which has not returned.
    fn doubtful(&self) -> Vec<&str> {
        let under_way = self.changes.iter().filter(|pending| !pending.returned);
        under_way
            .flat_map(|pending| match &pending.change {
                NameChange::Set(name, _) | NameChange::Remove(name) => vec![name.as_str()],
                NameChange::Rename(from, to, _) => vec![from.as_str(), to.as_str()],
            })
            .collect()
    }

    fn left(
        &self,
        keeping: Keeping,
        chance: &mut Chance,
        remains: &mut Remains,
    ) -> BTreeMap<String, usize> {
        let mut names = self.durable.clone();
        let count = self.changes.len() as u64;
        let first = match keeping {
            Keeping::All | Keeping::Blocks(..) => count,
            Keeping::Nothing => 0,
            Keeping::FirstPart => chance.below(count + 1),
        };
        for (place, pending) in self.changes.iter().enumerate() {
            let kept = match keeping {
                Keeping::Blocks(_, percent) => chance.below(100) < percent,
                _ => (place as u64) < first,
            };
            if kept {
                remains.names_kept += 1;
                pending.change.apply(&mut names);
            } else {
                remains.names_lost += 1;
            }
        }
        names
    }
}

fn write_sparse(path: &Path, content: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.set_len(content.len() as u64).unwrap();
    for (place, page) in content.chunks(PAGE as usize).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            file.seek(SeekFrom::Start(place as u64 * PAGE)).unwrap();
            file.write_all(page).unwrap();
        }
    }
}
