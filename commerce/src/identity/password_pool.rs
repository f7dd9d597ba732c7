//! The pool in which passwords are hashed and compared.
//!
//! argon2id is slow and takes memory on purpose, so it runs on a few threads of its own, never
//! in a turn and never on the threads that answer requests. Few may wait; further ones are told
//! to come back, so that a flood of logins slows logins and nothing else. Passwords to be hashed
//! wait in places of their own: a flood of strangers who register sends away nobody who signs in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use argon2::Params;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{Error, PasswordHasher, PasswordVerifier};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::argon::Argon;
use super::credential::{Credential, Password};

/// When somebody who is sent away may come back.
const COME_BACK: Duration = Duration::from_secs(1);

/// When memory is given back to the system after a comparison.
const GIVE_BACK: Duration = Duration::from_secs(2);

/// Threads, places to wait, and cost of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolConfig {
    /// Comparisons at a time.
    pub workers: usize,
    /// Further ones that wait; as many again to hash one.
    pub waiting_max: usize,
    /// Memory of a comparison in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
    /// Lanes of that memory.
    pub lanes: u32,
}

/// The cost of a comparison is out of range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "argon2 with {memory_kib} KiB, {passes} passes and {lanes} lanes is not possible ({detail}); use at least 8 KiB for each lane and one pass"
)]
pub struct CostOutOfRange {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
    detail: String,
}

/// A password was neither hashed nor compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// Too many wait already.
    #[error("too many passwords are being compared; try again in {retry_after:?}")]
    Busy {
        /// When to come back.
        retry_after: Duration,
    },
    /// argon2 or its thread failed.
    #[error("a password could not be compared: {0}")]
    Failed(String),
}

/// Hashes and compares passwords. Cheap to clone; every clone is the same pool.
#[derive(Debug, Clone)]
pub struct PasswordPool {
    argon2: Arc<Argon>,
    to_hash: Arc<Semaphore>,
    to_compare: Arc<Semaphore>,
    workers: Arc<Semaphore>,
    compared: Arc<AtomicU64>,
}

impl PoolError {
    /// Too many wait already.
    pub(super) fn busy() -> PoolError {
        PoolError::Busy {
            retry_after: COME_BACK,
        }
    }
}

impl PasswordPool {
    /// A pool of this size and cost.
    pub fn new(config: PoolConfig) -> Result<PasswordPool, CostOutOfRange> {
        let PoolConfig {
            workers,
            waiting_max,
            memory_kib,
            passes,
            lanes,
        } = config;
        let params = Params::new(memory_kib, passes, lanes, None).map_err(|error| {
            let detail = error.to_string();
            CostOutOfRange {
                memory_kib,
                passes,
                lanes,
                detail,
            }
        })?;
        let workers = workers.max(1);
        let places = waiting_max
            .saturating_add(workers)
            .min(Semaphore::MAX_PERMITS);
        Ok(PasswordPool {
            argon2: Arc::new(Argon::new(params)),
            to_hash: Arc::new(Semaphore::new(places)),
            to_compare: Arc::new(Semaphore::new(places)),
            workers: Arc::new(Semaphore::new(workers)),
            compared: Arc::default(),
        })
    }

    /// What is kept of a password.
    pub async fn hash(&self, password: Password) -> Result<Credential, PoolError> {
        self.run(&self.to_hash, move |argon2| {
            let hash = argon2.hash_password(password.bytes()).map_err(failed)?;
            Ok(Credential(hash.to_string()))
        })
        .await
    }

    /// Whether it is the password. `None` is compared as slowly and is never it.
    pub async fn compare(
        &self,
        password: Password,
        with: Option<Credential>,
    ) -> Result<bool, PoolError> {
        let compared = self.compared.clone();
        self.run(&self.to_compare, move |argon2| {
            compared.fetch_add(1, Ordering::Relaxed);
            let known = with.is_some();
            let Credential(text) = with.unwrap_or_else(|| nothing(argon2.params()));
            let hash = PasswordHash::new(&text).map_err(failed)?;
            match argon2.verify_password(password.bytes(), &hash) {
                Ok(()) => Ok(known),
                Err(Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(failed(error)),
            }
        })
        .await
    }

    /// How many passwords were compared by now.
    pub fn compared(&self) -> u64 {
        self.compared.load(Ordering::Relaxed)
    }

    async fn run<T: Send + 'static>(
        &self,
        places: &Arc<Semaphore>,
        work: impl FnOnce(&Argon) -> Result<T, PoolError> + Send + 'static,
    ) -> Result<T, PoolError> {
        let place = places.clone().try_acquire_owned();
        let place: OwnedSemaphorePermit = place.map_err(|_| PoolError::busy())?;
        let worker = self.workers.clone().acquire_owned().await.map_err(failed)?;
        let argon2 = self.argon2.clone();
        // Work that has begun goes on when its caller has gone, and keeps its place until then.
        let done = tokio::task::spawn_blocking(move || {
            let done = work(&argon2);
            drop((place, worker));
            done
        });
        tokio::spawn(give_back());
        done.await.map_err(failed)?
    }
}

/// Has an allocator that gives memory back late, and only when something else is freed, do so: in a
/// shop at rest nothing is freed, and what its start and a sign-in took beside the hash would be kept.
async fn give_back() {
    const LARGE: usize = 1 << 20;
    tokio::time::sleep(GIVE_BACK).await;
    drop(std::hint::black_box(Vec::<u8>::with_capacity(LARGE)));
}

/// The hash of no password: what somebody is compared with who does not exist.
fn nothing(params: &Params) -> Credential {
    let (m, t, p) = (params.m_cost(), params.t_cost(), params.p_cost());
    let (salt, hash) = ("A".repeat(22), "A".repeat(43));
    Credential(format!("$argon2id$v=19$m={m},t={t},p={p}${salt}${hash}"))
}

fn failed(error: impl std::fmt::Display) -> PoolError {
    PoolError::Failed(error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const CHEAP: PoolConfig = PoolConfig {
        workers: 1,
        waiting_max: 1,
        memory_kib: 8,
        passes: 1,
        lanes: 1,
    };

    #[tokio::test]
    async fn only_the_password_itself_matches_and_no_two_hashes_are_alike() {
        let pool = PasswordPool::new(CHEAP).unwrap();
        let password = || Password::new("correct horse battery");
        let (one, two) = (pool.hash(password()).await, pool.hash(password()).await);
        let (one, two) = (one.unwrap(), two.unwrap());
        assert!(one != two, "each has a salt of its own");
        assert!(one.0.starts_with("$argon2id$v=19$m=8,t=1,p=1$"));
        assert!(pool.compare(password(), Some(one.clone())).await.unwrap());
        let wrong = Password::new("Correct horse battery");
        assert!(!pool.compare(wrong, Some(one)).await.unwrap());
    }

    #[tokio::test]
    async fn nobody_is_compared_at_the_same_cost_and_never_matches() {
        let pool = PasswordPool::new(CHEAP).unwrap();
        for text in ["", "correct horse battery"] {
            assert!(!pool.compare(Password::new(text), None).await.unwrap());
        }
        let nothing = nothing(pool.argon2.params()).0;
        let somebody = pool.hash(Password::new("x")).await.unwrap().0;
        let cost = |text: &str| text.rsplitn(3, '$').last().unwrap().to_owned();
        assert_eq!(cost(&nothing), cost(&somebody));
        assert_eq!(nothing.len(), somebody.len());
    }

    #[tokio::test]
    async fn more_than_may_wait_are_sent_away() {
        let pool = PasswordPool::new(CHEAP).unwrap();
        let places = pool.to_hash.clone();
        let both = places.acquire_many(2).await.unwrap();
        let refused = pool.hash(Password::new("x")).await.unwrap_err();
        assert!(matches!(refused, PoolError::Busy { .. }));
        // Who signs in does not notice that so many register.
        assert!(!pool.compare(Password::new("x"), None).await.unwrap());
        drop(both);
        pool.hash(Password::new("x")).await.unwrap();
        let places = pool.to_compare.clone();
        let _both = places.acquire_many(2).await.unwrap();
        let refused = pool.compare(Password::new("x"), None).await.unwrap_err();
        assert!(matches!(refused, PoolError::Busy { .. }));
    }

    #[test]
    fn a_cost_that_argon2_does_not_take_is_named() {
        let error = PasswordPool::new(PoolConfig {
            memory_kib: 1,
            ..CHEAP
        });
        assert!(error.unwrap_err().to_string().contains("1 KiB"));
    }
}
