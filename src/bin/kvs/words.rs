//! Words for people: counts, codecs and discontinuities.

use std::io;

use kinesis_video::{Discontinuity, Error};

use crate::failure::{causes, io_text};
use crate::time;

/// Returns a count with its noun: "1 gap", "2 gaps".
pub(crate) fn count(n: u64, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

/// Returns the usual name of a codec, or else its Matroska codec id.
pub(crate) fn codec(codec_id: &str) -> &str {
    match codec_id {
        "V_MPEG4/ISO/AVC" => "H.264",
        "V_MPEGH/ISO/HEVC" => "H.265",
        "A_AAC" => "AAC",
        "A_MS/ACM" => "G.711",
        "A_PCM/INT/LIT" => "PCM",
        other => other,
    }
}

/// Returns the text of a discontinuity, with durations in people's units.
pub(crate) fn discontinuity(discontinuity: &Discontinuity) -> String {
    match discontinuity {
        Discontinuity::Gap { duration, .. } => format!("gap of {}", time::duration(*duration)),
        Discontinuity::Reconnected { cause, calls, after, .. } => {
            let cause = cause.as_ref().map_or_else(|| "the service had ended the connection".into(), reason);
            format!("reconnected after {} and {}: {cause}", time::duration(*after), count((*calls).into(), "call"))
        }
        Discontinuity::SkippedFragment { number, cause, .. } => format!("fragment {number} skipped: {}", reason(cause)),
        Discontinuity::TimelineReset { by, .. } => format!("the timeline went back by {}", time::duration(*by)),
        other => other.to_string(),
    }
}

/// Returns the shortest reason: what the operating system says, or else the message.
fn reason(error: &Error) -> String {
    let io_error =
        causes(error).find_map(|cause| cause.downcast_ref::<io::Error>().filter(|error| error.get_ref().is_none()));
    io_error.map_or_else(|| error.message().to_owned(), io_text)
}
