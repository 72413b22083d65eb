//! Which clock.

/// The clock by which a range of time is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Clock {
    /// When the producer says that a fragment began.
    Producer,
    /// When the service began to receive it.
    #[default]
    Server,
}
