//! [`Record`], the future returned by `.record()`.

use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::future::FusedFuture;
use pin_project_lite::pin_project;

use super::MediaSink;
use crate::error::{Error, Result};
use crate::summary::Summary;

pin_project! {
    /// Future that sends a stream to a sink, from [`record`](crate::RecordExt::record).
    ///
    /// Unlike `forward` of futures, `Record` also closes the sink when the stream fails, and returns a [`Summary`].
    ///
    /// Polling a `Record` again after completion returns an error with the summary. `Record` implements
    /// [`FusedFuture`], so `select!` of futures does not poll it after completion.
    #[must_use = "futures do nothing unless polled"]
    pub struct Record<St: Stream, Si> {
        #[pin]
        stream: St,
        #[pin]
        sink: Si,
        buffered: Option<St::Item>,
        state: State,
        item: PhantomData<St::Item>,
    }
}

#[derive(Debug)]
enum State {
    Sending,
    /// Holds the error that ended the sending, if there was one.
    Closing(Option<Error>),
    Done,
}

impl<St: Stream, Si> Record<St, Si> {
    pub(crate) fn new(stream: St, sink: Si) -> Self {
        Self { stream, sink, buffered: None, state: State::Sending, item: PhantomData }
    }
}

impl<T, St, Si> Future for Record<St, Si>
where
    St: Stream<Item = Result<T>>,
    Si: MediaSink<T>,
{
    type Output = Result<Summary>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state {
                State::Sending => match ready!(send_all(this.stream.as_mut(), this.sink.as_mut(), this.buffered, cx)) {
                    Ok(()) => *this.state = State::Closing(None),
                    Err(error) => *this.state = State::Closing(Some(error)),
                },
                State::Closing(first) => {
                    let closed = ready!(this.sink.as_mut().poll_close(cx));
                    let error = first.take().or(closed.err());
                    *this.state = State::Done;
                    let summary = this.sink.summary();
                    return Poll::Ready(error.map_or(Ok(summary), |error| Err(error.with_summary(summary))));
                }
                State::Done => {
                    let message = "the recording is complete: its future was polled again after it had returned";
                    return Poll::Ready(Err(Error::invalid_argument(message).with_summary(this.sink.summary())));
                }
            }
        }
    }
}

fn send_all<T, St, Si>(
    mut stream: Pin<&mut St>,
    mut sink: Pin<&mut Si>,
    buffered: &mut Option<St::Item>,
    cx: &mut Context<'_>,
) -> Poll<Result<()>>
where
    St: Stream<Item = Result<T>>,
    Si: MediaSink<T>,
{
    loop {
        if buffered.is_none() {
            match stream.as_mut().poll_next(cx) {
                Poll::Ready(Some(item)) => *buffered = Some(item),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    // No item is ready, so the sink can finish the items it has.
                    ready!(sink.as_mut().poll_flush(cx))?;
                    return if sink.is_done() { Poll::Ready(Ok(())) } else { Poll::Pending };
                }
            }
        }
        ready!(sink.as_mut().poll_ready(cx))?;
        // An error of the stream is not lost.
        if sink.is_done() && !matches!(buffered, Some(Err(_))) {
            return Poll::Ready(Ok(()));
        }
        if let Some(item) = buffered.take() {
            sink.as_mut().start_send(item?)?;
        }
    }
}

impl<T, St, Si> FusedFuture for Record<St, Si>
where
    St: Stream<Item = Result<T>>,
    Si: MediaSink<T>,
{
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Done)
    }
}

impl<St: Stream, Si> fmt::Debug for Record<St, Si> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record").field("state", &self.state).finish_non_exhaustive()
    }
}
