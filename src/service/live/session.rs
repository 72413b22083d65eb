//! The part of live reading that fragments and packets share.

use std::time::Duration;

use tokio::time::Instant;

use super::body::{ReadBody, Received};
use super::connection::{Connection, Event, Outage};
use super::resume::{AfterRejection, Resume};
use super::start::Start;
use super::{OnAgedOut, OnDamage};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{
    Bound, Continuity, Discontinuity, Fault, FragmentEnd, FragmentHeader, FragmentNumber, Position, SkipReason,
    Skipped, StreamEnd,
};

/// The time for which a stream waits for a late fragment after its bound. The service takes fragments of up to 20 s.
const LATE: Duration = Duration::from_secs(30);

/// The next step of a session.
#[derive(Debug)]
pub(super) enum Step<M> {
    /// A body has begun.
    Opened,
    /// Media has arrived.
    Media(M),
    /// Bytes after the last fragment were skipped, so that it is complete as it is.
    Skipped(Skipped),
    /// The body has ended, and the next step opens another one.
    BodyEnded,
    /// The place to resume at is no longer retained: see [`Session::restart`].
    AgedOut(Error),
    /// The stream ends here.
    Ended(Result<StreamEnd>),
}

/// The fragment in which a body ends.
#[derive(Debug)]
pub(super) struct CutFragment {
    pub(super) position: Position,
    /// In bytes.
    pub(super) length: u64,
    /// Set once its end has arrived.
    pub(super) has_ended: bool,
}

/// Proof that a fragment is no repeat, from [`Session::check`].
#[derive(Debug)]
pub(super) struct NewFragment(());

/// A fragment that has arrived and is not yielded yet, from [`Session::arrives`]. Carries the discontinuities before
/// it.
#[derive(Debug)]
pub(super) struct Arrival {
    before: Vec<Discontinuity>,
}

/// A fragment whose start is yielded, from [`Session::begins`].
#[derive(Debug)]
pub(super) struct Begun(());

/// The data of a fragment that is yielded.
#[derive(Debug)]
pub(super) struct Yielded<'a> {
    pub(super) header: &'a FragmentHeader,
    pub(super) position: Position,
    pub(super) end: FragmentEnd,
    pub(super) behind_now: Option<Duration>,
    pub(super) duration: Duration,
}

impl Arrival {
    /// Joins it to an earlier arrival of the same fragment.
    pub(super) fn join(self, mut earlier: Self) -> Self {
        earlier.before.extend(self.before);
        earlier
    }

    /// Returns the discontinuities of a fragment that is not counted as yielded.
    pub(super) fn into_discontinuities(self) -> Vec<Discontinuity> {
        self.before
    }
}

/// A live stream, read as fragments or as packets.
///
/// A fragment passes [`check`](Self::check), [`arrives`](Self::arrives), [`begins`](Self::begins) and
/// [`yielded`](Self::yielded), in this order.
#[derive(Debug)]
pub(super) struct Session<B> {
    pub(super) connection: Connection<B>,
    resume: Resume,
    continuity: Continuity,
    /// The discontinuities before the next fragment.
    before: Vec<Discontinuity>,
    repeated: u64,
    count: u64,
    body: BodyState,
}

/// The state of the current body.
#[derive(Debug, Default)]
struct BodyState {
    /// A complete fragment was yielded.
    made_progress: bool,
    /// A fragment has arrived, possibly a repeat or cut.
    any: bool,
    /// A fragment has arrived that is no repeat.
    new: bool,
    /// The number of pending discontinuities that happened in other bodies.
    before: usize,
}

impl<B: ReadBody> Session<B> {
    pub(super) fn new(connection: Connection<B>) -> Self {
        let options = connection.options();
        let (resume, continuity) = (Resume::new(options.start.clone()), Continuity::new(options.gap_tolerance));
        Self { connection, resume, continuity, before: Vec::new(), repeated: 0, count: 0, body: BodyState::default() }
    }

    /// Returns why the stream ends before the first call, if it does.
    pub(super) fn ends_at_once(&self) -> Option<StreamEnd> {
        matches!(self.connection.options().until, Some(Bound::Count(0))).then_some(StreamEnd::Count)
    }

    /// Returns the next step. `cut` returns the fragment in which the body ends if it ends now.
    pub(super) async fn next(&mut self, cut: impl FnOnce() -> Option<CutFragment> + Send) -> Step<B::Media> {
        let after_body = match self.connection.next(&mut self.resume).await {
            Ok(Event::Opened) => {
                self.body = BodyState { before: self.before.len(), ..BodyState::default() };
                return Step::Opened;
            }
            Ok(Event::Item(item)) => match item.into() {
                Received::Media(media) => return Step::Media(media),
                Received::Skipped(skipped) => match cut().filter(|cut| self.is_damage_of(&skipped, cut)) {
                    Some(cut) => self.fragment_failed(&cut, skipped.cause().cloned()),
                    None => return Step::Skipped(skipped),
                },
                Received::Fault(fault) => match cut() {
                    Some(cut) => self.fault_inside(&fault, &cut),
                    None => self.fault(&fault),
                },
            },
            Ok(Event::BodyEnded(cause)) => match cut() {
                Some(cut) => self.fragment_failed(&cut, cause),
                None => self.body_ended(cause),
            },
            Ok(Event::AgedOut(error)) => AfterBody::AgedOut(error),
            Ok(Event::Ended(reason)) => AfterBody::End(Ok(reason)),
            Err(error) => AfterBody::End(Err(error)),
        };
        match after_body {
            AfterBody::Reconnect => Step::BodyEnded,
            AfterBody::AgedOut(error) => Step::AgedOut(error),
            AfterBody::End(end) => Step::Ended(end),
        }
    }

    /// Checks whether a fragment is new. A repeat is counted, and must be dropped.
    pub(super) fn check(&mut self, header: &FragmentHeader) -> Option<NewFragment> {
        let is_repeat = self.resume.is_repeat(header);
        if is_repeat {
            self.repeated += 1;
            self.connection.observer.repeated(header);
        }
        let is_named = header.number().is_some();
        self.body.any |= is_named;
        self.body.new |= is_named && !is_repeat;
        (!is_repeat).then_some(NewFragment(()))
    }

    /// Records that a repeat has arrived complete.
    pub(super) fn repeated(&mut self, header: &FragmentHeader) {
        self.resume.repeated(header);
    }

    /// Returns whether skipped bytes are damage of a cut fragment that can be skipped by its number.
    ///
    /// The parser may skip more than the damage, so that skipping by number loses less.
    fn is_damage_of(&self, skipped: &Skipped, cut: &CutFragment) -> bool {
        cut.has_ended && skipped.reason() == SkipReason::Damaged && !self.resume.is_unskippable(&cut.position)
    }

    /// Records skipped bytes as a discontinuity before the next fragment.
    pub(super) fn skipped(&mut self, skipped: Skipped) {
        tracing::debug!(offset = skipped.offset(), length = skipped.length(), reason = %skipped.reason(), "skipped");
        Discontinuity::note_skipped(&mut self.before, skipped);
    }

    /// Returns why a fragment lies beyond the bound, if it does.
    pub(super) fn leaves_out(&self, header: &FragmentHeader) -> Option<StreamEnd> {
        self.connection.options().until.as_ref()?.ends_before(header)
    }

    /// Records that a fragment has arrived, and takes the discontinuities before it.
    pub(super) fn arrives(&mut self, _: NewFragment) -> Arrival {
        let repeated = std::mem::take(&mut self.repeated);
        let mut before = std::mem::take(&mut self.before);
        if let Some(outage) = self.connection.take_outage().filter(|_| self.count > 0) {
            reconnected(&mut before, outage);
        }
        if repeated > 0 {
            before.push(Discontinuity::Repeated { fragments: repeated });
        }
        self.body.before = 0;
        Arrival { before }
    }

    /// Records that a fragment arrives again of which a part has arrived before.
    ///
    /// Bytes that were skipped before it were already skipped then.
    pub(super) fn arrives_again(&mut self, _: &NewFragment) {
        self.before.truncate(self.body.before);
    }

    /// Returns the discontinuities of a fragment that is not yielded to the next one.
    pub(super) fn put_back(&mut self, Arrival { mut before }: Arrival) {
        before.append(&mut self.before);
        self.before = before;
        self.body.before = self.before.len();
    }

    /// Records that a fragment begins that is yielded, and returns the discontinuities before it.
    pub(super) fn begins(&mut self, header: &FragmentHeader, arrival: Arrival) -> (Begun, Vec<Discontinuity>) {
        let Arrival { mut before } = arrival;
        self.continuity.begins(header, &mut before);
        before.iter().for_each(|what| tracing::info!(fragment = ?header.number(), "{what}"));
        (Begun(()), before)
    }

    /// Records that a fragment is yielded, complete or cut. Returns why the stream ends after it, if it does.
    pub(super) fn yielded(&mut self, _: Begun, fragment: Yielded<'_>) -> Option<StreamEnd> {
        let Yielded { header, position, end, behind_now, duration } = fragment;
        let is_complete = end != FragmentEnd::Cut;
        if let Some((number, cause)) =
            self.resume.skipped_fragment().filter(|(number, _)| header.number() == Some(number))
            && !is_complete
        {
            // This is its intact part. The next fragment reports the loss.
            self.before.push(Discontinuity::SkippedFragment { number, cause });
        }
        self.body.made_progress |= is_complete;
        if is_complete {
            self.connection.made_progress();
        }
        self.count += 1;
        self.continuity.lasted(duration, is_complete);
        self.connection.observer.yielded(&position, behind_now);
        self.resume.yielded(position);
        let bound = self.connection.options().until.as_ref();
        let reason = bound.and_then(|bound| bound.ends_after(header, self.count, || duration));
        reason.or_else(|| self.connection.is_stopping().then_some(StreamEnd::Stopped))
    }

    /// Restarts elsewhere, or fails with the error which says that the place to resume at is no longer retained.
    pub(super) fn restart(&mut self, error: Error) -> Result<()> {
        let start = match self.connection.options().on_aged_out {
            OnAgedOut::Fail => return Err(error),
            OnAgedOut::Earliest => Start::Earliest,
            OnAgedOut::Now => Start::Now,
        };
        let last = self.resume.position().cloned();
        tracing::warn!(?last, "the place to resume at is no longer retained");
        self.before.push(Discontinuity::AgedOut { last });
        self.body.before = self.before.len();
        self.resume.restart_at(start);
        self.close(Some(error));
        Ok(())
    }

    /// Handles an error that the service reports between two fragments. The body ends with it.
    fn fault(&mut self, fault: &Fault) -> AfterBody {
        let error = self.connection.name_in(fault.to_error());
        let is_not_found = matches!(fault.id(), Some(3000 | 4000)) && self.connection.options().reconnect;
        if !is_not_found {
            return self.attempt_failed(error);
        }
        // If the body made progress, the next fragment may just not be there yet.
        if !self.body.made_progress && self.resume.not_found(Instant::now()) == AfterRejection::AgedOut {
            return AfterBody::AgedOut(error);
        }
        self.close(Some(error))
    }

    /// Handles an error that the service reports in the middle of a fragment.
    fn fault_inside(&mut self, fault: &Fault, cut: &CutFragment) -> AfterBody {
        let error = self.connection.name_in(fault.to_error());
        let cause = if error.kind() == ErrorKind::NotFound { error.retryable(true) } else { error };
        self.fragment_failed(cut, Some(cause))
    }

    /// Handles an error that concerns no fragment.
    fn attempt_failed(&mut self, error: Error) -> AfterBody {
        match self.connection.attempt_failed(&error) {
            Ok(()) => self.close(Some(error)),
            Err(error) => AfterBody::End(Err(error)),
        }
    }

    fn close(&mut self, cause: Option<Error>) -> AfterBody {
        if !self.body.made_progress {
            self.resume.nothing_received();
        }
        self.forget_skipped();
        self.connection.close(cause, self.body.made_progress);
        AfterBody::Reconnect
    }

    /// Forgets the bytes skipped in a body without a new fragment. They will be skipped again in the next body.
    fn forget_skipped(&mut self) {
        if !self.body.new {
            self.before.truncate(self.body.before);
        }
    }

    /// Handles the end of a body between two fragments.
    fn body_ended(&mut self, cause: Option<Error>) -> AfterBody {
        match cause {
            None if !self.connection.options().reconnect => AfterBody::End(Ok(StreamEnd::EndOfMedia)),
            None if self.is_past_bound() => AfterBody::End(Ok(StreamEnd::Time)),
            None => {
                self.resume.found();
                self.close(None)
            }
            Some(error) if is_damage(&error) => {
                let unnamed = CutFragment { position: Position::default(), length: 0, has_ended: false };
                self.fragment_failed(&unnamed, Some(error))
            }
            Some(error) => self.attempt_failed(error),
        }
    }

    /// Returns whether no fragment before the bound can arrive any more.
    fn is_past_bound(&self) -> bool {
        let late = i64::try_from(LATE.as_millis()).unwrap_or(i64::MAX);
        match (&self.connection.options().until, self.connection.waiting_since()) {
            (Some(Bound::ServerTime(stop)), Some(date)) if !self.body.any => {
                date.as_millis().saturating_sub(late) >= stop.as_millis()
            }
            _ => false,
        }
    }

    /// Handles the end of a body in the middle of a fragment.
    fn fragment_failed(&mut self, cut: &CutFragment, cause: Option<Error>) -> AfterBody {
        if !self.connection.options().reconnect {
            return AfterBody::End(cause.map_or(Ok(StreamEnd::EndOfMedia), Err));
        }
        if let Some(cause) = cause.as_ref().filter(|cause| !is_damage(cause))
            && let Err(error) = self.connection.attempt_failed(cause)
        {
            return AfterBody::End(Err(error));
        }
        let gives_up = self.resume.fragment_failed(&cut.position, cut.length, cause.clone(), Instant::now());
        if gives_up && self.connection.options().on_damage == OnDamage::Fail {
            let error = cause.unwrap_or_else(|| {
                let number = cut.position.number().map(FragmentNumber::as_str);
                let error = Error::malformed("the body ended several times within a fragment");
                self.connection.name_in(error.in_fragment(number))
            });
            return AfterBody::End(Err(error));
        }
        self.forget_skipped();
        self.connection.close(cause, self.body.made_progress);
        AfterBody::Reconnect
    }
}

/// The action after a body.
#[derive(Debug)]
enum AfterBody {
    Reconnect,
    AgedOut(Error),
    End(Result<StreamEnd>),
}

/// Notes an outage. Several outages before one fragment are reported as one.
fn reconnected(before: &mut Vec<Discontinuity>, outage: Outage) {
    let earlier = before.iter_mut().find_map(|what| match what {
        Discontinuity::Reconnected { calls, after, .. } => Some((calls, after)),
        _ => None,
    });
    match earlier {
        Some((calls, after)) => (*calls, *after) = (*calls + outage.calls, *after + outage.duration()),
        None => {
            let after = outage.duration();
            before.insert(0, Discontinuity::Reconnected { cause: outage.cause, calls: outage.calls, after });
        }
    }
}

/// Returns whether an error is about the bytes, not about the connection.
fn is_damage(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Malformed | ErrorKind::Limit)
}
