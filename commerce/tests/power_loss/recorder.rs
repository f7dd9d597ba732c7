//! The recorder: the program's system calls as `strace` saw them, in the order in which the program
//! can have seen them.
//!
//! A call has two moments: it is entered, and it returns. What it does happens in between. `strace`
//! stops a thread at both and writes them down before it lets the thread go on, so whatever follows
//! from a call, in whichever thread, stands behind it.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Every call that changes files or names, or answers a client; and those that would do so unseen.
const CALLS: &str = "trace=openat,open,creat,close,dup,dup2,dup3,fcntl,write,writev,pwrite64,\
    pwritev,pwritev2,sendto,sendmsg,ftruncate,truncate,fallocate,fsync,fdatasync,sync,syncfs,\
    sync_file_range,msync,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,link,linkat,\
    symlink,symlinkat,lseek,mmap,copy_file_range,sendfile,splice,io_uring_setup";
/// Longer than any write.
const STRING_BYTES_MAX: &str = "67108864";

/// What to start a program under, so that its calls are written into a file.
pub fn recording(into: &Path) -> Vec<String> {
    let into = into.to_str().unwrap();
    let all = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-ttt",
        "-xx",
        "-s",
        STRING_BYTES_MAX,
        "-e",
        CALLS,
        "-o",
        into,
    ];
    all.map(str::to_owned).to_vec()
}

/// A system call.
pub struct Call {
    pub name: String,
    /// Its arguments as they were written down, without those that are strings or have some inside.
    pub arguments: Vec<String>,
    /// The strings among its arguments, in order.
    pub strings: Vec<Vec<u8>>,
    /// What it returned; none if it never did.
    pub result: Option<i64>,
}

/// A moment of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// This call is entered.
    Entered(usize),
    /// This call has returned.
    Returned(usize),
}

/// Everything a program did.
pub struct Record {
    pub calls: Vec<Call>,
    pub moments: Vec<Moment>,
    /// When each call was entered, in seconds.
    pub times: Vec<f64>,
}

impl Record {
    /// Reads what was written down.
    pub fn read(from: &Path) -> Record {
        let mut record = Record {
            calls: Vec::new(),
            moments: Vec::new(),
            times: Vec::new(),
        };
        let mut unfinished: Vec<(u32, usize)> = Vec::new();
        let mut lines = BufReader::with_capacity(1 << 20, File::open(from).unwrap());
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).unwrap() > 0 {
            let text = std::str::from_utf8(&line).unwrap().trim_end();
            record.take(text, &mut unfinished);
            line.clear();
        }
        record
    }

    fn take(&mut self, line: &str, unfinished: &mut Vec<(u32, usize)>) {
        let (thread, rest) = line.split_once(' ').unwrap();
        let thread: u32 = thread.parse().unwrap();
        let (time, rest) = rest.trim_start().split_once(' ').unwrap();
        if rest.starts_with("+++") || rest.starts_with("---") {
            return;
        }
        if rest.starts_with("<...") {
            let at = unfinished.iter().position(|(of, _)| *of == thread);
            let (_, call) = unfinished.remove(at.unwrap());
            self.calls[call].result = result_of(rest);
            self.moments.push(Moment::Returned(call));
            return;
        }
        let index = self.calls.len();
        let (name, arguments) = rest.split_once('(').unwrap();
        let cut = rest.ends_with("<unfinished ...>");
        let mut call = Call {
            name: name.to_owned(),
            arguments: Vec::new(),
            strings: Vec::new(),
            result: None,
        };
        call.read_arguments(arguments);
        self.times.push(time.parse().unwrap());
        self.moments.push(Moment::Entered(index));
        if cut {
            unfinished.push((thread, index));
        } else {
            call.result = result_of(rest);
            self.moments.push(Moment::Returned(index));
        }
        self.calls.push(call);
    }
}

impl Call {
    /// The descriptor that it is about, if its first argument is one.
    pub fn descriptor(&self) -> Option<i64> {
        self.arguments.first()?.parse().ok()
    }

    /// A number among its arguments.
    pub fn number(&self, place: usize) -> u64 {
        self.arguments[place].parse().unwrap()
    }

    /// A string among its arguments, as a path.
    pub fn path(&self, place: usize) -> &Path {
        Path::new(std::str::from_utf8(&self.strings[place]).unwrap())
    }

    pub fn succeeded(&self) -> bool {
        self.result.is_some_and(|result| result >= 0)
    }

    fn read_arguments(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let (mut at, mut depth, mut plain) = (0, 0, String::new());
        let mut has_string = false;
        while let Some(byte) = bytes.get(at) {
            match byte {
                b'"' => {
                    let end = at + 1 + bytes[at + 1..].iter().position(|b| *b == b'"').unwrap();
                    self.strings.push(unescaped(&bytes[at + 1..end]));
                    assert!(
                        !bytes[end + 1..].starts_with(b"..."),
                        "{} wrote more than is recorded",
                        self.name
                    );
                    has_string = true;
                    at = end;
                }
                b')' if depth == 0 => break,
                b'<' if depth == 0 && text[at..].starts_with("<unfinished") => break,
                b',' if depth == 0 => {
                    self.end_argument(&mut plain, &mut has_string);
                }
                b'[' | b'{' | b'(' => depth += 1,
                b']' | b'}' | b')' => depth -= 1,
                byte => plain.push(char::from(*byte)),
            }
            at += 1;
        }
        self.end_argument(&mut plain, &mut has_string);
    }

    fn end_argument(&mut self, plain: &mut String, has_string: &mut bool) {
        if !*has_string {
            self.arguments.push(plain.trim().to_owned());
        }
        plain.clear();
        *has_string = false;
    }
}

fn result_of(line: &str) -> Option<i64> {
    let said = &line[line.rfind(" = ")? + 3..];
    // No error has such a number: strace was too late to ask a killed thread what its call returned.
    if said.starts_with("-1 (errno ") {
        return None;
    }
    let first = said.split(' ').next()?;
    match first.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => first.parse().ok(),
    }
}

/// `\x12\x34…`, as strace writes every byte.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte - b'0',
        byte => byte - b'a' + 10,
    };
    let pairs = text.chunks_exact(4);
    pairs
        .map(|four| digit(four[2]) << 4 | digit(four[3]))
        .collect()
}

#[test]
fn lines_of_strace_are_read_as_calls_with_two_moments() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("trace");
    let text = concat!(
        "7  1.5 openat(AT_FDCWD, \"\\x61\\x2f\\x62\", O_RDWR|O_CREAT|O_CLOEXEC, 0666) = 11\n",
        "7  1.6 pwrite64(11, \"\\x00\\xff\", 2, 4096 <unfinished ...>\n",
        "8  1.7 writev(12, [{iov_base=\"\\x48\\x54\", iov_len=2}, {iov_base=\"\\x54\", iov_len=1}], 2) = 3\n",
        "7  1.8 <... pwrite64 resumed>)         = 2\n",
        "7  1.9 unlink(\"\\x61\") = -1 ENOENT (No such file or directory)\n",
        "7  2.0 +++ killed by SIGKILL +++\n",
    );
    std::fs::write(&path, text).unwrap();
    let record = Record::read(&path);
    assert_eq!(record.calls.len(), 4);
    let [open, write, gather, unlink] = &record.calls[..] else {
        unreachable!()
    };
    assert_eq!((open.path(0), open.result), (Path::new("a/b"), Some(11)));
    assert_eq!(
        open.arguments,
        ["AT_FDCWD", "O_RDWR|O_CREAT|O_CLOEXEC", "0666"]
    );
    assert_eq!(write.strings, [vec![0, 255]]);
    assert_eq!((write.descriptor(), write.number(2)), (Some(11), 4096));
    assert_eq!(gather.strings.concat(), b"HTT");
    assert!(!unlink.succeeded() && gather.succeeded());
    use Moment::{Entered, Returned};
    let order = [
        Entered(0),
        Returned(0),
        Entered(1),
        Entered(2),
        Returned(2),
        Returned(1),
        Entered(3),
        Returned(3),
    ];
    assert_eq!(record.moments, order);
}

/// A file of a shop that was killed had its new name, and the record said that renaming it had failed.
#[test]
fn a_call_of_a_killed_thread_that_strace_could_not_ask_has_not_returned() {
    let killed = "<... rename resumed>) = -1 (errno 18446744073709551359)";
    assert_eq!(result_of(killed), None);
    assert_eq!(result_of("<... openat resumed>) = ?"), None);
    let failed = "<... rename resumed>) = -1 ENOENT (No such file or directory)";
    assert_eq!(result_of(failed), Some(-1));
}
