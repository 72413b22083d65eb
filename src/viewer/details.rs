//! What the page shows of a fragment: tracks, tags, discontinuities.

use serde_json::{Value, json};

use crate::fragment::{Discontinuity, Fragment, FragmentNumber, TagValue, Timestamp, Track, TrackKind};
use crate::mux::AudioConfig;

/// The most tags of a fragment that are shown. The service allows ten.
const MOST_TAGS: usize = 100;

/// The most characters of a value that are shown.
const LONGEST_VALUE: usize = 1024;

/// Returns a fragment as the page shows it.
pub(super) fn of_fragment(fragment: &Fragment) -> Value {
    let millis = |time: Option<Timestamp>| time.map(Timestamp::as_millis);
    let tracks: Vec<_> = fragment.tracks().iter().map(|track| of_track(track, fragment.tracks())).collect();
    let tags: Vec<_> = fragment
        .tags()
        .iter()
        .take(MOST_TAGS)
        .map(|tag| {
            let value = match tag.value() {
                TagValue::Text(text) => text.chars().take(LONGEST_VALUE).collect(),
                TagValue::Binary(bytes) => format!("{} bytes", bytes.len()),
            };
            json!([tag.name().chars().take(LONGEST_VALUE).collect::<String>(), value])
        })
        .collect();
    json!({
        "number": fragment.number().map(FragmentNumber::as_str),
        "producer": millis(fragment.producer_time()),
        "server": millis(fragment.server_time()),
        "duration": fragment.duration().as_millis() as u64,
        "behind": fragment.behind_now().map(|behind| behind.as_millis() as u64),
        "bytes": fragment.raw().len(),
        "packets": fragment.blocks().len(),
        "tracks": tracks,
        "tags": tags,
        "discontinuities": fragment.discontinuities().iter().map(of_discontinuity).collect::<Vec<_>>(),
    })
}

fn of_track(track: &Track, tracks: &[Track]) -> Value {
    let audio = AudioConfig::of_track(track, tracks).ok();
    json!({
        "number": track.number(),
        "kind": track.kind().name(),
        "name": track.name(),
        "codec": track.codec_id(),
        // Amazon Connect calls its PCM AAC.
        "format": audio.as_ref().map(AudioConfig::codec_name),
        "width": track.width(),
        "height": track.height(),
        "rate": audio.as_ref().map(AudioConfig::sample_rate),
        "channels": audio.as_ref().map(AudioConfig::channels),
    })
}

fn of_discontinuity(event: &Discontinuity) -> Value {
    let seconds = |duration: &std::time::Duration| format!("{:.1} s", duration.as_secs_f64());
    let text = match event {
        Discontinuity::AgedOut { .. } => "the position was no longer stored, so reading went on elsewhere".into(),
        Discontinuity::Dropped { fragments } => format!("{fragments} fragments skipped, because this viewer was slow"),
        Discontinuity::Gap { duration } => format!("gap: {} of media are missing", seconds(duration)),
        Discontinuity::PacketDiffers { .. } => "a packet differs from the one before the reconnect".into(),
        Discontinuity::Reconnected { after, .. } => format!("reconnected after {}", seconds(after)),
        Discontinuity::Repeated { fragments } => format!("{fragments} fragments arrived twice"),
        Discontinuity::SkippedBytes(_) => "damaged bytes were skipped".into(),
        Discontinuity::SkippedFragment { number, .. } => format!("fragment {} could not be read", number.as_str()),
        Discontinuity::TimelineReset { by } => format!("the producer's clock went back by {}", seconds(by)),
        Discontinuity::TracksChanged { .. } => "the tracks changed".into(),
    };
    json!({ "text": text, "loss": event.is_loss() })
}

/// Returns what the page does with a stream that has these tracks: `call`, `video` or `audio`; `none` without any.
pub(super) fn kind(tracks: &[Track]) -> &'static str {
    let is_call = |track: &Track| track.name().is_some_and(|name| name.starts_with("AUDIO_"));
    if tracks.iter().any(|track| track.kind() == TrackKind::Video) {
        "video"
    } else if tracks.iter().any(is_call) {
        "call"
    } else if tracks.iter().any(|track| track.kind() == TrackKind::Audio) {
        "audio"
    } else {
        "none"
    }
}
