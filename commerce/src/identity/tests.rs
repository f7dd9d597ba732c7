//! Each handler: given users, when a message comes, then users and messages.
#![allow(clippy::unwrap_used)]

use redeliver::activity::Outcome;
use redeliver::testing::ServiceKit;
use redeliver::{RejectionKind, Timestamp, days, minutes};
use uuid::Uuid;

use super::credential::Credential;
use super::key_destruction::DestroyKey;
use super::lockout::{Failure, LockoutOver, one_more};
use super::requests::*;
use super::tables::{DELETED_USERS, LOCKOUTS, Lockout, SESSIONS, USERS};
use super::token::{RefreshSecret, TokenHash};
use super::*;
use crate::ids::{SessionId, UserId};
use crate::privacy::{Fingerprint, Keyring};

const ADA: u128 = 1;
const BOB: u128 = 2;

fn id(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
}

fn email(n: u128) -> Fingerprint {
    Fingerprint([u8::try_from(n).unwrap(); 32])
}

fn registration(keyring: &Keyring, n: u128) -> Register {
    keyring.create(id(n)).unwrap();
    let contact = Contact {
        email: format!("user-{n}@example.com"),
        first_name: "Ada".into(),
        last_name: "Lovelace".into(),
    };
    let credential = Credential("$argon2id$".into());
    Register {
        user_id: id(n),
        email: email(n),
        contact: keyring.seal(id(n), &contact).unwrap(),
        credential: keyring.seal(id(n), &credential).unwrap(),
    }
}

/// A shop with the administrator Ada and nobody else.
fn kit() -> ServiceKit<Identity> {
    let keyring = Keyring::in_memory(1);
    let ada = registration(&keyring, ADA);
    let mut kit = ServiceKit::of(Identity {
        keyring,
        limits: Limits::default(),
    });
    assert!(*kit.command(AppointFirstAdmin(ada)).reply());
    kit
}

/// The same with the customer Bob.
fn kit_with_bob() -> ServiceKit<Identity> {
    let mut kit = kit();
    let bob = registration(&kit.service().keyring, BOB);
    kit.command(bob).reply();
    kit
}

fn hash() -> TokenHash {
    RefreshSecret::random().unwrap().hash()
}

fn login(n: u128, credential_version: Option<u64>, refresh: TokenHash) -> FinishLogin {
    FinishLogin {
        email: email(n),
        proof: credential_version.map(|credential_version| Proof {
            user_id: id(n),
            credential_version,
        }),
        refresh,
    }
}

fn fail(kit: &mut ServiceKit<Identity>, n: u128, times: usize) {
    for _ in 0..times {
        let turn = kit.command(login(n, None, hash()));
        assert_eq!(*turn.reply(), LoginOutcome::Wrong);
    }
}

fn log_in(kit: &mut ServiceKit<Identity>, n: u128, refresh: TokenHash) -> SessionId {
    match kit.command(login(n, Some(1), refresh)).reply() {
        LoginOutcome::SignedIn(signed_in) => signed_in.session_id,
        other => panic!("{other:?}"),
    }
}

fn state(kit: &mut ServiceKit<Identity>, session_id: SessionId) -> SessionState {
    kit.query(SessionById { session_id }).unwrap()
}

fn roles(kit: &mut ServiceKit<Identity>, n: u128, roles: &[Role]) -> Result<Vec<Role>, String> {
    let turn = kit.command(SetRoles {
        user_id: id(n),
        if_version: None,
        roles: roles.to_vec(),
    });
    match turn.result() {
        Ok(user) => Ok(user.roles.clone()),
        Err(rejection) => Err(rejection.code.clone()),
    }
}

fn delete(n: u128) -> DeleteUser {
    DeleteUser {
        user_id: id(n),
        if_version: None,
    }
}

#[test]
fn who_registers_is_a_customer_and_everybody_hears_of_it() {
    let mut kit = kit();
    let bob = registration(&kit.service().keyring, BOB);
    let turn = kit.command(bob.clone());
    assert_eq!(turn.reply().roles, [Role::Customer]);
    assert_eq!(turn.reply().version, 1);
    let heard = &turn.published::<UserRegistered>()[0];
    assert_eq!((heard.user_id, &heard.contact), (id(BOB), &bob.contact));
}

#[test]
fn an_address_belongs_to_one_user() {
    let mut kit = kit_with_bob();
    let mut eve = registration(&kit.service().keyring, 3);
    eve.email = email(BOB);
    let turn = kit.command(eve);
    assert_eq!(turn.rejection().code, "email_taken");
    assert!(turn.is_quiet());
    assert!(kit.get(USERS, &id(3)).is_none());
}

#[test]
fn the_id_of_a_user_who_is_or_was_is_not_given_away() {
    let mut kit = kit_with_bob();
    let mut again = registration(&kit.service().keyring, BOB);
    again.email = email(9);
    assert_eq!(kit.command(again.clone()).rejection().code, "user_exists");
    kit.command(delete(BOB)).reply();
    assert_eq!(kit.command(again).rejection().code, "user_exists");
}

#[test]
fn there_is_one_first_administrator_ever() {
    let mut kit = kit();
    assert!(kit.query(HasFirstAdmin {}).unwrap());
    let other = registration(&kit.service().keyring, BOB);
    let turn = kit.command(AppointFirstAdmin(other));
    assert!(!*turn.reply() && turn.is_quiet());
    assert!(kit.get(USERS, &id(BOB)).is_none());
    let ada = kit.get(USERS, &id(ADA)).unwrap();
    assert_eq!(ada.roles, [Role::Customer, Role::Admin]);
}

#[test]
fn who_has_shown_the_password_gets_a_session() {
    let mut kit = kit_with_bob();
    let turn = kit.command(login(BOB, Some(1), hash()));
    assert_eq!(turn.published_names(), ["user-logged-in"]);
    let LoginOutcome::SignedIn(signed_in) = turn.reply() else {
        panic!("{turn:?}");
    };
    assert_eq!(signed_in.user.id, id(BOB));
    let session = signed_in.session_id;
    let open = SessionState::Open {
        user_id: id(BOB),
        roles: vec![Role::Customer],
    };
    assert_eq!(state(&mut kit, session), open);
    kit.advance(days(30));
    assert_eq!(state(&mut kit, session), SessionState::Over);
}

#[test]
fn a_password_that_is_no_longer_the_present_one_lets_nobody_in_and_counts_for_nothing() {
    let mut kit = kit_with_bob();
    for _ in 0..10 {
        let turn = kit.command(login(BOB, Some(2), hash()));
        assert_eq!(*turn.reply(), LoginOutcome::Wrong);
        assert!(turn.is_quiet());
    }
    assert!(kit.get(LOCKOUTS, &email(BOB)).is_none());
    assert!(kit.rows(SESSIONS).is_empty());
}

#[test]
fn the_fifth_wrong_password_locks_and_then_even_the_right_one_is_refused() {
    let mut kit = kit_with_bob();
    fail(&mut kit, BOB, 4);
    let fifth = kit.command(login(BOB, None, hash()));
    assert_eq!(*fifth.reply(), LoginOutcome::Wrong);
    let until = kit.now().plus(minutes(15));
    let locked = &fifth.published::<UserAccountLocked>()[0];
    assert_eq!((locked.user_id, locked.until), (id(BOB), until));
    for proof in [None, Some(1)] {
        let turn = kit.command(login(BOB, proof, hash()));
        assert_eq!(*turn.reply(), LoginOutcome::Locked { until });
        assert!(turn.is_quiet(), "a lockout is not prolonged");
    }
    let asked = kit.query(CredentialOf { email: email(BOB) }).unwrap();
    assert_eq!(asked.locked_until, Some(until));
}

#[test]
fn an_address_that_nobody_has_is_locked_just_the_same_but_nobody_is_told() {
    let mut kit = kit();
    fail(&mut kit, 9, 4);
    let fifth = kit.command(login(9, None, hash()));
    assert!(fifth.published_names().is_empty());
    let until = kit.now().plus(minutes(15));
    let turn = kit.command(login(9, None, hash()));
    assert_eq!(*turn.reply(), LoginOutcome::Locked { until });
    let asked = kit.query(CredentialOf { email: email(9) }).unwrap();
    assert_eq!((asked.known, asked.locked_until), (None, Some(until)));
}

#[test]
fn the_right_password_makes_earlier_wrong_ones_forgotten() {
    let mut kit = kit_with_bob();
    fail(&mut kit, BOB, 4);
    log_in(&mut kit, BOB, hash());
    fail(&mut kit, BOB, 4);
    log_in(&mut kit, BOB, hash());
}

#[test]
fn a_lockout_ends_with_its_time_and_everybody_hears_of_it() {
    let mut kit = kit_with_bob();
    fail(&mut kit, BOB, 5);
    kit.advance(minutes(15));
    let turns = kit.fire_due_timers();
    assert_eq!(turns[0].published_names(), ["user-account-unlocked"]);
    log_in(&mut kit, BOB, hash());
    assert!(kit.rows(LOCKOUTS).is_empty());
}

#[test]
fn another_address_gives_no_new_guesses() {
    let mut kit = kit_with_bob();
    fail(&mut kit, BOB, 4);
    let moved = update(&kit, 1, email(8));
    kit.command(moved).reply();
    assert!(kit.get(LOCKOUTS, &email(BOB)).is_none());
    let fifth = kit.command(login(8, None, hash()));
    assert_eq!(fifth.published_names(), ["user-account-locked"]);
    // A lock goes with its user too, and ends when it would have.
    let moved = update(&kit, 2, email(7));
    kit.command(moved).reply();
    assert!(kit.get(LOCKOUTS, &email(7)).unwrap().locked.is_some());
    kit.advance(minutes(15));
    let turns = kit.fire_due_timers();
    assert_eq!(turns.len(), 1);
    assert_eq!(turns[0].published_names(), ["user-account-unlocked"]);
}

#[test]
fn a_timer_that_is_out_of_date_ends_no_lockout() {
    let mut kit = kit_with_bob();
    fail(&mut kit, BOB, 5);
    let turn = kit.timer(LockoutOver { email: email(BOB) });
    assert!(turn.is_quiet());
    assert!(kit.get(LOCKOUTS, &email(BOB)).is_some());
    assert!(kit.timer(LockoutOver { email: email(9) }).is_quiet());
}

#[test]
fn a_lock_holds_for_sessions_that_are_open_until_a_person_ends_it() {
    let mut kit = kit_with_bob();
    let first = hash();
    let session = log_in(&mut kit, BOB, first);
    fail(&mut kit, BOB, 5);
    let until = kit.now().plus(minutes(15));
    assert_eq!(state(&mut kit, session), SessionState::Locked { until });
    let refreshed = kit.command(RefreshSession {
        session_id: session,
        shown: first,
        next: hash(),
    });
    assert_eq!(*refreshed.reply(), RefreshOutcome::Locked { until });
    let turn = kit.command(UnlockAccount {
        user_id: id(BOB),
        if_version: None,
    });
    assert_eq!(turn.reply().locked_until, None);
    assert_eq!(turn.published_names(), ["user-account-unlocked"]);
    assert_eq!(turn.timers_cancelled(), 1);
    assert!(matches!(
        state(&mut kit, session),
        SessionState::Open { .. }
    ));
}

#[test]
fn unlocking_who_is_not_locked_changes_nothing_and_nobody_cannot_be_unlocked() {
    let mut kit = kit_with_bob();
    let turn = kit.command(UnlockAccount {
        user_id: id(BOB),
        if_version: None,
    });
    assert!(turn.reply().locked_until.is_none() && turn.is_quiet());
    let turn = kit.command(UnlockAccount {
        user_id: id(9),
        if_version: None,
    });
    assert_eq!(turn.rejection().code, "no_such_user");
}

#[test]
fn failures_that_are_over_do_not_pile_up() {
    let mut kit = kit();
    for n in 10..50 {
        fail(&mut kit, n, 1);
        kit.advance(minutes(16));
    }
    assert!(kit.rows(LOCKOUTS).len() <= 2);
}

#[test]
fn failures_long_ago_do_not_count() {
    let limits = Limits::default();
    let now = Timestamp(1_000_000_000_000_000);
    let remembered = |until| Lockout {
        failures: 4,
        until,
        locked: None,
        user_id: None,
    };
    let recent = remembered(now.plus(minutes(1)));
    assert_eq!(one_more(Some(&recent), now, &limits), Failure::Locks);
    let over = remembered(now);
    assert_eq!(one_more(Some(&over), now, &limits), Failure::Counted(1));
    assert_eq!(one_more(None, now, &limits), Failure::Counted(1));
}

#[test]
fn a_refresh_token_is_good_once_and_a_second_use_ends_the_session() {
    let mut kit = kit_with_bob();
    let (first, second) = (hash(), hash());
    let session_id = log_in(&mut kit, BOB, first);
    let refresh = |shown, next| RefreshSession {
        session_id,
        shown,
        next,
    };
    let turn = kit.command(refresh(first, second));
    assert!(matches!(turn.reply(), RefreshOutcome::Refreshed(_)));
    let turn = kit.command(refresh(first, hash()));
    assert_eq!(*turn.reply(), RefreshOutcome::Reused(id(BOB)));
    let turn = kit.command(refresh(second, hash()));
    assert_eq!(*turn.reply(), RefreshOutcome::Over);
    assert_eq!(state(&mut kit, session_id), SessionState::Over);
}

#[test]
fn a_session_that_is_used_lasts_and_one_that_is_not_does_not() {
    let mut kit = kit_with_bob();
    let (first, second) = (hash(), hash());
    let session_id = log_in(&mut kit, BOB, first);
    kit.advance(days(29));
    let turn = kit.command(RefreshSession {
        session_id,
        shown: first,
        next: second,
    });
    assert!(matches!(turn.reply(), RefreshOutcome::Refreshed(_)));
    kit.advance(days(29));
    assert!(matches!(
        state(&mut kit, session_id),
        SessionState::Open { .. }
    ));
    kit.advance(days(1));
    let turn = kit.command(RefreshSession {
        session_id,
        shown: second,
        next: hash(),
    });
    assert_eq!(*turn.reply(), RefreshOutcome::Over);
}

#[test]
fn a_session_ends_once_and_alone() {
    let mut kit = kit_with_bob();
    let (one, two) = (log_in(&mut kit, BOB, hash()), log_in(&mut kit, BOB, hash()));
    for _ in 0..2 {
        kit.command(EndSession { session_id: one }).reply();
        assert_eq!(state(&mut kit, one), SessionState::Over);
    }
    assert!(matches!(state(&mut kit, two), SessionState::Open { .. }));
}

#[test]
fn the_oldest_session_makes_room_and_those_that_are_over_are_removed() {
    let keyring = Keyring::in_memory(1);
    let bob = registration(&keyring, BOB);
    let limits = Limits {
        sessions_max: 2,
        ..Limits::default()
    };
    let mut kit = ServiceKit::of(Identity { keyring, limits });
    kit.command(bob).reply();
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(log_in(&mut kit, BOB, hash()));
        kit.advance(minutes(1));
    }
    assert_eq!(state(&mut kit, sessions[0]), SessionState::Over);
    assert!(matches!(
        state(&mut kit, sessions[1]),
        SessionState::Open { .. }
    ));
    kit.advance(days(31));
    log_in(&mut kit, BOB, hash());
    assert_eq!(kit.rows(SESSIONS).len(), 1);
}

fn change(kit: &ServiceKit<Identity>, shown: Option<u64>) -> ChangePassword {
    let keyring = &kit.service().keyring;
    let credential = Credential("$argon2id$ another".into());
    ChangePassword {
        if_version: None,
        user_id: id(BOB),
        shown,
        credential: keyring.seal(id(BOB), &credential).unwrap(),
    }
}

#[test]
fn another_password_ends_all_sessions_and_the_old_one() {
    let mut kit = kit_with_bob();
    let session = log_in(&mut kit, BOB, hash());
    let turn = kit.command(change(&kit, Some(1)));
    assert_eq!(*turn.reply(), PasswordOutcome::Changed);
    assert_eq!(turn.published_names(), ["password-changed"]);
    assert_eq!(state(&mut kit, session), SessionState::Over);
    let turn = kit.command(login(BOB, Some(1), hash()));
    assert_eq!(*turn.reply(), LoginOutcome::Wrong);
    let turn = kit.command(login(BOB, Some(2), hash()));
    assert!(matches!(turn.reply(), LoginOutcome::SignedIn(_)));
}

#[test]
fn guessing_the_present_password_locks_as_guessing_at_the_door_does() {
    let mut kit = kit_with_bob();
    for _ in 0..5 {
        let turn = kit.command(change(&kit, None));
        assert_eq!(*turn.reply(), PasswordOutcome::Wrong);
    }
    let until = kit.now().plus(minutes(15));
    let turn = kit.command(change(&kit, Some(1)));
    assert_eq!(*turn.reply(), PasswordOutcome::Locked { until });
    let turn = kit.command(login(BOB, Some(1), hash()));
    assert_eq!(*turn.reply(), LoginOutcome::Locked { until });
}

#[test]
fn a_password_changed_at_the_same_moment_is_not_changed_again() {
    let mut kit = kit_with_bob();
    kit.command(change(&kit, Some(1))).reply();
    let turn = kit.command(change(&kit, Some(1)));
    assert_eq!(*turn.reply(), PasswordOutcome::Wrong);
    assert!(kit.get(LOCKOUTS, &email(BOB)).is_none());
}

fn update(kit: &ServiceKit<Identity>, made_from: u64, address: Fingerprint) -> UpdateProfile {
    let contact = Contact {
        email: "bob@example.org".into(),
        first_name: "Bob".into(),
        last_name: String::new(),
    };
    UpdateProfile {
        user_id: id(BOB),
        if_version: None,
        made_from,
        email: address,
        contact: kit.service().keyring.seal(id(BOB), &contact).unwrap(),
    }
}

#[test]
fn with_another_address_one_signs_in_under_that_one_only() {
    let mut kit = kit_with_bob();
    let turn = kit.command(update(&kit, 1, email(7)));
    assert_eq!(turn.reply().version, 2);
    assert_eq!(turn.published::<UserProfileUpdated>()[0].user_id, id(BOB));
    let known = |kit: &mut ServiceKit<Identity>, n| {
        let compared = kit.query(CredentialOf { email: email(n) }).unwrap();
        compared.known.map(|(proof, _)| proof.user_id)
    };
    assert_eq!(known(&mut kit, 7), Some(id(BOB)));
    assert_eq!(known(&mut kit, BOB), None);
    // Compared under the old address, finished after the change.
    let turn = kit.command(login(BOB, Some(1), hash()));
    assert_eq!(*turn.reply(), LoginOutcome::Wrong);
}

#[test]
fn a_change_of_what_somebody_else_has_changed_since_is_refused() {
    let mut kit = kit_with_bob();
    kit.command(update(&kit, 1, email(BOB))).reply();
    let turn = kit.command(update(&kit, 1, email(BOB)));
    assert_eq!(turn.rejection().code, "changed_meanwhile");
    let mut other = update(&kit, 2, email(BOB));
    other.if_version = Some(vec![1]);
    let turn = kit.command(other);
    assert_eq!(turn.rejection().kind, RejectionKind::Precondition);
}

#[test]
fn nobody_takes_the_address_of_another() {
    let mut kit = kit_with_bob();
    let turn = kit.command(update(&kit, 1, email(ADA)));
    assert_eq!(turn.rejection().code, "email_taken");
    assert!(turn.is_quiet());
}

#[test]
fn roles_count_from_the_next_look_at_a_session_on() {
    let mut kit = kit_with_bob();
    let session = log_in(&mut kit, BOB, hash());
    let set = roles(&mut kit, BOB, &[Role::Warehouse, Role::Warehouse]);
    assert_eq!(set.unwrap(), [Role::Warehouse]);
    let SessionState::Open { roles, .. } = state(&mut kit, session) else {
        panic!("the session has ended");
    };
    assert_eq!(roles, [Role::Warehouse]);
}

#[test]
fn the_last_administrator_stays_one() {
    let mut kit = kit_with_bob();
    let last = Err("last_admin".to_owned());
    assert_eq!(roles(&mut kit, ADA, &[Role::Customer]), last);
    assert_eq!(kit.command(delete(ADA)).rejection().code, "last_admin");
    roles(&mut kit, BOB, &[Role::Admin]).unwrap();
    roles(&mut kit, ADA, &[]).unwrap();
    assert_eq!(roles(&mut kit, BOB, &[]), last);
    kit.command(delete(ADA)).reply();
}

#[test]
fn roles_of_nobody_or_of_an_older_version_are_not_set() {
    let mut kit = kit_with_bob();
    let nobody = roles(&mut kit, 9, &[Role::Admin]);
    assert_eq!(nobody, Err("no_such_user".to_owned()));
    let turn = kit.command(SetRoles {
        user_id: id(BOB),
        if_version: Some(vec![7]),
        roles: vec![Role::Admin],
    });
    assert_eq!(turn.rejection().code, "version_changed");
    // The same roles again are no change.
    roles(&mut kit, BOB, &[Role::Customer]).unwrap();
    assert_eq!(kit.get(USERS, &id(BOB)).unwrap().version, 1);
}

#[test]
fn a_deleted_user_is_gone_and_their_key_is_destroyed() {
    let mut kit = kit_with_bob();
    let session = log_in(&mut kit, BOB, hash());
    fail(&mut kit, BOB, 5);
    let turn = kit.command(delete(BOB));
    assert_eq!(turn.published::<UserDeleted>()[0].user_id, id(BOB));
    assert_eq!(
        turn.planned::<DestroyKey>(),
        [DestroyKey { user_id: id(BOB) }]
    );
    assert_eq!(turn.timers_cancelled(), 1);
    assert_eq!(state(&mut kit, session), SessionState::Over);
    assert!(kit.get(DELETED_USERS, &id(BOB)).is_some());
    assert!(kit.rows(LOCKOUTS).is_empty());
    let looked = kit.query(UserById { user_id: id(BOB) });
    assert_eq!(looked.unwrap_err().code, "no_such_user");
    let asked = kit.query(CredentialOf { email: email(BOB) }).unwrap();
    assert_eq!(asked.known, None);
    let turn = kit.command(login(BOB, Some(1), hash()));
    assert_eq!(*turn.reply(), LoginOutcome::Wrong);
    assert_eq!(kit.command(delete(BOB)).rejection().code, "no_such_user");
}

#[test]
fn a_key_that_could_not_be_destroyed_is_tried_again_until_it_is() {
    let mut kit = kit_with_bob();
    kit.command(delete(BOB)).reply();
    let destroy = DestroyKey { user_id: id(BOB) };
    let gave_up = Outcome::GaveUp {
        attempts: 20,
        reason: "disk".into(),
    };
    let turn = kit.activity_result(destroy.clone(), gave_up);
    assert_eq!(turn.planned::<DestroyKey>(), std::slice::from_ref(&destroy));
    let turn = kit.activity_result(destroy, Outcome::Done(()));
    assert!(turn.is_quiet());
}

#[test]
fn another_who_takes_a_deleted_users_address_is_somebody_else() {
    let mut kit = kit_with_bob();
    kit.command(delete(BOB)).reply();
    let mut carol = registration(&kit.service().keyring, 3);
    carol.email = email(BOB);
    kit.command(carol).reply();
    let turn = kit.command(login(BOB, Some(1), hash()));
    assert_eq!(*turn.reply(), LoginOutcome::Wrong);
}
