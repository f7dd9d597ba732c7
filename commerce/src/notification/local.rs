//! The local sender: writes each letter into a file instead of sending it.
//!
//! For development, tests and shops that hand their mail to another program. The files are
//! letters as their recipients would read them, so **this directory holds personal data in plain
//! text**; only the user that runs the shop can read it, a deleted user's files go with the user,
//! and old ones go with their notifications.
//!
//! ```text
//! DATA/mail/<user id>/<notification id>.eml     .sms and .push for the other channels
//! DATA/mail/shop/<notification id>.eml          what the shop tells itself
//! ```
//!
//! A file is whole and on disk before it has its name, and its name is on disk before the letter
//! counts as sent. The same letter again writes nothing.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::mail::{self, Mailbox};
use super::occasion::Channel;
use super::sender::{Letter, SendError, Sender, SenderFuture};
use crate::ids::{NotificationId, UserId};
use crate::syncs::Syncs;

/// Writes letters into a directory.
#[derive(Debug, Clone)]
pub struct LocalSender {
    dir: PathBuf,
    from: Mailbox,
    syncs: Syncs,
}

impl LocalSender {
    /// A sender that writes below `dir`, which is created with the first letter.
    pub fn new(dir: PathBuf, from: Mailbox, syncs: Syncs) -> LocalSender {
        LocalSender { dir, from, syncs }
    }

    fn dir_of(&self, user: Option<UserId>) -> PathBuf {
        match user {
            Some(user) => self.dir.join(user.to_string()),
            None => self.dir.join("shop"),
        }
    }

    fn path(&self, user: Option<UserId>, id: NotificationId, channel: Channel) -> PathBuf {
        let extension = match channel {
            Channel::Email => "eml",
            Channel::Sms => "sms",
            Channel::Push => "push",
        };
        self.dir_of(user).join(format!("{id}.{extension}"))
    }
}

impl Sender for LocalSender {
    fn send(&self, letter: Letter) -> SenderFuture<'_> {
        let path = self.path(letter.user_id, letter.id, letter.channel);
        let (top, from) = (self.dir.clone(), self.from.clone());
        let syncs = self.syncs.clone();
        blocking(move || {
            let text = match letter.channel {
                Channel::Email => mail::message(&letter, &from)?.formatted(),
                Channel::Sms | Channel::Push => {
                    format!("{}\n", letter.body.trim_end()).into_bytes()
                }
            };
            write(&syncs, &top, &path, &text).map_err(unwritten)
        })
    }

    fn forget(&self, user: UserId) -> SenderFuture<'_> {
        let dir = self.dir_of(Some(user));
        let (top, syncs) = (self.dir.clone(), self.syncs.clone());
        blocking(move || match fs::remove_dir_all(&dir) {
            Ok(()) => sync(&syncs, &top).map_err(unwritten),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(unwritten(error)),
        })
    }

    fn discard(&self, letters: Vec<(Option<UserId>, NotificationId)>) -> SenderFuture<'_> {
        let of = |(user, id)| Channel::ALL.map(|channel| self.path(user, id, channel));
        let paths: Vec<PathBuf> = letters.into_iter().flat_map(of).collect();
        blocking(move || {
            for path in paths {
                match fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        return Err(unwritten(error));
                    }
                    Ok(()) | Err(_) => {}
                }
            }
            Ok(())
        })
    }
}

/// Away from the threads that must not wait for a disk.
fn blocking(
    work: impl FnOnce() -> Result<(), SendError> + Send + 'static,
) -> SenderFuture<'static> {
    Box::pin(async move {
        let stopped = |_| SendError::Unavailable("sender_stopped".to_owned());
        tokio::task::spawn_blocking(work).await.map_err(stopped)?
    })
}

fn write(syncs: &Syncs, top: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(top);
    if path.exists() {
        // Whoever wrote it may have been killed before its name was durable.
        return sync(syncs, dir);
    }
    if !dir.exists() {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        // The first letter of all makes `top` as well.
        sync(syncs, top.parent().unwrap_or(top))?;
        sync(syncs, top)?;
    }
    // No two attempts of one letter run at a time, so nobody else writes here.
    syncs.put(path, text)
}

fn sync(syncs: &Syncs, dir: &Path) -> io::Result<()> {
    syncs.names(dir)
}

/// What went wrong, without a path: it would name the recipient.
fn unwritten(error: io::Error) -> SendError {
    SendError::Unavailable(format!("letter_not_written ({})", error.kind()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use redeliver::Timestamp;
    use uuid::Uuid;

    fn letter(user: u128, id: u128) -> Letter {
        Letter {
            id: NotificationId(Uuid::from_u128(id)),
            user_id: Some(UserId(Uuid::from_u128(user))),
            name: Some("Ada Lovelace".into()),
            address: "ada@example.com".into(),
            channel: Channel::Email,
            subject: "Welcome".into(),
            body: "Dear Ada,\n\nwelcome.\n".into(),
            at: Timestamp(1_767_268_800_000_000),
        }
    }

    fn sender() -> (tempfile::TempDir, LocalSender) {
        let dir = tempfile::tempdir().unwrap();
        let from = "Shop <shop@example.com>".parse().unwrap();
        let sender = LocalSender::new(dir.path().join("mail"), from, Syncs::default());
        (dir, sender)
    }

    fn files(sender: &LocalSender) -> usize {
        let dirs = fs::read_dir(&sender.dir).unwrap();
        dirs.map(|dir| fs::read_dir(dir.unwrap().path()).unwrap().count())
            .sum()
    }

    #[tokio::test]
    async fn a_letter_is_one_private_file_however_often_it_is_sent() {
        let (_dir, sender) = sender();
        let letter = letter(1, 2);
        sender.send(letter.clone()).await.unwrap();
        let path = sender.path(letter.user_id, letter.id, Channel::Email);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("Subject: Welcome\r\n"), "{text}");
        assert!(text.contains("ada@example.com") && text.contains("Dear Ada,"));
        assert!(text.contains(&format!("Message-ID: <{}@example.com>", letter.id)));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        sender.send(letter).await.unwrap();
        assert_eq!(files(&sender), 1);
    }

    #[tokio::test]
    async fn a_deleted_users_letters_go_and_nobody_elses() {
        let (_dir, sender) = sender();
        for (user, id) in [(1, 1), (1, 2), (2, 3)] {
            sender.send(letter(user, id)).await.unwrap();
        }
        let user = UserId(Uuid::from_u128(1));
        sender.forget(user).await.unwrap();
        assert_eq!(files(&sender), 1);
        sender.forget(user).await.unwrap();
    }

    #[tokio::test]
    async fn discarded_letters_go_by_any_channel() {
        let (_dir, sender) = sender();
        let mut text = letter(1, 1);
        text.channel = Channel::Sms;
        sender.send(text.clone()).await.unwrap();
        sender.send(letter(1, 2)).await.unwrap();
        let gone = vec![(text.user_id, text.id), (None, text.id)];
        sender.discard(gone).await.unwrap();
        assert_eq!(files(&sender), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_tried_again_and_names_nobody() {
        let (dir, sender) = sender();
        fs::write(
            dir.path().join("mail"),
            "a file where the directory belongs",
        )
        .unwrap();
        let error = sender.send(letter(1, 1)).await.unwrap_err();
        assert!(matches!(&error, SendError::Unavailable(_)));
        assert!(!error.to_string().contains('/'), "{error}");
    }

    #[tokio::test]
    async fn an_address_that_is_none_is_refused_for_good_without_repeating_it() {
        let (_dir, sender) = sender();
        let mut letter = letter(1, 1);
        letter.address = "nobody\r\nBcc: all@example.com".into();
        let error = sender.send(letter).await.unwrap_err();
        assert_eq!(error, SendError::Refused("bad_address".to_owned()));
    }
}
