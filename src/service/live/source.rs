//! What reading fragments and reading packets have in common.

use std::time::Duration;

use super::body::ReadBody;
use super::line::{Event, Line};
use super::resume::Resume;
use super::{AgedOut, Damaged};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Bound, Continuity, Discontinuity, EndReason, Fault, FragmentHeader, Position, Skipped};
use crate::service::Start;

/// How long after the end of what was asked for a fragment that belongs to it may still come: the
/// longest that the service takes is 20 seconds.
const LATE: Duration = Duration::from_secs(30);

/// How it goes on behind a body.
#[derive(Debug)]
pub(super) enum Next {
    /// With another body.
    Again,
    /// Not at all.
    Ended(Result<EndReason>),
}

/// A live stream, whatever it is read in.
#[derive(Debug)]
pub(super) struct Source<B> {
    pub(super) line: Line<B>,
    pub(super) resume: Resume,
    continuity: Continuity,
    /// What happened before the next fragment.
    before: Vec<Discontinuity>,
    repeated: u64,
    count: u64,
    /// Whether this body brought something new, or the error of it.
    fruitful: bool,
}

impl<B: ReadBody> Source<B> {
    pub(super) fn new(line: Line<B>) -> Self {
        let options = line.options();
        let (resume, continuity) = (Resume::new(options.start.clone()), Continuity::new(options.gap_tolerance));
        Self { line, resume, continuity, before: Vec::new(), repeated: 0, count: 0, fruitful: false }
    }

    pub(super) async fn next(&mut self) -> Result<Event<B::Piece>> {
        let event = self.line.next(&mut self.resume).await;
        if let Ok(Event::Opened(date)) = &event {
            self.resume.opened(*date);
            self.fruitful = false;
        }
        event
    }

    /// Whether this fragment came before, and is to be dropped.
    pub(super) fn is_repeat(&mut self, header: &FragmentHeader) -> bool {
        let is_repeat = self.resume.is_repeat(header);
        if is_repeat {
            self.repeated += 1;
            self.line.observer.repeated(header);
        }
        is_repeat
    }

    pub(super) fn skipped(&mut self, skipped: Skipped) {
        tracing::debug!(offset = skipped.offset(), length = skipped.length(), reason = %skipped.reason(), "skipped");
        skipped.note_in(&mut self.before);
    }

    /// Why a fragment that begins so does not belong to what was asked for, if it does not.
    pub(super) fn leaves_out(&self, header: &FragmentHeader) -> Option<EndReason> {
        self.line.options().until.as_ref()?.leaves_out(header)
    }

    /// A fragment begins that is given out, in whole or not: what happened before it.
    pub(super) fn begins(&mut self, header: &FragmentHeader, whole: bool) -> Vec<Discontinuity> {
        self.fruitful = true;
        let reconnected = self.line.resumed();
        let mut noted: Vec<_> = reconnected.filter(|_| self.count > 0).into_iter().collect();
        noted.append(&mut self.before);
        if let Some((number, cause)) = self.resume.passed_over() {
            let is_itself = header.number() == Some(&number);
            let passed_over = Discontinuity::PassedOver { number, cause };
            match (is_itself, whole) {
                // What there is of it; the one behind it says so.
                (true, false) => self.before.push(passed_over),
                (true, true) => {}
                (false, _) => noted.push(passed_over),
            }
        }
        if self.repeated > 0 {
            noted.push(Discontinuity::Repeated { fragments: std::mem::take(&mut self.repeated) });
        }
        self.continuity.begins(header, &mut noted);
        noted.iter().for_each(|what| tracing::info!(fragment = ?header.number(), "{what}"));
        noted
    }

    /// It has been given out in whole, or as far as it can be had. Why nothing comes behind it, if
    /// nothing does.
    pub(super) fn gave_out(
        &mut self,
        header: &FragmentHeader,
        position: Position,
        behind: Option<Duration>,
        duration: Duration,
    ) -> Option<EndReason> {
        self.count += 1;
        self.continuity.lasted(duration);
        self.line.observer.gave_out(&position, behind);
        self.resume.gave_out(position);
        self.line.options().until.as_ref()?.ends_behind(header, self.count, || duration)
    }

    /// The service reported an error inside the media, and will say no more in this body.
    pub(super) fn fault(&mut self, fault: &Fault) -> Next {
        let error = self.line.name_in(fault.to_error());
        if error.kind() == ErrorKind::NotFound && fault.id() != Some(4507) && self.line.options().resume {
            return self.not_found(error);
        }
        self.go_on(error)
    }

    /// The service reported an error in the middle of a fragment.
    pub(super) fn fault_inside(&mut self, fault: &Fault, cut: &Position, length: u64) -> Next {
        let error = self.line.name_in(fault.to_error());
        let cause = if error.kind() == ErrorKind::NotFound { error.retryable(true) } else { error };
        self.broke(cut, length, Some(cause))
    }

    /// Whether a fault says that the place to go on is no longer kept, so that a fragment that was cut
    /// there does not come again.
    pub(super) fn ages_out(&self, fault: &Fault) -> bool {
        matches!(fault.id(), Some(3000 | 4000)) && !self.fruitful && !self.resume.is_passing()
    }

    /// Where reading was to go on is not there. Something that came in this body may just not be
    /// there yet.
    fn not_found(&mut self, error: Error) -> Next {
        if self.fruitful {
            return self.hang_up(Some(error));
        }
        let start = match self.line.options().aged_out {
            AgedOut::Fail => return Next::Ended(Err(error)),
            AgedOut::Earliest => Start::Earliest,
            AgedOut::Now => Start::Now,
        };
        let last = self.resume.position().cloned();
        if matches!((&self.resume.start(), &last), (Start::Earliest | Start::Now, None)) {
            // There is nothing at all, and that is no place that could age.
            return self.hang_up(Some(error));
        }
        if self.resume.go_elsewhere(start) {
            tracing::warn!(?last, "the place to go on is no longer kept");
            self.before.push(Discontinuity::AgedOut { last });
        }
        self.hang_up(Some(error))
    }

    /// After an error that has to do with no fragment.
    fn go_on(&mut self, error: Error) -> Next {
        match self.line.judge(&error) {
            Ok(()) => self.hang_up(Some(error)),
            Err(error) => Next::Ended(Err(error)),
        }
    }

    fn hang_up(&mut self, cause: Option<Error>) -> Next {
        if !self.fruitful {
            self.resume.nothing_came();
        }
        self.line.hang_up(cause, self.fruitful);
        Next::Again
    }

    /// The body is over, and nothing in it was left unfinished.
    pub(super) fn over(&mut self, cause: Option<Error>) -> Next {
        match cause {
            None if !self.line.options().resume => Next::Ended(Ok(EndReason::EndOfMedia)),
            None if self.is_past_bound() => Next::Ended(Ok(EndReason::Time)),
            None => self.hang_up(None),
            Some(error) if is_damage(&error) => self.broke(&Position::default(), 0, Some(error)),
            Some(error) => self.go_on(error),
        }
    }

    /// Whether nothing can come any more of what was asked for, although nothing has come behind it.
    fn is_past_bound(&self) -> bool {
        let late = i64::try_from(LATE.as_millis()).unwrap_or(i64::MAX);
        match (&self.line.options().until, self.line.date()) {
            (Some(Bound::ServerTime(stop)), Some(date)) if !self.fruitful => {
                date.as_millis().saturating_sub(late) >= stop.as_millis()
            }
            _ => false,
        }
    }

    /// The body is over, and the fragment with this position was cut so many bytes into it.
    pub(super) fn broke(&mut self, cut: &Position, length: u64, cause: Option<Error>) -> Next {
        let error = |cause: Option<Error>| cause.unwrap_or_else(|| Error::malformed("the body ends in a fragment"));
        if !self.line.options().resume {
            return Next::Ended(cause.map_or(Ok(EndReason::EndOfMedia), Err));
        }
        if let Some(cause) = cause.as_ref().filter(|cause| !is_damage(cause))
            && let Err(error) = self.line.judge(cause)
        {
            return Next::Ended(Err(error));
        }
        let is_hopeless = self.resume.broke(cut, length, cause.clone());
        if is_hopeless && self.line.options().damaged == Damaged::Fail {
            return Next::Ended(Err(error(cause)));
        }
        self.line.hang_up(cause, self.fruitful);
        Next::Again
    }
}

/// What is wrong with the bytes, not with how they came.
fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Limit)
}
