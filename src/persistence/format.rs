//! Bytes on disk: how numbers and strings are written, and how small files are sealed.
//!
//! ```text
//! sealed file: magic (8) | format (4) | length of body (4) | CRC32C of all but this (4) | body
//! ```
//!
//! Numbers are little-endian; counts and ids are variable-length (7 bits per byte, low first).

use std::io;
use std::path::Path;

use bytes::Bytes;

use super::disk::{Disk, OpenMode};

/// The format of a data directory that this version writes.
pub const FORMAT_VERSION: u32 = 1;

/// Reads a value back from bytes.
pub(crate) struct Decoder<'a> {
    bytes: &'a [u8],
}

/// Why bytes could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { bytes }
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        if length > self.bytes.len() {
            return Err(Malformed("ends too early"));
        }
        let (taken, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                // One number has one form: what is read is what would be written.
                return match byte == 0 && shift > 0 {
                    true => Err(Malformed("a number is longer than it has to be")),
                    false => Ok(value),
                };
            }
        }
        Err(Malformed("a number is too long"))
    }

    pub(crate) fn id(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed("an id is too large"))
    }

    pub(crate) fn flag(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither 0 nor 1")),
        }
    }

    pub(crate) fn slice(&mut self) -> Result<&'a [u8], Malformed> {
        let length =
            usize::try_from(self.varint()?).map_err(|_| Malformed("a length is too large"))?;
        self.take(length)
    }

    /// A copy: what is read lives longer than the block it was read from.
    pub(crate) fn bytes(&mut self) -> Result<Bytes, Malformed> {
        Ok(Bytes::copy_from_slice(self.slice()?))
    }

    pub(crate) fn string(&mut self) -> Result<String, Malformed> {
        std::str::from_utf8(self.slice()?)
            .map(str::to_owned)
            .map_err(|_| Malformed("a text is not UTF-8"))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn finish(self) -> Result<(), Malformed> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(Malformed("goes on after its end"))
        }
    }
}

pub(crate) fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

pub(crate) fn put_slice(to: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(to, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

const SEAL_BYTES: usize = 20;

/// Closes a small file's body with its magic, format and checksum.
pub(crate) fn seal(magic: &[u8; 8], body: &[u8]) -> Vec<u8> {
    seal_as(FORMAT_VERSION, magic, body)
}

/// The same in a format of its own.
pub(crate) fn seal_as(format: u32, magic: &[u8; 8], body: &[u8]) -> Vec<u8> {
    let mut file = Vec::with_capacity(SEAL_BYTES + body.len());
    file.extend_from_slice(magic);
    file.extend_from_slice(&format.to_le_bytes());
    file.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&file), body);
    file.extend_from_slice(&checksum.to_le_bytes());
    file.extend_from_slice(body);
    file
}

/// Why a sealed file could not be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unsealed {
    /// A newer version wrote it.
    Newer {
        /// Its format.
        found: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// It is not what was written.
    Damaged(&'static str),
}

/// The body of a sealed file.
pub(crate) fn unseal<'a>(magic: &[u8; 8], file: &'a [u8]) -> Result<&'a [u8], Unsealed> {
    unseal_to(FORMAT_VERSION, magic, file)
}

/// The same of a file that has formats of its own, of which `known` is the newest.
pub(crate) fn unseal_to<'a>(
    known: u32,
    magic: &[u8; 8],
    file: &'a [u8],
) -> Result<&'a [u8], Unsealed> {
    let mut head = Decoder::new(file);
    let short = |_| Unsealed::Damaged("it ends too early");
    if head.take(8).map_err(short)? != magic {
        return Err(Unsealed::Damaged("it does not start as such a file does"));
    }
    let found = head.u32().map_err(short)?;
    let length = head.u32().map_err(short)?;
    let checksum = head.u32().map_err(short)?;
    let body = head.bytes;
    let sound = crc32c::crc32c_append(crc32c::crc32c(&file[..16]), body) == checksum
        && length as usize == body.len();
    // A newer format may have another layout behind the version, so look at the version first,
    // but not past what a flipped bit would make of ours.
    if found > known && (sound || found < known + 1_000) {
        return Err(Unsealed::Newer { found, known });
    }
    if !sound {
        return Err(Unsealed::Damaged("its checksum does not match"));
    }
    if found == 0 {
        return Err(Unsealed::Damaged("its format has never been written"));
    }
    Ok(body)
}

/// Replaces a small file as a whole: after a crash the old or the new one is there.
pub(crate) fn replace_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let file = disk.open(&temporary, OpenMode::Truncate)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    drop(file);
    disk.rename(&temporary, path)?;
    sync_names(disk, path.parent().unwrap_or(Path::new(".")))
}

/// Makes the names in a directory durable.
pub(crate) fn sync_names(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    disk.sync_dir(dir).map_err(unsynced)
}

/// What a failed sync says, but never that there is no space, which would be tried again: what it
/// was to save may be lost by then.
pub(crate) fn unsynced(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            io::Error::other(error.to_string())
        }
        _ => error,
    }
}

/// The whole of a file, or `None` if there is none.
pub(crate) fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let size = usize::try_from(file.size()?)
        .map_err(|_| io::Error::other("the file is larger than memory"))?;
    let mut bytes = vec![0; size];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Some(bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_sealed_file_is_noticed() {
        let file = seal(b"RDLVTEST", b"body of the file");
        assert_eq!(unseal(b"RDLVTEST", &file), Ok(&b"body of the file"[..]));
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(unseal(b"RDLVTEST", &flipped).is_err(), "bit {bit}");
        }
    }

    /// Found by fuzzing: a file of format 0 passed for one of format 1.
    #[test]
    fn a_format_that_was_never_written_is_refused() {
        let file = seal_as(0, b"RDLVTEST", b"body");
        assert!(unseal(b"RDLVTEST", &file).is_err());
    }

    #[test]
    fn numbers_come_back_as_they_were_put() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut decoder = Decoder::new(&bytes);
            assert_eq!(decoder.varint(), Ok(value));
            assert_eq!(decoder.finish(), Ok(()));
        }
        assert!(Decoder::new(&[0xff; 10]).varint().is_err());
    }

    /// Found by fuzzing: a number with zeros behind it was read, so that bytes which nobody had
    /// written passed for a commit.
    #[test]
    fn a_number_that_is_longer_than_it_has_to_be_is_refused() {
        for bytes in [&[0x80, 0][..], &[0xac, 0x82, 0], &[0x81, 0x80, 0x00]] {
            assert!(Decoder::new(bytes).varint().is_err(), "{bytes:?}");
        }
    }
}
