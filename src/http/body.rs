//! Bodies: a request's with its limits, an answer's with its guard.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Sleep;

use super::problem::Problem;

/// What became of a request's body. Routes see only that reading it failed; the server, which
/// holds this too, knows why.
#[derive(Debug, Clone, Default)]
pub(super) struct Fate(Arc<AtomicU8>);

const TOO_LARGE: u8 = 1;
const TOO_SLOW: u8 = 2;
const CUT_OFF: u8 = 3;

impl Fate {
    /// The problem that the body was, if it was one.
    pub(super) fn problem(&self, limit_bytes: u64) -> Option<Problem> {
        match self.0.load(Ordering::Acquire) {
            TOO_LARGE => Some(Problem::body_too_large(limit_bytes)),
            TOO_SLOW => Some(Problem::request_timeout()),
            CUT_OFF => Some(Problem::bad_request("the body ended before its end")),
            _ => None,
        }
    }
}

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the body is larger than {limit_bytes} bytes")]
    TooLarge { limit_bytes: u64 },
    #[error("the body did not come within {} ms", patience.as_millis())]
    TooSlow { patience: Duration },
    #[error("the body was cut off: {0}")]
    CutOff(#[from] hyper::Error),
}

/// A request's body: ends in an error when it grows over the limit or takes too
/// long as a whole, so that a byte now and then does not hold a slot for ever.
pub(super) struct RequestBody {
    incoming: Incoming,
    limit_bytes: u64,
    left_bytes: u64,
    patience: Duration,
    // Made when the body is first waited for; most bodies arrive with their head.
    deadline: Option<Pin<Box<Sleep>>>,
    fate: Fate,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, limit_bytes: u64, patience: Duration) -> RequestBody {
        RequestBody {
            incoming,
            limit_bytes,
            left_bytes: limit_bytes,
            patience,
            deadline: None,
            fate: Fate::default(),
        }
    }

    pub(super) fn fate(&self) -> Fate {
        self.fate.clone()
    }

    fn ended(&self, fate: u8, error: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.fate.0.store(fate, Ordering::Release);
        Poll::Ready(Some(Err(error)))
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                if length > this.left_bytes {
                    let limit_bytes = this.limit_bytes;
                    return this.ended(TOO_LARGE, BodyError::TooLarge { limit_bytes });
                }
                this.left_bytes -= length;
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => this.ended(CUT_OFF, error.into()),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => {
                let patience = this.patience;
                let deadline = this
                    .deadline
                    .get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
                match deadline.as_mut().poll(cx) {
                    Poll::Ready(()) => this.ended(TOO_SLOW, BodyError::TooSlow { patience }),
                    Poll::Pending => Poll::Pending,
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// An answer's body with what must live until its last byte has been handed over.
pub(super) struct AnswerBody<B, G> {
    body: B,
    _guard: G,
}

impl<B, G> AnswerBody<B, G> {
    pub(super) fn new(body: B, guard: G) -> AnswerBody<B, G> {
        AnswerBody {
            body,
            _guard: guard,
        }
    }
}

impl<B: Body + Unpin, G: Unpin> Body for AnswerBody<B, G> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
