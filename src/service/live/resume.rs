//! Where to go on, and what has been there before. Knows neither time nor network.

use std::time::Duration;

use tokio::time::Instant;

use super::start::Start;
use crate::error::{Error, ErrorKind};
use crate::fragment::{FragmentHeader, FragmentNumber, Position, Timestamp};

/// How often a fragment may fail at the same place before it is passed over...
const FAILURES: u32 = 2;

/// ... and, unless its bytes are wrong, how long that must go on: a fragment that is still being made
/// also ends at the same place, again and again, and may take 20 seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a place must not be there before it counts as aged out: what was just received may take a
/// moment to be found.
const SETTLED: Duration = Duration::from_secs(5);

/// What has been given out of a stream, and where the next call is to begin.
#[derive(Debug)]
pub(super) struct Resume {
    begin: Start,
    /// Behind the last fragment that was given out.
    last: Option<Position>,
    /// When the service received the newest that was given out.
    newest: Option<Timestamp>,
    /// The fragment that was cut, and nothing of which counts yet.
    unfinished: Option<Position>,
    /// When the service first replied.
    first_reply: Option<Timestamp>,
    way: Way,
    failure: Option<Failure>,
    /// Whether to read on behind damage, since what is damaged has no number.
    resync: bool,
    /// The number that a damaged fragment had which was given out, and behind which there is nothing.
    odd: Option<FragmentNumber>,
}

/// How to go on.
#[derive(Debug)]
enum Way {
    /// Behind the last, said in one of the ways in which that can be said.
    Behind {
        /// Which, of those there are.
        nth: usize,
        /// Since when the service says that there is nothing.
        not_found: Option<Instant>,
    },
    /// Behind a fragment that cannot be read, for this reason. It is given up only when something
    /// comes from there.
    Passing(FragmentNumber, Option<Error>),
    /// Somewhere else, since the place is no longer kept.
    Elsewhere(Start),
}

impl Default for Way {
    fn default() -> Self {
        Self::Behind { nth: 0, not_found: None }
    }
}

/// A fragment that could not be read.
#[derive(Debug)]
struct Failure {
    number: Option<FragmentNumber>,
    /// How far it came, in bytes.
    place: u64,
    times: u32,
    since: Instant,
    cause: Option<Error>,
    /// Whether there was no going on behind it by its number.
    cannot_be_passed: bool,
}

/// What to do when the service does not find, or does not understand, the place to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// Try again, maybe otherwise.
    Again,
    /// The place has aged out.
    AgedOut,
    /// It is what the user said, and wrong.
    Wrong,
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
            way: Way::default(),
            failure: None,
            resync: false,
            odd: None,
        }
    }

    /// Where the next call begins.
    pub(super) fn start(&self) -> Start {
        let nth = match &self.way {
            Way::Passing(number, _) => return Start::AfterFragment(number.clone()),
            Way::Elsewhere(start) => return start.clone(),
            Way::Behind { nth, .. } => *nth,
        };
        if let Some(start) = self.last.as_ref().and_then(|last| Start::after(last, nth)) {
            return start;
        }
        // Nothing came yet. What was produced since the first call is not to be lost for that; the
        // service's own clock says when that was.
        let cut = self.unfinished.as_ref().and_then(Position::server_time);
        match (&self.begin, cut.or(self.first_reply)) {
            (Start::Now, Some(time)) => Start::ServerTime(time),
            (begin, _) => begin.clone(),
        }
    }

    /// Behind what has been given out.
    pub(super) fn position(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    /// Whether the next body is read on behind damage.
    pub(super) fn resyncs(&self) -> bool {
        self.resync
    }

    /// Whether this fragment can only be read over, not passed over by its number.
    pub(super) fn cannot_pass_over(&self, cut: &Position) -> bool {
        let is_it = |failure: &Failure| failure.cannot_be_passed && failure.number.as_ref() == cut.number();
        cut.number().is_none() || self.failure.as_ref().is_some_and(is_it)
    }

    /// A body begins, at this time on the service's clock.
    pub(super) fn opened(&mut self, date: Option<Timestamp>) {
        self.first_reply = self.first_reply.or(date);
        if let (Way::Elsewhere(start @ Start::Now), Some(date)) = (&mut self.way, date) {
            *start = Start::ServerTime(date);
        }
    }

    /// A body has ended in good order: the place is there.
    pub(super) fn was_there(&mut self) {
        if let Way::Behind { not_found, .. } = &mut self.way {
            *not_found = None;
        }
    }

    /// The service does not understand where to go on.
    pub(super) fn not_understood(&mut self) -> Refused {
        match &mut self.way {
            Way::Passing(..) => {
                self.cannot_pass();
                Refused::Again
            }
            // Long ago by now.
            Way::Elsewhere(start @ Start::ServerTime(_)) => {
                *start = Start::Now;
                Refused::Again
            }
            Way::Elsewhere(_) => Refused::Wrong,
            Way::Behind { nth, .. } => match &self.last {
                Some(last) if Start::after(last, *nth + 1).is_some() => {
                    *nth += 1;
                    Refused::Again
                }
                Some(_) if !matches!(self.begin, Start::AfterFragment(_)) => Refused::AgedOut,
                None if self.begin == Start::Now && self.first_reply.take().is_some() => Refused::Again,
                _ => Refused::Wrong,
            },
        }
    }

    /// The service has nothing where to go on. At first that may be too early; and there may be another
    /// way to say it, though not by time: what is found then may be something else.
    pub(super) fn not_found(&mut self, now: Instant) -> Refused {
        let date = self.first_reply;
        match &mut self.way {
            Way::Passing(..) => self.cannot_pass(),
            Way::Elsewhere(start @ Start::ServerTime(_)) => *start = Start::Now,
            Way::Elsewhere(_) => {}
            Way::Behind { nth, not_found } => {
                let is_still_to_come = match &self.begin {
                    // There is nothing at all, and that is no place that could age.
                    Start::Earliest | Start::Now => true,
                    Start::ServerTime(time) => date.is_some_and(|date| *time > date),
                    _ => false,
                };
                if self.last.is_none() && is_still_to_come {
                    self.first_reply = None;
                    return Refused::Again;
                }
                if now.duration_since(*not_found.get_or_insert(now)) < SETTLED {
                    return Refused::Again;
                }
                let next = self.last.as_ref().and_then(|last| Start::after(last, *nth + 1));
                if !matches!(next, Some(Start::AfterFragment(_))) {
                    return Refused::AgedOut;
                }
                *nth += 1;
            }
        }
        Refused::Again
    }

    /// This fragment, which has been given out before, came again in whole.
    pub(super) fn repeated(&mut self, header: &FragmentHeader) {
        if let (Way::Elsewhere(start), Some(number)) = (&mut self.way, header.number()) {
            // However many there are, they need not come a third time.
            *start = Start::AfterFragment(number.clone());
        }
    }

    /// The place to go on is gone.
    pub(super) fn go_elsewhere(&mut self, start: Start) {
        self.failure = None;
        self.way = Way::Elsewhere(start);
        if self.newest.is_none() {
            // Whether what comes is newer could not be told from numbers alone.
            self.last = None;
        }
    }

    fn cannot_pass(&mut self) {
        if let Some(failure) = &mut self.failure {
            failure.cannot_be_passed = true;
        }
        self.resync = true;
        self.way = Way::default();
    }

    /// Whether this fragment has been given out before. Numbers rise, except if the stream is another
    /// one under the same name: then they begin anew, but at a later time.
    pub(super) fn is_repeat(&self, header: &FragmentHeader) -> bool {
        let Some(number) = header.number() else { return false };
        if self.odd.as_ref() == Some(number) {
            return true;
        }
        let is_newer = |than: Option<Timestamp>| header.server_time().zip(than).is_some_and(|(time, than)| time > than);
        let last = self.last.as_ref().and_then(Position::number);
        let is_up_to_last = last.is_some_and(|last| number <= last) && !is_newer(self.newest);
        // Where it began elsewhere than behind the last, it began with what was cut.
        let began = self.unfinished.as_ref().filter(|_| self.last.is_none() || matches!(self.way, Way::Elsewhere(_)));
        let is_before_begin =
            began.is_some_and(|cut| cut.number().is_some_and(|cut| number < cut) && !is_newer(cut.server_time()));
        is_up_to_last || is_before_begin
    }

    /// Everything up to here has been given out.
    pub(super) fn gave_out(&mut self, position: Position) {
        let failure = self.failure.as_ref();
        if let Some(odd) =
            failure.filter(|failure| failure.cannot_be_passed && failure.number.as_ref() == position.number())
        {
            // Nothing is to be found behind that number.
            self.odd.clone_from(&odd.number);
            return;
        }
        let has_name = |position: &Position| position.number().is_some() || position.continuation_token().is_some();
        if !has_name(&position) && self.last.as_ref().is_some_and(has_name) {
            // What came before it can be gone on behind, and it cannot.
            return;
        }
        self.newest = self.newest.max(position.server_time());
        if !position.is_empty() {
            self.last = Some(position);
        }
        self.unfinished = None;
        self.way = Way::default();
        self.failure = None;
        self.resync = false;
        self.odd = None;
    }

    /// A fragment was cut, or what should be one could not be read. Whether it is hopeless.
    pub(super) fn broke(&mut self, cut: &Position, place: u64, cause: Option<Error>, now: Instant) -> bool {
        if !cut.is_empty() {
            self.unfinished = Some(cut.clone());
            if let (Way::Elsewhere(Start::ServerTime(since)), Some(time)) = (&mut self.way, cut.server_time()) {
                *since = time.min(*since);
            }
        }
        let is_damage = cause.as_ref().is_some_and(|cause| cause.kind() != ErrorKind::Io);
        let number = cut.number().cloned();
        let mut failure = match self.failure.take() {
            Some(before) if before.number == number && before.place == place => {
                Failure { times: before.times + 1, cause, ..before }
            }
            before => {
                let cannot_be_passed = before.is_some_and(|before| before.number == number && before.cannot_be_passed);
                Failure { number, place, times: 1, since: now, cause, cannot_be_passed }
            }
        };
        let is_hopeless = failure.times >= FAILURES && (is_damage || now.duration_since(failure.since) >= PATIENCE);
        if is_hopeless {
            failure.times = 0;
            match failure.number.clone().filter(|_| !failure.cannot_be_passed) {
                Some(number) => self.way = Way::Passing(number, failure.cause.clone()),
                None => self.resync = true,
            }
        }
        self.failure = Some(failure);
        is_hopeless
    }

    /// A body is over in which nothing came: nothing is behind the fragment that was to be passed over.
    pub(super) fn nothing_came(&mut self) {
        if matches!(self.way, Way::Passing(..)) {
            self.way = Way::default();
        }
    }

    /// What was wrong with the fragment that is being passed over.
    pub(super) fn passed_over(&self) -> Option<(FragmentNumber, Error)> {
        let Way::Passing(number, cause) = &self.way else { return None };
        let cut = || Error::malformed("it ends, again and again, before it is whole");
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
    fn goes_on_behind_the_last() {
        let mut resume = Resume::new(Start::Earliest);
        assert_eq!(resume.start(), Start::Earliest);
        resume.gave_out(position(7, 70));
        assert_eq!(resume.start(), Start::Token("7".into()));
        assert!(resume.is_repeat(&header(7, 70)) && resume.is_repeat(&header(3, 30)));
        assert!(!resume.is_repeat(&header(8, 71)));
        // A stream that was made anew under the same name.
        assert!(!resume.is_repeat(&header(1, 500)));
    }

    #[test]
    fn a_clock_that_steps_back_makes_no_repeat_new() {
        let mut resume = Resume::new(Start::Earliest);
        resume.gave_out(position(5, 100));
        resume.gave_out(position(6, 90));
        assert!(resume.is_repeat(&header(5, 100)));
    }

    #[test]
    fn now_begins_at_the_time_of_the_first_reply() {
        let (mut resume, now) = (Resume::new(Start::Now), Instant::now());
        assert_eq!(resume.start(), Start::Now);
        let date = Timestamp::from_millis(1000);
        resume.opened(Some(date));
        resume.opened(Some(Timestamp::from_millis(9000)));
        assert_eq!(resume.start(), Start::ServerTime(date));
        // Unless one was cut: it began before that.
        assert!(!resume.broke(&position(7, 70), 10, io(), now));
        assert_eq!(resume.start(), Start::ServerTime(Timestamp::from_millis(70)));
        assert!(resume.is_repeat(&header(6, 60)) && !resume.is_repeat(&header(7, 70)));
        // Where there is nothing, it is now again.
        let mut resume = Resume::new(Start::Now);
        for refused in [|resume: &mut Resume| resume.not_found(Instant::now()), Resume::not_understood] {
            resume.opened(Some(date));
            assert_eq!(resume.start(), Start::ServerTime(date));
            assert_eq!(refused(&mut resume), Refused::Again);
            assert_eq!(resume.start(), Start::Now);
        }
    }

    #[test]
    fn what_fails_twice_at_the_same_place_is_passed_over() {
        let (mut resume, now) = (Resume::new(Start::Earliest), Instant::now());
        resume.gave_out(position(6, 60));
        let damage = || Some(Error::malformed("damage"));
        assert!(!resume.broke(&position(7, 70), 10, damage(), now));
        assert!(!resume.broke(&position(7, 70), 11, damage(), now));
        assert_eq!(resume.start(), Start::Token("6".into()));
        assert!(resume.broke(&position(7, 70), 11, damage(), now));
        assert_eq!(resume.start(), Start::AfterFragment("7".parse().unwrap()));
        assert_eq!(resume.passed_over().unwrap().0.as_str(), "7");
        // Nothing behind it yet: it may still come.
        resume.nothing_came();
        assert_eq!(resume.start(), Start::Token("6".into()));
        assert!(!resume.broke(&position(7, 70), 11, damage(), now));
        assert!(resume.broke(&position(7, 70), 11, damage(), now));
        resume.gave_out(position(8, 80));
        assert!(resume.passed_over().is_none());
        assert_eq!(resume.start(), Start::Token("8".into()));
    }

    #[test]
    fn what_cannot_be_passed_by_number_is_read_over() {
        let (mut resume, now) = (Resume::new(Start::Earliest), Instant::now());
        resume.gave_out(position(6, 60));
        let damage = || Some(Error::malformed("damage"));
        for refused in [|resume: &mut Resume| resume.not_found(Instant::now()), Resume::not_understood] {
            resume.failure = None;
            resume.broke(&position(700, 70), 11, damage(), now);
            assert!(resume.broke(&position(700, 70), 11, damage(), now));
            assert!(resume.passed_over().is_some());
            assert_eq!(refused(&mut resume), Refused::Again);
            assert!(resume.resyncs());
            assert_eq!(resume.start(), Start::Token("6".into()));
            // What is there of it is given out once, and it is gone on as before.
            resume.gave_out(position(700, 70));
            assert!(resume.is_repeat(&header(700, 70)) && !resume.is_repeat(&header(7, 71)));
            assert!(resume.resyncs());
            assert_eq!(resume.start(), Start::Token("6".into()));
        }
    }

    #[test]
    fn what_may_still_be_made_is_waited_for() {
        let (mut resume, now) = (Resume::new(Start::Earliest), Instant::now());
        for (cause, seconds, hopeless) in [(None, 0, false), (io(), 9, false), (None, 29, false), (None, 31, true)] {
            assert_eq!(resume.broke(&position(7, 70), 10, cause, now + Duration::from_secs(seconds)), hopeless);
        }
    }

    #[test]
    fn what_has_no_number_is_read_over() {
        let (mut resume, now) = (Resume::new(Start::Earliest), Instant::now());
        assert!(!resume.broke(&Position::default(), 10, Some(Error::malformed("damage")), now));
        assert!(!resume.resyncs());
        assert!(resume.broke(&Position::default(), 10, Some(Error::malformed("damage")), now));
        assert!(resume.resyncs());
        resume.gave_out(position(8, 80));
        assert!(!resume.resyncs());
    }

    #[test]
    fn what_has_aged_out_is_gone_on_elsewhere() {
        let (mut resume, now) = (Resume::new(Start::Earliest), Instant::now());
        resume.gave_out("kvs1:6:60::token".parse().unwrap());
        for seconds in [0, 3] {
            assert_eq!(resume.not_found(now + Duration::from_secs(seconds)), Refused::Again);
            assert_eq!(resume.start(), Start::Token("token".into()));
        }
        // Once it was there, it has to begin anew.
        resume.was_there();
        assert_eq!(resume.not_found(now + Duration::from_secs(60)), Refused::Again);
        assert_eq!(resume.start(), Start::Token("token".into()));
        assert_eq!(resume.not_found(now + Duration::from_secs(66)), Refused::Again);
        assert_eq!(resume.start(), Start::AfterFragment("6".parse().unwrap()));
        assert_eq!(resume.not_found(now + Duration::from_secs(67)), Refused::AgedOut);
        resume.go_elsewhere(Start::Now);
        assert_eq!(resume.not_found(now), Refused::Again);
        assert_eq!(resume.start(), Start::Now);
        // From then on nothing is lost any more.
        resume.opened(Some(Timestamp::from_millis(9000)));
        resume.nothing_came();
        assert_eq!(resume.start(), Start::ServerTime(Timestamp::from_millis(9000)));
        assert!(!resume.broke(&position(80, 800), 10, io(), now));
        assert_eq!(resume.start(), Start::ServerTime(Timestamp::from_millis(800)));
        resume.gave_out(position(80, 800));
        assert_eq!(resume.start(), Start::Token("80".into()));
    }

    #[test]
    fn a_stream_made_anew_is_read_whatever_its_numbers() {
        let mut resume = Resume::new(Start::AfterFragment("700".parse().unwrap()));
        resume.go_elsewhere(Start::Earliest);
        assert!(!resume.is_repeat(&header(1, 10)));
    }

    #[test]
    fn what_is_gone_through_again_is_gone_through_once() {
        let mut resume = Resume::new(Start::Earliest);
        resume.gave_out(position(600, 60));
        resume.go_elsewhere(Start::Earliest);
        assert!(resume.is_repeat(&header(3, 3)));
        resume.repeated(&header(3, 3));
        assert_eq!(resume.start(), Start::AfterFragment("3".parse().unwrap()));
    }

    #[test]
    fn a_position_that_nobody_understands_has_aged_out() {
        let mut resume = Resume::new(Start::AfterPosition(position(6, 60)));
        for expected in [Start::AfterFragment("6".parse().unwrap()), Start::ServerTime(Timestamp::from_millis(60))] {
            assert_eq!(resume.not_understood(), Refused::Again);
            assert_eq!(resume.start(), expected);
        }
        assert_eq!(resume.not_understood(), Refused::AgedOut);
        // What the user said himself is wrong.
        assert_eq!(Resume::new(Start::Token("x".into())).not_understood(), Refused::Wrong);
        assert_eq!(Resume::new(Start::AfterFragment("6".parse().unwrap())).not_understood(), Refused::Wrong);
    }
}
