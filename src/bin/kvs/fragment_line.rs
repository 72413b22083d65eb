//! The line of a fragment: as text, and as JSON.

use kinesis_video::{Discontinuity, Fragment, FragmentEnd, Packet};
use serde_json::{Value, json};

use crate::screen::DIM;
use crate::{time, words};

/// Returns the line of a fragment.
pub(crate) fn text(fragment: &Fragment) -> String {
    let begins = fragment.producer_time().or(fragment.server_time());
    let behind = fragment.behind_now().map(|behind| format!("{} behind, ", time::duration(behind))).unwrap_or_default();
    let codecs: Vec<_> = fragment.tracks().iter().map(|track| words::codec(track.codec_id())).collect();
    let cut = if fragment.end_reason() == FragmentEnd::Cut { ", cut" } else { "" };
    let number = fragment.number().map(|number| format!("  {DIM}{number}{DIM:#}")).unwrap_or_default();
    format!(
        "{}  {:.3} s, {behind}{}, {}, {}{cut}{number}",
        time::local_or_dash(begins),
        fragment.duration().as_secs_f64(),
        codecs.join("+"),
        words::count(fragment.packets().count() as u64, "packet"),
        indicatif::HumanBytes(fragment.raw().len() as u64),
    )
}

/// Returns the members of a fragment of a source.
pub(crate) fn object(name: &str, fragment: &Fragment) -> Value {
    let tags: Vec<_> = fragment.tags().iter().map(|tag| json!([tag.name(), tag.value().to_string()])).collect();
    json!({
        "source": name,
        "fragment_number": fragment.number().map(ToString::to_string),
        "producer_time": fragment.producer_time().map(|time| time.to_string()),
        "server_time": fragment.server_time().map(|time| time.to_string()),
        "duration_ms": fragment.duration().as_millis() as u64,
        "behind_now_ms": fragment.behind_now().map(|behind| behind.as_millis() as u64),
        "tracks": fragment.tracks().iter().map(|track| track.codec_id().to_owned()).collect::<Vec<_>>(),
        "packets": fragment.packets().count(),
        "key_frames": fragment.packets().filter(Packet::is_key).count(),
        "bytes": fragment.raw().len(),
        "end": fragment.end_reason().as_str(),
        "tags": tags,
        "discontinuities": fragment.discontinuities().iter().map(ToString::to_string).collect::<Vec<_>>(),
        "is_loss": fragment.discontinuities().iter().any(Discontinuity::is_loss),
    })
}
