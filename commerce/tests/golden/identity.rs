//! Users, their sessions and lockouts.

use commerce::identity::credential::Credential;
use commerce::identity::key_destruction::DestroyKey;
use commerce::identity::lockout::LockoutOver;
use commerce::identity::tables::{
    DELETED_USERS, FIRST_ADMIN, LOCKOUTS, Lockout, SESSIONS, Session, USERS, User,
};
use commerce::identity::token::{RefreshSecret, TokenHash};
use commerce::identity::{
    Contact, PasswordChanged, Role, UserAccountLocked, UserAccountUnlocked, UserDeleted,
    UserLoggedIn, UserProfileUpdated, UserRegistered,
};
use commerce::ids::SessionId;
use commerce::privacy::Fingerprint;
use redeliver::TimerId;
use uuid::Uuid;

use super::{AT, Golden, LATER, USER, made_of, sealed, text};

const EMAIL: Fingerprint = Fingerprint([5; 32]);
const SESSION: SessionId = SessionId(Uuid::from_u128(7));

fn timer() -> TimerId {
    made_of(&(LATER, Uuid::from_u128(8)))
}

fn refresh() -> TokenHash {
    let (_, secret) = RefreshSecret::read(&"09".repeat(48)).unwrap();
    secret.hash()
}

pub(super) fn samples(golden: &mut Golden) {
    let (user_id, at, until) = (USER, AT, LATER);
    golden.message(&UserRegistered {
        user_id,
        contact: sealed(9),
        at,
    });
    golden.message(&UserProfileUpdated {
        user_id,
        contact: sealed(9),
        at,
    });
    golden.message(&UserAccountLocked { user_id, until, at });
    golden.message(&UserAccountUnlocked { user_id, at });
    golden.message(&UserLoggedIn { user_id, at });
    golden.message(&PasswordChanged { user_id, at });
    golden.message(&UserDeleted { user_id, at });
    golden.message(&LockoutOver { email: EMAIL });
    golden.activity("destroy-key", &DestroyKey { user_id });
    golden.personal(&Contact {
        email: text("ada@example.com"),
        first_name: text("Ada"),
        last_name: text("Lovelace"),
    });
    let credential: Credential = made_of(&"$argon2id$v=19$m=8,t=1,p=1$AAAA$BBBB");
    golden.personal(&credential);
    golden.numbers("role", Role::ALL.to_vec());
    let user = User {
        email: EMAIL,
        contact: sealed(9),
        credential: sealed(10),
        credential_version: 2,
        roles: vec![Role::Customer, Role::Analyst],
        version: 3,
        created_at: at,
        updated_at: until,
    };
    golden.row(USERS, &user_id, &user);
    golden.row(DELETED_USERS, &user_id, &at);
    golden.row(FIRST_ADMIN, &(), &user_id);
    let session = Session {
        user_id,
        refresh: refresh(),
        created_at: at,
        expires_at: until,
    };
    golden.row(SESSIONS, &SESSION, &session);
    let lockout = Lockout {
        failures: 5,
        until,
        locked: Some(timer()),
        user_id: Some(user_id),
    };
    golden.row(LOCKOUTS, &EMAIL, &lockout);
}
