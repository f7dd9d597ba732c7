//! The program as a process that may be killed at any moment, also before it is ready.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::common::commerce;

/// Longer than any start takes, so that one that hangs fails.
const START_MAX: Duration = Duration::from_secs(120);

/// Where the campaign's program keeps its data and writes its log.
#[derive(Clone)]
pub struct Place {
    pub data: PathBuf,
    pub log: PathBuf,
    pub variables: Vec<(String, String)>,
    /// What the program is started under, such as a tracer with its arguments.
    pub under: Vec<String>,
}

impl Place {
    /// Below a directory. Times of the simulated provider are short, so that rounds are.
    pub fn below(directory: &Path, variables: &[(&str, &str)]) -> Place {
        let quick = [
            ("COMMERCE_PROVIDER_NO_ANSWER_MS", "60"),
            ("COMMERCE_PROVIDER_SLOW_MS", "120"),
            // What was told is checked by one user, as quickly as the machine can.
            ("COMMERCE_HTTP_REQUESTS_PER_S", "0"),
        ];
        let all = quick.iter().chain(variables);
        Place {
            data: directory.join("data"),
            log: directory.join("stderr.log"),
            variables: all
                .map(|(name, value)| ((*name).into(), (*value).into()))
                .collect(),
            under: Vec::new(),
        }
    }

    /// The end of what the program has said, for a failing test.
    pub fn last_words(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = File::open(&self.log) {
            let mut bytes = Vec::new();
            let _ = file.read_to_end(&mut bytes);
            text = String::from_utf8_lossy(&bytes).into_owned();
        }
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// A process that was started. Killed when dropped.
pub struct Process {
    child: Child,
    is_under: bool,
    began: Instant,
    lines: Receiver<String>,
}

impl Process {
    pub fn spawn(place: &Place) -> Process {
        let data = place.data.display().to_string();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&place.log);
        let args = ["--data", &data, "--listen", "127.0.0.1:0", "--log", "error"];
        let mut child = started_under(&place.under, program(&args))
            .envs(place.variables.iter().map(|(name, value)| (name, value)))
            // A picture of the stack for each of thousands of panics would be most of the work.
            .env("RUST_BACKTRACE", "0")
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (said, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        let began = Instant::now();
        Process {
            child,
            is_under: !place.under.is_empty(),
            began,
            lines,
        }
    }

    /// The program's own id; none if it has ended.
    pub fn pid(&self) -> Option<Pid> {
        let pid = self.child.id();
        if !self.is_under {
            return Pid::from_raw(i32::try_from(pid).unwrap());
        }
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        let first = children.ok()?.split(' ').next()?.parse().ok()?;
        Pid::from_raw(first)
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            // It may have ended meanwhile.
            let _ = kill_process(pid, signal);
        }
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }

    /// Its address and how long it took, once it answers; how it ended if it never does.
    pub fn ready(&mut self) -> Result<(String, Duration), ExitStatus> {
        match self.lines.recv_timeout(START_MAX) {
            Ok(line) => {
                let address = line.strip_prefix("ready http://").unwrap();
                Ok((address.to_owned(), self.began.elapsed()))
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.child.wait().unwrap()),
            Err(RecvTimeoutError::Timeout) => {
                panic!("the program was not ready within {START_MAX:?}")
            }
        }
    }

    /// How it ended, if it did by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// How it ended, if it does by itself within this time. Only for after it was ready.
    pub fn ends_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        match self.lines.recv_timeout(limit) {
            Err(RecvTimeoutError::Disconnected) => Some(self.child.wait().unwrap()),
            Ok(_) | Err(RecvTimeoutError::Timeout) => None,
        }
    }

    /// SIGKILL, at once. How it ended before that, if it did by itself.
    pub fn kill(mut self) -> Result<(), ExitStatus> {
        if let Some(ended) = self.ended() {
            return Err(ended);
        }
        self.signal(Signal::KILL);
        // What it is under ends with it, when it has written down everything.
        self.child.wait().unwrap();
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.signal(Signal::KILL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn started_under(under: &[String], program: Command) -> Command {
    let Some((first, rest)) = under.split_first() else {
        return program;
    };
    let mut command = Command::new(first);
    command
        .args(rest)
        .arg(program.get_program())
        .args(program.get_args())
        .stdin(Stdio::null());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// The program under test: the one built with the tests, or the one that `KILL_PROGRAM` names,
/// such as an optimised build.
fn program(args: &[&str]) -> Command {
    let built = commerce(args);
    let Some(other) = std::env::var_os("KILL_PROGRAM") else {
        return built;
    };
    let mut command = Command::new(other);
    for (name, value) in built.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.args(args).stdin(Stdio::null());
    command
}
