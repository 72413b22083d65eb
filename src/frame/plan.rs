//! Selects the pictures of a fragment and the blocks that have to be decoded for them.

use std::sync::Arc;

use super::codec::Codec;
use super::options::{FrameOptions, Reach, Sampling};
use super::report::NoPicture;
use crate::error::{Error, Result};
use crate::fragment::{Fragment, FragmentEnd, FragmentHeader, Tags, Timestamp, Track, TrackKind};
use crate::packet::{NalCodec, Packet, PictureUnits};

/// The maximum number of coded frames of a fragment: the default limit of its blocks. Lacing can exceed it.
const MAX_FRAMES: usize = 1 << 18;

/// The assumed duration of a picture that is alone in its fragment: the maximum duration of a fragment.
const MAX_DURATION_NS: i64 = 20_000_000_000;

/// A fragment, ready to be decoded.
pub(super) struct Plan {
    pub(super) source: Arc<Source>,
    /// `None` if the fragment does not have the track, or the track is empty.
    pub(super) codec: Option<Codec>,
    pub(super) units: Vec<Unit>,
    /// `true` if the previous fragment is available for pictures before the first key frame.
    pub(super) continues: bool,
}

/// The data shared by all pictures of a fragment.
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
    /// The byte offset of its payload in the body.
    pub(super) offset: u64,
    pub(super) fate: Fate,
    /// `true` if other pictures may refer to it.
    pub(super) is_reference: bool,
    /// The number of entry points up to here. A picture refers to its own group. If it is shown before the entry
    /// point of its group, it may also refer to the previous group.
    pub(super) group: u32,
    pub(super) is_leading: bool,
}

impl Plan {
    /// Returns `true` if a picture is selected.
    pub(super) fn has_wanted(&self) -> bool {
        self.units.iter().any(|unit| unit.wanted().is_some())
    }
}

impl Unit {
    /// Returns the index of its picture, if the picture is selected.
    pub(super) fn wanted(&self) -> Option<u32> {
        match self.fate {
            Fate::Decode { index, wanted: true } | Fate::Alone { index } => Some(index),
            _ => None,
        }
    }
}

/// The treatment of a coded frame.
pub(super) enum Fate {
    /// Decode it. If it is not `wanted`, only because others refer to it.
    Decode { index: u32, wanted: bool },
    /// Decode it without any other.
    Alone { index: u32 },
    /// Send it to the decoder, though it has parameters only and no picture.
    Parameters,
    /// Do not decode it: it is not selected, nor needed for others.
    Unsampled,
    /// Do not decode it: it cannot yield a picture.
    Skip(NoPicture),
}

/// Plans fragment by fragment and keeps the state that spans fragments.
pub(super) struct Planner {
    options: FrameOptions,
    /// `true` if fragments may continue each other.
    is_continuous: bool,
    fragments: u64,
    /// The sampling interval of the last selected picture.
    last_interval: Option<i64>,
    /// The previous fragment, if the next one may continue it.
    previous: Option<Previous>,
}

/// A fragment that the next one may continue.
struct Previous {
    track: Track,
    start: i64,
    /// The presentation time of its last picture, and the longest interval between two of its pictures.
    end: i64,
    longest: i64,
}

impl Previous {
    /// Returns `None` if no fragment can continue it.
    fn of(fragment: &Fragment, track: &Track, packets: &[Packet]) -> Option<Self> {
        let mut times: Vec<i64> = packets.iter().map(Packet::timecode_ns).collect();
        times.sort_unstable();
        let longest =
            times.windows(2).filter_map(|pair| Some(pair.last()? - pair.first()?)).max().unwrap_or(MAX_DURATION_NS);
        let (start, end) = (fragment.header().timecode_ns(), *times.last()?);
        (fragment.end_reason() != FragmentEnd::Cut).then(|| Self { track: track.clone(), start, end, longest })
    }

    /// Returns `true` if the fragment starts where this one ends, with none missing between them.
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
        Self { options, is_continuous, fragments: 0, last_interval: None, previous: None }
    }

    /// Sets the index of the next fragment.
    pub(super) fn starting_at(mut self, fragment_index: u64) -> Self {
        self.fragments = fragment_index;
        self
    }

    /// Plans a fragment by itself or, in continuous mode, as a possible continuation of the previous one.
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
        // A few bytes of lacing expand to hundreds of frames.
        let packets: Vec<Packet> = packets.take(MAX_FRAMES + 1).collect();
        let number = fragment.number().map(ToString::to_string);
        if packets.len() > MAX_FRAMES {
            let message = format!("more than {MAX_FRAMES} coded frames of one track in a fragment");
            let error = Error::limit(message).at(fragment.offset()).in_fragment(number.as_deref());
            return Err(error.on_track(source.track));
        }
        let continues = self.is_continuous
            && self.previous.as_ref().is_some_and(|last| last.is_continued_by(fragment, track, &packets));
        self.previous = track.filter(|_| self.is_continuous).and_then(|track| Previous::of(fragment, track, &packets));
        let codec = match track {
            Some(track) if !packets.is_empty() => {
                Some(Codec::of_track(track).map_err(|error| error.in_fragment(number.as_deref()))?)
            }
            _ => None,
        };
        let units = codec.as_ref().map(|codec| self.units(fragment, codec, packets, continues));
        Ok(Plan { source, codec, units: units.unwrap_or_default(), continues })
    }

    /// Returns the track to decode.
    pub(super) fn track<'a>(&self, fragment: &'a Fragment) -> Option<&'a Track> {
        match self.options.track {
            Some(number) => fragment.track(number),
            None => fragment.tracks().iter().find(|track| track.kind() == TrackKind::Video),
        }
    }

    fn units(&mut self, fragment: &Fragment, codec: &Codec, packets: Vec<Packet>, continues: bool) -> Vec<Unit> {
        let found: Vec<Option<PictureUnits>> = packets.iter().map(|packet| examine(codec, packet)).collect();
        let pictures: Vec<PictureUnits> = found.iter().map(|found| found.unwrap_or_default()).collect();
        // Key flags are sometimes wrong. The NAL units have precedence if they mark entry points.
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
            let is_after_open_entry = !continues && group == 1 && entry.is_some_and(|(_, is_refresh)| !is_refresh);
            // Only H.265 marks the leading pictures that refer to earlier ones. The decoders of other codecs
            // cannot decode any leading picture here.
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
            } else if is_after_open_entry && refers_to_before {
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
        self.select(&mut units);
        match self.options.sampling {
            Sampling::UpTo(_, reach) => {
                let group = first_group(&units, reach);
                skip_groups_before(group, &mut units, &pictures);
                skip_unneeded(&mut units, &pictures, codec, false);
                remove_outside(group, &mut units);
            }
            _ if self.options.only_keyframes => isolate_wanted(&mut units),
            _ => skip_unneeded(&mut units, &pictures, codec, self.is_continuous),
        }
        units
    }

    /// Numbers the pictures in presentation order and selects among them.
    fn select(&mut self, units: &mut [Unit]) {
        let mut shown: Vec<&mut Unit> =
            units.iter_mut().filter(|unit| matches!(unit.fate, Fate::Decode { .. })).collect();
        shown.sort_by_key(|unit| (unit.packet.timecode_ns(), unit.packet.ordinal()));
        let last = match self.options.sampling {
            Sampling::UpTo(time, _) => shown.iter().rposition(|unit| unit.packet.timecode_ns() <= time),
            _ => None,
        };
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
                        let this = Some(time.div_euclid(length));
                        this != std::mem::replace(&mut self.last_interval, this)
                    }
                    Sampling::UpTo(_, Reach::Picture) => last == Some(candidates),
                    Sampling::UpTo(_, Reach::Group | Reach::Fragment) => last.is_some_and(|last| candidates <= last),
                };
            candidates += usize::from(is_candidate);
            unit.fate = Fate::Decode { index: number, wanted: is_wanted };
        }
    }
}

/// Reads the properties of the picture in a packet. `None` if it has no picture.
fn examine(codec: &Codec, packet: &Packet) -> Option<PictureUnits> {
    let Some((nal, sets)) = codec.nal() else {
        let is_independent = codec.is_intra_only()
            || packet.is_key() && (codec.is_in_order() || codec.is_closed_group(packet.payload()));
        return Some(PictureUnits { is_refresh: is_independent, is_entry: is_independent, ..PictureUnits::default() });
    };
    match sets.units(packet.payload()) {
        Ok(units) => PictureUnits::of(nal, &units.list),
        // The decoder reports the damage.
        Err(_) => Some(PictureUnits::default()),
    }
}

/// Skips the coded frames that no selected picture needs: those after the last selected picture of a group, and
/// those that no picture refers to.
fn skip_unneeded(units: &mut [Unit], pictures: &[PictureUnits], codec: &Codec, is_open: bool) {
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

/// Returns the group with which decoding begins, for the last selected picture.
fn first_group(units: &[Unit], reach: Reach) -> u32 {
    let wanted = units.iter().filter(|unit| unit.wanted().is_some());
    match wanted.max_by_key(|unit| unit.wanted()) {
        Some(last) if reach != Reach::Fragment => last.group.saturating_sub(u32::from(last.is_leading)),
        _ => 0,
    }
}

/// Skips the groups before this one, and the pictures of this one that may refer to them.
fn skip_groups_before(group: u32, units: &mut [Unit], pictures: &[PictureUnits]) {
    let mut is_open = true;
    for (unit, picture) in units.iter_mut().zip(pictures) {
        is_open &= !(unit.group == group && picture.is_refresh);
        let is_before = unit.group < group || unit.group == group && group > 0 && is_open && unit.is_leading;
        if is_before && matches!(unit.fate, Fate::Decode { .. }) {
            unit.fate = Fate::Unsampled;
        }
    }
}

/// Removes what comes before this group, except for parameters, and after the last picture to decode.
fn remove_outside(group: u32, units: &mut Vec<Unit>) {
    let last = units.iter().rposition(|unit| matches!(unit.fate, Fate::Decode { .. }));
    units.truncate(last.map_or(0, |last| last + 1));
    units.retain(|unit| unit.group >= group || matches!(unit.fate, Fate::Parameters));
}

/// Decodes each selected picture by itself.
fn isolate_wanted(units: &mut [Unit]) {
    for unit in units {
        match unit.fate {
            Fate::Decode { index, wanted: true } => unit.fate = Fate::Alone { index },
            Fate::Decode { wanted: false, .. } => unit.fate = Fate::Unsampled,
            _ => {}
        }
    }
}
