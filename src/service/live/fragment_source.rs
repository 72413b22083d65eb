//! Fragments of a live stream.

use std::collections::VecDeque;

use super::connection::{Event, Line};
use super::session::{Next, Source};
use crate::demux::{BodyItem, BodyStream};
use crate::error::Result;
use crate::fragment::{Discontinuity, Fragment, FragmentEnd, StreamEnd};
use crate::service::call::WatchedBody;

/// Puts the bodies of a live stream together to one row of fragments, each once.
#[derive(Debug)]
pub(super) struct FragmentSource {
    source: Source<BodyStream<WatchedBody>>,
    /// To be given out, and whether it counts as such: behind one that does not, it is not gone on.
    ready: VecDeque<(Fragment, bool)>,
    /// Ended without the service's closing tags: what comes next says what it is worth.
    open: Option<Unfinished>,
    /// Was cut in an earlier body: to be given out as it is, unless it comes again.
    cut: Option<Unfinished>,
    end: Option<Result<StreamEnd>>,
}

/// A fragment that may not be whole.
#[derive(Debug)]
struct Unfinished {
    fragment: Fragment,
    /// What happened before it first came.
    before: Vec<Discontinuity>,
}

impl FragmentSource {
    pub(super) fn new(line: Line<BodyStream<WatchedBody>>) -> Self {
        let source = Source::new(line);
        let end = source.ends_at_once().map(Ok);
        Self { source, ready: VecDeque::new(), open: None, cut: None, end }
    }

    /// The next fragment and whether it counts as given out, or why there is none.
    pub(super) async fn next(&mut self) -> Result<std::result::Result<(Fragment, bool), StreamEnd>> {
        self.source.line.wait();
        loop {
            if let Some(fragment) = self.ready.pop_front() {
                return Ok(Ok(fragment));
            }
            if let Some(end) = self.end.take() {
                return end.map(Err);
            }
            match self.source.next().await {
                Ok(Event::Opened) => {}
                Ok(Event::Piece(BodyItem::Fragment(fragment))) => self.fragment(fragment),
                Ok(Event::Piece(BodyItem::Skipped(skipped))) => match &self.open {
                    Some(Unfinished { fragment, .. }) if self.source.is_damage_of(&skipped, &fragment.position()) => {
                        let (cut, length) = (fragment.position(), fragment.raw().len() as u64);
                        let next = self.source.broke(&cut, length, skipped.cause().cloned());
                        self.after_body(next);
                    }
                    _ => {
                        self.close();
                        self.source.skipped(skipped);
                    }
                },
                Ok(Event::Piece(BodyItem::Fault(fault))) => {
                    let next = match &self.open {
                        Some(Unfinished { fragment, .. }) => {
                            self.source.fault_inside(&fault, &fragment.position(), fragment.raw().len() as u64)
                        }
                        None => self.source.fault(&fault),
                    };
                    self.after_body(next);
                }
                Ok(Event::Over(cause)) => {
                    let next = match &self.open {
                        Some(Unfinished { fragment, .. }) => {
                            self.source.broke(&fragment.position(), fragment.raw().len() as u64, cause)
                        }
                        None => self.source.over(cause),
                    };
                    self.after_body(next);
                }
                Ok(Event::Gone(error)) => self.after_body(Next::Gone(error)),
                Ok(Event::Ended(reason)) => self.ended(Ok(reason)),
                Err(error) => self.ended(Err(error)),
            }
        }
    }

    fn fragment(&mut self, fragment: Fragment) {
        self.close();
        if self.source.is_repeat(fragment.header()) {
            if fragment.end_reason() == FragmentEnd::Trailer {
                self.source.repeated(fragment.header());
            }
            return;
        }
        if let Some(cut) = self.cut.take_if(|cut| is_behind(&fragment, &cut.fragment)) {
            // It does not come again.
            self.give_out(cut);
        }
        if self.cut.as_ref().is_some_and(|cut| cut.fragment.number() == fragment.number()) {
            self.source.comes_again();
        }
        let before = self.source.arrives();
        let unfinished = Unfinished { fragment, before };
        match unfinished.fragment.end_reason() {
            FragmentEnd::Trailer => self.give_out_whole(unfinished),
            _ => self.open = Some(unfinished),
        }
    }

    /// Another document follows in the same body: what is open is all there is of it.
    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        if is_nothing(&open.fragment) {
            // The bytes behind it are reported as skipped.
            self.source.put_back(open.before);
        } else {
            self.give_out_whole(open);
        }
    }

    /// All of a fragment is there, of which a part may have come before.
    fn give_out_whole(&mut self, mut whole: Unfinished) {
        if let Some(mut cut) = self.cut.take_if(|cut| cut.fragment.number() == whole.fragment.number()) {
            cut.before.append(&mut whole.before);
            whole.before = cut.before;
        }
        self.give_out(whole);
    }

    fn give_out(&mut self, Unfinished { mut fragment, mut before }: Unfinished) {
        if self.end.is_some() {
            return;
        }
        if let Some(reason) = self.source.leaves_out(fragment.header()) {
            self.end = Some(Ok(reason));
            return;
        }
        self.source.begins(fragment.header(), &mut before);
        fragment.add_discontinuities(&mut before);
        let (header, behind, duration) = (fragment.header(), fragment.behind_now(), fragment.duration());
        let reason = self.source.gave_out(header, fragment.position(), fragment.end_reason(), behind, duration);
        self.ready.push_back((fragment, true));
        self.end = reason.map(Ok);
    }

    fn after_body(&mut self, next: Next) {
        match next {
            Next::Again => {}
            Next::Gone(error) => {
                // Nor does what was cut there come again.
                if let Some(cut) = self.cut.take() {
                    self.give_out(cut);
                }
                let next = self.source.go_elsewhere(error);
                return self.after_body(next);
            }
            Next::Ended(end) => return self.ended(end),
        }
        self.keep();
    }

    /// What this body left unfinished waits for the next.
    fn keep(&mut self) {
        let Some(open) = self.open.take() else { return };
        match &mut self.cut {
            _ if is_nothing(&open.fragment) => self.source.put_back(open.before),
            // It cannot be told from others when it comes again.
            _ if open.fragment.number().is_none() => self.give_out(open),
            None => self.cut = Some(open),
            // Both are parts of the same fragment: the longer one has more.
            Some(cut) => {
                if open.fragment.raw().len() > cut.fragment.raw().len() {
                    cut.fragment = open.fragment;
                }
                self.source.put_back(open.before);
            }
        }
    }

    /// Nothing more comes. What is there and was cut is given out first, unless it was not to be waited
    /// for.
    fn ended(&mut self, end: Result<StreamEnd>) {
        self.keep();
        match (self.cut.take(), &end) {
            (None, _) | (_, Ok(StreamEnd::Stopped | StreamEnd::Deadline)) => {}
            // Another time it may come in whole: it is not counted.
            (Some(Unfinished { mut fragment, mut before }), Ok(StreamEnd::IdleTimeout)) => {
                fragment.add_discontinuities(&mut before);
                self.ready.push_back((fragment, false));
            }
            (Some(cut), _) => self.give_out(cut),
        }
        self.end.get_or_insert(end);
    }
}

/// Cut before it had anything, even a name.
fn is_nothing(fragment: &Fragment) -> bool {
    fragment.number().is_none() && fragment.end_reason() == FragmentEnd::Cut && fragment.blocks().len() == 0
}

/// Whether a fragment comes behind another one that was cut, so that that does not come again. One with
/// a smaller number does, if the stream has been made anew.
fn is_behind(fragment: &Fragment, cut: &Fragment) -> bool {
    let is_later = fragment.server_time().zip(cut.server_time()).is_some_and(|(time, cut)| time > cut);
    match (fragment.number(), cut.number()) {
        (Some(number), Some(cut)) => number > cut || number != cut && is_later,
        _ => !is_nothing(fragment),
    }
}
