//! [`Options`]: what a session was requested to play, and how.

use crate::local::operations::codecs::Played;
use crate::local::operations::selection::{Origin, Window};

/// The protocol of a playback session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Hls,
    Dash,
}

/// The fragments that a session plays.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Selection {
    /// LIVE: the newest.
    Live(Origin),
    /// LIVE_REPLAY: one after the other, in real time.
    Replay(Window),
    /// ON_DEMAND: all of them.
    OnDemand(Window),
}

impl Selection {
    pub(crate) fn origin(&self) -> Origin {
        match self {
            Self::Live(origin) => *origin,
            Self::Replay(window) | Self::OnDemand(window) => window.origin,
        }
    }
}

/// Where an HLS playlist has discontinuities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Discontinuities {
    Always,
    Never,
    OnDiscontinuity,
}

/// The options of a playback session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) protocol: Protocol,
    pub(crate) selection: Selection,
    pub(crate) played: Played,
    pub(crate) discontinuities: Discontinuities,
    pub(crate) shows_times: bool,
    pub(crate) shows_numbers: bool,
    /// The most fragments in a playlist.
    pub(crate) most: usize,
}
