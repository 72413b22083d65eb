//! Playback sessions.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};

use crate::fragment::Timestamp;

/// The most sessions that are open at a time. It bounds their memory.
const MAX_SESSIONS: usize = 1000;

/// The sessions that have not expired, by their tokens.
#[derive(Debug)]
pub(crate) struct Sessions<T> {
    /// Random keys, so that tokens cannot be guessed.
    keys: [RandomState; 2],
    open: Mutex<Open<T>>,
}

#[derive(Debug)]
struct Open<T> {
    begun: u64,
    sessions: HashMap<String, (Timestamp, Arc<T>)>,
}

impl<T> Default for Sessions<T> {
    fn default() -> Self {
        Self { keys: Default::default(), open: Mutex::new(Open { begun: 0, sessions: HashMap::new() }) }
    }
}

impl<T> Sessions<T> {
    /// Begins a session, and returns its token. `None` if too many are open.
    pub(crate) fn open(&self, session: T, now: Timestamp, seconds: i64) -> Option<String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.sessions.retain(|_, (expires, _)| *expires > now);
        if open.sessions.len() >= MAX_SESSIONS {
            return None;
        }
        open.begun += 1;
        let token: String = self.keys.iter().map(|key| format!("{:016x}", key.hash_one(open.begun))).collect();
        // The service's tokens end like this.
        let token = token + "~";
        let expires = now.plus_nanos(seconds.saturating_mul(1_000_000_000));
        open.sessions.insert(token.clone(), (expires, Arc::new(session)));
        Some(token)
    }

    /// Returns the session with this token. `None` if it does not exist or has expired.
    pub(crate) fn find(&self, token: &str, now: Timestamp) -> Option<Arc<T>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.sessions.get(token).filter(|(expires, _)| *expires > now).map(|(_, session)| Arc::clone(session))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_are_bounded_and_make_room_when_they_expire() {
        let sessions = Sessions::default();
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let tokens: Vec<_> = (0..MAX_SESSIONS).map(|index| sessions.open(index, at(0), 300).unwrap()).collect();
        assert_eq!(sessions.open(0, at(299), 300), None);
        assert_eq!(sessions.find(&tokens[7], at(299)).as_deref(), Some(&7));
        assert_eq!(sessions.find(&tokens[7], at(300)), None);
        let renewed = sessions.open(1000, at(300), 300).unwrap();
        assert_eq!(sessions.find(&renewed, at(300)).as_deref(), Some(&1000));
        assert_eq!(sessions.find("", at(0)), None);
    }
}
