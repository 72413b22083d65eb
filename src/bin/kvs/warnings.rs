//! Warnings while the library retries, from its log.

use std::fmt::{self, Write as _};
use std::time::Duration;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};

use crate::screen::Screen;
use crate::time;

/// The library's events about retries.
const RETRY: &str = "kinesis_video::retry";

/// Prints the library's warnings from now on, and with `verbose` whatever it logs.
pub(crate) fn print(screen: &Screen, verbose: bool) {
    let layer = Warnings { screen: screen.clone(), verbose };
    // Fails only if there is a subscriber already.
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
}

struct Warnings {
    screen: Screen,
    verbose: bool,
}

impl<S: Subscriber> Layer<S> for Warnings {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let level = if self.verbose { Level::DEBUG } else { Level::WARN };
        metadata.target().starts_with("kinesis_video") && *metadata.level() <= level
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if event.metadata().target() == RETRY {
            self.screen.warn(&fields.retry());
        } else if *event.metadata().level() <= Level::WARN {
            self.screen.warn(&fields.text());
        } else {
            self.screen.note(&format!("{}: {}", event.metadata().target(), fields.text()));
        }
    }
}

#[derive(Debug, Default)]
struct Fields {
    message: String,
    stream: String,
    error: String,
    cause: String,
    pause_ms: u64,
    attempt: u64,
    others: String,
}

impl Fields {
    /// The text of a retry: "front-door: connection reset, retrying in 2 s (3rd try)".
    fn retry(&self) -> String {
        let Self { stream, error, cause, attempt, .. } = self;
        // The cause says it in the words of the operating system; the error's text names the call.
        let reason = if cause.is_empty() { error } else { cause };
        let reason = reason.split(" (os error ").next().unwrap_or(reason).trim_end_matches('.');
        let pause = match self.pause_ms {
            0..50 => "now".into(),
            millis => format!("in {}", time::duration(Duration::from_millis(millis))),
        };
        // ListStreams is about no stream.
        let subject = if stream.is_empty() { String::new() } else { format!("{stream}: ") };
        format!("{subject}{reason}, retrying {pause} ({} try)", ordinal(*attempt))
    }

    fn text(&self) -> String {
        let parts = [&self.stream, &self.message, &self.error, &self.cause];
        let parts: Vec<&str> = parts.into_iter().map(|part| &part[..]).filter(|part| !part.is_empty()).collect();
        parts.join(": ") + &self.others
    }
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "pause_ms" => self.pause_ms = value,
            "attempt" => self.attempt = value,
            _ => self.record_debug(field, &value),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let value = format!("{value:?}");
        match field.name() {
            "message" => self.message = value,
            "stream" => self.stream = value,
            "error" => self.error = value,
            "cause" => self.cause = value,
            name => {
                let _ = write!(self.others, ", {name} {value}");
            }
        }
    }
}

fn ordinal(n: u64) -> String {
    let suffix = match (n % 10, n % 100) {
        (1, tens) if tens != 11 => "st",
        (2, tens) if tens != 12 => "nd",
        (3, tens) if tens != 13 => "rd",
        _ => "th",
    };
    format!("{n}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_is_one_short_line() {
        let fields = Fields {
            stream: "front-door".into(),
            cause: "Connection reset by peer (os error 104)".into(),
            pause_ms: 2000,
            attempt: 3,
            ..Fields::default()
        };
        assert_eq!(fields.retry(), "front-door: Connection reset by peer, retrying in 2.0 s (3rd try)");
        let fields = Fields { stream: String::new(), ..fields };
        assert_eq!(fields.retry(), "Connection reset by peer, retrying in 2.0 s (3rd try)");
        assert_eq!([1, 2, 11, 21, 112].map(ordinal), ["1st", "2nd", "11th", "21st", "112th"]);
    }
}
