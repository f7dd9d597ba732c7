//! Lockouts: after too many wrong passwords nobody is let in for a while.
//!
//! Failures count for an e-mail address, whether or not anybody has it. They are forgotten when
//! the right password is shown, and when none was wrong for as long as a lockout lasts. Each
//! failure sweeps a few rows that are over, so addresses that nobody has do not pile up.

use redeliver::prelude::*;

use super::messages::{UserAccountLocked, UserAccountUnlocked};
use super::requests::{UnlockAccount, UserView};
use super::service::{Identity, Limits};
use super::tables::{LOCKOUTS, LOCKOUTS_BY_END, Lockout, USERS};
use super::users::{find_unchanged, user_of, view};
use crate::ids::UserId;
use crate::privacy::Fingerprint;

/// Rows that are over, removed with each failure: more than a failure adds.
const SWEPT_ROWS: usize = 4;

/// A lockout has lasted long enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockoutOver {
    /// Of which address.
    pub email: Fingerprint,
}

timer!(LockoutOver, "lockout-over", email);

/// What one more wrong password leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// So many in a row.
    Counted(u32),
    /// One too many.
    Locks,
}

/// Counts one more wrong password on top of what is remembered.
pub fn one_more(remembered: Option<&Lockout>, now: Timestamp, limits: &Limits) -> Failure {
    let before = remembered.filter(|lockout| now < lockout.until);
    let failures = before
        .map_or(0, |lockout| lockout.failures)
        .saturating_add(1);
    if failures >= limits.failures_max {
        Failure::Locks
    } else {
        Failure::Counted(failures)
    }
}

impl Identity {
    /// Until when nobody is let in with this address, if that is so.
    pub(super) fn locked_until(
        &self,
        email: Fingerprint,
        view: &View<Self>,
    ) -> Result<Option<Timestamp>, Rejection> {
        let lockout = view.get(LOCKOUTS, &email)?;
        Ok(lockout.and_then(|lockout| lockout.locked_until(view.now())))
    }

    /// Remembers a wrong password, and locks if it was one too many.
    pub(super) fn count_failure(
        &self,
        email: Fingerprint,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let at = cx.now();
        self.sweep(cx)?;
        let remembered = cx.get(LOCKOUTS, &email)?;
        let until = at.plus(self.limits.lockout);
        let lockout = match one_more(remembered.as_ref(), at, &self.limits) {
            Failure::Counted(failures) => Lockout {
                failures,
                until,
                locked: None,
                user_id: None,
            },
            Failure::Locks => {
                let user_id = user_of(email, cx)?;
                if let Some(user_id) = user_id {
                    cx.publish(UserAccountLocked { user_id, until, at });
                }
                Lockout {
                    failures: self.limits.failures_max,
                    until,
                    locked: Some(cx.at(until, LockoutOver { email })),
                    user_id,
                }
            }
        };
        cx.put(LOCKOUTS, &email, &lockout)?;
        Ok(())
    }

    /// Forgets wrong passwords that did not lock.
    pub(super) fn forget_failures(
        &self,
        email: Fingerprint,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        if let Some(lockout) = cx.get(LOCKOUTS, &email)? {
            self.end(email, &lockout, cx)?;
        }
        Ok(())
    }

    /// Lets wrong passwords follow a user to another address, so that a new address gives no new
    /// guesses. What strangers guessed there before is forgotten.
    pub(super) fn move_failures(
        &self,
        from: Fingerprint,
        to: Fingerprint,
        user_id: UserId,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        self.forget_failures(to, cx)?;
        let Some(remembered) = cx.get(LOCKOUTS, &from)? else {
            return Ok(());
        };
        cx.remove(LOCKOUTS, &from)?;
        let locked = remembered.locked.map(|timer| {
            cx.cancel(timer);
            cx.at(remembered.until, LockoutOver { email: to })
        });
        let moved = Lockout {
            locked,
            user_id: locked.map(|_| user_id),
            ..remembered
        };
        cx.put(LOCKOUTS, &to, &moved)?;
        Ok(())
    }

    pub(super) fn unlock(
        &self,
        unlock: UnlockAccount,
        cx: &mut Context<Self>,
    ) -> Result<UserView, Rejection> {
        let id = unlock.user_id;
        let user = find_unchanged(id, unlock.if_version.as_deref(), cx)?;
        self.forget_failures(user.email, cx)?;
        view(id, user, cx)
    }

    pub(super) fn lockout_over(
        &self,
        over: LockoutOver,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        match cx.get(LOCKOUTS, &over.email)? {
            Some(lockout) if lockout.until <= cx.now() => self.end(over.email, &lockout, cx),
            // Ended before by a person, and perhaps begun anew.
            Some(_) | None => Ok(()),
        }
    }

    fn sweep(&self, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let over = Span::all().below(&(cx.now())).limit(SWEPT_ROWS);
        for (_, email, lockout) in cx.rows_by(LOCKOUTS_BY_END, &over)? {
            self.end(email, &lockout, cx)?;
        }
        Ok(())
    }

    /// Removes what is remembered of an address, and says so if it was locked.
    fn end(
        &self,
        email: Fingerprint,
        lockout: &Lockout,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        cx.remove(LOCKOUTS, &email)?;
        let Some(timer) = lockout.locked else {
            return Ok(());
        };
        cx.cancel(timer);
        if let Some(user_id) = lockout.user_id
            && cx.get(USERS, &user_id)?.is_some()
        {
            let at = cx.now();
            cx.publish(UserAccountUnlocked { user_id, at });
        }
        Ok(())
    }
}
