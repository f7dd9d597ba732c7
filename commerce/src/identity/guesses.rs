//! Turns to guess: who shows a password for an address waits while another one is compared.
//!
//! A wrong password counts once it has been compared. Many at the same time would all be compared
//! before the first of them counts; in turns, nobody is compared any more from the one that locks
//! on. A good password waits like any other and costs no commit more than without this.
//!
//! Few may wait for one address, so that whoever floods it keeps neither the places of those who
//! sign in elsewhere nor many connections. Turns are of this process, through which all logins
//! come.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::OwnedMutexGuard;

use super::password_pool::PoolError;
use crate::privacy::Fingerprint;

/// Hands out turns to guess. Cheap to clone; every clone hands out the same.
#[derive(Debug, Clone)]
pub struct Guesses {
    lines: Arc<Mutex<HashMap<Fingerprint, Line>>>,
    waiting_max: usize,
}

/// Those who show passwords for one address.
#[derive(Debug, Default)]
struct Line {
    /// Who has the turn, and whoever waits for it or has it.
    turn: Arc<tokio::sync::Mutex<()>>,
    here: usize,
}

/// A turn to guess; the next one's begins when it is dropped.
#[derive(Debug)]
pub struct Turn {
    // In this order: whoever comes in between finds the line, and in it the turn free.
    _turn: OwnedMutexGuard<()>,
    _place: Place,
}

/// A place in the line of an address.
#[derive(Debug)]
struct Place {
    guesses: Guesses,
    address: Fingerprint,
}

impl Guesses {
    /// Turns for which so many wait at an address beside the one whose turn it is.
    pub fn new(waiting_max: usize) -> Guesses {
        Guesses {
            lines: Arc::default(),
            waiting_max,
        }
    }

    /// Waits for a turn. Who gives up waiting leaves the line.
    pub async fn turn(&self, address: Fingerprint) -> Result<Turn, PoolError> {
        let (place, turn) = self.stand(address)?;
        let turn = turn.lock_owned().await;
        Ok(Turn {
            _turn: turn,
            _place: place,
        })
    }

    fn stand(
        &self,
        address: Fingerprint,
    ) -> Result<(Place, Arc<tokio::sync::Mutex<()>>), PoolError> {
        let mut lines = self.lines();
        let line = lines.entry(address).or_default();
        if line.here > self.waiting_max {
            return Err(PoolError::busy());
        }
        line.here += 1;
        let place = Place {
            guesses: self.clone(),
            address,
        };
        Ok((place, line.turn.clone()))
    }

    fn lines(&self) -> MutexGuard<'_, HashMap<Fingerprint, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut lines = self.guesses.lines();
        let Some(line) = lines.get_mut(&self.address) else {
            return;
        };
        line.here = line.here.saturating_sub(1);
        if line.here == 0 {
            lines.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const ADA: Fingerprint = Fingerprint([1; 32]);
    const BOB: Fingerprint = Fingerprint([2; 32]);

    /// What a future comes to without anybody waking it.
    fn poll_once<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn one_at_a_time_guesses_for_an_address_and_nobody_waits_for_another_one() {
        let guesses = Guesses::new(1);
        let mut first = Box::pin(guesses.turn(ADA));
        let first = poll_once(first.as_mut());
        let mut second = Box::pin(guesses.turn(ADA));
        assert!(poll_once(second.as_mut()).is_pending());
        assert!(poll_once(Box::pin(guesses.turn(BOB)).as_mut()).is_ready());
        let third = poll_once(Box::pin(guesses.turn(ADA)).as_mut());
        assert!(matches!(third, Poll::Ready(Err(PoolError::Busy { .. }))));
        drop(first);
        assert!(poll_once(second.as_mut()).is_ready());
    }

    #[test]
    fn who_gives_up_leaves_the_line_and_an_empty_line_is_forgotten() {
        let guesses = Guesses::new(1);
        let mut first = Box::pin(guesses.turn(ADA));
        let first = poll_once(first.as_mut());
        let mut second = Box::pin(guesses.turn(ADA));
        assert!(poll_once(second.as_mut()).is_pending());
        drop(second);
        let mut third = Box::pin(guesses.turn(ADA));
        assert!(poll_once(third.as_mut()).is_pending());
        drop(first);
        assert!(poll_once(third.as_mut()).is_ready());
        drop(third);
        assert!(guesses.lines().is_empty());
    }
}
