//! [`FrameItems`]: fragments to pictures and reports.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::options::FrameOptions;
use super::plan::Planner;
use super::report::FrameItem;
use super::run::Run;
use crate::error::{Error, Result};
use crate::fragment::{End, Fragment, Track};

pin_project! {
    /// Stream of pictures, and of reports on what became of the blocks of each fragment, from
    /// [`with_reports`](super::Frames::with_reports).
    ///
    /// # Errors, cancel safety, memory
    /// As [`Frames`](super::Frames).
    #[must_use = "streams do nothing unless polled"]
    pub struct FrameItems<S> {
        #[pin]
        fragments: S,
        work: Work,
    }
}

/// All but the source.
pub(super) struct Work {
    pub(super) options: FrameOptions,
    pub(super) concurrency: usize,
    pub(super) is_continuous: bool,
    planner: Option<Planner>,
    runs: VecDeque<Run>,
    /// What the last fragment says of what may follow it.
    last: Option<Last>,
    /// How many blocks gave no picture behind the last one of the runs that are over.
    missing: u32,
    has_all: bool,
    is_done: bool,
}

/// A fragment that others may continue.
struct Last {
    track: Track,
    start: i64,
    /// When its last picture is shown, and how long one is at most.
    end: i64,
    longest: i64,
}

impl Last {
    /// `None` if nothing continues it.
    fn of(fragment: &Fragment, track: Track) -> Option<Self> {
        let times = fragment.packets().filter(|packet| packet.track_number() == track.number());
        let mut times: Vec<i64> = times.map(|packet| packet.timecode_ns()).collect();
        times.sort_unstable();
        let longest =
            times.windows(2).filter_map(|pair| Some(pair.last()? - pair.first()?)).max().unwrap_or(LONGEST_NS);
        let (start, end) = (fragment.header().timecode_ns(), *times.last()?);
        (fragment.end() != End::Cut).then_some(Self { track, start, end, longest })
    }

    /// Whether a fragment goes on where it ends: if one is missing, there is a hole.
    fn is_continued_by(&self, fragment: &Fragment, track: Option<&Track>) -> bool {
        let times = fragment.packets().filter(|packet| Some(packet.track_number()) == track.map(Track::number));
        let first = times.map(|packet| packet.timecode_ns()).min().unwrap_or(i64::MIN);
        track == Some(&self.track)
            && self.start < fragment.header().timecode_ns()
            && first.saturating_sub(self.end) <= self.longest.saturating_mul(2)
    }
}

/// Of a fragment with one picture it is not known how long that lasts: not longer than the longest fragment.
const LONGEST_NS: i64 = 20_000_000_000;

impl<S> FrameItems<S> {
    pub(super) fn new(fragments: S) -> Self {
        let work = Work {
            options: FrameOptions::new(),
            concurrency: 1,
            is_continuous: false,
            planner: None,
            runs: VecDeque::new(),
            last: None,
            missing: 0,
            has_all: false,
            is_done: false,
        };
        Self { fragments, work }
    }

    pub(super) fn work(&mut self) -> &mut Work {
        &mut self.work
    }

    /// The fragment stream.
    pub fn get_ref(&self) -> &S {
        &self.fragments
    }

    /// The fragment stream.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.fragments
    }

    /// The fragment stream.
    pub fn get_pin_mut(self: Pin<&mut Self>) -> Pin<&mut S> {
        self.project().fragments
    }

    /// The fragment stream. Fragments that are being decoded are lost.
    pub fn into_inner(self) -> S {
        self.fragments
    }
}

impl Work {
    /// Whether there is room for another fragment.
    fn has_room(&mut self) -> bool {
        match self.runs.back_mut() {
            _ if self.has_all => false,
            Some(last) if self.is_continuous => last.hungry().is_some(),
            _ => self.runs.len() < self.concurrency,
        }
    }

    fn add(&mut self, fragment: &Fragment) {
        let planner = self.planner.get_or_insert_with(|| Planner::new(self.options.clone()));
        if !self.is_continuous {
            let run = match planner.plan(fragment, None) {
                Ok(plan) => Run::new(plan, self.options.clone(), false),
                Err(error) => Run::failed(error),
            };
            return self.runs.push_back(run);
        }
        let track = planner.track(fragment).cloned();
        let continues = fragment.discontinuities().is_empty()
            && self.last.as_ref().is_some_and(|last| last.is_continued_by(fragment, track.as_ref()));
        let plan = planner.plan(fragment, Some(continues));
        let follows = self.runs.back_mut().and_then(Run::hungry);
        match (plan, follows) {
            (Ok(plan), Some(decode)) if continues => decode.push(plan),
            (plan, follows) => {
                if let Some(decode) = follows {
                    decode.close();
                }
                self.runs.push_back(match plan {
                    Ok(plan) => Run::new(plan, self.options.clone(), true),
                    Err(error) => Run::failed(error),
                });
            }
        }
        self.last = track.and_then(|track| Last::of(fragment, track));
    }

    fn end(&mut self, error: Option<Error>) {
        self.has_all = true;
        if let Some(decode) = self.runs.back_mut().and_then(Run::hungry) {
            decode.close();
        }
        self.runs.extend(error.map(Run::failed));
    }
}

impl<S: Stream<Item = Result<Fragment>>> Stream for FrameItems<S> {
    type Item = Result<FrameItem>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut this = self.project();
        let work = this.work;
        if work.is_done {
            return Poll::Ready(None);
        }
        if work.planner.is_none()
            && let Err(error) = work.options.check().and_then(|()| check(work.concurrency))
        {
            work.is_done = true;
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            for run in &mut work.runs {
                let _ = run.poll_progress(cx);
            }
            if work.has_room() {
                match this.fragments.as_mut().poll_next(cx) {
                    Poll::Pending => {}
                    Poll::Ready(fragment) => {
                        match fragment {
                            Some(Ok(fragment)) => work.add(&fragment),
                            Some(Err(error)) => work.end(Some(error)),
                            None => work.end(None),
                        }
                        continue;
                    }
                }
            }
            let Some(first) = work.runs.front_mut() else {
                if !work.has_all {
                    return Poll::Pending;
                }
                work.is_done = true;
                return Poll::Ready(None);
            };
            match ready!(first.poll_item(cx)) {
                None => {
                    work.missing += first.missing();
                    work.runs.pop_front();
                }
                Some(mut item) => {
                    match &mut item {
                        Ok(FrameItem::Frame(frame)) => frame.add_missing(std::mem::take(&mut work.missing)),
                        Ok(FrameItem::Report(_)) => {}
                        Err(_) => {
                            work.is_done = true;
                            work.runs.clear();
                        }
                    }
                    return Poll::Ready(Some(item));
                }
            }
        }
    }
}

fn check(concurrency: usize) -> Result<()> {
    match concurrency {
        0 => Err(Error::invalid_argument("a concurrency of 0: nothing would ever be decoded")),
        _ => Ok(()),
    }
}

impl<S: Stream<Item = Result<Fragment>>> FusedStream for FrameItems<S> {
    fn is_terminated(&self) -> bool {
        self.work.is_done
    }
}

impl<S: fmt::Debug> fmt::Debug for FrameItems<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FrameItems")
            .field("fragments", &self.fragments)
            .field("options", &self.work.options)
            .field("runs", &self.work.runs)
            .finish_non_exhaustive()
    }
}
