//! What was given out and has to wait for an acknowledgement, of it or of one before it.

use std::collections::{HashMap, VecDeque};
use std::fmt;

use crate::error::{Error, Result};
use crate::fragment::{FragmentNumber, Position, Timestamp};

/// So many may wait: a day of fragments, and some 20 MB.
const MOST: usize = 65_536;

/// In the order it was given out, so that the low-water mark, behind which nothing is missing, only
/// ever moves over the front.
#[derive(Default)]
pub(super) struct Window {
    waiting: VecDeque<Waiting>,
    /// The ordinal of the front: how many were there before it.
    first: u64,
    ordinals: HashMap<Key, u64>,
    mark: Option<Position>,
}

struct Waiting {
    position: Position,
    done: bool,
}

/// What makes two positions equal.
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
    /// The position of the last item before the first one that is not done.
    pub(super) fn mark(&self) -> Option<&Position> {
        self.mark.as_ref()
    }

    pub(super) fn gave_out(&mut self, position: Position) -> Result<()> {
        // By such a one nobody could go on.
        if position.is_empty() {
            return Ok(());
        }
        let key = Key::of(&position);
        if let Some(again) = self.ordinals.get(&key).copied().and_then(|ordinal| self.at(ordinal)) {
            again.done = false;
            return Ok(());
        }
        if self.waiting.len() >= MOST {
            let first = self.waiting.front().and_then(|waiting| waiting.position.number());
            let message =
                format!("acknowledgements are missing: {MOST} fragments wait for the first of them to be done");
            return Err(Error::limit(message).in_fragment(first.map(FragmentNumber::as_str)));
        }
        self.ordinals.insert(key, self.first + self.waiting.len() as u64);
        self.waiting.push_back(Waiting { position, done: false });
        Ok(())
    }

    /// Whether the mark has moved.
    pub(super) fn done(&mut self, position: &Position) -> bool {
        let ordinal = self.ordinals.get(&Key::of(position)).copied();
        if let Some(waiting) = ordinal.and_then(|ordinal| self.at(ordinal)) {
            waiting.done = true;
        }
        self.advance(|first| first.done)
    }

    /// Whether the mark has moved.
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

    fn advance(&mut self, mut is_done: impl FnMut(&Waiting) -> bool) -> bool {
        let mut moved = false;
        while let Some(first) = self.waiting.pop_front_if(|first| is_done(first)) {
            self.first += 1;
            self.ordinals.remove(&Key::of(&first.position));
            // What came again does not set the mark back. A smaller number at a later time is that of a
            // stream that was made anew.
            let came_again = self.mark.as_ref().is_some_and(|mark| {
                let (number, time) = (first.position.number(), first.position.server_time());
                number.is_some() && number <= mark.number() && time <= mark.server_time()
            });
            if !came_again {
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
    fn as_many_wait_as_may() {
        let mut window = Window::default();
        for number in 1..=MOST {
            window.gave_out(position(number)).unwrap();
        }
        // Those behind the first are in the way too, done or not; what came again is not counted.
        assert!(!window.done(&position(2)));
        window.gave_out(position(MOST)).unwrap();
        let error = window.gave_out(position(MOST + 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert_eq!(
            error.to_string(),
            "limit exceeded: acknowledgements are missing: 65536 fragments wait for the first of them to be done \
             (fragment 1)"
        );
        assert!(window.done(&position(1)));
        assert_eq!(window.mark(), Some(&position(2)));
        window.gave_out(position(MOST + 1)).unwrap();
        assert!(window.done_through(&position(MOST + 1)));
        assert_eq!(window.mark(), Some(&position(MOST + 1)));
        assert!(window.waiting.is_empty() && window.ordinals.is_empty());
    }

    #[test]
    fn what_comes_again_has_to_be_done_again() {
        let mut window = Window::default();
        for number in [1, 2, 3] {
            window.gave_out(position(number)).unwrap();
        }
        window.done(&position(2));
        window.gave_out(position(2)).unwrap();
        window.done(&position(1));
        assert_eq!(window.mark(), Some(&position(1)));
        window.done_through(&position(3));
        // Behind the mark: it holds the mark up, and does not set it back.
        for number in [2, 4] {
            window.gave_out(position(number)).unwrap();
        }
        assert!(!window.done(&position(4)));
        assert_eq!(window.mark(), Some(&position(3)));
        assert!(window.done(&position(2)));
        assert_eq!(window.mark(), Some(&position(4)));
        assert!(window.waiting.is_empty() && window.ordinals.is_empty());
    }

    #[test]
    fn positions_without_a_number_and_without_anything() {
        let mut window = Window::default();
        let by_time: Position = "kvs1::1511852109126::".parse().unwrap();
        window.gave_out(Position::default()).unwrap();
        window.gave_out(by_time.clone()).unwrap();
        assert!(!window.done(&Position::default()));
        assert!(window.done(&by_time));
        assert_eq!(window.mark(), Some(&by_time));
    }
}
