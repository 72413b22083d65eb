//! Playback sessions.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

use crate::fragment::Timestamp;

/// The protocol of a playback session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Hls,
    Dash,
}

/// The playback sessions that have not expired.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    /// Random keys, so that tokens cannot be guessed.
    keys: [RandomState; 2],
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    begun: u64,
    sessions: HashMap<String, Session>,
}

#[derive(Debug)]
struct Session {
    protocol: Protocol,
    expires: Timestamp,
}

impl Sessions {
    /// Begins a session, and returns its token.
    pub(crate) fn open(&self, protocol: Protocol, now: Timestamp, seconds: i64) -> String {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.sessions.retain(|_, session| session.expires > now);
        open.begun += 1;
        let token: String = self.keys.iter().map(|key| format!("{:016x}", key.hash_one(open.begun))).collect();
        let expires = now.plus_nanos(seconds.saturating_mul(1_000_000_000));
        open.sessions.insert(token.clone(), Session { protocol, expires });
        token
    }

    /// Tells whether the session with this token exists and has not expired.
    pub(crate) fn is_open(&self, protocol: Protocol, token: &str, now: Timestamp) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.sessions.get(token).is_some_and(|session| session.protocol == protocol && session.expires > now)
    }
}
