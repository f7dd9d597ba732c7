//! A small disk to fill up, or to forbid writing to.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small disk of its own, for whoever may mount one.
pub struct Mount(tempfile::TempDir);

impl Mount {
    /// `None`, said aloud, where mounting is not allowed.
    pub fn of_megabytes(megabytes: u32) -> Option<Mount> {
        let mount = Mount(tempfile::tempdir().unwrap());
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "none"])
            .arg(mount.path())
            .output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(mount);
        }
        eprintln!("SKIPPED: this user may not mount a small disk; run the test as root");
        None
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn again(&self, options: &str) {
        let status = Command::new("mount")
            .args(["-o", options])
            .arg(self.path())
            .status();
        assert!(status.unwrap().success());
    }

    /// Fills it to the last byte.
    pub fn fill(&self) -> PathBuf {
        let path = self.path().join("filler");
        let mut file = fs::File::create(&path).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            let block = vec![1; size];
            while file.write_all(&block).is_ok() {}
        }
        path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: a killed program may still be on its way out.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}
