//! Where to go on, and what has been there before. Knows neither time nor network.

use crate::error::{Error, ErrorKind};
use crate::fragment::{FragmentHeader, FragmentNumber, Position, Timestamp};
use crate::service::Start;

/// How often a fragment may fail at the same place before it is passed over. Damage and bodies that
/// the service ends in good order are its word; a broken connection may be an accident.
const FAILURES: u32 = 2;
const ACCIDENTS: u32 = 3;

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
    /// When the service replied to the first call.
    first_reply: Option<Timestamp>,
    /// Where it goes on since the place behind the last is no longer kept.
    elsewhere: Option<Start>,
    /// The fragment behind which it is tried. It is given up only when something comes from there.
    passing: Option<FragmentNumber>,
    /// How many ways to say where to go on the service has refused.
    refused: usize,
    failure: Option<Failure>,
    /// Whether the next body is read on behind damage.
    resync: bool,
}

/// A fragment that could not be read.
#[derive(Debug)]
struct Failure {
    number: Option<FragmentNumber>,
    /// How far it came, in bytes.
    place: u64,
    times: u32,
    cause: Option<Error>,
}

impl Resume {
    pub(super) fn new(begin: Start) -> Self {
        let last = match &begin {
            Start::Position(position) => Some(position.clone()),
            Start::AfterFragment(number) => Some(Position::behind(number.clone())),
            _ => None,
        };
        let newest = last.as_ref().and_then(Position::server_time);
        Self {
            begin,
            last,
            newest,
            unfinished: None,
            first_reply: None,
            elsewhere: None,
            passing: None,
            refused: 0,
            failure: None,
            resync: false,
        }
    }

    /// Where the next call begins.
    pub(super) fn start(&self) -> Start {
        if let Some(number) = &self.passing {
            return Start::AfterFragment(number.clone());
        }
        if let Some(start) = &self.elsewhere {
            return start.clone();
        }
        if let Some(start) = self.last.as_ref().and_then(|last| Start::behind(last, self.refused)) {
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

    /// The service does not understand where to go on. Whether that can be said otherwise.
    pub(super) fn start_otherwise(&mut self) -> bool {
        let next = self.last.as_ref().filter(|_| self.elsewhere.is_none() && self.passing.is_none());
        let can = next.is_some_and(|last| Start::behind(last, self.refused + 1).is_some());
        self.refused += usize::from(can);
        can
    }

    /// Behind what has been given out.
    pub(super) fn position(&self) -> Option<&Position> {
        self.last.as_ref()
    }

    pub(super) fn resyncs(&self) -> bool {
        self.resync
    }

    /// A body has begun, at this time on the service's clock.
    pub(super) fn opened(&mut self, date: Option<Timestamp>) {
        self.first_reply = self.first_reply.or(date);
        if let (Some(Start::Now), Some(date)) = (&self.elsewhere, date) {
            self.elsewhere = Some(Start::ServerTime(date));
        }
    }

    /// Whether this fragment has been given out before. Numbers rise, except if the stream is another
    /// one under the same name: then they begin anew, but at a later time.
    pub(super) fn is_repeat(&self, header: &FragmentHeader) -> bool {
        let Some(number) = header.number() else { return false };
        let is_before = match (&self.last, &self.unfinished) {
            (Some(last), _) => last.number().is_some_and(|last| number <= last),
            (None, Some(cut)) => cut.number().is_some_and(|cut| number < cut),
            (None, None) => false,
        };
        let is_newer = header.server_time().zip(self.newest).is_some_and(|(time, newest)| time > newest);
        is_before && !is_newer
    }

    /// Everything up to here has been given out.
    pub(super) fn gave_out(&mut self, position: Position) {
        self.newest = self.newest.max(position.server_time());
        // What has no name cannot be gone on behind; what came before it can.
        if !position.is_empty() {
            self.last = Some(position);
        }
        self.unfinished = None;
        self.elsewhere = None;
        self.passing = None;
        self.refused = 0;
        self.failure = None;
        self.resync = false;
    }

    /// A fragment was cut, or what should be one could not be read. Whether it is to be passed over.
    pub(super) fn broke(&mut self, cut: &Position, place: u64, cause: Option<Error>) -> bool {
        if !cut.is_empty() {
            self.unfinished = Some(cut.clone());
            self.newest = self.newest.max(if self.last.is_none() { cut.server_time() } else { None });
            if let (Some(Start::ServerTime(since)), Some(time)) = (&mut self.elsewhere, cut.server_time()) {
                *since = time.min(*since);
            }
        }
        let number = cut.number().cloned();
        let times = match &self.failure {
            Some(before) if before.number == number && before.place == place => before.times + 1,
            _ => 1,
        };
        let is_accident = cause.as_ref().is_some_and(|cause| cause.kind() == ErrorKind::Io);
        self.failure = Some(Failure { number: number.clone(), place, times, cause });
        let is_hopeless = times >= if is_accident { ACCIDENTS } else { FAILURES };
        if is_hopeless {
            match number {
                Some(number) => self.passing = Some(number),
                None => self.resync = true,
            }
        }
        is_hopeless
    }

    /// A body is over in which nothing came: nothing is behind the fragment that was to be passed over.
    pub(super) fn nothing_came(&mut self) {
        self.passing = None;
    }

    /// Whether it is tried behind a fragment that is to be passed over.
    pub(super) fn is_passing(&self) -> bool {
        self.passing.is_some()
    }

    /// What was wrong with the fragment that is being passed over.
    pub(super) fn passed_over(&self) -> Option<(FragmentNumber, Error)> {
        let (number, failure) = (self.passing.clone()?, self.failure.as_ref()?);
        let cut = || Error::malformed("it ends, again and again, before it is whole");
        Some((number, failure.cause.clone().unwrap_or_else(cut)))
    }

    /// Where to go on is not there any more: goes on elsewhere. False if it does already.
    pub(super) fn go_elsewhere(&mut self, start: Start) -> bool {
        let is_new = self.elsewhere.is_none() && self.passing.is_none();
        if is_new {
            self.failure = None;
            self.elsewhere = Some(start);
        }
        is_new
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
        let mut resume = Resume::new(Start::Now);
        assert_eq!(resume.start(), Start::Now);
        let date = Timestamp::from_millis(1000);
        resume.opened(Some(date));
        resume.opened(Some(Timestamp::from_millis(9000)));
        assert_eq!(resume.start(), Start::ServerTime(date));
        // Unless one was cut: it began before that.
        assert!(!resume.broke(&position(7, 70), 10, io()));
        assert_eq!(resume.start(), Start::ServerTime(Timestamp::from_millis(70)));
        assert!(resume.is_repeat(&header(6, 60)) && !resume.is_repeat(&header(7, 70)));
    }

    #[test]
    fn what_fails_twice_at_the_same_place_is_passed_over() {
        let mut resume = Resume::new(Start::Earliest);
        resume.gave_out(position(6, 60));
        let damage = || Some(Error::malformed("damage"));
        assert!(!resume.broke(&position(7, 70), 10, damage()));
        assert!(!resume.broke(&position(7, 70), 11, damage()));
        assert_eq!(resume.start(), Start::Token("6".into()));
        assert!(resume.broke(&position(7, 70), 11, damage()));
        assert_eq!(resume.start(), Start::AfterFragment("7".parse().unwrap()));
        assert_eq!(resume.passed_over().unwrap().0.as_str(), "7");
        // Nothing behind it yet: it may still come.
        resume.nothing_came();
        assert_eq!(resume.start(), Start::Token("6".into()));
        assert!(resume.broke(&position(7, 70), 11, damage()));
        resume.gave_out(position(8, 80));
        assert!(resume.passed_over().is_none());
        assert_eq!(resume.start(), Start::Token("8".into()));
    }

    #[test]
    fn what_has_aged_out_is_gone_on_elsewhere() {
        let mut resume = Resume::new(Start::Earliest);
        resume.gave_out(position(6, 60));
        assert!(resume.go_elsewhere(Start::Now));
        assert!(!resume.go_elsewhere(Start::Now));
        assert_eq!(resume.start(), Start::Now);
        // From then on nothing is lost any more.
        resume.opened(Some(Timestamp::from_millis(9000)));
        resume.nothing_came();
        assert_eq!(resume.start(), Start::ServerTime(Timestamp::from_millis(9000)));
        assert!(!resume.broke(&position(80, 800), 10, io()));
        assert_eq!(resume.start(), Start::ServerTime(Timestamp::from_millis(800)));
        resume.gave_out(position(80, 800));
        assert_eq!(resume.start(), Start::Token("80".into()));
    }

    #[test]
    fn an_accident_may_happen_twice() {
        let mut resume = Resume::new(Start::Earliest);
        assert!(!resume.broke(&position(7, 70), 10, io()));
        assert!(!resume.broke(&position(7, 70), 10, io()));
        assert!(resume.broke(&position(7, 70), 10, io()));
    }

    #[test]
    fn what_has_no_number_is_read_over() {
        let mut resume = Resume::new(Start::Earliest);
        assert!(!resume.broke(&Position::default(), 10, Some(Error::malformed("damage"))));
        assert!(!resume.resyncs());
        assert!(resume.broke(&Position::default(), 10, Some(Error::malformed("damage"))));
        assert!(resume.resyncs());
        resume.gave_out(position(8, 80));
        assert!(!resume.resyncs());
    }
}
