//! Accounts: the edge of the identity service, where passwords, tokens and names are in plain.
//!
//! What comes in is checked, compared, hashed and sealed here before it becomes a command; what
//! goes out is opened here. Nothing in plain is kept.

use std::time::Duration;

use redeliver::clock::{Clock, SystemClock};
use redeliver::{CallError, ServiceHandle, Timestamp};
use uuid::Uuid;

use super::credential::{Password, PasswordLength};
use super::email::{EmailAddress, NoEmailAddress, normal};
use super::guesses::{Guesses, Turn};
use super::messages::Contact;
use super::password_pool::{PasswordPool, PoolError};
use super::requests::{
    AppointFirstAdmin, ChangePassword, CredentialOf, CredentialOfUser, EndSession, FinishLogin,
    HasFirstAdmin, LoginOutcome, RefreshOutcome, RefreshSession, Register, SessionById,
    SessionState, SignedIn, UpdateProfile, UserView,
};
use super::role::Role;
use super::service::Identity;
use super::token::{AccessTokens, CannotIssue, RefreshSecret, Token, TokenError};
use crate::ids::{SessionId, UserId};
use crate::page::to_hex;
use crate::privacy::{Fingerprint, Keyring, KeyringError};

/// Who the first administrator is.
pub const FIRST_ADMIN_EMAIL: &str = "admin@example.com";

/// How often a start asks what a panic has left unanswered.
const TRIES_MAX: u32 = 5;

/// Characters of a name at most.
const NAME_CHARS_MAX: usize = 100;

/// The edge of the identity service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Accounts {
    /// The service.
    pub identity: ServiceHandle<Identity>,
    /// The keys of personal data.
    pub keyring: Keyring,
    /// Where passwords are compared.
    pub passwords: PasswordPool,
    /// Whose turn it is to be compared.
    pub guesses: Guesses,
    /// How users show who they are.
    pub tokens: AccessTokens,
}

/// Something could not be done with an account.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// The service refused or did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The password is too short or too long.
    #[error(transparent)]
    Length(#[from] PasswordLength),
    /// It is no e-mail address.
    #[error(transparent)]
    Email(#[from] NoEmailAddress),
    /// A name cannot be one.
    #[error("{field} cannot be a name; use 1 to {NAME_CHARS_MAX} characters in one line")]
    Name {
        /// Which.
        field: &'static str,
    },
    /// No password could be compared.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// A key of personal data cannot be made or used.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// A token cannot be made.
    #[error(transparent)]
    Token(#[from] CannotIssue),
}

/// A user in plain.
#[derive(Clone, PartialEq, Eq)]
pub struct Profile {
    /// Which.
    pub id: UserId,
    /// How the user is called and reached.
    pub contact: Contact,
    /// What the user may do.
    pub roles: Vec<Role>,
    /// Until when nobody signs in as this user, if that is so.
    pub locked_until: Option<Timestamp>,
    /// Counts changes.
    pub version: u64,
    /// Since when.
    pub created_at: Timestamp,
}

/// What somebody gets who is in.
pub struct Admission {
    /// Shown with every request.
    pub access: Token,
    /// How long it is good.
    pub expires_in: Duration,
    /// Exchanged once for the next of both.
    pub refresh: Token,
    /// Who it is.
    pub user: Profile,
}

/// What comes of trying to get in.
pub enum Entry {
    /// In.
    Admitted(Box<Admission>),
    /// It is not the password or the token, or there is no such user.
    Refused,
    /// Nobody is let in as this user.
    Locked {
        /// Until when.
        until: Timestamp,
    },
}

/// Who shows an access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Who.
    pub user_id: UserId,
    /// In which session.
    pub session_id: SessionId,
    /// What the user may do now.
    pub roles: Vec<Role>,
}

/// Why somebody who shows an access token is not known.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// The token is not good.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Its session has ended.
    #[error("the session has ended")]
    Over,
    /// Nobody is let in as this user.
    #[error("the account is locked")]
    Locked {
        /// Until when.
        until: Timestamp,
    },
    /// The service did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// What changes of how a user is called and reached.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ContactChange {
    /// Another e-mail address.
    pub email: Option<String>,
    /// Another first name.
    pub first_name: Option<String>,
    /// Another last name.
    pub last_name: Option<String>,
}

impl Accounts {
    /// Makes somebody a customer.
    pub async fn register(
        &self,
        contact: Contact,
        password: Password,
    ) -> Result<Profile, AccountError> {
        password.check()?;
        let contact = checked(contact)?;
        let user_id = self.new_user_id()?;
        let register = self.prepared(user_id, contact, password).await?;
        match self.identity.call(register).await {
            Ok(view) => Ok(self.show(view)?),
            Err(error) => {
                // A crash before this leaves a key that seals nothing: harmless.
                if !matches!(error, CallError::OutcomeUnknown { .. }) {
                    self.destroy_key(user_id).await;
                }
                Err(error.into())
            }
        }
    }

    /// Makes the first administrator, unless there ever was one. The password is taken as given;
    /// without one it is made up and handed to `tell` before it counts, so that none is in force
    /// that nobody was told. A crash in between has it done anew by the next start.
    pub async fn appoint_first_admin(
        &self,
        password: Option<Password>,
        tell: impl FnOnce(&str),
    ) -> Result<(), AccountError> {
        // Always the same id, so a start that died half-way has left at most the key it needs.
        const ID: UserId = UserId(Uuid::from_u128(
            0x0180_0000_0000_7000_8000_0000_0000_0a01_u128,
        ));
        if self.has_first_admin().await? {
            return Ok(());
        }
        let password = match password {
            Some(password) => password,
            None => {
                let made_up = to_hex(&self.random::<12>()?);
                tell(&made_up);
                Password::new(made_up)
            }
        };
        let contact = Contact {
            email: FIRST_ADMIN_EMAIL.to_owned(),
            first_name: "First".to_owned(),
            last_name: "Administrator".to_owned(),
        };
        let register = self.prepared(ID, contact, password).await?;
        self.identity.call(AppointFirstAdmin(register)).await?;
        Ok(())
    }

    /// Every start asks this, so one panic of a handler does not keep a shop closed that has long
    /// had its administrator.
    async fn has_first_admin(&self) -> Result<bool, CallError> {
        let mut tries = 1;
        loop {
            match self.identity.query(HasFirstAdmin {}).await {
                Err(CallError::Panicked { .. }) if tries < TRIES_MAX => tries += 1,
                answered => return answered,
            }
        }
    }

    /// Lets somebody in who shows a password.
    pub async fn log_in(&self, email: &str, password: Password) -> Result<Entry, AccountError> {
        let email = self.fingerprint(email);
        // Until the outcome counts: the next one asks whether the address is locked by it.
        let _turn = self.guesses.turn(email).await?;
        let compared = self.identity.query(CredentialOf { email }).await?;
        if let Some(until) = compared.locked_until {
            return Ok(Entry::Locked { until });
        }
        let (proof, credential) = compared.known.unzip();
        // A key destroyed at this moment is a user deleted at this moment.
        let credential = credential.and_then(|sealed| self.keyring.open_sealed(&sealed).ok());
        let matches = self.passwords.compare(password, credential).await?;
        let secret = RefreshSecret::random()?;
        let login = FinishLogin {
            email,
            proof: proof.filter(|_| matches),
            refresh: secret.hash(),
        };
        match self.identity.call(login).await? {
            LoginOutcome::SignedIn(signed_in) => self.admit(signed_in, &secret),
            LoginOutcome::Wrong => Ok(Entry::Refused),
            LoginOutcome::Locked { until } => Ok(Entry::Locked { until }),
        }
    }

    /// Exchanges a refresh token.
    pub async fn refresh(&self, token: &str) -> Result<Entry, AccountError> {
        let Some((session_id, shown)) = RefreshSecret::read(token) else {
            return Ok(Entry::Refused);
        };
        let next = RefreshSecret::random()?;
        let refresh = RefreshSession {
            session_id,
            shown: shown.hash(),
            next: next.hash(),
        };
        match self.identity.call(refresh).await? {
            RefreshOutcome::Refreshed(signed_in) => self.admit(signed_in, &next),
            RefreshOutcome::Over => Ok(Entry::Refused),
            RefreshOutcome::Reused(user) => {
                tracing::warn!(%user, "a refresh token came a second time; its session is ended");
                Ok(Entry::Refused)
            }
            RefreshOutcome::Locked { until } => Ok(Entry::Locked { until }),
        }
    }

    /// Ends a session.
    pub async fn log_out(&self, session_id: SessionId) -> Result<(), AccountError> {
        Ok(self.identity.call(EndSession { session_id }).await?)
    }

    /// Who shows this access token, and what they may do now.
    pub async fn who(&self, token: &str) -> Result<Known, Unknown> {
        let claims = self.tokens.read(token, SystemClock.wall())?;
        let session_id = claims.session_id;
        match self.identity.query(SessionById { session_id }).await? {
            SessionState::Open { user_id, roles } if user_id == claims.user_id => Ok(Known {
                user_id,
                session_id,
                roles,
            }),
            SessionState::Open { .. } | SessionState::Over => Err(Unknown::Over),
            SessionState::Locked { until } => Err(Unknown::Locked { until }),
        }
    }

    /// The command for another password: whether the present one was shown is its own affair. Who
    /// sends it keeps the turn until it is answered.
    pub async fn password_change(
        &self,
        user_id: UserId,
        if_version: Option<Vec<u64>>,
        current: Password,
        new: Password,
    ) -> Result<(ChangePassword, Turn), AccountError> {
        new.check()?;
        let email = self
            .identity
            .query(CredentialOfUser { user_id })
            .await?
            .email;
        let turn = self.guesses.turn(email).await?;
        let compared = self.identity.query(CredentialOfUser { user_id }).await?;
        let (proof, credential) = compared.known.unzip();
        let matches = match compared.locked_until {
            // The command is refused whatever was shown.
            Some(_) => false,
            None => {
                let opened = credential.and_then(|sealed| self.keyring.open_sealed(&sealed).ok());
                self.passwords.compare(current, opened).await?
            }
        };
        let credential = self.passwords.hash(new).await?;
        let command = ChangePassword {
            user_id,
            if_version,
            shown: proof
                .filter(|_| matches)
                .map(|proof| proof.credential_version),
            credential: self.keyring.seal(user_id, &credential)?,
        };
        Ok((command, turn))
    }

    /// The command for another way to call or reach a user.
    pub fn profile_change(
        &self,
        present: UserView,
        change: ContactChange,
        if_version: Option<Vec<u64>>,
    ) -> Result<UpdateProfile, AccountError> {
        let user_id = present.id;
        let contact = self.keyring.open_sealed(&present.contact)?;
        let contact = checked(Contact {
            email: change.email.unwrap_or(contact.email),
            first_name: change.first_name.unwrap_or(contact.first_name),
            last_name: change.last_name.unwrap_or(contact.last_name),
        })?;
        Ok(UpdateProfile {
            user_id,
            if_version,
            made_from: present.version,
            email: self.fingerprint(&contact.email),
            contact: self.keyring.seal(user_id, &contact)?,
        })
    }

    /// A user in plain.
    pub fn show(&self, view: UserView) -> Result<Profile, KeyringError> {
        Ok(Profile {
            id: view.id,
            contact: self.keyring.open_sealed(&view.contact)?,
            roles: view.roles,
            locked_until: view.locked_until,
            version: view.version,
            created_at: view.created_at,
        })
    }

    fn admit(&self, signed_in: SignedIn, secret: &RefreshSecret) -> Result<Entry, AccountError> {
        let SignedIn { session_id, user } = signed_in;
        // Deleted at this moment: as if it had been before.
        let user = match self.show(user) {
            Ok(user) => user,
            Err(KeyringError::Forgotten { .. }) => return Ok(Entry::Refused),
            Err(error) => return Err(error.into()),
        };
        let now = SystemClock.wall();
        Ok(Entry::Admitted(Box::new(Admission {
            access: self.tokens.issue(user.id, session_id, now)?,
            expires_in: self.tokens.lifetime,
            refresh: secret.token(session_id),
            user,
        })))
    }

    /// The command for a new user, whose key exists when it is there.
    async fn prepared(
        &self,
        user_id: UserId,
        contact: Contact,
        password: Password,
    ) -> Result<Register, AccountError> {
        let credential = self.passwords.hash(password).await?;
        let keyring = self.keyring.clone();
        // It waits for the disk.
        let created = tokio::task::spawn_blocking(move || keyring.create(user_id));
        created
            .await
            .map_err(|error| PoolError::Failed(error.to_string()))??;
        Ok(Register {
            user_id,
            email: self.fingerprint(&contact.email),
            contact: self.keyring.seal(user_id, &contact)?,
            credential: self.keyring.seal(user_id, &credential)?,
        })
    }

    async fn destroy_key(&self, user_id: UserId) {
        let keyring = self.keyring.clone();
        let destroyed = tokio::task::spawn_blocking(move || keyring.destroy(user_id));
        if !matches!(destroyed.await, Ok(Ok(()))) {
            tracing::warn!(user = %user_id, "key of a user that was not registered is left behind");
        }
    }

    fn fingerprint(&self, email: &str) -> Fingerprint {
        self.keyring.fingerprint("email", &normal(email))
    }

    fn new_user_id(&self) -> Result<UserId, AccountError> {
        let millis = u64::try_from(SystemClock.wall().0 / 1_000).unwrap_or_default();
        let id = uuid::Builder::from_unix_timestamp_millis(millis, &self.random::<10>()?);
        Ok(UserId(id.into_uuid()))
    }

    fn random<const N: usize>(&self) -> Result<[u8; N], AccountError> {
        let mut bytes = [0; N];
        getrandom::fill(&mut bytes).map_err(KeyringError::Random)?;
        Ok(bytes)
    }
}

/// The contact without what surrounds it, if it can be one.
fn checked(contact: Contact) -> Result<Contact, AccountError> {
    let name = |field, text: &str, blank_is_fine: bool| {
        let text = text.trim();
        let sane = (blank_is_fine || !text.is_empty())
            && text.chars().count() <= NAME_CHARS_MAX
            && !text.chars().any(char::is_control);
        sane.then(|| text.to_owned())
            .ok_or(AccountError::Name { field })
    };
    Ok(Contact {
        email: EmailAddress::parse(&contact.email)?.as_str().to_owned(),
        first_name: name("first_name", &contact.first_name, false)?,
        // Not everybody has two names.
        last_name: name("last_name", &contact.last_name, true)?,
    })
}
