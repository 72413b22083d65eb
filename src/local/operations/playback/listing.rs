//! [`Listing`]: the fragments that a session has listed, and their place on the player's timeline.

use std::collections::VecDeque;

use bytes::Bytes;

use super::options::{Discontinuities, Options, Protocol, Selection};
use crate::fragment::{FragmentNumber, Timestamp, Track, TrackKind};
use crate::local::operations::check::{no_fragments, read_fragment};
use crate::local::operations::codecs;
use crate::local::operations::selection::{Origin, live};
use crate::local::server::wire::ErrorResponse;
use crate::local::store::streams::{Listed, Stream};
use crate::mux::mp4::segment::{Extent, Segment};
use crate::mux::mp4::ticks;
use crate::mux::place_alone;

/// A gap or an overlap longer than this is a discontinuity.
const TOLERANCE: i64 = 50_000_000;

/// The largest difference between the time of an audio block and the end of the audio before it that counts as jitter.
const JITTER: i64 = 30_000_000;

/// The start of DASH's timeline. Decoding begins before presentation, and no time may be negative.
pub(crate) const DASH_START: i64 = 10_000_000_000;

/// The most changes of the codec private data in a session.
const MAX_CHANGES: usize = 500;

/// A fragment of a playlist.
#[derive(Debug)]
pub(crate) struct Part {
    /// Its number in the session, from 1.
    pub(crate) sequence: u64,
    pub(crate) number: FragmentNumber,
    pub(crate) listed: Listed,
    /// Its start by the clock of the session.
    pub(crate) time: Timestamp,
    /// The start of its media by the same clock, in nanoseconds.
    clock: i64,
    /// The start of its media on the player's timeline, in nanoseconds.
    begins: i64,
    pub(crate) is_discontinuous: bool,
    /// The number of discontinuities in the session before this part's own.
    pub(crate) discontinuities_before: u64,
    /// The index of its configuration.
    pub(crate) config: usize,
    pub(crate) tracks: Vec<PartTrack>,
}

/// The media of one track of a part. Times are in ticks.
#[derive(Debug)]
pub(crate) struct PartTrack {
    pub(crate) number: u64,
    pub(crate) extent: Extent,
    /// The start of the fragment's media on the player's timeline.
    pub(crate) at: i64,
    /// The delay from decoding to presentation, which reordered pictures need.
    pub(crate) delay: i64,
}

impl PartTrack {
    pub(crate) fn start(&self) -> i64 {
        self.at.saturating_add(self.extent.start)
    }

    pub(crate) fn end(&self) -> i64 {
        self.at.saturating_add(self.extent.end)
    }

    /// Returns the duration with the last sample, in nanoseconds.
    pub(crate) fn duration(&self) -> i64 {
        nanos(self.extent.end.saturating_sub(self.extent.start), self.extent.timescale)
    }
}

impl Part {
    pub(crate) fn track(&self, number: u64) -> Option<&PartTrack> {
        self.tracks.iter().find(|track| track.number == number)
    }

    /// Returns the duration of the longest track, in nanoseconds.
    pub(crate) fn duration(&self) -> i64 {
        self.tracks.iter().map(PartTrack::duration).max().unwrap_or(0)
    }

    /// Returns the bits per second of some of its tracks, with what the container adds.
    pub(crate) fn bandwidth(&self, is_asked: impl Fn(u64) -> bool) -> u64 {
        let tracks = || self.tracks.iter().filter(|track| is_asked(track.number));
        let bytes = |track: &PartTrack| track.extent.bytes + track.extent.samples * 16 + 128;
        let bits = u128::from(tracks().map(bytes).sum::<u64>()) * 8_000_000_000;
        let duration = tracks().map(PartTrack::duration).max().unwrap_or(0);
        u64::try_from(bits.div_ceil(u128::try_from(duration.max(1)).unwrap_or(1))).unwrap_or(u64::MAX)
    }
}

/// A configuration of the codecs, which holds until their private data changes.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) tracks: Vec<ConfigTrack>,
}

#[derive(Debug)]
pub(crate) struct ConfigTrack {
    pub(crate) declared: Track,
    /// The codec as playlists name it.
    pub(crate) codec: String,
    /// `ftyp` and `moov`.
    pub(crate) init: Bytes,
}

impl Config {
    pub(crate) fn track(&self, number: u64) -> Option<&ConfigTrack> {
        self.tracks.iter().find(|track| track.declared.number() == number)
    }

    /// Returns the track of the pictures.
    pub(crate) fn video(&self) -> Option<&ConfigTrack> {
        self.tracks.iter().find(|track| track.declared.kind() == TrackKind::Video)
    }
}

/// The fragments that a session has listed.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// The parts of the newest playlist, after older ones that players may still fetch.
    parts: VecDeque<Part>,
    /// The number of parts in the newest playlist.
    shown: usize,
    configs: Vec<Config>,
    /// The time and the index of the newest fragment looked at.
    newest: Option<(Timestamp, u64)>,
    /// When LIVE_REPLAY lists the next fragment.
    due: Option<Timestamp>,
    listed: u64,
    discontinuities: u64,
    /// The duration of the longest part, in nanoseconds.
    longest: i64,
    /// The delay of each track, in ticks.
    delays: Vec<(u64, i64)>,
    /// The time at which the timeline begins for a player that follows it live.
    origin: Option<Timestamp>,
    is_complete: bool,
}

impl Listing {
    /// Returns the parts of the playlist.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Part> + Clone {
        self.parts.iter().skip(self.parts.len().saturating_sub(self.shown))
    }

    /// Returns the part with this fragment number.
    pub(crate) fn with_number(&self, number: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.number.as_str() == number)
    }

    /// Returns the part with this number in the session.
    pub(crate) fn with_sequence(&self, sequence: u64) -> Option<&Part> {
        self.parts.iter().find(|part| part.sequence == sequence)
    }

    pub(crate) fn config(&self, index: usize) -> Option<&Config> {
        self.configs.get(index)
    }

    /// Returns true if no fragment will be added.
    pub(crate) fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Returns the duration of the longest part so far, in nanoseconds.
    pub(crate) fn longest(&self) -> i64 {
        self.longest
    }

    /// Returns the time at which the timeline begins for a player that follows it live.
    pub(crate) fn origin(&self) -> Timestamp {
        self.origin.unwrap_or_default()
    }

    /// Lists the fragments that are due.
    ///
    /// # Errors
    /// If there is nothing to play, or the media changes in a way that players cannot follow. What was listed before the
    /// change stays listed.
    pub(crate) fn update(&mut self, options: &Options, stream: &Stream, now: Timestamp) -> Result<(), ErrorResponse> {
        let origin = options.selection.origin();
        match options.selection {
            Selection::Live(_) => {
                let newest = live(&stream.list(), origin, options.most, now);
                if newest.is_empty() {
                    return Err(no_fragments());
                }
                for listed in newest {
                    // A fragment that comes late and is older than what players have seen is left out.
                    let time = origin.time(&listed);
                    let is_newer = self.newest.is_none_or(|(last, index)| {
                        listed.index > index && (time > last || origin == Origin::Server && time == last)
                    });
                    if is_newer {
                        self.add(options, stream, listed)?;
                    }
                }
            }
            Selection::Replay(window) if !self.is_complete => {
                let mut due = self.due.unwrap_or(now);
                let mut waits = false;
                for listed in self.newer(origin, window.select(stream.list())) {
                    if due > now {
                        waits = true;
                        break;
                    }
                    if let Some(duration) = self.add(options, stream, listed)? {
                        due = due.plus_nanos(duration);
                        self.due = Some(due);
                    }
                }
                if !waits {
                    // A fragment that is ingested late delays the ones after it.
                    self.due = Some(due.max(now));
                    self.is_complete = window.end.is_some_and(|end| end < now) && due <= now;
                }
            }
            Selection::OnDemand(window) if !self.is_complete => {
                let left = options.most.saturating_sub(self.parts.len());
                for listed in self.newer(origin, window.select(stream.list())).into_iter().take(left) {
                    self.add(options, stream, listed)?;
                }
                self.is_complete = true;
            }
            Selection::Replay(_) | Selection::OnDemand(_) => {}
        }
        if self.parts.is_empty() {
            return Err(no_fragments());
        }
        self.shown = self.parts.len().min(options.most);
        let kept = options.most.saturating_mul(2).saturating_add(8);
        while self.parts.len() > kept {
            self.parts.pop_front();
        }
        if self.origin.is_none() {
            let end = self.parts.iter().flat_map(|part| &part.tracks);
            let end = end.map(|track| nanos(track.end(), track.extent.timescale)).max().unwrap_or(0);
            self.origin = Some(now.plus_nanos(DASH_START.saturating_sub(end)));
        }
        Ok(())
    }

    /// Keeps the fragments after the newest that was looked at.
    fn newer(&self, origin: Origin, mut fragments: Vec<Listed>) -> Vec<Listed> {
        if let Some(newest) = self.newest {
            fragments.retain(|listed| match origin {
                Origin::Producer => listed.producer_time > newest.0,
                Origin::Server => (listed.server_time, listed.index) > newest,
            });
        }
        fragments
    }

    /// Adds a fragment, and returns its duration in nanoseconds. One that cannot be read is left out, as a gap.
    fn add(&mut self, options: &Options, stream: &Stream, listed: Listed) -> Result<Option<i64>, ErrorResponse> {
        let time = options.selection.origin().time(&listed);
        let looked_at = Some((time, listed.index));
        let Some((placed, offset)) = read_fragment(stream, &listed).as_ref().and_then(place_alone) else {
            self.newest = looked_at;
            return Ok(None);
        };
        let declared: Vec<&Track> = played_tracks(placed.header.tracks()).collect();
        let is_new = self.is_new_config(options, &declared)?;
        let config = if is_new { self.configs.len() } else { self.configs.len().saturating_sub(1) };
        let (mut configured, mut tracks) = (Vec::new(), Vec::new());
        for track in &declared {
            let number = track.number();
            let read = || Segment::of(&placed, number, config > 0);
            let Ok(Some((segment, extent))) = read().map(|segment| segment.extent().map(|extent| (segment, extent)))
            else {
                self.newest = looked_at;
                return Ok(None);
            };
            let delay = self.delay(number).max(extent.delay);
            tracks.push(PartTrack { number, extent, at: 0, delay });
            if is_new {
                let failed = |error| {
                    let message = format!("The media of track {number} cannot be played: {error}");
                    ErrorResponse::new("UnsupportedStreamMediaTypeException", message)
                };
                let codec = segment.codec_string();
                let init = segment.init().map_err(failed)?.into();
                configured.push(ConfigTrack { declared: (*track).clone(), codec, init });
            }
        }
        let clock = time.as_nanos().saturating_add(offset);
        let mut part = Part {
            sequence: self.listed + 1,
            number: listed.number.clone(),
            listed,
            time,
            clock,
            begins: 0,
            is_discontinuous: options.discontinuities == Discontinuities::Always,
            discontinuities_before: self.discontinuities,
            config,
            tracks,
        };
        self.place(options, is_new, &mut part);
        let duration = part.duration();
        self.newest = looked_at;
        self.listed += 1;
        self.discontinuities += u64::from(part.is_discontinuous);
        self.longest = self.longest.max(duration);
        self.delays = part.tracks.iter().map(|track| (track.number, track.delay)).collect();
        if is_new {
            self.configs.push(Config { tracks: configured });
        }
        self.parts.push_back(part);
        Ok(Some(duration))
    }

    fn delay(&self, number: u64) -> i64 {
        self.delays.iter().find(|(track, _)| *track == number).map_or(0, |(_, delay)| *delay)
    }

    /// Returns true if these tracks need a new configuration.
    fn is_new_config(&self, options: &Options, declared: &[&Track]) -> Result<bool, ErrorResponse> {
        let Some(current) = self.configs.last() else {
            codecs::check_each(declared, options.played)?;
            return Ok(true);
        };
        let name = |track: &Track| (track.number(), track.codec_id().to_owned());
        let before = || current.tracks.iter().map(|track| &track.declared);
        if !before().map(name).eq(declared.iter().copied().map(name)) {
            let message = "The tracks of the stream change within the session";
            return Err(ErrorResponse::new("UnsupportedStreamMediaTypeException", message));
        }
        let look = |track: &Track| (track.codec_private().cloned(), track.width(), track.height());
        if before().map(look).eq(declared.iter().copied().map(look)) {
            return Ok(false);
        }
        codecs::check_each(declared, options.played)?;
        if options.protocol == Protocol::Dash {
            let message = "The codec private data changes within the session, which DASH does not allow";
            return Err(ErrorResponse::new("InvalidCodecPrivateDataException", message));
        }
        if self.configs.len() > MAX_CHANGES {
            let message = format!("The codec private data changes more than {MAX_CHANGES} times within the session");
            return Err(ErrorResponse::new("InvalidCodecPrivateDataException", message));
        }
        Ok(true)
    }

    /// Places a part on the player's timeline.
    ///
    /// HLS has the times of the session's clock. DASH closes gaps. In both, a part never begins before the one before it
    /// has ended: decoding times have to rise.
    fn place(&self, options: &Options, is_new: bool, part: &mut Part) {
        let is_dash = options.protocol == Protocol::Dash;
        let Some(before) = self.parts.back() else {
            part.begins = if is_dash { DASH_START } else { part.clock };
            part.tracks.iter_mut().for_each(|track| track.at = ticks(part.begins, track.extent.timescale));
            return;
        };
        let (mut closed, mut least) = (i64::MIN, i64::MIN);
        for track in &part.tracks {
            let Some(last) = before.track(track.number) else { continue };
            let scale = track.extent.timescale;
            let start = nanos(track.extent.start, scale);
            let after = nanos(last.extent.end, last.extent.timescale).saturating_sub(start);
            let half = nanos(last.extent.end.saturating_sub(last.extent.last), last.extent.timescale) / 2;
            closed = closed.max(after);
            least = least.max(after.saturating_sub(if track.extent.has_own_pace { JITTER } else { half }));
        }
        let moved = part.clock.saturating_sub(before.clock);
        let gap = moved.saturating_sub(closed);
        let natural = if is_dash { before.begins.saturating_add(moved) } else { part.clock };
        let is_early = natural < before.begins.saturating_add(least);
        part.begins =
            if is_early || is_dash && gap > TOLERANCE { before.begins.saturating_add(closed) } else { natural };
        let is_marked = options.discontinuities == Discontinuities::OnDiscontinuity && gap.saturating_abs() > TOLERANCE;
        part.is_discontinuous |= is_marked || is_new;
        for track in &mut part.tracks {
            track.at = ticks(part.begins, track.extent.timescale);
            let Some(last) = before.track(track.number).filter(|_| track.extent.has_own_pace) else { continue };
            let apart = last.end().saturating_sub(track.start());
            // The times of blocks are rounded. Samples of audio follow each other exactly.
            if last.extent.timescale == track.extent.timescale
                && nanos(apart, track.extent.timescale).saturating_abs() <= JITTER
            {
                track.at = track.at.saturating_add(apart);
            }
        }
    }
}

/// Returns the tracks that players get: 1 and 2.
pub(crate) fn played_tracks(tracks: &[Track]) -> impl Iterator<Item = &Track> {
    (1..=2).filter_map(|number| tracks.iter().find(|track| track.number() == number))
}

/// Converts ticks to nanoseconds.
pub(crate) fn nanos(ticks: i64, timescale: u32) -> i64 {
    let nanos = i128::from(ticks) * 1_000_000_000 / i128::from(timescale.max(1));
    i64::try_from(nanos).unwrap_or(if ticks < 0 { i64::MIN } else { i64::MAX })
}
