//! Harm done to one file of a data directory.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::campaign::chance::Chance;
use crate::campaign::directory::files;

/// What is done to which file.
#[derive(Debug)]
pub struct Harm {
    /// Below the data directory.
    pub file: PathBuf,
    /// What kind of file it is.
    pub kind: String,
    pub what: What,
}

/// What is done.
#[derive(Debug)]
pub enum What {
    /// These bits are flipped.
    Bits(Vec<u64>),
    /// So many bytes from here on are zero.
    Zeros(u64, u64),
    /// Other bytes stand here.
    Garbage(u64, Vec<u8>),
    /// It ends here.
    Cut(u64),
    /// Bytes follow its end.
    Longer(Vec<u8>),
    /// It is gone.
    Deleted,
}

impl Harm {
    /// Harm to any kind of file, each as likely. Those beside the cell are the program's alone.
    pub fn any(chance: &mut Chance, data: &Path, beside_the_cell: bool) -> Harm {
        let all = files(data);
        let mut kinds: Vec<(String, Vec<&PathBuf>)> = Vec::new();
        for path in all.keys() {
            let kind = kind_of(path);
            let is_beside = matches!(kind.as_str(), "keys" | "mail" | "currency");
            if kind == "provider" || is_beside && !beside_the_cell {
                continue;
            }
            match kinds.iter_mut().find(|(known, _)| *known == kind) {
                Some((_, of)) => of.push(path),
                None => kinds.push((kind, vec![path])),
            }
        }
        // Where most of what was acknowledged stands.
        let (kind, of) = match chance.below(3) {
            0 => kinds.iter().find(|(kind, _)| kind == "journal").unwrap(),
            _ => chance.one_of(&kinds),
        };
        let file = (*chance.one_of(of)).clone();
        let content = &all[&file];
        Harm {
            kind: kind.clone(),
            what: What::any(chance, content),
            file,
        }
    }

    /// Does it.
    pub fn apply(&self, data: &Path) {
        let path = data.join(&self.file);
        if let What::Deleted = self.what {
            fs::remove_file(path).unwrap();
            return;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .unwrap();
        let size = file.metadata().unwrap().len();
        match &self.what {
            What::Bits(bits) => {
                for bit in bits {
                    let mut byte = [0];
                    file.read_exact_at(&mut byte, bit / 8).unwrap();
                    byte[0] ^= 1 << (bit % 8);
                    file.write_all_at(&byte, bit / 8).unwrap();
                }
            }
            What::Zeros(at, length) => {
                let zeros = vec![0; usize::try_from(*length).unwrap()];
                file.write_all_at(&zeros, *at).unwrap();
            }
            What::Garbage(at, bytes) => file.write_all_at(bytes, *at).unwrap(),
            What::Cut(at) => file.set_len(*at).unwrap(),
            What::Longer(bytes) => file.write_all_at(bytes, size).unwrap(),
            What::Deleted => {}
        }
    }
}

impl What {
    fn any(chance: &mut Chance, content: &[u8]) -> What {
        // Of a file that ends in zeros most harm is done before them.
        let written = content.iter().rposition(|byte| *byte != 0);
        let size = content.len() as u64;
        let in_use = match chance.below(8) {
            0 => size,
            _ => written.map_or(0, |at| at as u64 + 1),
        };
        if in_use == 0 {
            return match chance.below(2) {
                0 => What::Deleted,
                _ => What::Longer(noise(chance, 100)),
            };
        }
        let at = chance.below(in_use);
        match chance.below(12) {
            0..4 => What::Bits(vec![at * 8 + chance.below(8)]),
            4 => {
                let count = 2 + chance.below(20);
                What::Bits((0..count).map(|_| chance.below(in_use * 8)).collect())
            }
            5..7 => {
                let block = *chance.one_of(&[512, 4096, 65_536]);
                let from = at / block * block;
                What::Zeros(from, block.min(size - from))
            }
            7 => What::Zeros(0, size),
            8 => {
                let length = 1 + chance.below(4096.min(size - at));
                What::Garbage(at, noise(chance, length))
            }
            9..11 => What::Cut(at),
            11 if chance.below(3) == 0 => {
                let length = 1 + chance.below(4096);
                What::Longer(noise(chance, length))
            }
            _ => What::Deleted,
        }
    }
}

fn noise(chance: &mut Chance, length: u64) -> Vec<u8> {
    (0..length)
        .map(|_| chance.next().to_le_bytes()[3])
        .collect()
}

/// What kind of file it is: its folder, or its name where it stands alone.
fn kind_of(path: &Path) -> String {
    let below_cell = path.strip_prefix("cells/main").unwrap_or(path);
    let first = below_cell.components().next().unwrap();
    first.as_os_str().to_str().unwrap().to_owned()
}
