//! [`Convert`], the type behind the adapters that convert pictures.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use super::Frame;
use super::thread::{OnThread, on_thread};
use crate::accessors::inner_accessors;
use crate::error::{Error, Result};
use futures::Stream;
use futures::stream::{FusedStream, FuturesOrdered};
use pin_project_lite::pin_project;

type Conversion<T> = Arc<dyn Fn(Frame) -> Result<T> + Send + Sync>;

pin_project! {
    /// Stream of converted pictures, from the methods of
    /// [`FrameStreamExt`](crate::FrameStreamExt).
    ///
    /// They are converted on tokio's threads for blocking work and come in the order of the pictures.
    ///
    /// # Errors
    /// Those of the picture stream, and what cannot be converted. Either comes behind all pictures before,
    /// and after it the stream is at its end.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing. Dropping the stream drops what it reads from; what is being
    /// converted is finished first.
    ///
    /// # Memory
    /// As many pictures as are converted at once: see [`concurrency`](Convert::concurrency).
    #[must_use = "streams do nothing unless polled"]
    pub struct Convert<S, T> {
        #[pin]
        frames: S,
        conversion: Result<Conversion<T>>,
        in_work: FuturesOrdered<OnThread<Result<T>>>,
        concurrency: usize,
        // The source has ended, or failed.
        end: Option<Option<Error>>,
        is_done: bool,
    }
}

impl<S, T> Convert<S, T> {
    pub(crate) fn new(frames: S, conversion: Result<Conversion<T>>) -> Self {
        let concurrency = std::thread::available_parallelism().map_or(1, usize::from);
        Self { frames, conversion, in_work: FuturesOrdered::new(), concurrency, end: None, is_done: false }
    }

    /// How many pictures are converted at once. By default as many as there are processors; 0 counts as 1.
    pub fn concurrency(mut self, pictures: usize) -> Self {
        self.concurrency = pictures.max(1);
        self
    }

    inner_accessors!(frames: S, "picture stream", "Pictures that are being converted are lost.");
}

impl<S, T> Stream for Convert<S, T>
where
    S: Stream<Item = Result<Frame>>,
    T: Send + 'static,
{
    type Item = Result<T>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        if *this.is_done {
            return Poll::Ready(None);
        }
        while this.end.is_none() && this.in_work.len() < *this.concurrency {
            let frame = match &this.conversion {
                Err(error) => Poll::Ready(Some(Err(error.clone()))),
                Ok(conversion) => match this.frames.as_mut().poll_next(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        let conversion = Arc::clone(conversion);
                        match on_thread("converting", move || conversion(frame)) {
                            Ok(converted) => {
                                this.in_work.push_back(converted);
                                continue;
                            }
                            Err(error) => Poll::Ready(Some(Err(error))),
                        }
                    }
                    other => other,
                },
            };
            match frame {
                Poll::Ready(end) => *this.end = Some(end.and_then(Result::err)),
                Poll::Pending => break,
            }
        }
        let converted = match ready!(Pin::new(&mut *this.in_work).poll_next(cx)) {
            Some(converted) => Some(converted.flatten()),
            // Nothing is in work: the source has ended, failed, or nothing yet.
            None => match this.end.take() {
                None => return Poll::Pending,
                Some(end) => end.map(Err),
            },
        };
        if !matches!(converted, Some(Ok(_))) {
            *this.is_done = true;
            *this.in_work = FuturesOrdered::new();
        }
        Poll::Ready(converted)
    }
}

impl<S, T> FusedStream for Convert<S, T>
where
    S: Stream<Item = Result<Frame>>,
    T: Send + 'static,
{
    fn is_terminated(&self) -> bool {
        self.is_done
    }
}

impl<S: fmt::Debug, T> fmt::Debug for Convert<S, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Convert")
            .field("frames", &self.frames)
            .field("in_work", &self.in_work.len())
            .finish_non_exhaustive()
    }
}
