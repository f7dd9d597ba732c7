//! The watch over the file that is mapped into memory: what it had, and when.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

/// Every slot that a shop uses.
const BYTES: u64 = 4096;
const PERIOD: Duration = Duration::from_millis(3);

/// What a mapped file had at some time, in seconds.
pub struct Look {
    pub at: f64,
    pub content: Vec<u8>,
}

/// Looks at a file again and again until it is told to stop.
pub struct Watch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Look>>,
}

impl Watch {
    pub fn over(path: PathBuf) -> Watch {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut looks: Vec<Look> = Vec::new();
            while !told.load(Ordering::Relaxed) {
                if let Some(content) = content_of(&path)
                    && looks.last().is_none_or(|last| last.content != content)
                {
                    // The time after: it has looked so by then.
                    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                    let at = at.unwrap().as_secs_f64();
                    looks.push(Look { at, content });
                }
                // Not a wait for a condition: how finely is looked.
                std::thread::sleep(PERIOD);
            }
            looks
        });
        Watch { stop, thread }
    }

    pub fn looks(self) -> Vec<Look> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

fn content_of(path: &Path) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let file = File::open(path).ok()?;
    file.take(BYTES).read_to_end(&mut content).ok()?;
    Some(content)
}
