//! [`Until`], the stream that `.until()` returns.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Fragment, FragmentHeader, FragmentNumber, Timestamp};
use crate::accessors::inner_accessors;
use crate::error::Result;

/// The place where a stream of fragments stops.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// Stops after this number of fragments. With 0, no fragment is yielded.
    Count(u64),
    /// Stops at this time on this machine's clock.
    ///
    /// A fragment that has not arrived completely is not yielded. Polling needs a Tokio runtime with timers.
    Deadline(std::time::Instant),
    /// Stops after the fragment with this number, or before the first with a larger number.
    Fragment(FragmentNumber),
    /// Stops at this time on the producer's clock.
    ///
    /// The fragment that contains or ends at the time is the last. Fragments that start then or later are not
    /// yielded. Fragments without a producer time do not stop the stream.
    ProducerTime(Timestamp),
    /// Stops before the first fragment with this server time or a later one.
    ///
    /// Fragments without a server time do not stop the stream.
    ServerTime(Timestamp),
}

impl Bound {
    /// Returns the reason to end before a fragment with this header, if there is one.
    pub(crate) fn ends_before(&self, header: &FragmentHeader) -> Option<StreamEnd> {
        match self {
            Self::Fragment(last) => header.number().is_some_and(|number| number > last).then_some(StreamEnd::Fragment),
            Self::ProducerTime(stop) => {
                header.producer_time().is_some_and(|start| start >= *stop).then_some(StreamEnd::Time)
            }
            Self::ServerTime(stop) => {
                header.server_time().is_some_and(|start| start >= *stop).then_some(StreamEnd::Time)
            }
            Self::Count(_) | Self::Deadline(_) => None,
        }
    }

    /// Returns the reason to end after this fragment, the `count`th, if there is one.
    pub(crate) fn ends_after(
        &self,
        header: &FragmentHeader,
        count: u64,
        duration: impl FnOnce() -> Duration,
    ) -> Option<StreamEnd> {
        match self {
            Self::Count(most) => (count >= *most).then_some(StreamEnd::Count),
            Self::Fragment(last) => header.number().is_some_and(|number| number == last).then_some(StreamEnd::Fragment),
            Self::ProducerTime(stop) => {
                let start = header.producer_time()?;
                let end = start.plus_nanos(i64::try_from(duration().as_nanos()).unwrap_or(i64::MAX));
                (end >= *stop).then_some(StreamEnd::Time)
            }
            Self::Deadline(_) | Self::ServerTime(_) => None,
        }
    }
}

impl From<FragmentNumber> for Bound {
    fn from(number: FragmentNumber) -> Self {
        Self::Fragment(number)
    }
}

impl From<std::time::Instant> for Bound {
    fn from(deadline: std::time::Instant) -> Self {
        Self::Deadline(deadline)
    }
}

/// The reason a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamEnd {
    /// The requested number of fragments was yielded ([`Bound::Count`]).
    Count,
    /// The deadline passed ([`Bound::Deadline`]).
    Deadline,
    /// The source ended before the bound was reached.
    EndOfMedia,
    /// The last item was an error.
    Failed,
    /// The requested last fragment was reached ([`Bound::Fragment`]).
    Fragment,
    /// No fragment arrived within the time set with `Live::idle_timeout`.
    IdleTimeout,
    /// The stream's lease was lost to another worker of the fleet.
    LeaseLost,
    /// The stream's lease is to be given up: another worker has room, the stream was removed, or the worker leaves.
    LeaseReleased,
    /// The program stopped the stream with a `StopHandle`.
    Stopped,
    /// The requested time was reached ([`Bound::ProducerTime`], [`Bound::ServerTime`]).
    Time,
}

impl fmt::Display for StreamEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Count => "count reached",
            Self::Deadline => "deadline passed",
            Self::EndOfMedia => "end of media",
            Self::Failed => "failed",
            Self::Fragment => "fragment reached",
            Self::IdleTimeout => "idle for too long",
            Self::LeaseLost => "lease lost",
            Self::LeaseReleased => "lease released",
            Self::Stopped => "stopped",
            Self::Time => "time reached",
        })
    }
}

pin_project! {
    /// A stream of fragments up to a bound, from [`until`](crate::FragmentStreamExt::until).
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Until<S> {
        #[pin]
        fragments: S,
        bound: Bound,
        count: u64,
        // Created at the first poll, because a timer needs a runtime.
        deadline: Option<Pin<Box<Sleep>>>,
        end_reason: Option<StreamEnd>,
    }
}

impl<S> Until<S> {
    pub(crate) fn new(fragments: S, bound: Bound) -> Self {
        let end_reason = (bound == Bound::Count(0)).then_some(StreamEnd::Count);
        Self { fragments, bound, count: 0, deadline: None, end_reason }
    }

    /// Returns the reason the stream ended, or `None` while it continues.
    pub fn end_reason(&self) -> Option<StreamEnd> {
        self.end_reason
    }

    inner_accessors!(fragments: S, "fragment stream", "It may have more fragments.");
}

impl<S: Stream<Item = Result<Fragment>>> Stream for Until<S> {
    type Item = Result<Fragment>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if this.end_reason.is_some() {
            return Poll::Ready(None);
        }
        if let Bound::Deadline(deadline) = this.bound {
            let sleep = this.deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::from_std(*deadline))));
            if sleep.as_mut().poll(cx).is_ready() {
                *this.end_reason = Some(StreamEnd::Deadline);
                return Poll::Ready(None);
            }
        }
        match ready!(this.fragments.poll_next(cx)) {
            Some(Ok(fragment)) => {
                *this.count += 1;
                let before = this.bound.ends_before(fragment.header());
                let after = || this.bound.ends_after(fragment.header(), *this.count, || fragment.duration());
                *this.end_reason = before.or_else(after);
                Poll::Ready(before.is_none().then_some(Ok(fragment)))
            }
            Some(Err(error)) => {
                *this.end_reason = Some(StreamEnd::Failed);
                Poll::Ready(Some(Err(error)))
            }
            None => {
                *this.end_reason = Some(StreamEnd::EndOfMedia);
                Poll::Ready(None)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let most = self.fragments.size_hint().1;
        match (self.end_reason, &self.bound) {
            (Some(_), _) => (0, Some(0)),
            (None, Bound::Count(count)) => {
                let left = usize::try_from(count - self.count).unwrap_or(usize::MAX);
                (0, Some(most.map_or(left, |most| most.min(left))))
            }
            (None, _) => (0, most),
        }
    }
}

impl<S: Stream<Item = Result<Fragment>>> FusedStream for Until<S> {
    fn is_terminated(&self) -> bool {
        self.end_reason.is_some()
    }
}
