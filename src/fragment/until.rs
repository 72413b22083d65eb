//! [`Until`], the type behind `.until()`.

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

/// Where to stop reading.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// Behind so many fragments.
    Count(u64),
    /// At this point in real time, between two fragments: one that is coming in is left out.
    Deadline(std::time::Instant),
    /// Behind the fragment with this number, or before the first with a larger one.
    Fragment(FragmentNumber),
    /// Where the producer's clock shows this: the fragment that spans it is the last, and one that
    /// begins then or later is left out.
    ProducerTime(Timestamp),
    /// Before the first fragment that the service began to receive then or later.
    ServerTime(Timestamp),
}

impl Bound {
    /// Why a fragment that begins so is left out, if it is.
    pub(crate) fn leaves_out(&self, header: &FragmentHeader) -> Option<EndReason> {
        match self {
            Self::Fragment(last) => header.number().is_some_and(|number| number > last).then_some(EndReason::Fragment),
            Self::ProducerTime(stop) => {
                header.producer_time().is_some_and(|start| start >= *stop).then_some(EndReason::Time)
            }
            Self::ServerTime(stop) => {
                header.server_time().is_some_and(|start| start >= *stop).then_some(EndReason::Time)
            }
            Self::Count(_) | Self::Deadline(_) => None,
        }
    }

    /// Why nothing belongs to it behind this fragment, the `count`th, if nothing does.
    pub(crate) fn ends_behind(
        &self,
        header: &FragmentHeader,
        count: u64,
        duration: impl FnOnce() -> Duration,
    ) -> Option<EndReason> {
        match self {
            Self::Count(most) => (count >= *most).then_some(EndReason::Count),
            Self::Fragment(last) => header.number().is_some_and(|number| number == last).then_some(EndReason::Fragment),
            Self::ProducerTime(stop) => {
                let start = header.producer_time()?;
                let end = start.plus_nanos(i64::try_from(duration().as_nanos()).unwrap_or(i64::MAX));
                (end >= *stop).then_some(EndReason::Time)
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

/// Why a stream has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// As many fragments as were asked for have come.
    Count,
    /// The deadline has passed.
    Deadline,
    /// The media ended before the bound was reached.
    EndOfMedia,
    /// With an error, which was the last item.
    Failed,
    /// The last fragment that was asked for has come.
    Fragment,
    /// Nothing has come for as long as was to be waited.
    IdleTimeout,
    /// It was told to stop.
    Stopped,
    /// The time was reached on the clock that was asked for.
    Time,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Count => "count reached",
            Self::Deadline => "deadline passed",
            Self::EndOfMedia => "end of media",
            Self::Failed => "failed",
            Self::Fragment => "fragment reached",
            Self::IdleTimeout => "nothing came for too long",
            Self::Stopped => "stopped",
            Self::Time => "time reached",
        })
    }
}

pin_project! {
    /// Stream of the fragments up to a bound, from [`until`](crate::FragmentStreamExt::until).
    #[derive(Debug)]
    #[must_use = "streams do nothing unless polled"]
    pub struct Until<S> {
        #[pin]
        fragments: S,
        bound: Bound,
        count: u64,
        // Made when first polled: making it needs a runtime.
        deadline: Option<Pin<Box<Sleep>>>,
        reason: Option<EndReason>,
    }
}

impl<S> Until<S> {
    pub(crate) fn new(fragments: S, bound: Bound) -> Self {
        let reason = (bound == Bound::Count(0)).then_some(EndReason::Count);
        Self { fragments, bound, count: 0, deadline: None, reason }
    }

    /// Why the stream has ended; `None` while it goes on.
    pub fn reason(&self) -> Option<EndReason> {
        self.reason
    }

    inner_accessors!(fragments: S, "fragment stream", "It may have more fragments.");
}

impl<S: Stream<Item = Result<Fragment>>> Stream for Until<S> {
    type Item = Result<Fragment>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.project();
        if this.reason.is_some() {
            return Poll::Ready(None);
        }
        if let Bound::Deadline(deadline) = this.bound {
            let sleep = this.deadline.get_or_insert_with(|| Box::pin(sleep_until(Instant::from_std(*deadline))));
            if sleep.as_mut().poll(cx).is_ready() {
                *this.reason = Some(EndReason::Deadline);
                return Poll::Ready(None);
            }
        }
        match ready!(this.fragments.poll_next(cx)) {
            Some(Ok(fragment)) => {
                *this.count += 1;
                let left_out = this.bound.leaves_out(fragment.header());
                let ends = || this.bound.ends_behind(fragment.header(), *this.count, || fragment.duration());
                *this.reason = left_out.or_else(ends);
                Poll::Ready(left_out.is_none().then_some(Ok(fragment)))
            }
            Some(Err(error)) => {
                *this.reason = Some(EndReason::Failed);
                Poll::Ready(Some(Err(error)))
            }
            None => {
                *this.reason = Some(EndReason::EndOfMedia);
                Poll::Ready(None)
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let most = self.fragments.size_hint().1;
        match (self.reason, &self.bound) {
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
        self.reason.is_some()
    }
}
