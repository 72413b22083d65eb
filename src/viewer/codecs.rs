//! The media type of a stream, as a browser asks for it (RFC 6381).

use crate::error::Result;
use crate::fragment::{Fragment, TrackKind};
use crate::mux::AudioConfig;
use crate::mux::codec::video::{VideoCodec, VideoConfig};

/// Returns the media type of MP4 with the tracks of a fragment.
///
/// # Errors
/// If a track has no place in MP4, or its configuration cannot be read.
pub(super) fn media_type(fragment: &Fragment) -> Result<String> {
    let mut codecs = Vec::new();
    let mut has_video = false;
    for track in fragment.tracks().iter() {
        if let (TrackKind::Video, Some(codec)) = (track.kind(), VideoCodec::of_track(track)) {
            has_video = true;
            let packets: Vec<_> =
                fragment.packets().filter(|packet| packet.track_number() == track.number()).take(8).collect();
            let config = VideoConfig::of_track(track, codec, packets.iter())?;
            codecs.push(match codec {
                VideoCodec::H264 => h264(&config),
                VideoCodec::H265 => h265(&config),
            });
        } else {
            codecs.push(AudioConfig::of_track(track, fragment.tracks())?.codec_string());
        }
    }
    let kind = if has_video { "video" } else { "audio" };
    Ok(format!("{kind}/mp4; codecs=\"{}\"", codecs.join(", ")))
}

fn name(config: &VideoConfig) -> String {
    String::from_utf8_lossy(config.entry_name()).into_owned()
}

/// `avc1.`, then profile, compatibility and level as the avcC record has them.
fn h264(config: &VideoConfig) -> String {
    let bytes = config.record().get(1..4).unwrap_or_default();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}.{hex}", name(config))
}

/// ISO/IEC 14496-15 annex E.3.
fn h265(config: &VideoConfig) -> String {
    let record = config.record();
    let byte = |at: usize| record.get(at).copied().unwrap_or(0);
    let space = ["", "A", "B", "C"].get(usize::from(byte(1) >> 6)).copied().unwrap_or_default();
    let flags = u32::from_be_bytes([byte(2), byte(3), byte(4), byte(5)]).reverse_bits();
    let tier = if byte(1) & 0x20 == 0 { 'L' } else { 'H' };
    let constraints = record.get(6..12).unwrap_or_default();
    let used = constraints.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let constraints: String = constraints.iter().take(used).map(|byte| format!(".{byte:X}")).collect();
    format!("{}.{space}{}.{flags:X}.{tier}{}{constraints}", name(config), byte(1) & 0x1F, byte(12))
}
