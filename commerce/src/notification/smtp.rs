//! The SMTP sender: hands e-mail to a mail server.
//!
//! Text and push messages are refused: a shop that activates their templates needs a sender that
//! carries them.

use std::time::Duration;

use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::{Error, extension::ClientId};
use lettre::{AsyncSmtpTransport, AsyncTransport, Tokio1Executor};

use super::mail::{self, Mailbox};
use super::occasion::Channel;
use super::sender::{Letter, SendError, Sender, SenderFuture};
use crate::config::{SmtpConfig, SmtpTls};

/// Longest silence of the mail server.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Sends mail through a server.
#[derive(Debug)]
pub struct SmtpSender {
    server: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
}

/// The mail server's configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SmtpConfigError {
    /// No server is named.
    #[error("notification.smtp.host is empty; name the mail server or use the local sender")]
    NoHost,
    /// A password would cross the network in the open.
    #[error(
        "notification.smtp.tls is none although notification.smtp.user is set for {host}; use starttls or tls, so that the password is not sent in the open"
    )]
    OpenPassword {
        /// The server.
        host: String,
    },
    /// TLS cannot be set up.
    #[error("TLS for mail server {host} cannot be set up: {detail}")]
    Tls {
        /// The server.
        host: String,
        /// Why.
        detail: String,
    },
}

impl SmtpSender {
    /// A sender through the configured server. Nothing is connected yet.
    pub fn new(config: &SmtpConfig, from: Mailbox) -> Result<SmtpSender, SmtpConfigError> {
        let host = config.host.clone();
        if host.is_empty() {
            return Err(SmtpConfigError::NoHost);
        }
        let parameters = || {
            TlsParameters::new(host.clone()).map_err(|error| SmtpConfigError::Tls {
                host: host.clone(),
                detail: error.to_string(),
            })
        };
        let local = matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1");
        let tls = match config.tls {
            SmtpTls::None if !config.user.is_empty() && !local => {
                return Err(SmtpConfigError::OpenPassword { host });
            }
            SmtpTls::None => Tls::None,
            SmtpTls::Starttls => Tls::Required(parameters()?),
            SmtpTls::Tls => Tls::Wrapper(parameters()?),
        };
        let mut server = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(config.port)
            .tls(tls)
            .timeout(Some(ANSWER_TIMEOUT))
            .hello_name(ClientId::Domain(from.email.domain().to_owned()));
        if !config.user.is_empty() {
            let password = config.password.reveal().to_owned();
            server = server.credentials(Credentials::new(config.user.clone(), password));
        }
        Ok(SmtpSender {
            server: server.build(),
            from,
        })
    }
}

impl Sender for SmtpSender {
    fn send(&self, letter: Letter) -> SenderFuture<'_> {
        Box::pin(async move {
            match letter.channel {
                Channel::Email => {}
                Channel::Sms | Channel::Push => {
                    let reason = format!("no_carrier_for_{}", letter.channel.name());
                    return Err(SendError::Refused(reason));
                }
            }
            let message = mail::message(&letter, &self.from)?;
            match self.server.send(message).await {
                Ok(_) => Ok(()),
                Err(error) => Err(unsent(&error)),
            }
        })
    }
}

/// What went wrong, without what the server said in words: it often repeats the address.
fn unsent(error: &Error) -> SendError {
    let Some(code) = error.status() else {
        let reason = if error.is_timeout() {
            "mail_server_silent"
        } else if error.is_tls() {
            "mail_server_tls_failed"
        } else if error.is_response() {
            "mail_server_unintelligible"
        } else {
            "mail_server_unreachable"
        };
        return SendError::Unavailable(reason.to_owned());
    };
    let code = code.to_string();
    // 53x is about us, not about the recipient: a wrong password, or none. A person can mend it.
    if error.is_permanent() && !code.starts_with("53") {
        SendError::Refused(format!("mail_refused ({code})"))
    } else {
        SendError::Unavailable(format!("mail_not_taken ({code})"))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Secret;
    use crate::ids::NotificationId;
    use redeliver::Timestamp;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;
    use uuid::Uuid;

    /// A mail server for one connection that answers `RCPT TO` with this and gives back what it
    /// was told.
    async fn server(rcpt: &'static str) -> (u16, JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (read, mut write) = stream.split();
            let mut lines = BufReader::new(read).lines();
            let mut told = String::new();
            let mut in_data = false;
            write.write_all(b"220 here\r\n").await.unwrap();
            while let Ok(Some(line)) = lines.next_line().await {
                told.push_str(&line);
                told.push('\n');
                let answer = match line.split(' ').next().unwrap_or("") {
                    "." if in_data => {
                        in_data = false;
                        "250 taken"
                    }
                    _ if in_data => continue,
                    "EHLO" => "250 8BITMIME",
                    "RCPT" => rcpt,
                    "DATA" => {
                        in_data = true;
                        "354 go on"
                    }
                    "QUIT" => "221 bye",
                    _ => "250 fine",
                };
                if write
                    .write_all(format!("{answer}\r\n").as_bytes())
                    .await
                    .is_err()
                {
                    break;
                }
            }
            told
        });
        (port, serving)
    }

    fn config(port: u16) -> SmtpConfig {
        SmtpConfig {
            host: "127.0.0.1".into(),
            port,
            tls: SmtpTls::None,
            ..SmtpConfig::default()
        }
    }

    fn sender(port: u16) -> SmtpSender {
        let from = "Shop <shop@example.com>".parse().unwrap();
        SmtpSender::new(&config(port), from).unwrap()
    }

    fn letter() -> Letter {
        Letter {
            id: NotificationId(Uuid::from_u128(2)),
            user_id: None,
            name: Some("Ada Lovelace".into()),
            address: "ada@example.com".into(),
            channel: Channel::Email,
            subject: "Welcome".into(),
            body: "Dear Ada,\n\nwelcome.\n".into(),
            at: Timestamp(1_767_268_800_000_000),
        }
    }

    #[tokio::test]
    async fn a_letter_reaches_the_mail_server_under_its_own_id() {
        let (port, serving) = server("250 fine").await;
        let sender = sender(port);
        sender.send(letter()).await.unwrap();
        drop(sender);
        let told = serving.await.unwrap();
        assert!(told.contains("MAIL FROM:<shop@example.com>"), "{told}");
        assert!(told.contains("RCPT TO:<ada@example.com>"), "{told}");
        assert!(told.contains("Subject: Welcome\n"), "{told}");
        assert!(told.contains(&format!("Message-ID: <{}@example.com>", letter().id)));
        assert!(told.contains("Dear Ada,\n\nwelcome.\n"), "{told}");
    }

    #[tokio::test]
    async fn a_mailbox_that_does_not_exist_is_refused_for_good_and_not_repeated() {
        let (port, serving) = server("550 5.1.1 <ada@example.com>: no such user").await;
        let error = sender(port).send(letter()).await.unwrap_err();
        assert_eq!(error, SendError::Refused("mail_refused (550)".to_owned()));
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_is_busy_or_gone_is_tried_again() {
        let (port, serving) = server("451 later").await;
        let error = sender(port).send(letter()).await.unwrap_err();
        assert_eq!(
            error,
            SendError::Unavailable("mail_not_taken (451)".to_owned())
        );
        serving.await.unwrap();
        // Its port is closed now.
        let error = sender(port).send(letter()).await.unwrap_err();
        assert_eq!(
            error,
            SendError::Unavailable("mail_server_unreachable".to_owned())
        );
    }

    #[tokio::test]
    async fn a_server_that_asks_for_a_login_is_tried_again_once_a_person_has_seen_to_it() {
        let (port, serving) = server("530 5.7.0 log in first").await;
        let error = sender(port).send(letter()).await.unwrap_err();
        assert_eq!(
            error,
            SendError::Unavailable("mail_not_taken (530)".to_owned())
        );
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_mail_is_refused() {
        let mut text = letter();
        text.channel = Channel::Sms;
        let error = sender(1).send(text).await.unwrap_err();
        assert_eq!(error, SendError::Refused("no_carrier_for_sms".to_owned()));
    }

    #[test]
    fn a_password_does_not_cross_the_network_in_the_open() {
        let open = SmtpConfig {
            host: "mail.example.com".into(),
            user: "shop".into(),
            password: Secret::new("secret"),
            tls: SmtpTls::None,
            ..SmtpConfig::default()
        };
        let from: Mailbox = "shop@example.com".parse().unwrap();
        let error = SmtpSender::new(&open, from.clone()).unwrap_err();
        assert!(matches!(error, SmtpConfigError::OpenPassword { .. }));
        let sealed = SmtpConfig {
            tls: SmtpTls::Starttls,
            ..open
        };
        let sender = SmtpSender::new(&sealed, from.clone()).unwrap();
        assert!(!format!("{sender:?}").contains("secret"));
        let none = SmtpSender::new(&SmtpConfig::default(), from).unwrap_err();
        assert_eq!(none, SmtpConfigError::NoHost);
    }
}
