//! [`Clock`]: the producer's or the service's.

use crate::fragment::{Position, Timestamp};

/// The clock on which a range of time is measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Clock {
    /// The producer's clock: the start of a fragment as the producer reports it.
    Producer,
    /// The service's clock: the time at which the service began to receive a fragment.
    #[default]
    Server,
}

impl Clock {
    /// Returns the start of the position's fragment on this clock.
    pub(super) fn of(self, position: &Position) -> Option<Timestamp> {
        match self {
            Self::Producer => position.producer_time(),
            Self::Server => position.server_time(),
        }
    }
}
