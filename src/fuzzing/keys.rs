//! Keys: whatever reads as a key is written the same again, and bytes sort as their values do.

use std::fmt::Debug;

use uuid::Uuid;

use super::Verdict;
use crate::clock::Timestamp;
use crate::key::TableKey;
use crate::parked::Origin;

/// The first byte says which type of key, the second where the first of two keys ends.
pub(super) fn keys(data: &[u8]) -> Verdict {
    let [kind, split, rest @ ..] = data else {
        return Err("too short".to_owned());
    };
    let (one, other) = rest.split_at(usize::from(*split).min(rest.len()));
    match kind % KINDS {
        0 => both::<(u8, u16, u32, u64)>(one, other),
        1 => both::<(i8, i16, i32, i64)>(one, other),
        2 => both::<(u128, i128)>(one, other),
        3 => both::<(bool, Uuid, Timestamp)>(one, other),
        4 => both::<String>(one, other),
        5 => both::<Vec<u8>>(one, other),
        6 => both::<(Option<String>, Option<Vec<u8>>, ())>(one, other),
        7 => both::<(String, (Vec<u8>, Option<Option<u8>>), i64)>(one, other),
        _ => both::<Origin>(one, other),
    }
}

const KINDS: u8 = 9;

fn both<K: TableKey + Ord + Debug>(one: &[u8], other: &[u8]) -> Verdict {
    let (first, second) = (read::<K>(one), read::<K>(other));
    if let (Some(first), Some(second)) = (&first, &second) {
        assert_eq!(first.cmp(second), one.cmp(other), "{first:?} {second:?}");
    }
    match (first, second) {
        (Some(_), Some(_)) => Ok(()),
        (Some(_), None) => Err("only the first is a key".to_owned()),
        (None, Some(_)) => Err("only the second is a key".to_owned()),
        (None, None) => Err("neither is a key".to_owned()),
    }
}

fn read<K: TableKey + PartialEq + Debug>(bytes: &[u8]) -> Option<K> {
    let key = K::from_bytes(bytes)?;
    assert_eq!(key.to_bytes(), bytes);
    Some(key)
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    fn seed<K: TableKey>(kind: u8, one: K, other: K) -> Vec<u8> {
        let (one, other) = (one.to_bytes(), other.to_bytes());
        [&[kind, one.len() as u8], &one[..], &other[..]].concat()
    }
    let text = str::to_owned;
    let (id, at) = (Uuid::from_u128(9), Timestamp(-7));
    vec![
        seed(0, (1u8, 2u16, 3u32, 4u64), (1, 2, 3, 5)),
        seed(1, (-1i8, 2i16, -3i32, 4i64), (1, -2, 3, -4)),
        seed(2, (1u128 << 100, -1i128), (0, 1)),
        seed(3, (true, id, at), (false, id, at)),
        seed(4, text("a\0b"), text("a")),
        seed(5, vec![0, 255, 1], vec![0, 1]),
        seed(6, (Some(text("a")), None, ()), (None, Some(vec![0u8]), ())),
        seed(
            7,
            (text("a"), (vec![1u8], Some(None)), 7i64),
            (text("a"), (vec![1], Some(Some(1u8))), -7),
        ),
        seed(
            8,
            Origin::Activity(id),
            Origin::Message {
                sender: crate::commit::ServiceId(1),
                sequence: crate::commit::Sequence(2),
            },
        ),
    ]
}
