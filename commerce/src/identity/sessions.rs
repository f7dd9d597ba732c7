//! How users get in, stay in and get out.

use redeliver::prelude::*;

use super::messages::{PasswordChanged, UserLoggedIn};
use super::requests::{
    ChangePassword, Compared, CredentialOf, CredentialOfUser, EndSession, FinishLogin,
    LoginOutcome, PasswordOutcome, Proof, RefreshOutcome, RefreshSession, SessionById,
    SessionState, SignedIn,
};
use super::service::Identity;
use super::tables::{SESSIONS, SESSIONS_BY_END, SESSIONS_OF_USER, Session, USERS};
use super::users::{find, find_unchanged, user_of, view};
use crate::ids::{SessionId, UserId};
use crate::privacy::Fingerprint;

/// Sessions that are over, removed with each login: more than a login adds.
const SWEPT_ROWS: usize = 4;

impl Identity {
    pub(super) fn credential_of(
        &self,
        ask: CredentialOf,
        view: &View<Self>,
    ) -> Result<Compared, Rejection> {
        match user_of(ask.email, view)? {
            Some(user_id) => self.compared(user_id, ask.email, view),
            None => Ok(Compared {
                email: ask.email,
                known: None,
                locked_until: self.locked_until(ask.email, view)?,
            }),
        }
    }

    pub(super) fn credential_of_user(
        &self,
        ask: CredentialOfUser,
        view: &View<Self>,
    ) -> Result<Compared, Rejection> {
        let user = find(ask.user_id, view)?;
        self.compared(ask.user_id, user.email, view)
    }

    fn compared(
        &self,
        user_id: UserId,
        email: Fingerprint,
        view: &View<Self>,
    ) -> Result<Compared, Rejection> {
        let user = find(user_id, view)?;
        let proof = Proof {
            user_id,
            credential_version: user.credential_version,
        };
        Ok(Compared {
            email,
            known: Some((proof, user.credential)),
            locked_until: self.locked_until(email, view)?,
        })
    }

    pub(super) fn finish_login(
        &self,
        login: FinishLogin,
        cx: &mut Context<Self>,
    ) -> Result<LoginOutcome, Rejection> {
        // The comparison took a while; what is true is what is true now.
        if let Some(until) = self.locked_until(login.email, cx)? {
            return Ok(LoginOutcome::Locked { until });
        }
        let Some(proof) = login.proof else {
            self.count_failure(login.email, cx)?;
            return Ok(LoginOutcome::Wrong);
        };
        let user = cx.get(USERS, &proof.user_id)?.filter(|user| {
            user.email == login.email && user.credential_version == proof.credential_version
        });
        // Deleted, or with another password or address since: nobody's fault, so not counted.
        let Some(user) = user else {
            return Ok(LoginOutcome::Wrong);
        };
        self.forget_failures(login.email, cx)?;
        self.make_room(proof.user_id, cx)?;
        let (session_id, at) = (SessionId(cx.new_id()), cx.now());
        let session = Session {
            user_id: proof.user_id,
            refresh: login.refresh,
            created_at: at,
            expires_at: at.plus(self.limits.session),
        };
        cx.put(SESSIONS, &session_id, &session)?;
        cx.publish(UserLoggedIn {
            user_id: proof.user_id,
            at,
        });
        Ok(LoginOutcome::SignedIn(SignedIn {
            session_id,
            user: view(proof.user_id, user, cx)?,
        }))
    }

    pub(super) fn refresh(
        &self,
        refresh: RefreshSession,
        cx: &mut Context<Self>,
    ) -> Result<RefreshOutcome, Rejection> {
        let id = refresh.session_id;
        let Some(mut session) = live(id, cx)? else {
            return Ok(RefreshOutcome::Over);
        };
        // Only its tokens name a session, so this is one of them, and an old one: the present
        // one is with somebody else. Nobody can say who is the thief.
        if session.refresh != refresh.shown {
            cx.remove(SESSIONS, &id)?;
            return Ok(RefreshOutcome::Reused(session.user_id));
        }
        let user = find(session.user_id, cx)?;
        if let Some(until) = self.locked_until(user.email, cx)? {
            return Ok(RefreshOutcome::Locked { until });
        }
        session.refresh = refresh.next;
        session.expires_at = cx.now().plus(self.limits.session);
        cx.put(SESSIONS, &id, &session)?;
        Ok(RefreshOutcome::Refreshed(SignedIn {
            session_id: id,
            user: view(session.user_id, user, cx)?,
        }))
    }

    pub(super) fn end_session(
        &self,
        end: EndSession,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        cx.remove(SESSIONS, &end.session_id)?;
        Ok(())
    }

    pub(super) fn change_password(
        &self,
        change: ChangePassword,
        cx: &mut Context<Self>,
    ) -> Result<PasswordOutcome, Rejection> {
        let id = change.user_id;
        let mut user = find_unchanged(id, change.if_version.as_deref(), cx)?;
        if let Some(until) = self.locked_until(user.email, cx)? {
            return Ok(PasswordOutcome::Locked { until });
        }
        match change.shown {
            // Whoever has found a session open does not get to guess either.
            None => {
                self.count_failure(user.email, cx)?;
                return Ok(PasswordOutcome::Wrong);
            }
            Some(shown) if shown != user.credential_version => return Ok(PasswordOutcome::Wrong),
            Some(_) => {}
        }
        self.forget_failures(user.email, cx)?;
        user.credential = change.credential;
        user.credential_version += 1;
        user.updated_at = cx.now();
        cx.put(USERS, &id, &user)?;
        // Who changes a password may do so because somebody else knows the old one.
        self.end_sessions_of(id, cx)?;
        let at = cx.now();
        cx.publish(PasswordChanged { user_id: id, at });
        Ok(PasswordOutcome::Changed)
    }

    pub(super) fn session_by_id(
        &self,
        ask: SessionById,
        view: &View<Self>,
    ) -> Result<SessionState, Rejection> {
        let Some(session) = live(ask.session_id, view)? else {
            return Ok(SessionState::Over);
        };
        let Some(user) = view.get(USERS, &session.user_id)? else {
            return Ok(SessionState::Over);
        };
        Ok(match self.locked_until(user.email, view)? {
            Some(until) => SessionState::Locked { until },
            None => SessionState::Open {
                user_id: session.user_id,
                roles: user.roles,
            },
        })
    }

    /// Ends every session of a user.
    pub(super) fn end_sessions_of(
        &self,
        user: UserId,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let all = Span::prefix(&user).limit(usize::MAX);
        for (_, id) in cx.index(SESSIONS_OF_USER, &all)? {
            cx.remove(SESSIONS, &id)?;
        }
        Ok(())
    }

    /// Removes sessions that are over, and the user's oldest if there are too many.
    fn make_room(&self, user: UserId, cx: &mut Context<Self>) -> Result<(), Rejection> {
        let over = Span::all().below(&cx.now()).limit(SWEPT_ROWS);
        for (_, id) in cx.index(SESSIONS_BY_END, &over)? {
            cx.remove(SESSIONS, &id)?;
        }
        let all = Span::prefix(&user).limit(usize::MAX);
        let sessions = cx.index(SESSIONS_OF_USER, &all)?;
        let too_many = (sessions.len() + 1).saturating_sub(self.limits.sessions_max);
        for (_, id) in sessions.into_iter().take(too_many) {
            cx.remove(SESSIONS, &id)?;
        }
        Ok(())
    }
}

/// The session, unless it is over.
fn live(id: SessionId, view: &View<Identity>) -> Result<Option<Session>, Rejection> {
    let session = view.get(SESSIONS, &id)?;
    Ok(session.filter(|session| view.now() < session.expires_at))
}
