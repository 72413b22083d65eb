//! [`FrameItems`]: a stream of pictures and reports.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Stream;
use futures::stream::FusedStream;
use pin_project_lite::pin_project;

use super::options::FrameOptions;
use super::plan::{Plan, Planner};
use super::report::FrameItem;
use super::run::Run;
use super::thread::{OnThread, on_thread};
use crate::accessors::inner_accessors;
use crate::error::{Error, Result};
use crate::fragment::Fragment;

pin_project! {
    /// Stream of pictures and of a report per fragment, from [`with_reports`](super::Frames::with_reports).
    ///
    /// The report on a fragment is yielded after the last picture of the fragment.
    ///
    /// # Errors, cancel safety, memory
    /// The same as for [`Frames`](super::Frames).
    #[must_use = "streams do nothing unless polled"]
    pub struct FrameItems<S> {
        #[pin]
        fragments: S,
        work: Work,
    }
}

/// The state apart from the fragment stream.
pub(super) struct Work {
    pub(super) options: FrameOptions,
    pub(super) concurrency: usize,
    pub(super) is_continuous: bool,
    /// `None` while a thread plans a fragment with it.
    planner: Option<Planner>,
    planning: Option<OnThread<(Result<Plan>, Planner)>>,
    has_started: bool,
    runs: VecDeque<Run>,
    /// The number of blocks without a picture after the last picture of the finished runs.
    missing: u32,
    is_source_done: bool,
    is_done: bool,
}

impl<S> FrameItems<S> {
    pub(super) fn new(fragments: S) -> Self {
        let work = Work {
            options: FrameOptions::new(),
            concurrency: 1,
            is_continuous: false,
            planner: None,
            planning: None,
            has_started: false,
            runs: VecDeque::new(),
            missing: 0,
            is_source_done: false,
            is_done: false,
        };
        Self { fragments, work }
    }

    pub(super) fn work(&mut self) -> &mut Work {
        &mut self.work
    }

    inner_accessors!(fragments: S, "fragment stream", "Fragments that are being decoded are lost.");
}

impl Work {
    /// Returns `true` if another fragment can be taken.
    fn has_room(&mut self) -> bool {
        match self.runs.back_mut() {
            _ if self.is_source_done || self.planning.is_some() => false,
            Some(last) if self.is_continuous => last.accepting().is_some(),
            _ => self.runs.len() < self.concurrency,
        }
    }

    /// Starts to plan a fragment on another thread, because planning parses each packet.
    fn plan(&mut self, fragment: Fragment) {
        let (options, is_continuous) = (&self.options, self.is_continuous);
        let mut planner = self.planner.take().unwrap_or_else(|| Planner::new(options.clone(), is_continuous));
        match on_thread("decoding", move || (planner.plan(&fragment), planner)) {
            Ok(planning) => self.planning = Some(planning),
            Err(error) => self.end(Some(error)),
        }
    }

    fn begin(&mut self, plan: Result<Plan>) {
        let follows = self.runs.back_mut().and_then(Run::accepting);
        match (plan, follows) {
            (Ok(plan), Some(decode)) if plan.continues => decode.push(plan),
            (plan, follows) => {
                if let Some(decode) = follows {
                    decode.close();
                }
                self.runs.push_back(match plan {
                    Ok(plan) => Run::new(plan, self.options.clone(), self.is_continuous),
                    Err(error) => Run::failed(error),
                });
            }
        }
    }

    fn end(&mut self, error: Option<Error>) {
        self.is_source_done = true;
        if let Some(decode) = self.runs.back_mut().and_then(Run::accepting) {
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
        if !std::mem::replace(&mut work.has_started, true)
            && let Err(error) = work.options.check().and_then(|()| check(work.concurrency))
        {
            work.is_done = true;
            return Poll::Ready(Some(Err(error)));
        }
        loop {
            for run in &mut work.runs {
                let _ = run.poll_progress(cx);
            }
            if let Some(planning) = &mut work.planning
                && let Poll::Ready(planned) = planning.poll_done(cx)
            {
                work.planning = None;
                match planned {
                    Ok((plan, planner)) => {
                        work.planner = Some(planner);
                        work.begin(plan);
                    }
                    Err(error) => work.end(Some(error)),
                }
                continue;
            }
            if work.has_room() {
                match this.fragments.as_mut().poll_next(cx) {
                    Poll::Pending => {}
                    Poll::Ready(fragment) => {
                        match fragment {
                            Some(Ok(fragment)) => work.plan(fragment),
                            Some(Err(error)) => work.end(Some(error)),
                            None => work.end(None),
                        }
                        continue;
                    }
                }
            }
            let Some(first) = work.runs.front_mut() else {
                if !work.is_source_done {
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
        0 => Err(Error::invalid_argument("a concurrency of 0: it must be 1 or more")),
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
