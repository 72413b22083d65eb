//! The place to resume at, and which fragments are repeats.
//!
//! This module knows neither the clock nor the network. Times are passed in.

use std::time::Duration;

use tokio::time::Instant;

use super::start::Start;
use crate::error::{Error, ErrorKind};
use crate::fragment::{FragmentHeader, FragmentNumber, Position, Timestamp};

/// The number of failures at the same offset after which a fragment is skipped.
const MAX_FAILURES: u32 = 2;

/// The time for which a fragment must fail before it is skipped, unless its bytes are damaged. A fragment that is still being
/// produced also ends at the same offset several times, and may take 20 s.
const PATIENCE: Duration = Duration::from_secs(30);

/// The time for which the service must not find a place before it counts as aged out. A fragment that was just received may
/// take a moment to be found.
const NOT_FOUND_FOR: Duration = Duration::from_secs(5);

/// The progress of a live stream, and where its next call starts.
#[derive(Debug)]
pub(super) struct Resume {
    begin: Start,
    /// The position of the last fragment that was yielded.
    last: Option<Position>,
    /// The latest server time among the yielded fragments.
    newest: Option<Timestamp>,
    /// The fragment that was cut and has not been yielded.
    unfinished: Option<Position>,
    /// The service's time at its first reply.
    first_reply: Option<Timestamp>,
    strategy: ResumeStrategy,
    failure: Option<Failure>,
    /// Set while damage can only be skipped by the parser.
    resync: Option<Resync>,
}

/// The start of the next call.
#[derive(Debug)]
enum ResumeStrategy {
    /// After the last fragment.
    AfterLast {
        /// The index of the part of the last position that the request uses: see [`Start::after`].
        nth: usize,
        /// Since when the service has not found the place.
        not_found: Option<Instant>,
    },
    /// After a fragment that cannot be read.
    ///
    /// The strategy ends when a later fragment arrives.
    SkipFragment { number: FragmentNumber, cause: Option<Error> },
    /// At another start, because the place is no longer retained.
    Restart(Start),
}

impl Default for ResumeStrategy {
    fn default() -> Self {
        Self::AfterLast { nth: 0, not_found: None }
    }
}

/// The state in which the parser skips damage, because a damaged fragment cannot be skipped by its number.
#[derive(Debug, Default)]
struct Resync {
    /// The damaged fragments that have a number.
    unskippable: Vec<Unskippable>,
}

impl Resync {
    fn find(&self, number: &FragmentNumber) -> Option<&Unskippable> {
        self.unskippable.iter().find(|fragment| fragment.number == *number)
    }
}

/// A damaged fragment after whose number the service finds nothing.
#[derive(Debug)]
struct Unskippable {
    number: FragmentNumber,
    /// Set once its intact part has been yielded.
    yielded: bool,
}

/// The last fragment that could not be read.
#[derive(Debug)]
struct Failure {
    number: Option<FragmentNumber>,
    /// The offset in the fragment at which it failed, in bytes.
    offset: u64,
    count: u32,
    since: Instant,
    cause: Option<Error>,
}

/// The action after the service has rejected, or has not found, the start of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterRejection {
    /// Call again, possibly with another start.
    Retry,
    /// Give up the place. It is no longer retained.
    AgedOut,
    /// Fail. The start is the user's own, and invalid.
    Fail,
}

impl Resume {
    pub(super) fn new(begin: Start) -> Self {
        let last = match &begin {
            Start::AfterPosition(position) => Some(position.clone()),
            Start::AfterFragment(number) => Some(Position::after(number.clone())),
            _ => None,
        };
        let newest = last.as_ref().and_then(Position::server_time);
        Self {
            begin,
            last,
            newest,
            unfinished: None,
            first_reply: None,
            strategy: ResumeStrategy::default(),
            failure: None,
            resync: None,
        }
    }

    /// Returns the start of the next call.
    pub(super) fn start(&self) -> Start {
        let nth = match &self.strategy {
            ResumeStrategy::SkipFragment { number, .. } => return Start::AfterFragment(number.clone()),
            ResumeStrategy::Restart(start) => return start.clone(),
            ResumeStrategy::AfterLast { nth, .. } => *nth,
        };
        if let Some(start) = self.last.as_ref().and_then(|last| Start::after(last, nth)) {
            return start;
        }
        // Nothing has been yielded. Media that was produced since the first call must not be lost, and only the
        // service's own clock says when that was.
        let cut = self.unfinished.as_ref().and_then(Position::server_time);
        match (&self.begin, cut.or(self.first_reply)) {
            (Start::Now, Some(time)) => Start::ServerTime(time),
            (begin, _) => begin.clone(),
        }
    }

    /// Returns the position of the last fragment that was yielded.
    pub(super) fn position(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    /// Returns whether the parser of the next body skips damage.
    pub(super) fn resyncs(&self) -> bool {
        self.resync.is_some()
    }

    /// Returns whether a cut fragment cannot be skipped by its number.
    pub(super) fn is_unskippable(&self, cut: &Position) -> bool {
        cut.number().is_none_or(|number| self.resync.as_ref().is_some_and(|resync| resync.find(number).is_some()))
    }

    /// Records that a body has begun, at a time on the service's clock.
    pub(super) fn opened(&mut self, date: Option<Timestamp>) {
        self.first_reply = self.first_reply.or(date);
        if let (ResumeStrategy::Restart(start @ Start::Now), Some(date)) = (&mut self.strategy, date) {
            *start = Start::ServerTime(date);
        }
    }

    /// Records that a body has ended without an error, so that the service has found the place.
    pub(super) fn found(&mut self) {
        if let ResumeStrategy::AfterLast { not_found, .. } = &mut self.strategy {
            *not_found = None;
        }
    }

    /// Chooses another start after the service has rejected the last one as invalid.
    pub(super) fn rejected(&mut self) -> AfterRejection {
        match &mut self.strategy {
            ResumeStrategy::SkipFragment { .. } => {
                self.skip_by_parser();
                AfterRejection::Retry
            }
            // The time is too long ago by now.
            ResumeStrategy::Restart(start @ Start::ServerTime(_)) => {
                *start = Start::Now;
                AfterRejection::Retry
            }
            ResumeStrategy::Restart(_) => AfterRejection::Fail,
            ResumeStrategy::AfterLast { nth, .. } => match &self.last {
                Some(last) if Start::after(last, *nth + 1).is_some() => {
                    *nth += 1;
                    AfterRejection::Retry
                }
                Some(_) if !matches!(self.begin, Start::AfterFragment(_)) => AfterRejection::AgedOut,
                None if self.begin == Start::Now && self.first_reply.take().is_some() => AfterRejection::Retry,
                _ => AfterRejection::Fail,
            },
        }
    }

    /// Chooses another start after the service has found nothing at the last one.
    ///
    /// The service may not know the fragment yet. A start by time is never chosen, since it may find something else.
    pub(super) fn not_found(&mut self, now: Instant) -> AfterRejection {
        let date = self.first_reply;
        match &mut self.strategy {
            ResumeStrategy::SkipFragment { .. } => self.skip_by_parser(),
            ResumeStrategy::Restart(start @ Start::ServerTime(_)) => *start = Start::Now,
            ResumeStrategy::Restart(_) => {}
            ResumeStrategy::AfterLast { nth, not_found } => {
                let may_still_arrive = match &self.begin {
                    // The stream is empty, and an empty stream has nothing that could age out.
                    Start::Earliest | Start::Now => true,
                    Start::ServerTime(time) => date.is_some_and(|date| *time > date),
                    _ => false,
                };
                if self.last.is_none() && may_still_arrive {
                    self.first_reply = None;
                    return AfterRejection::Retry;
                }
                if now.duration_since(*not_found.get_or_insert(now)) < NOT_FOUND_FOR {
                    return AfterRejection::Retry;
                }
                let next = self.last.as_ref().and_then(|last| Start::after(last, *nth + 1));
                if !matches!(next, Some(Start::AfterFragment(_))) {
                    return AfterRejection::AgedOut;
                }
                *nth += 1;
            }
        }
        AfterRejection::Retry
    }

    /// Records that a repeat has arrived complete.
    pub(super) fn repeated(&mut self, header: &FragmentHeader) {
        if let (ResumeStrategy::Restart(start), Some(number)) = (&mut self.strategy, header.number()) {
            // However many repeats there are, they need not arrive a third time.
            *start = Start::AfterFragment(number.clone());
        }
    }

    /// Gives up the place to resume at, and starts anew.
    pub(super) fn restart_at(&mut self, start: Start) {
        self.failure = None;
        self.strategy = ResumeStrategy::Restart(start);
        if self.newest.is_none() {
            // Numbers alone cannot tell whether a fragment is newer than the last one.
            self.last = None;
        }
    }

    /// Gives up skipping a fragment by its number, and lets the parser skip its damage.
    fn skip_by_parser(&mut self) {
        let resync = self.resync.get_or_insert_default();
        if let ResumeStrategy::SkipFragment { number, .. } = std::mem::take(&mut self.strategy) {
            resync.unskippable.push(Unskippable { number, yielded: false });
        }
    }

    /// Returns whether a fragment has been yielded before.
    ///
    /// Numbers rise. If the stream was deleted and created again, they begin anew, but at a later time.
    pub(super) fn is_repeat(&self, header: &FragmentHeader) -> bool {
        let Some(number) = header.number() else { return false };
        if self.resync.as_ref().and_then(|resync| resync.find(number)).is_some_and(|fragment| fragment.yielded) {
            return true;
        }
        let is_newer = |than: Option<Timestamp>| header.server_time().zip(than).is_some_and(|(time, than)| time > than);
        let last = self.last.as_ref().and_then(Position::number);
        let is_up_to_last = last.is_some_and(|last| number <= last) && !is_newer(self.newest);
        // A body that did not start after the last fragment may start before the fragment that was cut.
        let started_anew = self.last.is_none() || matches!(self.strategy, ResumeStrategy::Restart(_));
        let cut = self.unfinished.as_ref().filter(|_| started_anew);
        let is_before_cut =
            cut.is_some_and(|cut| cut.number().is_some_and(|cut| number < cut) && !is_newer(cut.server_time()));
        is_up_to_last || is_before_cut
    }

    /// Records that a fragment, and every one before it, has been yielded.
    pub(super) fn yielded(&mut self, position: Position) {
        let unskippable = self.resync.iter_mut().flat_map(|resync| &mut resync.unskippable);
        if let Some(fragment) = unskippable.into_iter().find(|fragment| position.number() == Some(&fragment.number)) {
            // The service finds nothing after its number, so this is no place to resume at.
            fragment.yielded = true;
            return;
        }
        let has_name = |position: &Position| position.number().is_some() || position.continuation_token().is_some();
        if !has_name(&position) && self.last.as_ref().is_some_and(has_name) {
            // The last fragment is a place to resume at, and this one is not.
            return;
        }
        self.newest = self.newest.max(position.server_time());
        if !position.is_empty() {
            self.last = Some(position);
        }
        self.unfinished = None;
        self.strategy = ResumeStrategy::default();
        self.failure = None;
        self.resync = None;
    }

    /// Records that a fragment was cut or could not be read, and returns whether to give it up.
    pub(super) fn fragment_failed(&mut self, cut: &Position, offset: u64, cause: Option<Error>, now: Instant) -> bool {
        if !cut.is_empty() {
            self.unfinished = Some(cut.clone());
            let restart = &mut self.strategy;
            if let (ResumeStrategy::Restart(Start::ServerTime(since)), Some(time)) = (restart, cut.server_time()) {
                *since = time.min(*since);
            }
        }
        let is_damage = cause.as_ref().is_some_and(|cause| cause.kind() != ErrorKind::Io);
        let number = cut.number().cloned();
        let mut failure = match self.failure.take() {
            Some(before) if before.number == number && before.offset == offset => {
                Failure { count: before.count + 1, cause, ..before }
            }
            _ => Failure { number, offset, count: 1, since: now, cause },
        };
        let gives_up = failure.count >= MAX_FAILURES && (is_damage || now.duration_since(failure.since) >= PATIENCE);
        if gives_up {
            failure.count = 0;
            match failure.number.clone().filter(|_| !self.is_unskippable(cut)) {
                Some(number) => {
                    let cause = failure.cause.clone();
                    self.strategy = ResumeStrategy::SkipFragment { number, cause };
                }
                None => {
                    self.resync.get_or_insert_default();
                }
            }
        }
        self.failure = Some(failure);
        gives_up
    }

    /// Records that a body has ended without a complete fragment.
    ///
    /// If a fragment was to be skipped, there is nothing after it yet, and it may still become complete.
    pub(super) fn nothing_received(&mut self) {
        if matches!(self.strategy, ResumeStrategy::SkipFragment { .. }) {
            self.strategy = ResumeStrategy::default();
        }
    }

    /// Returns the fragment that is being skipped, and why.
    pub(super) fn skipped_fragment(&self) -> Option<(FragmentNumber, Error)> {
        let ResumeStrategy::SkipFragment { number, cause } = &self.strategy else { return None };
        let cut = || Error::malformed("the body ended several times before the fragment was complete");
        Some((number.clone(), cause.clone().unwrap_or_else(cut)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(n: u32, time: i64) -> Position {
        format!("kvs1:{n}:{time}::=").parse().unwrap()
    }

    fn header(n: u32, time: i64) -> FragmentHeader {
        FragmentHeader::for_test(&n.to_string(), time)
    }

    fn io() -> Option<Error> {
        Some(Error::new(ErrorKind::Io, "reset"))
    }

    #[test]
    fn resumes_after_the_last_fragment() {
        let mut resume = Resume::new(Start::Earliest);
        assert_eq!(resume.start(), Start::Earliest);
        resume.yielded(position(7, 70));
        assert_eq!(resume.start(), Start::Token("7".into()));
        assert!(resume.is_repeat(&header(7, 70)) && resume.is_repeat(&header(3, 30)));
        assert!(!resume.is_repeat(&header(8, 71)));
        // A stream that was deleted and created again under the same name.
        assert!(!resume.is_repeat(&header(1, 500)));
    }

    #[test]
    fn a_repeat_stays_a_repeat_when_the_clock_steps_back() {
        let mut resume = Resume::new(Start::Earliest);
        resume.yielded(position(5, 100));
        resume.yielded(position(6, 90));
        assert!(resume.is_repeat(&header(5, 100)));
    }

    #[test]
    fn now_resumes_at_the_time_of_the_first_reply() {
        let (mut resume, now) = (Resume::new(Start::Now), Instant::now());
        assert_eq!(resume.start(), Start::Now);
        let date = Timestamp::from_millis(1000);
        resume.opened(Some(date));
        resume.opened(Some(Timestamp::from_millis(9000)));
        assert_eq!(resume.start(), Start::ServerTime(date));
        // A fragment that was cut began before that.
        assert!(!resume.fragment_failed(&position(7, 70), 10, io(), now));
        assert_eq!(resume.start(), Start::ServerTime(Timestamp::from_millis(70)));
        assert!(resume.is_repeat(&header(6, 60)) && !resume.is_repeat(&header(7, 70)));
        // If there is nothing at that time, it starts at the newest fragment again.
        let mut resume = Resume::new(Start::Now);
        for refused in [|resume: &mut Resume| resume.not_found(Instant::now()), Resume::rejected] {
            resume.opened(Some(date));
            assert_eq!(resume.start(), Start::ServerTime(date));
            assert_eq!(refused(&mut resume), AfterRejection::Retry);
            assert_eq!(resume.start(), Start::Now);
        }
    }

    #[test]
    fn a_fragment_that_fails_twice_at_one_offset_is_skipped() {
        let (mut resume, now) = (Resume::new(Start::Earliest), Instant::now());
        resume.yielded(position(6, 60));
        let damage = || Some(Error::malformed("damage"));
        assert!(!resume.fragment_failed(&position(7, 70), 10, damage(), now));
        assert!(!resume.fragment_failed(&position(7, 70), 11, damage(), now));
        assert_eq!(resume.start(), Start::Token("6".into()));
        assert!(resume.fragment_failed(&position(7, 70), 11, damage(), now));
        assert_eq!(resume.start(), Start::AfterFragment("7".parse().unwrap()));
        assert_eq!(resume.skipped_fragment().unwrap().0.as_str(), "7");
        // There is nothing after it yet, and it may still become complete.
        resume.nothing_received();
        assert_eq!(resume.start(), Start::Token("6".into()));
        assert!(!resume.fragment_failed(&position(7, 70), 11, damage(), now));
        assert!(resume.fragment_failed(&position(7, 70), 11, damage(), now));
        resume.yielded(position(8, 80));
        assert!(resume.skipped_fragment().is_none());
        assert_eq!(resume.start(), Start::Token("8".into()));
    }

    #[test]
    fn an_unskippable_fragment_is_skipped_by_the_parser() {
        let (mut resume, now) = (Resume::new(Start::Earliest), Instant::now());
        resume.yielded(position(6, 60));
        let damage = || Some(Error::malformed("damage"));
        for refused in [|resume: &mut Resume| resume.not_found(Instant::now()), Resume::rejected] {
            (resume.failure, resume.resync) = (None, None);
            resume.fragment_failed(&position(700, 70), 11, damage(), now);
            assert!(resume.fragment_failed(&position(700, 70), 11, damage(), now));
            assert!(resume.skipped_fragment().is_some());
            assert_eq!(refused(&mut resume), AfterRejection::Retry);
            assert!(resume.resyncs());
            assert_eq!(resume.start(), Start::Token("6".into()));
            // Its intact part is yielded once, and the place to resume at stays.
            resume.yielded(position(700, 70));
            assert!(resume.is_repeat(&header(700, 70)) && !resume.is_repeat(&header(7, 71)));
            assert!(resume.resyncs());
            assert_eq!(resume.start(), Start::Token("6".into()));
        }
    }

    #[test]
    fn a_fragment_that_may_still_grow_is_not_given_up() {
        let (mut resume, now) = (Resume::new(Start::Earliest), Instant::now());
        for (cause, seconds, gives_up) in [(None, 0, false), (io(), 9, false), (None, 29, false), (None, 31, true)] {
            assert_eq!(
                resume.fragment_failed(&position(7, 70), 10, cause, now + Duration::from_secs(seconds)),
                gives_up
            );
        }
    }

    #[test]
    fn a_fragment_without_a_number_is_skipped_by_the_parser() {
        let (mut resume, now) = (Resume::new(Start::Earliest), Instant::now());
        assert!(!resume.fragment_failed(&Position::default(), 10, Some(Error::malformed("damage")), now));
        assert!(!resume.resyncs());
        assert!(resume.fragment_failed(&Position::default(), 10, Some(Error::malformed("damage")), now));
        assert!(resume.resyncs());
        resume.yielded(position(8, 80));
        assert!(!resume.resyncs());
    }

    #[test]
    fn restarts_elsewhere_after_aging_out() {
        let (mut resume, now) = (Resume::new(Start::Earliest), Instant::now());
        resume.yielded("kvs1:6:60::token".parse().unwrap());
        for seconds in [0, 3] {
            assert_eq!(resume.not_found(now + Duration::from_secs(seconds)), AfterRejection::Retry);
            assert_eq!(resume.start(), Start::Token("token".into()));
        }
        // Once the place was found, the time starts again.
        resume.found();
        assert_eq!(resume.not_found(now + Duration::from_secs(60)), AfterRejection::Retry);
        assert_eq!(resume.start(), Start::Token("token".into()));
        assert_eq!(resume.not_found(now + Duration::from_secs(66)), AfterRejection::Retry);
        assert_eq!(resume.start(), Start::AfterFragment("6".parse().unwrap()));
        assert_eq!(resume.not_found(now + Duration::from_secs(67)), AfterRejection::AgedOut);
        resume.restart_at(Start::Now);
        assert_eq!(resume.not_found(now), AfterRejection::Retry);
        assert_eq!(resume.start(), Start::Now);
        // From here on nothing is lost.
        resume.opened(Some(Timestamp::from_millis(9000)));
        resume.nothing_received();
        assert_eq!(resume.start(), Start::ServerTime(Timestamp::from_millis(9000)));
        assert!(!resume.fragment_failed(&position(80, 800), 10, io(), now));
        assert_eq!(resume.start(), Start::ServerTime(Timestamp::from_millis(800)));
        resume.yielded(position(80, 800));
        assert_eq!(resume.start(), Start::Token("80".into()));
    }

    #[test]
    fn a_recreated_stream_is_read_whatever_its_numbers() {
        let mut resume = Resume::new(Start::AfterFragment("700".parse().unwrap()));
        resume.restart_at(Start::Earliest);
        assert!(!resume.is_repeat(&header(1, 10)));
    }

    #[test]
    fn repeats_after_a_restart_are_received_once() {
        let mut resume = Resume::new(Start::Earliest);
        resume.yielded(position(600, 60));
        resume.restart_at(Start::Earliest);
        assert!(resume.is_repeat(&header(3, 3)));
        resume.repeated(&header(3, 3));
        assert_eq!(resume.start(), Start::AfterFragment("3".parse().unwrap()));
    }

    #[test]
    fn a_position_that_is_always_rejected_has_aged_out() {
        let mut resume = Resume::new(Start::AfterPosition(position(6, 60)));
        for expected in [Start::AfterFragment("6".parse().unwrap()), Start::ServerTime(Timestamp::from_millis(60))] {
            assert_eq!(resume.rejected(), AfterRejection::Retry);
            assert_eq!(resume.start(), expected);
        }
        assert_eq!(resume.rejected(), AfterRejection::AgedOut);
        // A start that the user has given fails.
        assert_eq!(Resume::new(Start::Token("x".into())).rejected(), AfterRejection::Fail);
        assert_eq!(Resume::new(Start::AfterFragment("6".parse().unwrap())).rejected(), AfterRejection::Fail);
    }
}
