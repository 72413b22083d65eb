//! The fragments of a live stream.

use std::collections::VecDeque;

use super::connection::Connection;
use super::session::{Arrival, CutFragment, Session, Step, Yielded};
use crate::demux::BodyStream;
use crate::error::Result;
use crate::fragment::{Fragment, FragmentEnd, StreamEnd};
use crate::service::call::TimeoutBody;

/// Joins the bodies of a live stream to one sequence of fragments, each yielded once.
#[derive(Debug)]
pub(super) struct FragmentSource {
    session: Session<BodyStream<TimeoutBody>>,
    /// Fragments to yield, each with whether it counts as yielded. A checkpoint never lies after one that does not.
    ready: VecDeque<(Fragment, bool)>,
    /// A fragment without the service's closing tags. The next item of the body decides whether it is complete.
    open: Option<Unfinished>,
    /// A fragment that was cut in an earlier body. It is yielded as it is unless it arrives again.
    cut: Option<Unfinished>,
    end: Option<Result<StreamEnd>>,
}

/// A fragment that may be incomplete.
#[derive(Debug)]
struct Unfinished {
    fragment: Fragment,
    arrival: Arrival,
}

impl Unfinished {
    fn as_cut(&self) -> CutFragment {
        let length = self.fragment.raw().len() as u64;
        CutFragment { position: self.fragment.position(), length, has_ended: true }
    }
}

impl FragmentSource {
    pub(super) fn new(connection: Connection<BodyStream<TimeoutBody>>) -> Self {
        let session = Session::new(connection);
        let end = session.ends_at_once().map(Ok);
        Self { session, ready: VecDeque::new(), open: None, cut: None, end }
    }

    /// Returns the next fragment with whether it counts as yielded, or the reason of the end.
    pub(super) async fn next(&mut self) -> Result<std::result::Result<(Fragment, bool), StreamEnd>> {
        self.session.connection.start_waiting();
        loop {
            if let Some(fragment) = self.ready.pop_front() {
                return Ok(Ok(fragment));
            }
            if let Some(end) = self.end.take() {
                return end.map(Err);
            }
            match self.session.next(|| self.open.as_ref().map(Unfinished::as_cut)).await {
                Step::Opened => {}
                Step::Media(fragment) => self.received(fragment),
                Step::Skipped(skipped) => {
                    self.close();
                    self.session.skipped(skipped);
                }
                Step::BodyEnded => self.keep(),
                Step::AgedOut(error) => {
                    // A fragment that was cut there does not arrive again either.
                    if let Some(cut) = self.cut.take() {
                        self.yield_fragment(cut);
                    }
                    match self.session.restart(error) {
                        Ok(()) => self.keep(),
                        Err(error) => self.ended(Err(error)),
                    }
                }
                Step::Ended(end) => self.ended(end),
            }
        }
    }

    fn received(&mut self, fragment: Fragment) {
        self.close();
        let Some(new) = self.session.check(fragment.header()) else {
            if fragment.end_reason() == FragmentEnd::Trailer {
                self.session.repeated(fragment.header());
            }
            return;
        };
        if let Some(cut) = self.cut.take_if(|cut| is_after(&fragment, &cut.fragment)) {
            // It does not arrive again.
            self.yield_fragment(cut);
        }
        if self.cut.as_ref().is_some_and(|cut| cut.fragment.number() == fragment.number()) {
            self.session.arrives_again(&new);
        }
        let arrival = self.session.arrives(new);
        let is_complete = fragment.end_reason() == FragmentEnd::Trailer;
        let unfinished = Unfinished { fragment, arrival };
        if is_complete {
            self.complete(unfinished);
        } else {
            self.open = Some(unfinished);
        }
    }

    /// Takes the open fragment for complete, since more of the same body follows.
    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        if is_empty(&open.fragment) {
            // The bytes after it are reported as skipped.
            self.session.put_back(open.arrival);
        } else {
            self.complete(open);
        }
    }

    /// Yields a complete fragment, of which a part may have arrived before.
    fn complete(&mut self, mut complete: Unfinished) {
        if let Some(cut) = self.cut.take_if(|cut| cut.fragment.number() == complete.fragment.number()) {
            complete.arrival = complete.arrival.join(cut.arrival);
        }
        self.yield_fragment(complete);
    }

    fn yield_fragment(&mut self, Unfinished { mut fragment, arrival }: Unfinished) {
        if self.end.is_some() {
            return;
        }
        if let Some(reason) = self.session.leaves_out(fragment.header()) {
            self.end = Some(Ok(reason));
            return;
        }
        let (begun, mut before) = self.session.begins(fragment.header(), arrival);
        fragment.add_discontinuities(&mut before);
        let yielded = Yielded {
            header: fragment.header(),
            position: fragment.position(),
            end: fragment.end_reason(),
            behind_now: fragment.behind_now(),
            duration: fragment.duration(),
        };
        let reason = self.session.yielded(begun, yielded);
        self.ready.push_back((fragment, true));
        self.end = reason.map(Ok);
    }

    /// Keeps the open fragment until the next body.
    fn keep(&mut self) {
        let Some(open) = self.open.take() else { return };
        match &mut self.cut {
            _ if is_empty(&open.fragment) => self.session.put_back(open.arrival),
            // Without a number, it could not be recognized when it arrives again.
            _ if open.fragment.number().is_none() => self.yield_fragment(open),
            None => self.cut = Some(open),
            // Both are parts of the same fragment. The longer one contains the other.
            Some(cut) => {
                if open.fragment.raw().len() > cut.fragment.raw().len() {
                    cut.fragment = open.fragment;
                }
                self.session.put_back(open.arrival);
            }
        }
    }

    /// Ends the stream. A cut fragment is yielded first, unless the stream was told to stop.
    fn ended(&mut self, end: Result<StreamEnd>) {
        self.keep();
        match (self.cut.take(), &end) {
            (None, _) | (_, Ok(StreamEnd::Stopped | StreamEnd::Deadline)) => {}
            // It does not count as yielded, since it may be complete at the next attempt.
            (Some(Unfinished { mut fragment, arrival }), Ok(StreamEnd::IdleTimeout)) => {
                fragment.add_discontinuities(&mut arrival.into_discontinuities());
                self.ready.push_back((fragment, false));
            }
            (Some(cut), _) => self.yield_fragment(cut),
        }
        self.end.get_or_insert(end);
    }
}

/// Returns whether the body ended before a fragment had a number or a block.
fn is_empty(fragment: &Fragment) -> bool {
    let is_partial = matches!(fragment.end_reason(), FragmentEnd::Cut | FragmentEnd::EndOfBody);
    is_partial && fragment.number().is_none() && fragment.blocks().len() == 0
}

/// Returns whether a fragment follows a cut one, so that the cut one does not arrive again.
///
/// If the stream was deleted and created again, a smaller number follows, too.
fn is_after(fragment: &Fragment, cut: &Fragment) -> bool {
    let is_later = fragment.server_time().zip(cut.server_time()).is_some_and(|(time, cut)| time > cut);
    match (fragment.number(), cut.number()) {
        (Some(number), Some(cut)) => number > cut || number != cut && is_later,
        _ => !is_empty(fragment),
    }
}
