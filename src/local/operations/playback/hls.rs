//! Playlists of HLS, in the order and with the attributes that the service's have.

use std::fmt::Write;

use super::listing::{Listing, Part, PartTrack};
use super::options::{Options, Selection};
use crate::local::operations::codecs::Played;

/// Returns the master playlist.
pub(crate) fn master(options: &Options, listing: &Listing, token: &str) -> String {
    let parts = || listing.shown();
    let config = parts().next().and_then(|part| listing.config(part.config));
    let tracks = || config.iter().flat_map(|config| &config.tracks);
    let has_rendition = options.played == Played::HlsMp4 && tracks().count() > 1;
    let media = |track: u64| format!("getHLSMediaPlaylist.m3u8?SessionToken={token}&TrackNumber={track}");
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:1\n");
    if has_rendition {
        let uri = media(2);
        text += &format!(
            "#EXT-X-MEDIA:AUTOSELECT=YES,FORCED=NO,TYPE=AUDIO,URI=\"{uri}\",GROUP-ID=\"audio\",DEFAULT=NO,NAME=\"audio\"\n"
        );
    }
    let codecs: Vec<&str> = tracks().map(|track| &track.codec[..]).collect();
    text += &format!("#EXT-X-STREAM-INF:CODECS=\"{}\"", codecs.join(","));
    if let Some(video) = config.and_then(|config| config.video()) {
        if let (Some(width), Some(height)) = (video.declared.width(), video.declared.height()) {
            text += &format!(",RESOLUTION={width}x{height}");
        }
        text += &format!(",FRAME-RATE={}", decimals(frame_rate(parts(), video.declared.number())));
    }
    let bandwidth = parts().map(|part| part.bandwidth(|_| true)).max().unwrap_or(0);
    text += &format!(",BANDWIDTH={bandwidth}");
    if has_rendition {
        text += ",AUDIO=\"audio\"";
    }
    text + "\n" + &media(1) + "\n"
}

/// Returns the media playlist of a track. Those of MPEG-TS have all tracks.
pub(crate) fn media(
    options: &Options,
    listing: &Listing,
    token: &str,
    track: u64,
    has_discontinuity_sequence: bool,
) -> String {
    let is_ts = options.played == Played::HlsTs;
    let mut text = String::from("#EXTM3U\n#EXT-X-VERSION:7\n");
    if matches!(options.selection, Selection::OnDemand(_)) {
        text += "#EXT-X-PLAYLIST-TYPE:VOD\n";
    }
    // The duration of each part, rounded, is at most the target.
    let target = (listing.longest() + 500_000_000) / 1_000_000_000;
    let first = listing.shown().next();
    let sequence = first.map_or(0, |part| part.sequence);
    text += &format!("#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:{sequence}\n", target.max(1));
    if let Some(first) = first.filter(|_| has_discontinuity_sequence) {
        text += &format!("#EXT-X-DISCONTINUITY-SEQUENCE:{}\n", first.discontinuities_before);
    }
    text += "#EXT-X-INDEPENDENT-SEGMENTS\n";
    let mut config = None;
    for part in listing.shown() {
        if part.is_discontinuous {
            text += "#EXT-X-DISCONTINUITY\n";
        }
        if !is_ts && config != Some(part.config) {
            let number = part.config;
            text += &format!(
                "#EXT-X-MAP:URI=\"getMP4InitFragment.mp4?SessionToken={token}&TrackNumber={track}&SequenceNumber={number}\"\n"
            );
            config = Some(part.config);
        }
        if options.shows_times {
            text += &format!("#EXT-X-PROGRAM-DATE-TIME:{}\n", part.time);
        }
        let duration = if is_ts { part.duration() } else { part.track(track).map_or(0, PartTrack::duration) };
        let number = &part.number;
        text += &format!("#EXTINF:{},\n", decimals(duration as f64 / 1e9));
        text += &match is_ts {
            true => format!("getTSFragment.ts?FragmentNumber={number}&SessionToken={token}\n"),
            false => {
                format!("getMP4MediaFragment.mp4?FragmentNumber={number}&SessionToken={token}&TrackNumber={track}\n")
            }
        };
    }
    if listing.is_complete() {
        text += "#EXT-X-ENDLIST\n";
    }
    text
}

/// Returns the pictures per second of these parts.
pub(crate) fn frame_rate<'a>(parts: impl Iterator<Item = &'a Part>, track: u64) -> f64 {
    let tracks = parts.filter_map(|part| part.track(track));
    let (pictures, nanos) = tracks.fold((0.0, 0.0), |(pictures, nanos), track| {
        (pictures + track.extent.samples as f64, nanos + track.duration() as f64)
    });
    if nanos > 0.0 { pictures * 1e9 / nanos } else { 0.0 }
}

/// Formats a number with at most three decimals.
pub(crate) fn decimals(number: f64) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write!(text, "{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_at_most_three_decimals() {
        for (number, expected) in [(2.68, "2.68"), (1.8574, "1.857"), (10.0, "10"), (0.0004, "0"), (15.0096, "15.01")] {
            assert_eq!(decimals(number), expected);
        }
    }
}
