//! A client of the running server: one connection, one request after the other.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, RETRY_AFTER};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::failed;
use crate::cli::{Exit, Failure};
use crate::config::Secret;
use crate::http::API;
use crate::identity::accounts::FIRST_ADMIN_EMAIL;

const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How often a server is asked that tells to come back later, and how long is waited at most.
const TRIES: u32 = 20;
const WAIT_MAX: u64 = 10;

/// A connection, signed in as the administrator.
pub(super) struct Client {
    connection: SendRequest<Full<Bytes>>,
    address: String,
    bearer: String,
}

impl Client {
    /// Connects and signs in; `None` if nobody answers there.
    pub(super) async fn connect(
        address: &str,
        password: &Secret,
    ) -> Result<Option<Client>, Failure> {
        let stream = match timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%error, address, "no server answers");
                return Ok(None);
            }
            Err(_) => return Ok(None),
        };
        if password.reveal().is_empty() {
            return Err(Failure::new(
                Exit::Configuration,
                format!(
                    "the server at http://{address} wants to know who asks; set \
                     COMMERCE_ADMIN_PASSWORD or give --password"
                ),
            ));
        }
        let (connection, driver) = handshake(TokioIo::new(stream)).await.map_err(failed)?;
        tokio::spawn(async move {
            // How it ended is seen by whoever asks next.
            let _ = driver.await;
        });
        let mut client = Client {
            connection,
            address: address.to_owned(),
            bearer: String::new(),
        };
        client.sign_in(password).await?;
        Ok(Some(client))
    }

    async fn sign_in(&mut self, password: &Secret) -> Result<(), Failure> {
        let body = serde_json::json!({
            "email": FIRST_ADMIN_EMAIL, "password": password.reveal()
        });
        let path = format!("{API}/auth/login");
        let (status, answer) = self.ask(Method::POST, &path, body.to_string()).await?;
        match answer["access_token"].as_str() {
            Some(token) if status == StatusCode::OK => {
                self.bearer = format!("Bearer {token}");
                Ok(())
            }
            _ => Err(failed(format!(
                "{FIRST_ADMIN_EMAIL} could not sign in at http://{} ({status}); see whether \
                 COMMERCE_ADMIN_PASSWORD or --password is its password",
                self.address
            ))),
        }
    }

    /// What stands at a path; `None` if there is nothing.
    pub(super) async fn get(&mut self, path: &str) -> Result<Option<Value>, Failure> {
        match self.ask(Method::GET, path, String::new()).await? {
            (StatusCode::OK, answer) => Ok(Some(answer)),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, answer) => Err(failed(format!(
                "http://{}{path} answered {status}: {}",
                self.address,
                answer["detail"].as_str().unwrap_or("no detail")
            ))),
        }
    }

    async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, Value), Failure> {
        let mut tries = 1;
        loop {
            let once = self.ask_once(method.clone(), path, body.clone());
            let (status, wait, answer) = timeout(ANSWER_WITHIN, once).await.map_err(|_| {
                failed(format!(
                    "http://{}{path} has not answered within {ANSWER_WITHIN:?}",
                    self.address
                ))
            })??;
            match wait {
                Some(wait) if tries < TRIES => {
                    sleep(Duration::from_secs(wait.clamp(1, WAIT_MAX))).await;
                    tries += 1;
                }
                _ => return Ok((status, answer)),
            }
        }
    }

    async fn ask_once(
        &mut self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, Option<u64>, Value), Failure> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if !self.bearer.is_empty() {
            request = request.header(AUTHORIZATION, &self.bearer);
        }
        let request = request.body(Full::from(body)).map_err(failed)?;
        self.connection.ready().await.map_err(failed)?;
        let answer = self.connection.send_request(request).await;
        let answer = answer.map_err(failed)?;
        let status = answer.status();
        let later = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        );
        let wait = answer.headers().get(RETRY_AFTER);
        let wait = wait.and_then(|wait| wait.to_str().ok()?.parse().ok());
        let wait = later.then(|| wait.unwrap_or(1));
        let body = answer.into_body().collect().await.map_err(failed)?;
        let answer = serde_json::from_slice(&body.to_bytes()).map_err(|error| {
            failed(format!(
                "http://{}{path} answered {status} and no JSON ({error}); see whether it is the \
                 shop's address",
                self.address
            ))
        })?;
        Ok((status, wait, answer))
    }
}
