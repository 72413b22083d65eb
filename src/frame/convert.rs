//! [`Convert`], the stream of the adapters that convert pictures.

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
    /// Stream of converted pictures, from the methods of [`FrameStreamExt`](crate::FrameStreamExt).
    ///
    /// Pictures are converted on tokio's threads for blocking work and yielded in their original order.
    ///
    /// # Errors
    /// - An error of the picture stream, or of a conversion, after all earlier pictures.
    /// - An invalid argument of the adapter, as the first item.
    /// - Polling outside a tokio runtime.
    ///
    /// After an error the stream ends.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing. Dropping the stream drops the picture stream. Conversions that
    /// are running finish first.
    ///
    /// # Memory
    /// The pictures that are [converted at once](Convert::concurrency).
    #[must_use = "streams do nothing unless polled"]
    pub struct Convert<S, T> {
        #[pin]
        frames: S,
        conversion: Result<Conversion<T>>,
        running: FuturesOrdered<OnThread<Result<T>>>,
        concurrency: usize,
        // Set when the picture stream has ended, with its error if it failed.
        end: Option<Option<Error>>,
        is_done: bool,
    }
}

impl<S, T> Convert<S, T> {
    pub(crate) fn new(frames: S, conversion: Result<Conversion<T>>) -> Self {
        let concurrency = std::thread::available_parallelism().map_or(1, usize::from);
        Self { frames, conversion, running: FuturesOrdered::new(), concurrency, end: None, is_done: false }
    }

    /// Sets the number of pictures that are converted at once. Default: the number of processors.
    ///
    /// A number of 0 counts as 1.
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
        while this.end.is_none() && this.running.len() < *this.concurrency {
            let frame = match &this.conversion {
                Err(error) => Poll::Ready(Some(Err(error.clone()))),
                Ok(conversion) => match this.frames.as_mut().poll_next(cx) {
                    Poll::Ready(Some(Ok(frame))) => {
                        let conversion = Arc::clone(conversion);
                        match on_thread("converting", move || conversion(frame)) {
                            Ok(converted) => {
                                this.running.push_back(converted);
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
        let converted = match ready!(Pin::new(&mut *this.running).poll_next(cx)) {
            Some(converted) => Some(converted.flatten()),
            // No conversion is running: the source has ended, has failed, or is pending.
            None => match this.end.take() {
                None => return Poll::Pending,
                Some(end) => end.map(Err),
            },
        };
        if !matches!(converted, Some(Ok(_))) {
            *this.is_done = true;
            *this.running = FuturesOrdered::new();
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
            .field("running", &self.running.len())
            .finish_non_exhaustive()
    }
}
