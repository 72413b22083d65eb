//! A body with timeouts.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::{SdkBody, not_media};

/// A media body that counts its bytes, and fails after too long a silence.
///
/// The service ends a silent body of GetMedia after 3 s. A body that is silent for longer has lost its connection.
#[derive(Debug)]
pub(crate) struct TimeoutBody {
    operation: &'static str,
    body: SdkBody,
    first_byte: Duration,
    read: Duration,
    any: bool,
    bytes: Arc<AtomicU64>,
    /// The timer that runs while there is nothing to read.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl TimeoutBody {
    pub(crate) fn new(
        operation: &'static str,
        body: SdkBody,
        first_byte: Duration,
        read: Duration,
        bytes: Arc<AtomicU64>,
    ) -> Self {
        Self { operation, body, first_byte, read, any: false, bytes, waiting: None }
    }
}

impl AsyncRead for TimeoutBody {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = out.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.body).poll_read(cx, out) {
            let bytes = out.filled().len() - before;
            this.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            this.waiting = None;
            let is_first = bytes > 0 && !this.any;
            this.any |= bytes > 0;
            // A host that does not know the operation reports success and sends JSON.
            if is_first && out.filled().get(before) == Some(&b'{') {
                return Poll::Ready(Err(not_media(this.operation).into()));
            }
            return Poll::Ready(read);
        }
        let limit = if this.any { this.read } else { this.first_byte };
        let waiting = this.waiting.get_or_insert_with(|| Box::pin(sleep(limit)));
        match waiting.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                // A later read waits anew.
                waiting.as_mut().reset(Instant::now() + limit);
                let what = if this.any { "no byte has come for" } else { "the body has not begun for" };
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, format!("{what} {limit:?}"))))
            }
        }
    }
}
