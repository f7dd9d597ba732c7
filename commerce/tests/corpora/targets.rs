//! The shop's own decoders as functions of bytes: tokens, webhook signatures, cursors of pages,
//! sealed texts. Shared with `fuzz/`.
#![allow(clippy::unwrap_used)] // A panic is how a target reports.

use commerce::identity::messages::Contact;
use commerce::identity::token::{AccessTokens, Claims, RefreshSecret};
use commerce::ids::{SessionId, UserId};
use commerce::page::{Page, cursor};
use commerce::payment::webhook::WebhookSecret;
use commerce::privacy::{Keyring, KeyringError, Sealed};
use redeliver::codec::{self, Subject};
use redeliver::fuzzing::{Target, Verdict, mend};
use redeliver::{TableKey, Timestamp, minutes};
use uuid::Uuid;

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    Target {
        is_sealed: true,
        ..Target::open("shop_access_token", access_token, access_tokens)
    },
    Target::open("shop_refresh_token", refresh_token, refresh_tokens),
    Target::sealed(
        "shop_webhook_signature",
        webhook_signature,
        mend_webhook_signature,
        webhook_signatures,
    ),
    Target::open("shop_page_cursor", page_cursor, page_cursors),
    Target {
        is_sealed: true,
        ..Target::open("shop_sealed_text", sealed_text, sealed_texts)
    }
    .allocating(3 << 20),
];

const NOW: Timestamp = Timestamp(1_767_268_800_000_000);
const USER: UserId = UserId(Uuid::from_u128(1));
const SESSION: SessionId = SessionId(Uuid::from_u128(2));

fn text(data: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(data).map_err(|error| error.to_string())
}

fn tokens() -> AccessTokens {
    AccessTokens::new(&[7; 32], minutes(15)).unwrap()
}

fn access_token(data: &[u8]) -> Verdict {
    let token = text(data)?;
    let claims = tokens().read(token, NOW);
    // Nobody but the shop can make one, and it has made only this.
    let made = Claims {
        user_id: USER,
        session_id: SESSION,
        expires_at: NOW.plus(minutes(15)),
    };
    assert!(claims.is_err() || claims == Ok(made), "{claims:?}");
    claims.map(drop).map_err(|error| error.to_string())
}

fn access_tokens() -> Vec<Vec<u8>> {
    // Nonces are random, so that a token made now would be another at every run.
    let made = include_str!("access_token.txt").trim();
    vec![made.as_bytes().to_vec()]
}

fn refresh_token(data: &[u8]) -> Verdict {
    let token = text(data)?;
    let (session, secret) = RefreshSecret::read(token).ok_or("no refresh token")?;
    assert_eq!(secret.token(session).reveal(), token);
    Ok(())
}

fn refresh_tokens() -> Vec<Vec<u8>> {
    vec!["0123456789abcdef".repeat(6).into_bytes()]
}

fn secret() -> WebhookSecret {
    WebhookSecret::new("whsec")
}

/// How long the header is, the header, the body.
fn split_webhook(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = data.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

fn webhook_signature(data: &[u8]) -> Verdict {
    let (header, body) = split_webhook(data).ok_or("too short")?;
    let header = text(header)?;
    let verified = secret().verify(header, body, NOW);
    verified.map_err(|error| error.to_string())?;
    // Others may stand beside it, or spaces around it; whoever changes those changes nothing.
    let seconds = header
        .strip_prefix("t=")
        .and_then(|rest| rest.split_once(','));
    let seconds = seconds.and_then(|(seconds, _)| seconds.parse::<i64>().ok());
    match seconds.map(|seconds| secret().sign(body, Timestamp(seconds * 1_000_000))) {
        Some(signed) if signed == header => Ok(()),
        Some(_) | None => Err("good, in another form".to_owned()),
    }
}

/// Signs the body, if the header is as long as a signature.
fn mend_webhook_signature(data: &mut [u8]) {
    let Some((header, body)) = split_webhook(data) else {
        return;
    };
    let signed = secret().sign(body, NOW);
    if signed.len() == header.len() {
        data[1..=signed.len()].copy_from_slice(signed.as_bytes());
    }
}

fn webhook_signatures() -> Vec<Vec<u8>> {
    let signed = |body: &[u8]| {
        let header = secret().sign(body, NOW);
        [&[header.len() as u8], header.as_bytes(), body].concat()
    };
    vec![signed(br#"{"id":"evt_1"}"#), signed(b"")]
}

/// Which key the cursor holds, and the cursor.
fn page_cursor(data: &[u8]) -> Verdict {
    let (kind, shown) = data.split_first().ok_or("too short")?;
    match kind % 3 {
        0 => key_of::<UserId>(shown),
        1 => key_of::<(String, UserId)>(shown),
        _ => key_of::<(Timestamp, Option<u64>)>(shown),
    }
}

fn key_of<K: TableKey>(shown: &[u8]) -> Verdict {
    let shown = text(shown)?;
    let page = Page {
        limit: None,
        cursor: Some(shown.to_owned()),
    };
    let key = page.after::<K>().map_err(|refused| refused.code)?;
    assert_eq!(cursor(&key.unwrap()), shown);
    Ok(())
}

fn page_cursors() -> Vec<Vec<u8>> {
    fn seed<K: TableKey>(kind: u8, key: K) -> Vec<u8> {
        [&[kind], cursor(&key).as_bytes()].concat()
    }
    vec![
        seed(0, USER),
        seed(1, ("mug\0".to_owned(), USER)),
        seed(2, (NOW, Some(7u64))),
    ]
}

const STORED: Subject<'static> = Subject::message("stored");
/// Format, codec and version of a stored value; its checksum is as long.
const AROUND_BYTES: usize = 4;

fn keyring() -> Keyring {
    let keyring = Keyring::in_memory(1);
    keyring.create(USER).unwrap();
    keyring
}

/// A sealed text within a stored value, whose checksum is always made to fit: what is tried is that
/// nobody without the key can change it.
fn sealed_text(data: &[u8]) -> Verdict {
    let mut stored = [&[1, 1, 1, 0], data, &[0; AROUND_BYTES]].concat();
    mend(STORED, &mut stored);
    let sealed: Sealed<Contact> =
        codec::open(STORED, 1, &stored, codec::no_older).map_err(|error| error.to_string())?;
    let opened = keyring().open_sealed(&sealed);
    assert!(opened.is_err() || opened.as_ref().ok() == Some(&contact()));
    opened.map(drop).map_err(|error| match error {
        KeyringError::Forgotten { .. } => "of another user".to_owned(),
        KeyringError::Unreadable { .. } => "not sealed with this key".to_owned(),
        other => other.to_string(),
    })
}

fn contact() -> Contact {
    Contact {
        email: "ada@example.org".to_owned(),
        first_name: "Ada".to_owned(),
        last_name: "Lovelace".to_owned(),
    }
}

fn sealed_texts() -> Vec<Vec<u8>> {
    let sealed = keyring().seal(USER, &contact()).unwrap();
    let stored = codec::seal(STORED, 1, &sealed).unwrap();
    vec![stored[AROUND_BYTES..stored.len() - AROUND_BYTES].to_vec()]
}
