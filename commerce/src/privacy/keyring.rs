//! The keyring: one key a user, kept in a file of its own beside the journal.
//!
//! A key is durable before the keyring answers that it exists, and overwritten in place, durably,
//! before it answers that it is destroyed. The journal, its snapshots and their backups never hold
//! a key; without this file nobody's personal data can be read, so a backup of the shop needs it
//! too, and a deletion must reach every copy of it.
//!
//! ```text
//! header   "redlkeys" · version · zeros · count · zeros      64 bytes
//! slot     user 16 · key 32 · crc32 of both 4 · zeros 12     64 bytes
//! slot     …            the nil user's key is the shop's own; zeros and a checksum: destroyed
//! count    of slots 8 · crc32 of it 4, at byte 16; zeros: not noted
//! ```
//!
//! The count goes up once a slot is durable, and never down. So it never says too many, and a keyring
//! that has fewer, or nothing in one of them, was cut or overwritten. A copy that is made at any time
//! is whole.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use redeliver::codec::{self, Subject};
use redeliver::{KeyReader, TableKey};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use uuid::Uuid;

use super::sealed::{NONCE_BYTES, Personal, Sealed};
use crate::ids::UserId;
use crate::syncs::Syncs;

const SLOT_BYTES: usize = 64;
const KEY_BYTES: usize = 32;
const MAGIC: &[u8; 8] = b"redlkeys";
const VERSION: u8 = 1;
/// Where the header notes how many slots there are.
const COUNT_AT: usize = 16;
/// Whose key is the shop's own.
const SHOP: UserId = UserId(Uuid::nil());

type Secret = [u8; KEY_BYTES];

/// The keyring cannot do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// Its file cannot be used.
    #[error("keyring {path} cannot be used ({error}); give this user write access to it")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: Arc<io::Error>,
    },
    /// The file is there and is no keyring, or one of a newer program.
    #[error("{path} is no keyring that this program can read ({detail}); restore it from a copy")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// The shop has data and no keyring.
    #[error(
        "keyring {path} is missing although the shop has data; restore it from a copy: without it nobody's personal data can be read"
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// The user has no key: deleted, or never registered.
    #[error("user {user} has no key: the user was deleted, and personal data with it")]
    Forgotten {
        /// Who.
        user: UserId,
    },
    /// The key is there and does not open the value.
    #[error("personal data of user {user} cannot be opened: {detail}")]
    Unreadable {
        /// Whose.
        user: UserId,
        /// Why.
        detail: String,
    },
    /// The system has no randomness to give.
    #[error("no randomness for a key: {0}")]
    Random(getrandom::Error),
}

/// A keyed digest of something by which a user is looked up, such as an e-mail address. Equal for
/// equal texts of one shop; without the shop's key it says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

impl TableKey for Fingerprint {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
    fn read(from: &mut KeyReader<'_>) -> Option<Self> {
        from.take(32)?.try_into().ok().map(Fingerprint)
    }
}

/// The keys of all users. Cheap to clone; every clone is the same keyring.
#[derive(Clone)]
pub struct Keyring(Arc<Inner>);

struct Inner {
    keys: RwLock<HashMap<UserId, Secret>>,
    slots: Mutex<Slots>,
    random: Random,
}

/// Where keys are written; in memory, nowhere.
struct Slots {
    file: Option<(PathBuf, File, Syncs)>,
    of: HashMap<UserId, u64>,
    free: Vec<u64>,
    next: u64,
}

/// Where keys and nonces come from.
enum Random {
    System,
    /// For tests: the same every time.
    Seeded(Mutex<u64>),
}

impl Keyring {
    /// Opens the keyring at `path`; `create` makes a new one if there is none, as a first start
    /// does.
    ///
    /// # Errors
    ///
    /// A missing, damaged or unusable file, each with what to do.
    pub fn open(path: &Path, create: bool, syncs: &Syncs) -> Result<Keyring, KeyringError> {
        let failed = |error: io::Error| KeyringError::Io {
            path: path.to_owned(),
            error: Arc::new(error),
        };
        if !path.exists() {
            if !create {
                let path = path.to_owned();
                return Err(KeyringError::Missing { path });
            }
            begin(path, syncs).map_err(failed)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(failed)?;
        let bytes = fs::read(path).map_err(failed)?;
        let damaged = |detail: String| KeyringError::Damaged {
            path: path.to_owned(),
            detail,
        };
        let (keys, mut slots) = read(&bytes).map_err(damaged)?;
        slots.file = Some((path.to_owned(), file, syncs.clone()));
        // Nothing below the count is empty.
        for slot in &slots.free {
            let at = *slot as usize * SLOT_BYTES;
            if bytes.get(at..at + SLOT_BYTES) != Some(&destroyed()[..]) {
                slots.write(*slot, &destroyed())?;
            }
        }
        let keyring = Keyring::of(keys, slots, Random::System);
        if !create && !keyring.has(SHOP) {
            return Err(KeyringError::Damaged {
                path: path.to_owned(),
                detail: "the shop's own key is not in it".to_owned(),
            });
        }
        keyring.create(SHOP)?;
        Ok(keyring)
    }

    /// A keyring that is forgotten with its last clone, with keys and nonces that follow from
    /// `seed`. For tests and simulations; not for anybody's real data.
    pub fn in_memory(seed: u64) -> Keyring {
        let slots = Slots {
            file: None,
            of: HashMap::new(),
            free: Vec::new(),
            next: 1,
        };
        let random = Random::Seeded(Mutex::new(seed));
        let keyring = Keyring::of(HashMap::new(), slots, random);
        let shop = keyring.0.random.bytes().unwrap_or_default();
        keyring.insert(SHOP, shop);
        keyring
    }

    /// Whether it is one of [`Keyring::in_memory`], which waits for no disk.
    pub fn is_in_memory(&self) -> bool {
        matches!(self.0.random, Random::Seeded(_))
    }

    fn of(keys: HashMap<UserId, Secret>, slots: Slots, random: Random) -> Keyring {
        Keyring(Arc::new(Inner {
            keys: RwLock::new(keys),
            slots: Mutex::new(slots),
            random,
        }))
    }

    /// Makes a key for a new user; a user who has one keeps it. Returns when it is durable, so it
    /// waits for the disk: call it where blocking is allowed.
    pub fn create(&self, user: UserId) -> Result<(), KeyringError> {
        let mut slots = self.0.slots();
        if self.has(user) {
            return Ok(());
        }
        let secret: Secret = self.0.random.bytes()?;
        let slot = slots.take();
        slots
            .write(slot, &encode(user, &secret))
            .inspect_err(|_| slots.free.push(slot))?;
        slots.of.insert(user, slot);
        self.insert(user, secret);
        slots.note_count()?;
        Ok(())
    }

    /// Destroys a user's key, and with it whatever was sealed for the user. Returns when that is
    /// durable. Nothing happens if there is none.
    pub fn destroy(&self, user: UserId) -> Result<(), KeyringError> {
        let mut slots = self.0.slots();
        // First here: once anybody is told that it is gone, nobody reads with it any more.
        let mut keys = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(mut secret) = keys.remove(&user) {
            secret.fill(0);
        }
        drop(keys);
        if let Some(slot) = slots.of.get(&user).copied() {
            slots.write(slot, &destroyed())?;
            slots.of.remove(&user);
            slots.free.push(slot);
        }
        Ok(())
    }

    /// Whether the user has a key.
    pub fn has(&self, user: UserId) -> bool {
        self.key(user).is_some()
    }

    /// Seals a user's data.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Forgotten`] if the user has no key.
    pub fn seal<T: Personal>(&self, user: UserId, data: &T) -> Result<Sealed<T>, KeyringError> {
        let secret = self.key(user).ok_or(KeyringError::Forgotten { user })?;
        let nonce: [u8; NONCE_BYTES] = self.0.random.bytes()?;
        let unreadable = |detail: String| KeyringError::Unreadable { user, detail };
        let plain = codec::seal(Subject::message(T::NAME), T::VERSION, data)
            .map_err(|error| unreadable(error.to_string()))?;
        let payload = Payload {
            msg: &plain,
            aad: &context(user, T::NAME),
        };
        let text = cipher(&secret)
            .encrypt(&XNonce::from(nonce), payload)
            .map_err(|error| unreadable(error.to_string()))?;
        Ok(Sealed {
            user,
            nonce,
            text,
            kind: PhantomData,
        })
    }

    /// Opens a user's data.
    ///
    /// # Errors
    ///
    /// [`KeyringError::Forgotten`] if the user's key is gone; [`KeyringError::Unreadable`] if the
    /// data was not sealed with it.
    pub fn open_sealed<T: Personal>(&self, sealed: &Sealed<T>) -> Result<T, KeyringError> {
        let user = sealed.user;
        let secret = self.key(user).ok_or(KeyringError::Forgotten { user })?;
        let unreadable = |detail: String| KeyringError::Unreadable { user, detail };
        let payload = Payload {
            msg: &sealed.text,
            aad: &context(user, T::NAME),
        };
        let plain = cipher(&secret)
            .decrypt(&XNonce::from(sealed.nonce), payload)
            .map_err(|error| unreadable(error.to_string()))?;
        codec::open(
            Subject::message(T::NAME),
            T::VERSION,
            &plain,
            codec::no_older,
        )
        .map_err(|error| unreadable(error.to_string()))
    }

    /// The digest by which something of this kind is looked up.
    pub fn fingerprint(&self, kind: &str, text: &str) -> Fingerprint {
        self.digest(kind, text.as_bytes())
    }

    /// As [`Keyring::fingerprint`], of any bytes.
    pub fn digest(&self, kind: &str, bytes: &[u8]) -> Fingerprint {
        Fingerprint(self.derived(kind, bytes))
    }

    /// A secret of the shop for one purpose, the same at every start.
    pub fn secret_for(&self, purpose: &str) -> [u8; 32] {
        self.derived("secret", purpose.as_bytes())
    }

    fn derived(&self, kind: &str, text: &[u8]) -> [u8; 32] {
        let shop = self.key(SHOP).unwrap_or_default();
        let mut mac = Hmac::<Sha256>::new_from_slice(&shop)
            .unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"));
        mac.update(&(kind.len() as u64).to_le_bytes());
        mac.update(kind.as_bytes());
        mac.update(text);
        mac.finalize().into_bytes().into()
    }

    fn key(&self, user: UserId) -> Option<Secret> {
        let keys = self.0.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(&user).copied()
    }

    fn insert(&self, user: UserId, secret: Secret) {
        let mut keys = self.0.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.insert(user, secret);
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(redacted)")
    }
}

impl Inner {
    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slots {
    fn take(&mut self) -> u64 {
        self.free.pop().unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        })
    }

    fn write(&self, slot: u64, bytes: &[u8; SLOT_BYTES]) -> Result<(), KeyringError> {
        self.with_file(|file, syncs| {
            file.write_all_at(bytes, slot * SLOT_BYTES as u64)?;
            syncs.data(file)
        })
    }

    /// Notes how many slots there are. Durable with the next key.
    fn note_count(&self) -> Result<(), KeyringError> {
        self.with_file(|file, _| file.write_all_at(&counted(self.next - 1), COUNT_AT as u64))
    }

    fn with_file(
        &self,
        act: impl FnOnce(&File, &Syncs) -> io::Result<()>,
    ) -> Result<(), KeyringError> {
        let Some((path, file, syncs)) = &self.file else {
            return Ok(());
        };
        act(file, syncs).map_err(|error| KeyringError::Io {
            path: path.clone(),
            error: Arc::new(error),
        })
    }
}

impl Random {
    fn bytes<const N: usize>(&self) -> Result<[u8; N], KeyringError> {
        let mut bytes = [0; N];
        match self {
            Random::System => getrandom::fill(&mut bytes).map_err(KeyringError::Random)?,
            Random::Seeded(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                for chunk in bytes.chunks_mut(8) {
                    *state = splitmix(*state);
                    chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
                }
            }
        }
        Ok(bytes)
    }
}

fn splitmix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn cipher(secret: &Secret) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(&Key::from(*secret))
}

/// What a sealed value is bound to beside its key.
fn context(user: UserId, name: &str) -> Vec<u8> {
    [user.0.as_bytes(), name.as_bytes()].concat()
}

/// Writes an empty keyring; nothing is at `path` until it is whole.
fn begin(path: &Path, syncs: &Syncs) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(dir)?;
    let mut header = [0; SLOT_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8] = VERSION;
    syncs.put(path, &header)?;
    match dir.parent() {
        Some(above) if !above.as_os_str().is_empty() => syncs.all(&File::open(above)?),
        Some(_) | None => Ok(()),
    }
}

/// A count with its checksum.
fn counted(slots: u64) -> [u8; 12] {
    let mut count = [0; 12];
    count[..8].copy_from_slice(&slots.to_le_bytes());
    let sum = checksum(&count[..8], KEY);
    count[8..].copy_from_slice(&sum);
    count
}

/// How many slots the header notes.
fn noted(header: &[u8]) -> Result<u64, String> {
    let note = &header[COUNT_AT..COUNT_AT + 12];
    if note.iter().all(|byte| *byte == 0) {
        return Ok(0);
    }
    let slots = note[..8].try_into().map_or(0, u64::from_le_bytes);
    match counted(slots) == note {
        true => Ok(slots),
        false => Err("the number of its slots is garbled".to_owned()),
    }
}

fn encode(user: UserId, secret: &Secret) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[..16].copy_from_slice(user.0.as_bytes());
    slot[16..48].copy_from_slice(secret);
    summed(slot, KEY)
}

/// What a slot has whose key was destroyed.
fn destroyed() -> [u8; SLOT_BYTES] {
    summed([0; SLOT_BYTES], DESTROYED)
}

fn summed(mut slot: [u8; SLOT_BYTES], what: u8) -> [u8; SLOT_BYTES] {
    let sum = checksum(&slot[..48], what);
    slot[48..52].copy_from_slice(&sum);
    slot
}

const KEY: u8 = 1;
const DESTROYED: u8 = 0;

/// Of the bytes and of what they are, so that a destroyed key passes for nobody's.
fn checksum(bytes: &[u8], what: u8) -> [u8; 4] {
    let mut sum = crc32fast::Hasher::new();
    sum.update(bytes);
    sum.update(&[what]);
    sum.finalize().to_le_bytes()
}

fn read(bytes: &[u8]) -> Result<(HashMap<UserId, Secret>, Slots), String> {
    let Some((header, rest)) = bytes.split_at_checked(SLOT_BYTES) else {
        return Err(format!("it has only {} bytes", bytes.len()));
    };
    if &header[..8] != MAGIC {
        return Err("it begins with something else".to_owned());
    }
    if header[8] != VERSION {
        return Err(format!("it has version {}, not {VERSION}", header[8]));
    }
    let mut keys = HashMap::new();
    let mut slots = Slots {
        file: None,
        of: HashMap::new(),
        free: Vec::new(),
        next: 1,
    };
    let noted = noted(header)?;
    for slot in rest.chunks(SLOT_BYTES) {
        let number = slots.next;
        slots.next += 1;
        // A slot that was being written when the power went was promised to nobody. No slot goes
        // over the end of a sector, so then it is not there, or only its beginning.
        let empty = slot.len() < SLOT_BYTES || slot.iter().all(|byte| *byte == 0);
        if empty && number <= noted {
            return Err(format!("slot {number} is empty, and was not"));
        }
        if empty || slot == destroyed() {
            slots.free.push(number);
            continue;
        }
        if checksum(&slot[..48], KEY) != slot[48..52] {
            return Err(format!("the key in slot {number} is garbled"));
        }
        let (Ok(user), Ok(secret)) = (Uuid::from_slice(&slot[..16]), slot[16..48].try_into())
        else {
            return Err(format!("slot {number} is short"));
        };
        keys.insert(UserId(user), secret);
        slots.of.insert(UserId(user), number);
    }
    if slots.next <= noted {
        return Err(format!("it had {noted} slots and has {}", slots.next - 1));
    }
    Ok((keys, slots))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ADA: UserId = UserId(Uuid::from_u128(1));
    const BOB: UserId = UserId(Uuid::from_u128(2));

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Phone(String);
    impl Personal for Phone {
        const NAME: &'static str = "phone";
    }

    #[derive(Debug, Serialize, Deserialize)]
    struct Diary(String);
    impl Personal for Diary {
        const NAME: &'static str = "diary";
    }

    fn phone() -> Phone {
        Phone("555 0100".to_owned())
    }

    #[test]
    fn what_is_sealed_opens_after_a_restart_and_never_after_its_key_is_destroyed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys").join("keyring");
        let keyring = Keyring::open(&path, true, &Syncs::default()).unwrap();
        keyring.create(ADA).unwrap();
        keyring.create(BOB).unwrap();
        let of_ada = keyring.seal(ADA, &phone()).unwrap();
        let of_bob = keyring.seal(BOB, &phone()).unwrap();
        let secret = keyring.key(ADA).unwrap();
        drop(keyring);
        let keyring = Keyring::open(&path, false, &Syncs::default()).unwrap();
        assert_eq!(keyring.open_sealed(&of_ada).unwrap(), phone());
        keyring.destroy(ADA).unwrap();
        for keyring in [
            keyring,
            Keyring::open(&path, false, &Syncs::default()).unwrap(),
        ] {
            let gone = keyring.open_sealed(&of_ada).unwrap_err();
            assert!(
                matches!(gone, KeyringError::Forgotten { user: ADA }),
                "{gone}"
            );
            assert_eq!(keyring.open_sealed(&of_bob).unwrap(), phone());
        }
        let left = fs::read(&path).unwrap();
        assert!(!left.windows(KEY_BYTES).any(|bytes| bytes == secret));
    }

    #[test]
    fn a_destroyed_keys_place_is_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring");
        let keyring = Keyring::open(&path, true, &Syncs::default()).unwrap();
        keyring.create(ADA).unwrap();
        let bytes = fs::metadata(&path).unwrap().len();
        keyring.destroy(ADA).unwrap();
        drop(keyring);
        let keyring = Keyring::open(&path, true, &Syncs::default()).unwrap();
        keyring.create(BOB).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), bytes);
        drop(keyring);
        let keyring = Keyring::open(&path, false, &Syncs::default()).unwrap();
        assert!(keyring.has(BOB) && !keyring.has(ADA));
    }

    #[test]
    fn data_of_one_user_or_kind_opens_as_no_other() {
        let keyring = Keyring::in_memory(7);
        keyring.create(ADA).unwrap();
        keyring.create(BOB).unwrap();
        let sealed = keyring.seal(ADA, &phone()).unwrap();
        let as_bobs = Sealed {
            user: BOB,
            ..sealed.clone()
        };
        let as_diary = Sealed::<Diary> {
            user: ADA,
            nonce: sealed.nonce,
            text: sealed.text.clone(),
            kind: PhantomData,
        };
        assert!(keyring.open_sealed(&as_bobs).is_err());
        assert!(keyring.open_sealed(&as_diary).is_err());
        for bit in 0..sealed.text.len() * 8 {
            let mut garbled = sealed.clone();
            garbled.text[bit / 8] ^= 1 << (bit % 8);
            assert!(keyring.open_sealed(&garbled).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn sealed_data_shows_in_no_debug_output_and_no_json() {
        let keyring = Keyring::in_memory(7);
        keyring.create(ADA).unwrap();
        let sealed = keyring.seal(ADA, &phone()).unwrap();
        assert_eq!(serde_json::to_string(&sealed).unwrap(), "null");
        assert_eq!(format!("{sealed:?}"), format!("Sealed({ADA})"));
        assert!(!sealed.text.windows(4).any(|bytes| bytes == b"0100"));
        assert_eq!(format!("{keyring:?}"), "Keyring(redacted)");
    }

    #[test]
    fn a_keyring_that_is_missing_or_damaged_is_refused_and_a_torn_last_slot_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring");
        let missing = Keyring::open(&path, false, &Syncs::default()).unwrap_err();
        assert!(matches!(missing, KeyringError::Missing { .. }));
        let keyring = Keyring::open(&path, true, &Syncs::default()).unwrap();
        keyring.create(ADA).unwrap();
        let before_bob = fs::read(&path).unwrap();
        keyring.create(BOB).unwrap();
        drop(keyring);
        let whole = fs::read(&path).unwrap();
        let open_with = |bytes: &[u8]| {
            fs::write(&path, bytes).unwrap();
            Keyring::open(&path, true, &Syncs::default())
        };
        for (at, cut) in [
            (0, whole.len()),
            (8, whole.len()),
            (COUNT_AT, whole.len()),
            (COUNT_AT + 11, whole.len()),
            (SLOT_BYTES * 2 + 20, whole.len()),
            // The last one's, garbled, passed for torn: its user's data could not be read any more.
            (SLOT_BYTES * 3 + 20, whole.len()),
        ] {
            let mut bytes = whole[..cut].to_vec();
            bytes[at] ^= 1;
            let damaged = open_with(&bytes).unwrap_err();
            assert!(matches!(damaged, KeyringError::Damaged { .. }), "{at}");
        }
        fs::write(&path, &whole[..SLOT_BYTES]).unwrap();
        let emptied = Keyring::open(&path, false, &Syncs::default()).unwrap_err();
        assert!(matches!(emptied, KeyringError::Damaged { .. }), "{emptied}");
        // As many whole slots as were cut or overwritten passed for users who had been deleted.
        for fewer in [
            whole[..SLOT_BYTES * 3].to_vec(),
            [&whole[..SLOT_BYTES * 2], &[0; SLOT_BYTES * 2]].concat(),
        ] {
            let damaged = open_with(&fewer).unwrap_err();
            assert!(matches!(damaged, KeyringError::Damaged { .. }), "{damaged}");
        }
        let before_bob = &before_bob[..SLOT_BYTES];
        let torn = [before_bob, &whole[SLOT_BYTES..whole.len() - 20]].concat();
        let torn = open_with(&torn).unwrap();
        assert!(torn.has(ADA) && !torn.has(BOB));
        torn.create(BOB).unwrap();
        assert!(
            Keyring::open(&path, false, &Syncs::default())
                .unwrap()
                .has(BOB)
        );
    }

    #[test]
    fn a_flipped_bit_of_a_keyring_is_noticed_or_changes_no_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keyring");
        let keyring = Keyring::open(&path, true, &Syncs::default()).unwrap();
        keyring.create(ADA).unwrap();
        keyring.create(BOB).unwrap();
        keyring.destroy(ADA).unwrap();
        drop(keyring);
        let file = fs::read(&path).unwrap();
        let (keys, _) = read(&file).unwrap();
        assert!(keys.contains_key(&BOB) && !keys.contains_key(&ADA));
        for bit in 0..file.len() * 8 {
            let mut flipped = file.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok((others, _)) = read(&flipped) {
                assert!(others == keys, "bit {bit} changes a key");
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_after_a_keyrings_head_take_it_down(
            mut rest in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
            is_summed in proptest::prelude::any::<bool>(),
        ) {
            for slot in rest.chunks_exact_mut(SLOT_BYTES).filter(|_| is_summed) {
                let sum = checksum(&slot[..48], KEY);
                slot[48..52].copy_from_slice(&sum);
            }
            let mut file = [0; SLOT_BYTES].to_vec();
            file[..8].copy_from_slice(MAGIC);
            file[8] = VERSION;
            file.extend(&rest);
            if let Ok((keys, slots)) = read(&file) {
                proptest::prop_assert!(keys.len() <= rest.len() / SLOT_BYTES);
                proptest::prop_assert_eq!(slots.next, 1 + rest.chunks(SLOT_BYTES).count() as u64);
            }
        }
    }

    #[test]
    fn one_text_has_one_fingerprint_in_a_shop_and_another_in_another() {
        let (here, there) = (Keyring::in_memory(1), Keyring::in_memory(2));
        let of = |keyring: &Keyring, text| keyring.fingerprint("email", text);
        assert_eq!(of(&here, "a@example.com"), of(&here, "a@example.com"));
        assert_ne!(of(&here, "a@example.com"), of(&here, "b@example.com"));
        assert_ne!(of(&here, "a@example.com"), of(&there, "a@example.com"));
    }
}
