//! Refusals below the routes: what is no request that could be answered.
//!
//! A request line or a head that cannot be read (400), too long an address (414) and too long a
//! head (431) never become a request: hyper answers them by itself, with a status and nothing
//! else. On its way out such an answer is recognised (it alone has no request id) and put into
//! the words of every other refusal. Then the rest of what the client sends is taken and thrown
//! away for a moment, because a connection that is closed over unread bytes loses its last answer.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;
use warp::http::StatusCode;

use super::problem::Problem;
use super::server::Shared;

/// How long what nobody reads is waited for, at most.
const LINGER: Duration = Duration::from_secs(1);
/// How much of it is taken, at most.
const LINGER_BYTES_MAX: usize = 1024 * 1024;
/// hyper's own answers are shorter.
const HEAD_BYTES_MAX: usize = 256;

/// A connection whose refusals are problems.
pub(super) struct Refusing<T> {
    inner: T,
    shared: Arc<Shared>,
    /// What is being written in the place of hyper's words, and how long those were.
    instead: Option<(Vec<u8>, usize)>,
    linger: Option<Linger>,
}

struct Linger {
    until: Pin<Box<Sleep>>,
    left_bytes: usize,
}

impl<T> Refusing<T> {
    pub(super) fn new(inner: T, shared: Arc<Shared>) -> Refusing<T> {
        Refusing {
            inner,
            shared,
            instead: None,
            linger: None,
        }
    }

    fn problem(&self, status: StatusCode) -> Vec<u8> {
        let count = self.shared.refused_count.fetch_add(1, Ordering::Relaxed);
        // No request has an id that ends like this.
        let id = format!("{}-refused-{count:x}", self.shared.id_prefix);
        tracing::debug!(request_id = id, status = status.as_u16(), "no request");
        rendered(of(status), &id)
    }
}

/// The status of an answer that hyper has written by itself; `None` for every other write.
fn refused(written: &[u8]) -> Option<StatusCode> {
    if written.len() > HEAD_BYTES_MAX {
        return None;
    }
    let head = std::str::from_utf8(written)
        .ok()?
        .strip_suffix("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.")?.get(2..5)?;
    let is_hypers = |line: &str| {
        let name = line.split(':').next().unwrap_or_default();
        line.eq_ignore_ascii_case("content-length: 0")
            || name.eq_ignore_ascii_case("connection")
            || name.eq_ignore_ascii_case("date")
    };
    let status = StatusCode::from_bytes(status.as_bytes()).ok()?;
    (status.is_client_error() && lines.all(is_hypers)).then_some(status)
}

fn of(status: StatusCode) -> Problem {
    match status {
        StatusCode::URI_TOO_LONG => Problem::new(status, "uri-too-long", "The address is too long")
            .detail("the address is longer than any of this server's; shorten it"),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            Problem::new(status, "head-too-large", "The head is too large")
                .detail("the request's head is longer than this server reads; send fewer headers")
        }
        _ => Problem::bad_request("this is no HTTP request that can be read; correct its head"),
    }
}

fn rendered(problem: Problem, request_id: &str) -> Vec<u8> {
    let status = problem.status();
    let body = problem.of_request(request_id).to_json();
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/problem+json\r\ncache-control: no-store\r\n\
         x-request-id: {request_id}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
}

impl<T: AsyncWrite + Unpin> Refusing<T> {
    fn write_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some((left, length)) = &mut self.instead else {
            return Poll::Ready(Ok(0));
        };
        while !left.is_empty() {
            let wrote = ready!(Pin::new(&mut self.inner).poll_write(cx, left))?;
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            left.drain(..wrote);
        }
        let length = *length;
        self.instead = None;
        self.linger = Some(Linger {
            until: Box::pin(tokio::time::sleep(LINGER)),
            left_bytes: LINGER_BYTES_MAX,
        });
        Poll::Ready(Ok(length))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Refusing<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buffer)
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Refusing<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.instead.is_none()
            && let Some(status) = refused(bytes)
        {
            this.instead = Some((this.problem(status), bytes.len()));
        }
        if this.instead.is_some() {
            return this.write_instead(cx);
        }
        Pin::new(&mut this.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
        let Some(linger) = &mut this.linger else {
            return Poll::Ready(Ok(()));
        };
        let mut bytes = [0; 4096];
        while linger.left_bytes > 0 && linger.until.as_mut().poll(cx).is_pending() {
            let mut buffer = ReadBuf::new(&mut bytes);
            // Whatever goes wrong now, the client has gone.
            let read = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buffer));
            let length = buffer.filled().len();
            if read.is_err() || length == 0 {
                break;
            }
            linger.left_bytes = linger.left_bytes.saturating_sub(length);
        }
        this.linger = None;
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut some = slices.iter().filter(|slice| !slice.is_empty());
        // A head alone is one slice.
        if let (Some(one), None) = (some.next(), some.next()) {
            return self.poll_write(cx, one);
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hyper_says_by_itself_is_put_into_other_words() {
        let own = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\n\
            content-length: 0\r\ndate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n";
        assert_eq!(refused(own).unwrap(), 431);
        for other in [
            &b"HTTP/1.1 404 Not Found\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 2\r\n\r\n{}",
            b"HTTP/1.1 204 No Content\r\ndate: x\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\n",
            b"{\"detail\":\"HTTP/1.1 400\"}",
            b"HTTP/1.1 4",
            b"",
        ] {
            assert_eq!(refused(other), None);
        }
    }
}
