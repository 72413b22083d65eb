//! The manifest of DASH.

use super::hls::{decimals, frame_rate};
use super::listing::{Config, DASH_START, Listing, Part, nanos};
use super::options::{Options, Selection};
use crate::fragment::{Timestamp, TrackKind};
use crate::mux::mp4::ticks;

/// The namespace of the attributes `kvs:ts` and `kvs:fn`. The service's is not known.
const NAMESPACE: &str = "https://kinesisvideo.amazonaws.com/doc/2017-09-30/";

/// Returns the MPD.
pub(crate) fn manifest(options: &Options, listing: &Listing, token: &str, now: Timestamp) -> String {
    let parts = || listing.shown();
    let length = |part: &Part| part.duration() as f64 / 1e9;
    let longest = decimals(listing.longest() as f64 / 1e9);
    let is_static = matches!(options.selection, Selection::OnDemand(_));
    let mut head = format!(
        "xmlns=\"urn:mpeg:dash:schema:mpd:2011\" xmlns:kvs=\"{NAMESPACE}\" \
         profiles=\"urn:mpeg:dash:profile:isoff-live:2011\" minBufferTime=\"PT{longest}S\" maxSegmentDuration=\"PT{longest}S\""
    );
    if is_static {
        head += " type=\"static\"";
    } else {
        let (origin, depth) = (listing.origin(), decimals(parts().map(length).sum()));
        head += &format!(
            " type=\"dynamic\" availabilityStartTime=\"{origin}\" publishTime=\"{now}\" timeShiftBufferDepth=\"PT{depth}S\""
        );
    }
    if listing.is_complete() {
        let ends = parts().flat_map(|part| &part.tracks).map(|track| nanos(track.end(), track.extent.timescale));
        let end = ends.max().unwrap_or(DASH_START).saturating_sub(DASH_START);
        head += &format!(" mediaPresentationDuration=\"PT{}S\"", decimals(end as f64 / 1e9));
    } else {
        head += " minimumUpdatePeriod=\"PT1S\"";
    }
    let config = parts().next().and_then(|part| listing.config(part.config));
    let sets: String = config.map(|config| sets(options, listing, config, token)).unwrap_or_default();
    // Without a clock to go by, dash.js asks a host on the internet for the time.
    let clock = match is_static {
        true => String::new(),
        false => format!("  <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:direct:2014\" value=\"{now}\"/>\n"),
    };
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<MPD {head}>\n  <Period id=\"0\" start=\"PT0S\">\n{sets}  </Period>\n{clock}</MPD>\n"
    )
}

/// Returns an adaptation set for each track.
fn sets(options: &Options, listing: &Listing, config: &Config, token: &str) -> String {
    let mut text = String::new();
    for track in &config.tracks {
        let number = track.declared.number();
        let parts = || listing.shown().filter_map(move |part| Some((part, part.track(number)?)));
        let Some((first, timed)) = parts().next() else { continue };
        let timescale = timed.extent.timescale;
        let (is_video, start) = (track.declared.kind() == TrackKind::Video, first.sequence);
        let kind = if is_video { "video" } else { "audio" };
        let offset = ticks(DASH_START, timescale);
        let bandwidth = parts().map(|(part, _)| part.bandwidth(|asked| asked == number)).max().unwrap_or(0);
        let mut about = format!("id=\"{number}\" bandwidth=\"{bandwidth}\" codecs=\"{}\"", track.codec);
        if is_video {
            if let (Some(width), Some(height)) = (track.declared.width(), track.declared.height()) {
                about += &format!(" width=\"{width}\" height=\"{height}\"");
            }
            // A frame rate is a whole number or a fraction.
            let rate = frame_rate(listing.shown(), number);
            about += &format!(" frameRate=\"{}/1000\"", (rate * 1000.0).round() as u64);
        } else {
            about += &format!(" audioSamplingRate=\"{timescale}\"");
        }
        let query = format!("SessionToken={token}&amp;TrackNumber={number}");
        text += &format!(
            "    <AdaptationSet id=\"{number}\" contentType=\"{kind}\" mimeType=\"{kind}/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\">\n\
            \x20     <SegmentTemplate timescale=\"{timescale}\" presentationTimeOffset=\"{offset}\" startNumber=\"{start}\" \
             initialization=\"getMP4InitFragment.mp4?{query}&amp;SequenceNumber=0\" \
             media=\"getMP4MediaFragment.mp4?{query}&amp;SequenceNumber=$Number$\">\n        <SegmentTimeline>\n"
        );
        // A track may end before the others. Its segment lasts until the next one, since dash.js loses its place at holes.
        let nexts = parts().skip(1).map(|(_, next)| Some(next.start())).chain([None]);
        for ((part, timed), next) in parts().zip(nexts) {
            let end = next.unwrap_or(timed.end());
            text += &format!("          <S t=\"{}\" d=\"{}\"", timed.start(), end - timed.start());
            if options.shows_times {
                text += &format!(" kvs:ts=\"{}\"", decimals(part.time.as_millis() as f64 / 1e3));
            }
            if options.shows_numbers {
                text += &format!(" kvs:fn=\"{}\"", part.number);
            }
            text += "/>\n";
        }
        text += &format!(
            "        </SegmentTimeline>\n      </SegmentTemplate>\n      <Representation {about}/>\n    </AdaptationSet>\n"
        );
    }
    text
}
