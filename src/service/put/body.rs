//! [`PutBody`]: the request body of one connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::shared::Shared;

/// The most bytes that are handed to the connection at a time.
const CHUNK: usize = 64 << 10;

/// Takes fragments from the queue as the connection takes bytes.
#[derive(Debug)]
pub(super) struct PutBody {
    shared: Arc<Shared>,
    connection: u64,
    parts: VecDeque<Bytes>,
}

impl PutBody {
    pub(super) fn new(shared: Arc<Shared>, connection: u64) -> Self {
        Self { shared, connection, parts: VecDeque::new() }
    }
}

impl Body for PutBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(part) = self.parts.front_mut() {
                let chunk = part.split_to(part.len().min(CHUNK));
                if part.is_empty() {
                    self.parts.pop_front();
                }
                if !chunk.is_empty() {
                    self.shared.made_progress();
                    return Poll::Ready(Some(Ok(Frame::data(chunk))));
                }
                continue;
            }
            match self.shared.poll_next(self.connection, cx) {
                Poll::Ready(Some(parts)) => self.parts.extend(parts),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
