//! A sealed value: personal data that only the key of its user opens.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::UserId;

/// What a sealed value's nonce takes.
pub(super) const NONCE_BYTES: usize = 24;

/// Personal data: never stored, sent or logged but [`Sealed`].
pub trait Personal: Serialize + DeserializeOwned {
    /// Identity of the kind of data; a value sealed as one kind does not open as another.
    const NAME: &'static str;
    /// Version of its form.
    const VERSION: u16 = 1;
}

/// Personal data of a user, readable as long as the user's key exists.
///
/// Stored and sent as it is. Its JSON form, which is what the outside sees of messages, is `null`;
/// its debug form says whose it is and nothing else.
pub struct Sealed<T> {
    /// Whose it is.
    pub user: UserId,
    pub(super) nonce: [u8; NONCE_BYTES],
    pub(super) text: Vec<u8>,
    pub(super) kind: PhantomData<fn() -> T>,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    user: UserId,
    nonce: [u8; NONCE_BYTES],
    text: Vec<u8>,
}

impl<T> Serialize for Sealed<T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() {
            return to.serialize_none();
        }
        let (user, nonce, text) = (self.user, self.nonce, self.text.clone());
        Stored { user, nonce, text }.serialize(to)
    }
}

impl<'de, T> Deserialize<'de> for Sealed<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            return Err(D::Error::custom("personal data has no readable form"));
        }
        let Stored { user, nonce, text } = Stored::deserialize(from)?;
        Ok(Sealed {
            user,
            nonce,
            text,
            kind: PhantomData,
        })
    }
}

impl<T> Clone for Sealed<T> {
    fn clone(&self) -> Sealed<T> {
        Sealed {
            user: self.user,
            nonce: self.nonce,
            text: self.text.clone(),
            kind: PhantomData,
        }
    }
}

impl<T> PartialEq for Sealed<T> {
    fn eq(&self, other: &Sealed<T>) -> bool {
        (self.user, self.nonce, &self.text) == (other.user, other.nonce, &other.text)
    }
}

impl<T> Eq for Sealed<T> {}

impl<T> fmt::Debug for Sealed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({})", self.user)
    }
}
