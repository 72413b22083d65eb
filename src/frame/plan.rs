//! Which pictures of a fragment are wanted, and which blocks it takes to decode them.

use std::sync::Arc;

use super::codec::Codec;
use super::options::{FrameOptions, Sampling};
use super::report::NoPicture;
use crate::error::{Error, Result};
use crate::fragment::{Fragment, FragmentEnd, FragmentHeader, Tags, Timestamp, Track, TrackKind};
use crate::packet::{NalCodec, Packet, PictureUnits};

/// As many as there are blocks in a fragment by default: more come of lacing alone.
const MOST_FRAMES: usize = 1 << 18;

/// Of a fragment with one picture it is not known how long that lasts: not longer than the longest fragment.
const LONGEST_NS: i64 = 20_000_000_000;

/// A fragment, ready to be decoded.
pub(super) struct Plan {
    pub(super) source: Arc<Source>,
    /// `None` if it has no such track, or nothing in it.
    pub(super) codec: Option<Codec>,
    pub(super) units: Vec<Unit>,
    /// What it refers to before its first key frame is there.
    pub(super) continues: bool,
}

/// What all pictures of a fragment have in common.
pub(super) struct Source {
    pub(super) fragment: Arc<FragmentHeader>,
    pub(super) tags: Tags,
    pub(super) fragment_index: u64,
    pub(super) track: u64,
    pub(super) sample_aspect_ratio: Option<(u32, u32)>,
    pub(super) rotation: Option<f64>,
}

/// A coded frame.
pub(super) struct Unit {
    pub(super) packet: Packet,
    /// Where it begins in the body.
    pub(super) offset: u64,
    pub(super) fate: Fate,
    /// Others may refer to it.
    pub(super) is_reference: bool,
    /// How many entries there are up to here: a picture refers to its own group, and if it is shown before
    /// its entry, to the group before too.
    pub(super) group: u32,
    pub(super) is_leading: bool,
}

impl Unit {
    /// The index of its picture, if that is wanted.
    pub(super) fn wanted(&self) -> Option<u32> {
        match self.fate {
            Fate::Decode { index, wanted: true } | Fate::Alone { index } => Some(index),
            _ => None,
        }
    }
}

/// What is done with a coded frame.
pub(super) enum Fate {
    /// It is decoded, for itself if it is `wanted`, else for others.
    Decode { index: u32, wanted: bool },
    /// It is decoded apart from all others.
    Alone { index: u32 },
    /// There is no picture in it, only what the decoder needs to know for others.
    Parameters,
    /// Nobody asked for it.
    Unsampled,
    /// There is nothing to be had from it.
    Skip(NoPicture),
}

/// Plans one fragment after the other. What counts across fragments is kept here.
pub(super) struct Planner {
    options: FrameOptions,
    /// Fragments may continue each other.
    is_continuous: bool,
    fragments: u64,
    /// The stretch of the producer's clock from which a picture was taken last.
    last_stretch: Option<i64>,
    /// The fragment before, if the next may continue it.
    last: Option<Last>,
}

/// A fragment that others may continue.
struct Last {
    track: Track,
    start: i64,
    /// When its last picture is shown, and how long one is at most.
    end: i64,
    longest: i64,
}

impl Last {
    /// `None` if nothing continues it.
    fn of(fragment: &Fragment, track: &Track, packets: &[Packet]) -> Option<Self> {
        let mut times: Vec<i64> = packets.iter().map(Packet::timecode_ns).collect();
        times.sort_unstable();
        let longest =
            times.windows(2).filter_map(|pair| Some(pair.last()? - pair.first()?)).max().unwrap_or(LONGEST_NS);
        let (start, end) = (fragment.header().timecode_ns(), *times.last()?);
        (fragment.end_reason() != FragmentEnd::Cut).then(|| Self { track: track.clone(), start, end, longest })
    }

    /// Whether a fragment goes on where it ends: if one is missing, there is a hole.
    fn is_continued_by(&self, fragment: &Fragment, track: Option<&Track>, packets: &[Packet]) -> bool {
        let first = packets.iter().map(Packet::timecode_ns).min().unwrap_or(i64::MIN);
        track == Some(&self.track)
            && fragment.discontinuities().is_empty()
            && self.start < fragment.header().timecode_ns()
            && first.saturating_sub(self.end) <= self.longest.saturating_mul(2)
    }
}

impl Planner {
    pub(super) fn new(options: FrameOptions, is_continuous: bool) -> Self {
        Self { options, is_continuous, fragments: 0, last_stretch: None, last: None }
    }

    /// Plans a fragment: by itself, or as one that continues what is before it and may be continued.
    ///
    /// # Errors
    /// If there is no decoder for its track.
    pub(super) fn plan(&mut self, fragment: &Fragment) -> Result<Plan> {
        let track = self.track(fragment);
        let source = Arc::new(Source {
            fragment: Arc::clone(fragment.header()),
            tags: fragment.tags().clone(),
            fragment_index: self.fragments,
            track: track.map_or(0, Track::number),
            sample_aspect_ratio: track.and_then(Track::sample_aspect_ratio),
            rotation: track.and_then(Track::rotation),
        });
        self.fragments += 1;
        let packets =
            fragment.packets().filter(|packet| track.is_some_and(|track| packet.track_number() == track.number()));
        // A few bytes of lacing make hundreds of frames.
        let packets: Vec<Packet> = packets.take(MOST_FRAMES + 1).collect();
        let number = fragment.number().map(ToString::to_string);
        if packets.len() > MOST_FRAMES {
            let message = format!("more than {MOST_FRAMES} coded frames of one track in a fragment");
            let error = Error::limit(message).at(fragment.offset()).in_fragment(number.as_deref());
            return Err(error.on_track(source.track));
        }
        let continues = self.is_continuous
            && self.last.as_ref().is_some_and(|last| last.is_continued_by(fragment, track, &packets));
        self.last = track.filter(|_| self.is_continuous).and_then(|track| Last::of(fragment, track, &packets));
        let codec = match track {
            Some(track) if !packets.is_empty() => {
                Some(Codec::of_track(track).map_err(|error| error.in_fragment(number.as_deref()))?)
            }
            _ => None,
        };
        let units = codec.as_ref().map(|codec| self.units(fragment, codec, packets, continues));
        Ok(Plan { source, codec, units: units.unwrap_or_default(), continues })
    }

    /// The track to decode.
    fn track<'a>(&self, fragment: &'a Fragment) -> Option<&'a Track> {
        match self.options.track {
            Some(number) => fragment.track(number),
            None => fragment.tracks().iter().find(|track| track.kind() == TrackKind::Video),
        }
    }

    fn units(&mut self, fragment: &Fragment, codec: &Codec, packets: Vec<Packet>, continues: bool) -> Vec<Unit> {
        let found: Vec<Option<PictureUnits>> = packets.iter().map(|packet| examine(codec, packet)).collect();
        let pictures: Vec<PictureUnits> = found.iter().map(|found| found.unwrap_or_default()).collect();
        // Flags lie now and then: where the units say where one can begin to decode, they count.
        let has_entries = codec.nal().is_some() && pictures.iter().any(|picture| picture.is_entry);
        let is_entry = |packet: &Packet, picture: &PictureUnits| picture.is_entry || packet.is_key() && !has_entries;
        let first_entry =
            packets.iter().zip(&pictures).position(|(packet, picture)| packet.is_key() || picture.is_entry);
        let first_entry = first_entry.filter(|_| !continues);
        let highest_layer = pictures.iter().map(|picture| picture.temporal_layer).max().unwrap_or_default();
        let raw = fragment.raw().as_ptr() as usize;

        let mut units: Vec<Unit> = Vec::with_capacity(packets.len());
        let (mut group, mut entry) = (0, None);
        for (at, ((packet, picture), found)) in packets.into_iter().zip(&pictures).zip(&found).enumerate() {
            if is_entry(&packet, picture) {
                group += 1;
                entry = Some((packet.timecode_ns(), picture.is_refresh));
            }
            let shown_before = entry.is_some_and(|(timecode, _)| packet.timecode_ns() < timecode);
            let is_leading = picture.is_skipped_leading || (shown_before && !picture.is_decodable_leading);
            let is_behind_open_entry = !continues && group == 1 && entry.is_some_and(|(_, is_refresh)| !is_refresh);
            // Only H.265 tells which of those do; the decoders of the others want none of them.
            let refers_to_before = match codec.nal() {
                Some((NalCodec::H265, _)) => picture.is_skipped_leading,
                _ => is_leading,
            };
            let fate = if packet.payload().is_empty() {
                Fate::Skip(NoPicture::Empty)
            } else if found.is_none() {
                Fate::Parameters
            } else if first_entry.is_some_and(|first| at < first) {
                Fate::Skip(NoPicture::BeforeKeyFrame)
            } else if is_behind_open_entry && refers_to_before {
                Fate::Skip(NoPicture::OpenGroup)
            } else {
                Fate::Decode { index: 0, wanted: true }
            };
            let start =
                (packet.payload().as_ptr() as usize).checked_sub(raw).filter(|&start| start <= fragment.raw().len());
            let is_disposable =
                codec.is_intra_only() || (picture.is_disposable && picture.temporal_layer == highest_layer);
            let offset = fragment.offset() + start.unwrap_or_default() as u64;
            let is_reference = !is_disposable && found.is_some();
            units.push(Unit { packet, offset, fate, is_reference, group, is_leading });
        }
        self.choose(&mut units);
        if self.options.only_keyframes {
            leave_alone(&mut units);
        } else {
            leave_out(&mut units, &pictures, codec, self.is_continuous);
        }
        units
    }

    /// Numbers the pictures in the order in which they are shown, and chooses among them.
    fn choose(&mut self, units: &mut [Unit]) {
        let mut shown: Vec<&mut Unit> =
            units.iter_mut().filter(|unit| matches!(unit.fate, Fate::Decode { .. })).collect();
        shown.sort_by_key(|unit| (unit.packet.timecode_ns(), unit.packet.ordinal()));
        let mut candidates = 0;
        for (unit, number) in shown.into_iter().zip(0..) {
            let is_candidate = !self.options.only_keyframes || unit.packet.is_key();
            let is_wanted = is_candidate
                && match self.options.sampling {
                    Sampling::All => true,
                    Sampling::Ratio(n) => candidates % n.max(1) == 0,
                    Sampling::Every(interval) => {
                        let time = unit.packet.producer_time().map_or(unit.packet.timecode_ns(), Timestamp::as_nanos);
                        let length = i64::try_from(interval.as_nanos()).unwrap_or(i64::MAX).max(1);
                        let stretch = Some(time.div_euclid(length));
                        stretch != std::mem::replace(&mut self.last_stretch, stretch)
                    }
                };
            candidates += usize::from(is_candidate);
            unit.fate = Fate::Decode { index: number, wanted: is_wanted };
        }
    }
}

/// What a packet says of its picture. `None` if there is none in it.
fn examine(codec: &Codec, packet: &Packet) -> Option<PictureUnits> {
    let Some((nal, sets)) = codec.nal() else {
        let stands_alone = codec.is_intra_only()
            || packet.is_key() && (codec.is_in_order() || codec.is_closed_group(packet.payload()));
        return Some(PictureUnits { is_refresh: stands_alone, is_entry: stands_alone, ..PictureUnits::default() });
    };
    match sets.units(packet.payload()) {
        Ok(units) => PictureUnits::of(nal, &units.list),
        // That they do not add up is for the decoder to say.
        Err(_) => Some(PictureUnits::default()),
    }
}

/// Leaves out what no wanted picture needs: what stands behind the last of them, what no picture refers
/// to, and whole groups to which nothing refers that stands behind them.
fn leave_out(units: &mut [Unit], pictures: &[PictureUnits], codec: &Codec, is_open: bool) {
    let mut is_needed = is_open;
    for (unit, picture) in units.iter_mut().zip(pictures).rev() {
        if let Fate::Decode { wanted, .. } = unit.fate {
            is_needed |= wanted;
            if !(wanted || is_needed && unit.is_reference) {
                unit.fate = Fate::Unsampled;
            }
        }
        if picture.is_refresh || codec.is_intra_only() {
            is_needed = false;
        }
    }
}

fn leave_alone(units: &mut [Unit]) {
    for unit in units {
        match unit.fate {
            Fate::Decode { index, wanted: true } => unit.fate = Fate::Alone { index },
            Fate::Decode { wanted: false, .. } => unit.fate = Fate::Unsampled,
            _ => {}
        }
    }
}
