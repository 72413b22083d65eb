//! Where to begin with a stream, and by which clock.

use std::str::FromStr;

use clap::ValueEnum;
use kinesis_video::{Clock, Error, FragmentNumber, Position, Start, Timestamp};

use crate::time::GivenTime;

/// A clock, as an option names it.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(crate) enum ClockName {
    /// The clock of the producer, such as a camera.
    Producer,
    /// The clock of the service.
    #[default]
    Server,
}

impl ClockName {
    /// Returns the time on this clock, or else on the other one.
    pub(crate) fn first_of(self, server: Option<Timestamp>, producer: Option<Timestamp>) -> Option<Timestamp> {
        match self {
            Self::Producer => producer.or(server),
            Self::Server => server.or(producer),
        }
    }
}

impl From<ClockName> for Clock {
    fn from(name: ClockName) -> Self {
        match name {
            ClockName::Producer => Self::Producer,
            ClockName::Server => Self::Server,
        }
    }
}

/// A place to start, as an option names it.
#[derive(Clone, Debug)]
pub(crate) enum Begin {
    Earliest,
    Now,
    Position(Position),
    Time(GivenTime),
}

impl Begin {
    /// Returns the start of a live stream.
    pub(crate) fn of_live(&self, clock: ClockName) -> Start {
        match (self, clock) {
            (Self::Now, _) => Start::Now,
            (Self::Earliest, _) => Start::Earliest,
            (Self::Position(position), _) => Start::AfterPosition(position.clone()),
            (Self::Time(GivenTime { time, .. }), ClockName::Producer) => Start::ProducerTime(*time),
            (Self::Time(GivenTime { time, .. }), ClockName::Server) => Start::ServerTime(*time),
        }
    }
}

/// Fewer digits are seconds since 1970.
const FRAGMENT_NUMBER_DIGITS: usize = 20;

/// Parses a fragment number.
pub(crate) fn fragment_number(text: &str) -> Option<FragmentNumber> {
    (text.len() >= FRAGMENT_NUMBER_DIGITS).then(|| text.parse().ok()).flatten()
}

impl FromStr for Begin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "now" => Self::Now,
            "earliest" => Self::Earliest,
            _ if text.starts_with("kvs1:") => {
                Self::Position(text.parse().map_err(|error: Error| error.message().to_owned())?)
            }
            _ => match fragment_number(text) {
                Some(number) => {
                    let position = format!("kvs1:{number}:::").parse();
                    Self::Position(position.map_err(|error: Error| error.message().to_owned())?)
                }
                None => Self::Time(GivenTime::parse(text).map_err(|_| {
                    format!(
                        "\"{text}\" is not a place to start; write now, earliest, a time (\"10m ago\", \"yesterday 14:00\", \
                         \"2026-11-21 10:00\"), a fragment number or a saved position"
                    )
                })?),
            },
        })
    }
}
