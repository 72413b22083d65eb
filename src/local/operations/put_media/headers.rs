//! The headers of a request.

use axum::http::HeaderMap;

use crate::fragment::Timestamp;
use crate::local::operations::check::one_of;
use crate::local::server::wire::{ErrorResponse, StreamRequest};

/// Returns the stream that the headers of a request name.
pub(crate) fn stream_named_by(headers: &HeaderMap) -> StreamRequest {
    let named = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    StreamRequest { stream_name: named("x-amzn-stream-name"), stream_arn: named("x-amzn-stream-arn") }
}

/// The headers of a request, apart from the stream's name.
pub(super) struct PutHeaders {
    /// The producer's time of timecode 0.
    pub(super) origin: Timestamp,
    pub(super) needs_acks: bool,
}

impl PutHeaders {
    pub(super) fn parse(headers: &HeaderMap) -> Result<Self, ErrorResponse> {
        let text = |name: &str| {
            let unreadable = |_| ErrorResponse::invalid_argument(format!("the header {name} is not ASCII"));
            headers.get(name).map(|value| value.to_str().map_err(unreadable)).transpose()
        };
        let kind = text("x-amzn-fragment-timecode-type")?;
        let kind = kind.ok_or_else(|| ErrorResponse::invalid_argument("x-amzn-fragment-timecode-type is missing"))?;
        one_of("x-amzn-fragment-timecode-type", Some(kind), &["ABSOLUTE", "RELATIVE"])?;
        let started = text("x-amzn-producer-start-timestamp")?.map(seconds).transpose()?;
        let origin = match (kind, started) {
            ("RELATIVE", None) => {
                let message = "x-amzn-producer-start-timestamp is missing, which RELATIVE timecodes need";
                return Err(ErrorResponse::invalid_argument(message));
            }
            ("RELATIVE", Some(started)) => started,
            _ => Timestamp::default(),
        };
        let needs_acks = text("x-amzn-fragment-acknowledgment-required")?;
        one_of("x-amzn-fragment-acknowledgment-required", needs_acks, &["0", "1", "false", "true"])?;
        Ok(Self { origin, needs_acks: !matches!(needs_acks, Some("0" | "false")) })
    }
}

/// Parses a time in seconds with a fraction, such as `1795534218.015`.
fn seconds(text: &str) -> Result<Timestamp, ErrorResponse> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let millis = || {
        // Digits after the third are of no use: fragments have milliseconds.
        let fraction = format!("{fraction:0<3}").get(..3)?.parse::<i64>().ok()?;
        whole.parse::<i64>().ok()?.checked_mul(1000)?.checked_add(fraction).filter(|millis| *millis < MAX_MILLIS)
    };
    let millis = if is_digits(whole) && is_digits(fraction) { millis() } else { None };
    let invalid = || ErrorResponse::invalid_argument("x-amzn-producer-start-timestamp must be seconds since 1970");
    millis.map(Timestamp::from_millis).ok_or_else(invalid)
}

/// Times from here on, in the year 2262, cannot be represented in nanoseconds.
const MAX_MILLIS: i64 = i64::MAX / 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_times_are_decimal_seconds() {
        for (text, expected) in [
            ("0", 0),
            ("1795534218.015", 1_795_534_218_015),
            ("1795534218.15", 1_795_534_218_150),
            ("1795534218.0159", 1_795_534_218_015),
            ("1795534218", 1_795_534_218_000),
        ] {
            assert_eq!(seconds(text).unwrap().as_millis(), expected, "{text}");
        }
        for text in ["", ".", "1.", ".5", "-1", "1e9", "1.2.3", "99999999999999999999", "9223372036854.9", "é"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
