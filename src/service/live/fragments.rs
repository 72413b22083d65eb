//! Fragments of a live stream.

use std::collections::VecDeque;

use super::body::WatchedBody;
use super::line::{Event, Line};
use super::source::{Next, Source};
use crate::error::Result;
use crate::fragment::{BodyItem, BodyStream, End, EndReason, Fragment, FragmentNumber};

/// Puts the bodies of a live stream together to one row of fragments, each once.
#[derive(Debug)]
pub(super) struct FragmentSource {
    source: Source<BodyStream<WatchedBody>>,
    /// To be given out.
    ready: VecDeque<Fragment>,
    /// Ended without the service's closing tags: what comes next says what it is worth.
    open: Option<Fragment>,
    /// Was cut in an earlier body: to be given out as it is, unless it comes again.
    cut: Option<Fragment>,
    end: Option<Result<EndReason>>,
}

impl FragmentSource {
    pub(super) fn new(line: Line<BodyStream<WatchedBody>>) -> Self {
        Self { source: Source::new(line), ready: VecDeque::new(), open: None, cut: None, end: None }
    }

    /// The next fragment, or why there is none.
    pub(super) async fn next(&mut self) -> Result<std::result::Result<Fragment, EndReason>> {
        self.source.line.wait();
        loop {
            if let Some(fragment) = self.ready.pop_front() {
                return Ok(Ok(fragment));
            }
            if let Some(end) = self.end.take() {
                return end.map(Err);
            }
            match self.source.next().await {
                Ok(Event::Opened(_)) => {}
                Ok(Event::Piece(BodyItem::Fragment(fragment))) => self.fragment(fragment),
                Ok(Event::Piece(BodyItem::Skipped(skipped))) => {
                    self.close();
                    self.source.skipped(skipped);
                }
                Ok(Event::Piece(BodyItem::Fault(fault))) => {
                    let number = self.open.as_ref().and_then(Fragment::number).cloned();
                    self.go_on_behind_cut(number.as_ref());
                    if self.source.ages_out(&fault)
                        && let Some(cut) = self.cut.take()
                    {
                        self.give_out_next(cut);
                    }
                    let next = match &self.open {
                        Some(open) => self.source.fault_inside(&fault, &open.position(), open.raw().len() as u64),
                        None => self.source.fault(&fault),
                    };
                    self.after_body(next);
                }
                Ok(Event::Over(cause)) => {
                    let number = self.open.as_ref().and_then(Fragment::number).cloned();
                    self.go_on_behind_cut(number.as_ref());
                    let next = match &self.open {
                        Some(open) => self.source.broke(&open.position(), open.raw().len() as u64, cause),
                        None => self.source.over(cause),
                    };
                    self.after_body(next);
                }
                Ok(Event::Ended(reason)) => self.ended(Ok(reason)),
                Err(error) => self.ended(Err(error)),
            }
        }
    }

    fn fragment(&mut self, fragment: Fragment) {
        self.close();
        if self.source.is_repeat(fragment.header()) {
            return;
        }
        match fragment.end() {
            End::Trailer => self.give_out(fragment),
            _ => self.open = Some(fragment),
        }
    }

    /// Another document follows in the same body: what is open is all there is of it.
    fn close(&mut self) {
        match self.open.take() {
            // Cut before it had anything, even a name: the bytes behind it are reported as skipped.
            Some(open) if open.number().is_none() && open.end() == End::Cut && open.blocks().len() == 0 => {}
            Some(open) => self.give_out(open),
            None => {}
        }
    }

    fn give_out(&mut self, fragment: Fragment) {
        self.go_on_behind_cut(fragment.number());
        self.cut.take_if(|cut| cut.number() == fragment.number());
        self.give_out_next(fragment);
    }

    fn give_out_next(&mut self, mut fragment: Fragment) {
        if self.end.is_some() {
            return;
        }
        if let Some(reason) = self.source.leaves_out(fragment.header()) {
            self.end = Some(Ok(reason));
            return;
        }
        let mut before = self.source.begins(fragment.header(), fragment.end() != End::Cut);
        fragment.add_discontinuities(&mut before);
        let (behind, duration) = (fragment.behind(), fragment.duration());
        let reason = self.source.gave_out(fragment.header(), fragment.position(), behind, duration);
        self.ready.push_back(fragment);
        self.end = reason.map(Ok);
    }

    /// This fragment comes, or has begun to: one before it that was cut does not come again.
    fn go_on_behind_cut(&mut self, number: Option<&FragmentNumber>) {
        if let Some(cut) = self.cut.take_if(|cut| cut.number() < number) {
            self.give_out_next(cut);
        }
    }

    fn after_body(&mut self, next: Next) {
        if let Next::Ended(end) = next {
            return self.ended(end);
        }
        match self.open.take() {
            Some(open) if open.blocks().len() == 0 => drop(open),
            // It cannot be told from others when it comes again.
            Some(open) if open.number().is_none() => self.give_out_next(open),
            // Both are parts of the same fragment: the longer one has more.
            Some(open) if self.cut.as_ref().is_some_and(|cut| cut.raw().len() >= open.raw().len()) => drop(open),
            Some(open) => self.cut = Some(open),
            None => {}
        }
    }

    /// Nothing more comes. What is there and cannot be had again is given out first.
    fn ended(&mut self, end: Result<EndReason>) {
        let may_come_again = matches!(end, Ok(EndReason::Stopped | EndReason::Deadline));
        if !may_come_again {
            let (cut, open) = (self.cut.take(), self.open.take());
            if let Some(cut) = cut.filter(|cut| open.as_ref().is_none_or(|open| open.number() != cut.number())) {
                self.give_out_next(cut);
            }
            if let Some(open) = open {
                self.give_out_next(open);
            }
        }
        self.end.get_or_insert(end);
    }
}
