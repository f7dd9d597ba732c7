//! Mutations: from bytes that were worth keeping to bytes that nobody has tried yet.

use fastrand::Rng;

/// No input grows beyond this.
const BYTES_MAX: usize = 16 * 1024;

/// Numbers that lengths and counts go wrong at.
const NUMBERS: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x100,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    u64::MAX >> 1,
    1 << 63,
    u64::MAX,
];

/// Changes some bytes, in one to eight ways. `other` is another input, to take pieces of.
pub fn mutate(data: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    for _ in 0..1 << rng.u8(0..4) {
        once(data, other, rng);
    }
    data.truncate(BYTES_MAX);
}

fn once(data: &mut Vec<u8>, other: &[u8], rng: &mut Rng) {
    if data.is_empty() {
        data.extend((0..rng.usize(1..64)).map(|_| rng.u8(..)));
        return;
    }
    let at = rng.usize(..data.len());
    match rng.u8(..12) {
        0 => data[at] ^= 1 << rng.u8(..8),
        1 => data[at] = rng.u8(..),
        2 => data[at] = data[at].wrapping_add(rng.u8(1..4)),
        3 => data[at] = data[at].wrapping_sub(rng.u8(1..4)),
        4 => data.truncate(at),
        5 => {
            data.drain(at..(at + rng.usize(1..=16)).min(data.len()));
        }
        6 => insert(data, at, &vec![rng.u8(..); rng.usize(1..=16)]),
        7 => {
            let number = rng.choice(NUMBERS).unwrap_or_default().to_le_bytes();
            overwrite(data, at, &number[..1 << rng.u8(..4)]);
        }
        8 => insert(data, at, &varint(rng.choice(NUMBERS).unwrap_or_default())),
        9 => {
            let piece = piece(other, rng);
            overwrite(data, at, piece);
        }
        10 => {
            let piece = piece(other, rng);
            insert(data, at, piece);
        }
        _ => {
            let own = piece(data, rng).to_vec();
            insert(data, at, &own);
        }
    }
}

fn piece<'a>(of: &'a [u8], rng: &mut Rng) -> &'a [u8] {
    let from = rng.usize(..=of.len());
    let to = (from + rng.usize(1..=64)).min(of.len());
    &of[from..to]
}

fn overwrite(data: &mut [u8], at: usize, with: &[u8]) {
    let length = with.len().min(data.len() - at);
    data[at..at + length].copy_from_slice(&with[..length]);
}

fn insert(data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    data.splice(at..at, bytes.iter().copied());
}

/// A number with seven bits a byte, as counts and lengths stand in files.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
