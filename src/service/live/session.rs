//! What reading fragments and reading packets have in common.

use std::time::Duration;

use tokio::time::Instant;

use super::body::ReadBody;
use super::connection::{Event, Line, Outage};
use super::resume::{Refused, Resume};
use super::start::Start;
use super::{OnAgedOut, OnDamage};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{
    Bound, Discontinuity, Fault, FragmentEnd, FragmentHeader, FragmentNumber, Position, SkipReason, Skipped, StreamEnd,
};
use crate::service::continuity::Continuity;

/// How long after the end of what was asked for a fragment that belongs to it may still come: the
/// longest that the service takes is 20 seconds.
const LATE: Duration = Duration::from_secs(30);

/// How it goes on behind a body.
#[derive(Debug)]
pub(super) enum Next {
    /// With another body.
    Again,
    /// [Elsewhere](Source::go_elsewhere): the place to go on is no longer kept.
    Gone(Error),
    /// Not at all.
    Ended(Result<StreamEnd>),
}

/// A live stream, whatever it is read in.
#[derive(Debug)]
pub(super) struct Source<B> {
    pub(super) line: Line<B>,
    resume: Resume,
    continuity: Continuity,
    /// What happened before the next fragment.
    before: Vec<Discontinuity>,
    repeated: u64,
    count: u64,
    body: InBody,
}

/// What came in the body that is read.
#[derive(Debug, Default)]
struct InBody {
    /// Something that was given out in whole.
    fruitful: bool,
    /// Some fragment, if only again or in part.
    any: bool,
    /// Some fragment that had not been given out.
    new: bool,
    /// How much of what happened before the next fragment happened in other bodies.
    before: usize,
}

impl<B: ReadBody> Source<B> {
    pub(super) fn new(line: Line<B>) -> Self {
        let options = line.options();
        let (resume, continuity) = (Resume::new(options.start.clone()), Continuity::new(options.gap_tolerance));
        Self { line, resume, continuity, before: Vec::new(), repeated: 0, count: 0, body: InBody::default() }
    }

    /// Why nothing comes, before anything was asked for.
    pub(super) fn ends_at_once(&self) -> Option<StreamEnd> {
        matches!(self.line.options().until, Some(Bound::Count(0))).then_some(StreamEnd::Count)
    }

    pub(super) async fn next(&mut self) -> Result<Event<B::Piece>> {
        let event = self.line.next(&mut self.resume).await;
        if matches!(event, Ok(Event::Opened)) {
            self.body = InBody { before: self.before.len(), ..InBody::default() };
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
        let is_named = header.number().is_some();
        self.body.any |= is_named;
        self.body.new |= is_named && !is_repeat;
        is_repeat
    }

    /// A repeat came in whole.
    pub(super) fn repeated(&mut self, header: &FragmentHeader) {
        self.resume.repeated(header);
    }

    /// Whether what was skipped belongs to this fragment, so that reading does not go on behind it, where
    /// more may be skipped than was wrong, but by its number.
    pub(super) fn is_damage_of(&self, skipped: &Skipped, cut: &Position) -> bool {
        skipped.reason() == SkipReason::Damaged && !self.resume.cannot_pass_over(cut)
    }

    pub(super) fn skipped(&mut self, skipped: Skipped) {
        tracing::debug!(offset = skipped.offset(), length = skipped.length(), reason = %skipped.reason(), "skipped");
        Discontinuity::note_skipped(&mut self.before, skipped);
    }

    /// Why a fragment that begins so does not belong to what was asked for, if it does not.
    pub(super) fn leaves_out(&self, header: &FragmentHeader) -> Option<StreamEnd> {
        self.line.options().until.as_ref()?.ends_before(header)
    }

    /// A fragment has come, for the first time or again: what happened up to now.
    pub(super) fn arrives(&mut self) -> Vec<Discontinuity> {
        let repeated = std::mem::take(&mut self.repeated);
        let mut noted = std::mem::take(&mut self.before);
        if let Some(outage) = self.line.take_outage().filter(|_| self.count > 0) {
            reconnected(&mut noted, outage);
        }
        if repeated > 0 {
            noted.push(Discontinuity::Repeated { fragments: repeated });
        }
        self.body.before = 0;
        noted
    }

    /// A fragment of which a part came before comes again: what was skipped before it was skipped then,
    /// too.
    pub(super) fn comes_again(&mut self) {
        self.before.truncate(self.body.before);
    }

    /// Puts back what was noted before a fragment that is not given out.
    pub(super) fn put_back(&mut self, mut noted: Vec<Discontinuity>) {
        noted.append(&mut self.before);
        self.before = noted;
        self.body.before = self.before.len();
    }

    /// A fragment begins that is given out: adds to what happened before it.
    pub(super) fn begins(&mut self, header: &FragmentHeader, noted: &mut Vec<Discontinuity>) {
        self.continuity.begins(header, noted);
        noted.iter().for_each(|what| tracing::info!(fragment = ?header.number(), "{what}"));
    }

    /// It has been given out, in whole or as far as it can be had. Why nothing comes behind it, if
    /// nothing does.
    pub(super) fn gave_out(
        &mut self,
        header: &FragmentHeader,
        position: Position,
        end: FragmentEnd,
        behind: Option<Duration>,
        duration: Duration,
    ) -> Option<StreamEnd> {
        let is_whole = end != FragmentEnd::Cut;
        if let Some((number, cause)) = self.resume.passed_over().filter(|(number, _)| header.number() == Some(number))
            && !is_whole
        {
            // What there is of it; the one behind it says so.
            self.before.push(Discontinuity::SkippedFragment { number, cause });
        }
        self.body.fruitful |= is_whole;
        if is_whole {
            self.line.progressed();
        }
        self.count += 1;
        self.continuity.lasted(duration, is_whole);
        self.line.observer.gave_out(&position, behind);
        self.resume.gave_out(position);
        let bound = self.line.options().until.as_ref();
        let reason = bound.and_then(|bound| bound.ends_after(header, self.count, || duration));
        reason.or_else(|| self.line.is_stopping().then_some(StreamEnd::Stopped))
    }

    /// The service reported an error inside the media, and will say no more in this body.
    pub(super) fn fault(&mut self, fault: &Fault) -> Next {
        let error = self.line.name_in(fault.to_error());
        if matches!(fault.id(), Some(3000 | 4000)) && self.line.options().reconnect {
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

    /// Where reading was to go on is not there. If something came in this body, what is behind it may
    /// just not be there yet.
    fn not_found(&mut self, error: Error) -> Next {
        if !self.body.fruitful && self.resume.not_found(Instant::now()) == Refused::AgedOut {
            return Next::Gone(error);
        }
        self.hang_up(Some(error))
    }

    /// The place to go on is no longer kept, which this error says.
    pub(super) fn go_elsewhere(&mut self, error: Error) -> Next {
        let start = match self.line.options().on_aged_out {
            OnAgedOut::Fail => return Next::Ended(Err(error)),
            OnAgedOut::Earliest => Start::Earliest,
            OnAgedOut::Now => Start::Now,
        };
        let last = self.resume.position().cloned();
        tracing::warn!(?last, "the place to go on is no longer kept");
        self.before.push(Discontinuity::AgedOut { last });
        self.body.before = self.before.len();
        self.resume.go_elsewhere(start);
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
        if !self.body.fruitful {
            self.resume.nothing_came();
        }
        self.forget_skipped();
        self.line.hang_up(cause, self.body.fruitful);
        Next::Again
    }

    /// What was skipped in a body without a fragment will be skipped again in the next.
    fn forget_skipped(&mut self) {
        if !self.body.new {
            self.before.truncate(self.body.before);
        }
    }

    /// The body is over, and nothing in it was left unfinished.
    pub(super) fn over(&mut self, cause: Option<Error>) -> Next {
        match cause {
            None if !self.line.options().reconnect => Next::Ended(Ok(StreamEnd::EndOfMedia)),
            None if self.is_past_bound() => Next::Ended(Ok(StreamEnd::Time)),
            None => {
                self.resume.was_there();
                self.hang_up(None)
            }
            Some(error) if is_damage(&error) => self.broke(&Position::default(), 0, Some(error)),
            Some(error) => self.go_on(error),
        }
    }

    /// Whether nothing can come any more of what was asked for, although nothing has come behind it.
    fn is_past_bound(&self) -> bool {
        let late = i64::try_from(LATE.as_millis()).unwrap_or(i64::MAX);
        match (&self.line.options().until, self.line.waited_since()) {
            (Some(Bound::ServerTime(stop)), Some(date)) if !self.body.any => {
                date.as_millis().saturating_sub(late) >= stop.as_millis()
            }
            _ => false,
        }
    }

    /// The body is over, and the fragment with this position was cut so many bytes into it.
    pub(super) fn broke(&mut self, cut: &Position, length: u64, cause: Option<Error>) -> Next {
        if !self.line.options().reconnect {
            return Next::Ended(cause.map_or(Ok(StreamEnd::EndOfMedia), Err));
        }
        if let Some(cause) = cause.as_ref().filter(|cause| !is_damage(cause))
            && let Err(error) = self.line.judge(cause)
        {
            return Next::Ended(Err(error));
        }
        let is_hopeless = self.resume.broke(cut, length, cause.clone(), Instant::now());
        if is_hopeless && self.line.options().on_damage == OnDamage::Fail {
            let error = cause.unwrap_or_else(|| {
                let number = cut.number().map(FragmentNumber::as_str);
                self.line.name_in(Error::malformed("the body ends, again and again, in a fragment").in_fragment(number))
            });
            return Next::Ended(Err(error));
        }
        self.forget_skipped();
        self.line.hang_up(cause, self.body.fruitful);
        Next::Again
    }
}

/// Notes that the connection is another one. However often that happened before the next fragment, it is
/// one outage.
fn reconnected(noted: &mut Vec<Discontinuity>, outage: Outage) {
    let before = noted.iter_mut().find_map(|what| match what {
        Discontinuity::Reconnected { calls, after, .. } => Some((calls, after)),
        _ => None,
    });
    match before {
        Some((calls, after)) => (*calls, *after) = (*calls + outage.calls, *after + outage.lasted()),
        None => {
            let after = outage.lasted();
            noted.insert(0, Discontinuity::Reconnected { cause: outage.cause, calls: outage.calls, after });
        }
    }
}

/// What is wrong with the bytes, not with how they came.
fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Limit)
}
