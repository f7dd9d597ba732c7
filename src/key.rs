//! Order-preserving keys: what a table sorts by.
//!
//! The encoding compares byte by byte exactly as the values compare, so a range of keys is a
//! range of bytes. It is stored and therefore never changes: integers big-endian with the sign
//! bit flipped, strings and byte strings escaped (`00` → `00 FF`) and ended by `00 01`, tuples
//! one part after the other.

use bytes::Bytes;
use uuid::Uuid;

use crate::clock::Timestamp;

/// A type that can be a table's key, or part of one.
///
/// ```
/// use redeliver::{KeyReader, TableKey};
///
/// struct Sku(String);
///
/// impl TableKey for Sku {
///     fn write(&self, out: &mut Vec<u8>) {
///         self.0.write(out);
///     }
///     fn read(from: &mut KeyReader<'_>) -> Option<Self> {
///         String::read(from).map(Sku)
///     }
/// }
/// ```
pub trait TableKey: Sized {
    /// Appends the key's bytes.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes the key's bytes; `None` if they are not one.
    fn read(from: &mut KeyReader<'_>) -> Option<Self>;

    /// The key's bytes.
    fn to_bytes(&self) -> Bytes {
        // Most keys are a number or an id, and many are kept: no more room than these need.
        let mut out = Vec::with_capacity(16);
        self.write(&mut out);
        Bytes::from(out)
    }

    /// The key from all of `bytes`; `None` if they are not exactly one.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = KeyReader { rest: bytes };
        let key = Self::read(&mut reader)?;
        reader.rest.is_empty().then_some(key)
    }
}

/// The bytes of a key that are still to be read.
#[derive(Debug)]
pub struct KeyReader<'a> {
    rest: &'a [u8],
}

impl<'a> KeyReader<'a> {
    /// Takes the next `n` bytes.
    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }

    fn take_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }
}

macro_rules! unsigned_keys {
    ($($int:ty),*) => {$(
        impl TableKey for $int {
            fn write(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn read(from: &mut KeyReader<'_>) -> Option<Self> {
                from.take_array().map(<$int>::from_be_bytes)
            }
        }
    )*};
}

macro_rules! signed_keys {
    ($($int:ty as $unsigned:ty),*) => {$(
        impl TableKey for $int {
            fn write(&self, out: &mut Vec<u8>) {
                // Flipping the sign bit makes negative numbers sort before positive ones.
                (self.cast_unsigned() ^ (1 << (<$int>::BITS - 1))).write(out);
            }
            fn read(from: &mut KeyReader<'_>) -> Option<Self> {
                <$unsigned>::read(from).map(|n| (n ^ (1 << (<$int>::BITS - 1))).cast_signed())
            }
        }
    )*};
}

unsigned_keys!(u8, u16, u32, u64, u128);
signed_keys!(i8 as u8, i16 as u16, i32 as u32, i64 as u64, i128 as u128);

impl TableKey for bool {
    fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn read(from: &mut KeyReader<'_>) -> Option<Self> {
        match from.take(1)? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
}

impl TableKey for () {
    fn write(&self, _out: &mut Vec<u8>) {}
    fn read(_from: &mut KeyReader<'_>) -> Option<Self> {
        Some(())
    }
}

impl TableKey for Uuid {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
    fn read(from: &mut KeyReader<'_>) -> Option<Self> {
        from.take_array().map(Uuid::from_bytes)
    }
}

impl TableKey for Timestamp {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }
    fn read(from: &mut KeyReader<'_>) -> Option<Self> {
        i64::read(from).map(Timestamp)
    }
}

impl TableKey for Vec<u8> {
    fn write(&self, out: &mut Vec<u8>) {
        write_escaped(self, out);
    }
    fn read(from: &mut KeyReader<'_>) -> Option<Self> {
        let mut bytes = Vec::new();
        loop {
            match from.take(1)? {
                [0] => match from.take(1)? {
                    [0xFF] => bytes.push(0),
                    [0x01] => return Some(bytes),
                    _ => return None,
                },
                other => bytes.extend_from_slice(other),
            }
        }
    }
}

impl TableKey for String {
    fn write(&self, out: &mut Vec<u8>) {
        write_escaped(self.as_bytes(), out);
    }
    fn read(from: &mut KeyReader<'_>) -> Option<Self> {
        String::from_utf8(Vec::read(from)?).ok()
    }
}

impl<K: TableKey> TableKey for Option<K> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(key) => {
                out.push(1);
                key.write(out);
            }
        }
    }
    fn read(from: &mut KeyReader<'_>) -> Option<Self> {
        match from.take(1)? {
            [0] => Some(None),
            [1] => K::read(from).map(Some),
            _ => None,
        }
    }
}

macro_rules! tuple_keys {
    ($($part:ident $index:tt),*) => {
        impl<$($part: TableKey),*> TableKey for ($($part,)*) {
            fn write(&self, out: &mut Vec<u8>) {
                $(self.$index.write(out);)*
            }
            fn read(from: &mut KeyReader<'_>) -> Option<Self> {
                Some(($($part::read(from)?,)*))
            }
        }
    };
}

tuple_keys!(A 0, B 1);
tuple_keys!(A 0, B 1, C 2);
tuple_keys!(A 0, B 1, C 2, D 3);

fn write_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.push(*byte);
        if *byte == 0 {
            out.push(0xFF);
        }
    }
    out.extend_from_slice(&[0, 1]);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn order_and_round_trip<K: TableKey + Ord + std::fmt::Debug>(a: K, b: K) {
        assert_eq!(a.to_bytes().cmp(&b.to_bytes()), a.cmp(&b), "{a:?} {b:?}");
        assert_eq!(K::from_bytes(&a.to_bytes()).unwrap(), a);
        assert_eq!(K::from_bytes(&b.to_bytes()).unwrap(), b);
    }

    /// Few bytes, so that prefixes, escapes and ends of one text meet those of another.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop::sample::select(vec![0u8, 1, 2, 0x7f, 0xfe, 0xff]);
        prop::collection::vec(byte, 0..5)
    }

    fn text() -> impl Strategy<Value = String> {
        "[\\x00\\x01a-cäß🦀]{0,5}"
    }

    proptest! {
        #[test]
        fn unsigned_integers_sort_as_numbers(
            a: (u8, u16, u32, u64), b: (u8, u16, u32, u64), c: u128, d: u128,
        ) {
            order_and_round_trip(a.0, b.0);
            order_and_round_trip(a.1, b.1);
            order_and_round_trip(a.2, b.2);
            order_and_round_trip(a.3, b.3);
            order_and_round_trip(c, d);
            order_and_round_trip(a, b);
        }

        #[test]
        fn signed_integers_sort_as_numbers(
            a: (i8, i16, i32, i64), b: (i8, i16, i32, i64), c: i128, d: i128,
        ) {
            order_and_round_trip(a.0, b.0);
            order_and_round_trip(a.1, b.1);
            order_and_round_trip(a.2, b.2);
            order_and_round_trip(a.3, b.3);
            order_and_round_trip(c, d);
            order_and_round_trip(a, b);
            order_and_round_trip(Timestamp(a.3), Timestamp(b.3));
        }

        #[test]
        fn truths_units_and_ids_sort_as_they_compare(
            a: (bool, u128), b: (bool, u128),
        ) {
            order_and_round_trip(a.0, b.0);
            order_and_round_trip((), ());
            order_and_round_trip(Uuid::from_u128(a.1), Uuid::from_u128(b.1));
            order_and_round_trip(((), a.0), ((), b.0));
        }

        #[test]
        fn byte_strings_sort_byte_by_byte(a in bytes(), b in bytes()) {
            order_and_round_trip(a, b);
        }

        #[test]
        fn strings_sort_as_strings(a in text(), b in text()) { order_and_round_trip(a, b); }

        #[test]
        fn what_may_be_missing_sorts_before_what_is_there(
            a in prop::option::of(prop::option::of(bytes())),
            b in prop::option::of(prop::option::of(bytes())),
        ) { order_and_round_trip(a, b); }

        #[test]
        fn tuples_sort_part_by_part(
            a in (text(), any::<i16>(), prop::option::of(bytes()), text()),
            b in (text(), any::<i16>(), prop::option::of(bytes()), text()),
        ) {
            order_and_round_trip((a.0.clone(), a.1), (b.0.clone(), b.1));
            order_and_round_trip((a.3.clone(), a.2.clone(), a.1), (b.3.clone(), b.2.clone(), b.1));
            order_and_round_trip((a.0.clone(), (a.3.clone(), a.1)), (b.0.clone(), (b.3.clone(), b.1)));
            order_and_round_trip(a, b);
        }

        #[test]
        fn a_prefix_of_a_tuple_is_a_prefix_of_its_bytes(
            a in (text(), bytes(), any::<i16>()), b in text(),
        ) {
            let (whole, part) = (a.to_bytes(), (a.0.clone(), a.1.clone()).to_bytes());
            assert!(whole.starts_with(&part));
            // Nobody else's is: a span of a prefix has its rows and no others.
            assert_eq!(whole.starts_with(&b.to_bytes()), a.0 == b, "{a:?} {b:?}");
        }

        #[test]
        fn whatever_reads_as_a_key_is_written_the_same_again(bytes in bytes()) {
            fn again<K: TableKey>(bytes: &[u8]) {
                if let Some(key) = K::from_bytes(bytes) {
                    assert_eq!(key.to_bytes(), bytes);
                }
            }
            again::<bool>(&bytes);
            again::<i16>(&bytes);
            again::<String>(&bytes);
            again::<Option<Vec<u8>>>(&bytes);
            again::<(Vec<u8>, Option<u8>)>(&bytes);
        }

        #[test]
        fn reading_garbage_never_panics(bytes: Vec<u8>) {
            let _ = <(String, u64, Option<Vec<u8>>)>::from_bytes(&bytes);
        }
    }

    #[test]
    fn a_strings_prefix_sorts_first() {
        order_and_round_trip(("a".to_owned(), 9u8), ("a\0".to_owned(), 0u8));
    }
}
