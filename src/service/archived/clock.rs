//! Which clock.

use crate::fragment::{Position, Timestamp};

/// The clock by which a range of time is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Clock {
    /// When the producer says that a fragment began.
    Producer,
    /// When the service began to receive it.
    #[default]
    Server,
}

impl Clock {
    /// When the fragment of a position began, on this clock.
    pub(super) fn of(self, position: &Position) -> Option<Timestamp> {
        match self {
            Self::Producer => position.producer_time(),
            Self::Server => position.server_time(),
        }
    }
}
