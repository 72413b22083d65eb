//! [`Window`]: the fragments that were yielded, from the first unacknowledged one on.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use crate::error::{Error, Result};
use crate::fragment::{FragmentNumber, Position, Timestamp};

/// The maximum number of fragments in the window: about a day of them, and 20 MB.
const CAPACITY: usize = 65_536;

/// The fragments from the first unacknowledged one on, in the order in which they were yielded.
///
/// The low-water mark is the position of the fragment before the front. It only moves when the front is removed.
#[derive(Default)]
pub(super) struct Window {
    waiting: VecDeque<Waiting>,
    /// The ordinal of the front: the number of fragments that were removed.
    first: u64,
    ordinals: HashMap<Key, u64>,
    mark: Option<Position>,
}

struct Waiting {
    position: Position,
    done: bool,
}

/// The part of a position that identifies a fragment.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Number(FragmentNumber),
    Other(Option<Box<str>>, Option<Timestamp>),
}

impl Key {
    fn of(position: &Position) -> Self {
        match position.number() {
            Some(number) => Self::Number(number.clone()),
            None => Self::Other(position.continuation_token().map(Into::into), position.server_time()),
        }
    }
}

impl Window {
    /// Returns the low-water mark: the position of the last fragment before the first unacknowledged one.
    pub(super) fn mark(&self) -> Option<&Position> {
        self.mark.as_ref()
    }

    /// Sets the mark from which on nothing is done. An earlier mark stays. Returns whether there was none.
    #[cfg(feature = "aws")]
    pub(super) fn starts_after(&mut self, position: Position) -> bool {
        let is_first = self.mark.is_none();
        self.mark.get_or_insert(position);
        is_first
    }

    /// Records a fragment that is about to be yielded. A repeat has to be acknowledged again.
    pub(super) fn record(&mut self, position: Position) -> Result<()> {
        // No consumer could resume after an empty position.
        if position.is_empty() {
            return Ok(());
        }
        let key = Key::of(&position);
        if let Some(repeat) = self.ordinals.get(&key).copied().and_then(|ordinal| self.at(ordinal)) {
            repeat.done = false;
            return Ok(());
        }
        if self.waiting.len() >= CAPACITY {
            let first = self.waiting.front().and_then(|waiting| waiting.position.number());
            let message =
                format!("acknowledgements are missing: {CAPACITY} fragments wait for the first of them to be done");
            return Err(Error::limit(message).in_fragment(first.map(FragmentNumber::as_str)));
        }
        self.ordinals.insert(key, self.first + self.waiting.len() as u64);
        self.waiting.push_back(Waiting { position, done: false });
        Ok(())
    }

    /// Acknowledges a fragment. Returns whether the mark has moved.
    pub(super) fn done(&mut self, position: &Position) -> bool {
        let ordinal = self.ordinals.get(&Key::of(position)).copied();
        if let Some(waiting) = ordinal.and_then(|ordinal| self.at(ordinal)) {
            waiting.done = true;
        }
        self.advance(|first| first.done)
    }

    /// Acknowledges a fragment and all before it. Returns whether the mark has moved.
    pub(super) fn done_through(&mut self, position: &Position) -> bool {
        let Some(&last) = self.ordinals.get(&Key::of(position)) else { return false };
        let mut left = last + 1 - self.first;
        self.advance(|first| {
            let covered = left > 0;
            left = left.saturating_sub(1);
            covered || first.done
        })
    }

    fn at(&mut self, ordinal: u64) -> Option<&mut Waiting> {
        self.waiting.get_mut(usize::try_from(ordinal.checked_sub(self.first)?).ok()?)
    }

    /// Removes fragments at the front while they are done. Returns whether the mark has moved.
    fn advance(&mut self, mut is_done: impl FnMut(&Waiting) -> bool) -> bool {
        let mut moved = false;
        while let Some(first) = self.waiting.pop_front_if(|first| is_done(first)) {
            self.first += 1;
            self.ordinals.remove(&Key::of(&first.position));
            // A repeat does not move the mark back. A smaller number at a later time belongs to a stream that was
            // deleted and created again.
            let is_repeat = self.mark.as_ref().is_some_and(|mark| {
                let (number, time) = (first.position.number(), first.position.server_time());
                number.is_some() && number <= mark.number() && time <= mark.server_time()
            });
            if !is_repeat {
                self.mark = Some(first.position);
                moved = true;
            }
        }
        moved
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Window").field("waiting", &self.waiting.len()).field("mark", &self.mark).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn position(number: usize) -> Position {
        format!("kvs1:{number}:::=").parse().unwrap()
    }

    #[test]
    fn fails_when_the_window_is_full() {
        let mut window = Window::default();
        for number in 1..=CAPACITY {
            window.record(position(number)).unwrap();
        }
        // Fragments after the first one count too, done or not. A repeat does not count.
        assert!(!window.done(&position(2)));
        window.record(position(CAPACITY)).unwrap();
        let error = window.record(position(CAPACITY + 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert_eq!(
            error.to_string(),
            "limit exceeded: acknowledgements are missing: 65536 fragments wait for the first of them to be done \
             (fragment 1)"
        );
        assert!(window.done(&position(1)));
        assert_eq!(window.mark(), Some(&position(2)));
        window.record(position(CAPACITY + 1)).unwrap();
        assert!(window.done_through(&position(CAPACITY + 1)));
        assert_eq!(window.mark(), Some(&position(CAPACITY + 1)));
        assert!(window.waiting.is_empty() && window.ordinals.is_empty());
    }

    #[test]
    fn repeats_must_be_acknowledged_again() {
        let mut window = Window::default();
        for number in [1, 2, 3] {
            window.record(position(number)).unwrap();
        }
        window.done(&position(2));
        window.record(position(2)).unwrap();
        window.done(&position(1));
        assert_eq!(window.mark(), Some(&position(1)));
        window.done_through(&position(3));
        // A repeat of fragment 2 holds the mark, and does not move it back.
        for number in [2, 4] {
            window.record(position(number)).unwrap();
        }
        assert!(!window.done(&position(4)));
        assert_eq!(window.mark(), Some(&position(3)));
        assert!(window.done(&position(2)));
        assert_eq!(window.mark(), Some(&position(4)));
        assert!(window.waiting.is_empty() && window.ordinals.is_empty());
    }

    #[test]
    fn tracks_positions_by_time_and_ignores_empty_ones() {
        let mut window = Window::default();
        let by_time: Position = "kvs1::1511852109126::".parse().unwrap();
        window.record(Position::default()).unwrap();
        window.record(by_time.clone()).unwrap();
        assert!(!window.done(&Position::default()));
        assert!(window.done(&by_time));
        assert_eq!(window.mark(), Some(&by_time));
    }
}
