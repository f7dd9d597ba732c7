//! A client: asks, waits for the answer, asks again.

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use redeliver::CallError;
use tokio::net::TcpStream;

/// How long a client that is told to come back later stays away if nobody says how long.
const STAY_AWAY: Duration = Duration::from_millis(100);

/// What comes of one operation.
pub(super) type Operation<'a> = Pin<Box<dyn Future<Output = Result<(), Refused>> + Send + 'a>>;

/// Does one operation after the other.
pub(super) trait Client: Send + 'static {
    /// Does the next operation and waits until its effect is durable.
    fn operate(&mut self) -> Operation<'_>;
}

/// An operation was not done.
#[derive(Debug)]
pub(super) enum Refused {
    /// There is too much to do; it may be tried again after this time.
    Overloaded(Duration),
    /// Anything else ends the measurement.
    Failed(String),
}

impl Refused {
    pub(super) fn failed(error: impl fmt::Display) -> Refused {
        Refused::Failed(error.to_string())
    }
}

impl From<CallError> for Refused {
    fn from(error: CallError) -> Refused {
        match error {
            CallError::Overloaded { retry_after, .. } => Refused::Overloaded(retry_after),
            other => Refused::failed(other),
        }
    }
}

/// A client in the process of the services: calls a function with its number.
pub(super) struct Direct<F> {
    pub(super) nth: u64,
    pub(super) operate: F,
}

impl<F, O> Client for Direct<F>
where
    F: FnMut(u64) -> O + Send + 'static,
    O: Future<Output = Result<(), Refused>> + Send + 'static,
{
    fn operate(&mut self) -> Operation<'_> {
        self.nth += 1;
        Box::pin((self.operate)(self.nth))
    }
}

/// What a client over HTTP posts.
pub(super) struct Post {
    pub(super) path: &'static str,
    pub(super) body: Bytes,
    /// What the answer must contain.
    pub(super) expected: &'static [u8],
}

/// A client with a connection of its own.
pub(super) struct OverHttp<F> {
    connection: SendRequest<Full<Bytes>>,
    host: String,
    nth: u64,
    /// What the client shows of itself, if anything.
    bearer: Option<HeaderValue>,
    post: F,
}

impl<F: FnMut(u64) -> Post + Send + 'static> OverHttp<F> {
    /// Connects.
    pub(super) async fn connect(
        address: SocketAddr,
        nth: u64,
        bearer: Option<HeaderValue>,
        post: F,
    ) -> Result<Self, Refused> {
        let stream = TcpStream::connect(address).await.map_err(Refused::failed)?;
        stream.set_nodelay(true).map_err(Refused::failed)?;
        let (connection, driver) = handshake(TokioIo::new(stream))
            .await
            .map_err(Refused::failed)?;
        tokio::spawn(async move {
            // How it ended is seen by whoever asks next.
            let _ = driver.await;
        });
        Ok(OverHttp {
            connection,
            host: address.to_string(),
            nth,
            bearer,
            post,
        })
    }

    async fn ask(&mut self) -> Result<(), Refused> {
        self.nth += 1;
        let Post {
            path,
            body,
            expected,
        } = (self.post)(self.nth);
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, &self.host)
            .header(CONTENT_TYPE, "application/json")
            .header("prefer", "wait=30")
            .body(Full::new(body))
            .map_err(Refused::failed)?;
        if let Some(bearer) = &self.bearer {
            request.headers_mut().insert(AUTHORIZATION, bearer.clone());
        }
        self.connection.ready().await.map_err(Refused::failed)?;
        let answer = self.connection.send_request(request);
        let answer = answer.await.map_err(Refused::failed)?;
        let status = answer.status();
        let body = answer.into_body().collect().await;
        let body = body.map_err(Refused::failed)?.to_bytes();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            return Err(Refused::Overloaded(STAY_AWAY));
        }
        let found = expected.is_empty() || body.windows(expected.len()).any(|at| at == expected);
        if status.is_success() && found {
            return Ok(());
        }
        let body = String::from_utf8_lossy(&body);
        Err(Refused::Failed(format!("{path} answered {status}: {body}")))
    }
}

impl<F: FnMut(u64) -> Post + Send + 'static> Client for OverHttp<F> {
    fn operate(&mut self) -> Operation<'_> {
        Box::pin(self.ask())
    }
}
