//! argon2id with memory that goes back to the system as soon as a hash is done.
//!
//! A hash takes megabytes for milliseconds. An allocator that keeps what is freed would keep them
//! for a shop that rests. What is larger than the C library of Linux ever keeps is mapped and
//! unmapped by it each time, so that much is asked for; what is not touched takes no memory.

use allocator_api2::alloc::System;
use allocator_api2::vec::Vec;
use argon2::password_hash::phc::{Output, PasswordHash, Salt};
use argon2::password_hash::{self, CustomizedPasswordHasher, Error, PasswordHasher};
use argon2::{Algorithm, Argon2, Block, Params, Version};

/// Blocks that are asked for at least: 33 MiB, where glibc maps anything above 32
/// (`DEFAULT_MMAP_THRESHOLD_MAX`).
const RESERVED_BLOCKS: usize = (33 << 20) / Block::SIZE;

/// Hashes and compares passwords at one cost. A hash of another cost is compared at its own.
#[derive(Debug)]
pub(super) struct Argon {
    params: Params,
}

impl Argon {
    pub(super) fn new(params: Params) -> Argon {
        Argon { params }
    }

    pub(super) fn params(&self) -> &Params {
        &self.params
    }
}

impl PasswordHasher<PasswordHash> for Argon {
    fn hash_password_with_salt(
        &self,
        password: &[u8],
        salt: &[u8],
    ) -> password_hash::Result<PasswordHash> {
        hash(
            Algorithm::Argon2id,
            Version::V0x13,
            &self.params,
            password,
            salt,
        )
    }
}

/// For comparing: with what the hash says of itself.
impl CustomizedPasswordHasher<PasswordHash> for Argon {
    type Params = Params;

    fn hash_password_customized(
        &self,
        password: &[u8],
        salt: &[u8],
        algorithm: Option<&str>,
        version: Option<u32>,
        params: Params,
    ) -> password_hash::Result<PasswordHash> {
        let algorithm = algorithm.map(Algorithm::try_from).transpose()?;
        let version = version.map(Version::try_from).transpose()?;
        hash(
            algorithm.unwrap_or_default(),
            version.unwrap_or_default(),
            &params,
            password,
            salt,
        )
    }
}

fn hash(
    algorithm: Algorithm,
    version: Version,
    params: &Params,
    password: &[u8],
    salt: &[u8],
) -> password_hash::Result<PasswordHash> {
    let blocks = params.block_count();
    let mut memory = Vec::new_in(System);
    let reserved = memory.try_reserve_exact(blocks.max(RESERVED_BLOCKS));
    reserved.map_err(|_| argon2::Error::OutOfMemory)?;
    memory.resize(blocks, Block::new());

    let mut buffer = [0; Output::MAX_LENGTH];
    let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
    let output = buffer.get_mut(..length).ok_or(Error::OutputSize)?;
    Argon2::new(algorithm, version, params.clone())
        .hash_password_into_with_memory(password, salt, output, memory)?;
    Ok(PasswordHash {
        algorithm: algorithm.ident(),
        version: Some(version.into()),
        params: params.try_into()?,
        salt: Some(Salt::new(salt)?),
        hash: Some(Output::new(output)?),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use argon2::password_hash::PasswordVerifier;

    use super::*;

    /// What was hashed before stays good, and what is hashed here is argon2's own.
    #[test]
    fn it_is_argon2_at_every_cost() {
        for (memory_kib, passes, lanes) in [(8, 1, 1), (64, 3, 2), (40_000, 1, 1)] {
            let params = Params::new(memory_kib, passes, lanes, None).unwrap();
            let (ours, plain) = (Argon::new(params.clone()), Argon2::from(params));
            let salt = b"salt of 16 bytes";
            let one = ours.hash_password_with_salt(b"password", salt).unwrap();
            assert_eq!(
                one,
                plain.hash_password_with_salt(b"password", salt).unwrap()
            );
            // Compared at the cost that it was hashed with.
            let other = Argon::new(Params::new(16, 1, 1, None).unwrap());
            assert_eq!(other.verify_password(b"password", &one), Ok(()));
            let wrong = other.verify_password(b"Password", &one);
            assert_eq!(wrong, Err(Error::PasswordInvalid));
        }
    }
}
