//! Decodes one fragment, or several that continue each other, with one decoder.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ffmpeg_next::error::EAGAIN;
use ffmpeg_next::frame::side_data;
use ffmpeg_next::{decoder, frame, packet};

use super::codec::Codec;
use super::options::{FrameOptions, OnDecodeError};
use super::picture::Picture;
use super::plan::{Fate, Plan, Source, Unit};
use super::report::{FragmentReport, FrameItem, NoPicture, SkippedBlock};
use super::{Frame, FrameInfo};
use crate::error::{Error, Result};
use crate::packet::Packet;

/// A step ends after about this many items or bytes, to free its thread for others.
pub(super) const STEP_ITEMS: usize = 16;
const STEP_BYTES: usize = 16 << 20;

/// The maximum number of coded frames that a step decodes, also if they yield no picture.
const STEP_FRAMES: usize = 64;

/// The maximum number of pictures held back until their references are known to be whole. Decoders reorder at
/// most 16 pictures (ITU-T H.264 section A.3.1, H.265 section A.4.1).
const MAX_HELD: usize = 16;

/// A coded frame counts as having no picture after this many later frames were decoded.
const GIVE_UP_AFTER: i64 = 64;

/// The maximum size of a coded frame. libavcodec stores sizes as `int` and adds padding.
const MAX_CODED: usize = (1 << 31) - 1024;

/// The number of failures in a row after which the decoder counts as drained for now.
const MAX_ERRORS: usize = 64;

pub(super) struct Decode {
    options: FrameOptions,
    codec: Option<Codec>,
    decoder: Option<decoder::Video>,
    fragments: VecDeque<FragmentReport>,
    /// The coded frames that are not settled, in decoding order. They are numbered from `first`. The decoder gets
    /// the numbers as timestamps because, unlike timecodes, they are unique.
    entries: VecDeque<Entry>,
    first: i64,
    /// The number of `entries` that the decoder has received.
    sent: usize,
    groups: u32,
    /// `true` while more fragments may be added.
    is_open: bool,
    is_drained: bool,
    held: VecDeque<Held>,
    /// References that the decoder has received and not yielded, so it is unknown if they are whole.
    undecided: BTreeSet<i64>,
    /// The first damaged reference of each group that still matters.
    damaged_references: Vec<(i64, u32)>,
    last_out: i64,
    /// The presentation times of the blocks without a picture that no frame has counted yet.
    missing: BinaryHeap<Reverse<i64>>,
    /// With [`OnDecodeError::Fail`], the failure with the earliest presentation time, and that time.
    failure: Option<(i64, Error)>,
}

struct Entry {
    source: Arc<Source>,
    unit: Unit,
    /// The error of the decoder, if there was one.
    error: Option<Error>,
    outcome: Option<Outcome>,
}

enum Outcome {
    Picture,
    Unsampled,
    Skipped(NoPicture),
}

/// A picture whose references are not yet known to be whole.
struct Held {
    number: i64,
    video: frame::Video,
    is_damaged: bool,
    is_unrecovered: bool,
}

impl Decode {
    pub(super) fn new(options: FrameOptions, is_open: bool) -> Self {
        #[cfg(test)]
        options.probe.with(|seen| seen.runs += 1);
        Self {
            options,
            codec: None,
            decoder: None,
            fragments: VecDeque::new(),
            entries: VecDeque::new(),
            first: 0,
            sent: 0,
            groups: 0,
            is_open,
            is_drained: false,
            held: VecDeque::new(),
            undecided: BTreeSet::new(),
            damaged_references: Vec::new(),
            last_out: i64::MIN,
            missing: BinaryHeap::new(),
            failure: None,
        }
    }

    #[cfg(test)]
    pub(super) fn probe(&self) -> super::probe::Probe {
        self.options.probe.clone()
    }

    /// Adds a fragment. All fragments of a run must have the same track parameters.
    pub(super) fn push(&mut self, plan: Plan) {
        self.fragments.push_back(FragmentReport {
            fragment: Arc::clone(&plan.source.fragment),
            fragment_index: plan.source.fragment_index,
            blocks: plan.units.len() as u32,
            pictures: 0,
            unsampled: 0,
            skipped: Vec::new(),
        });
        self.codec = self.codec.take().or(plan.codec);
        let groups = self.groups;
        for mut unit in plan.units {
            unit.group += groups;
            self.groups = unit.group;
            self.entries.push_back(Entry { source: Arc::clone(&plan.source), unit, error: None, outcome: None });
        }
    }

    /// Declares that no fragment will be added.
    pub(super) fn close(&mut self) {
        self.is_open = false;
    }

    /// Returns `true` if a step would make progress.
    pub(super) fn has_work(&self) -> bool {
        self.sent < self.entries.len() || !self.is_open && !self.is_drained
    }

    /// Returns `true` if no item will follow.
    pub(super) fn is_finished(&self) -> bool {
        self.is_drained && !self.is_open
    }

    /// Returns the number of blocks without a picture since the last picture.
    pub(super) fn missing(&self) -> u32 {
        self.missing.len() as u32
    }

    /// Decodes until a batch of items is ready or no work is left.
    ///
    /// # Errors
    /// If the decoder cannot be opened, or at damage with [`OnDecodeError::Fail`].
    pub(super) fn step(&mut self, is_stopped: &AtomicBool, out: &mut Vec<FrameItem>) -> Result<()> {
        let (mut seen, mut bytes) = (0, 0);
        for _ in 0..STEP_FRAMES {
            if !self.has_work() || is_stopped.load(Ordering::Relaxed) || seen >= STEP_ITEMS || bytes >= STEP_BYTES {
                break;
            }
            self.send_next()?;
            self.release(out)?;
            self.settle(out)?;
            bytes += out.iter().skip(seen).map(FrameItem::bytes).sum::<usize>();
            seen = out.len();
        }
        match self.failure.take_if(|_| self.is_drained) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    /// Sends the next coded frame to the decoder, or drains it if there is none.
    fn send_next(&mut self) -> Result<()> {
        let number = self.first + self.sent as i64;
        let Some(entry) = self.entries.get_mut(self.sent) else {
            self.is_drained = true;
            self.flush(number - 1);
            self.decoder = None;
            return Ok(());
        };
        self.sent += 1;
        let timecode = entry.unit.packet.timecode_ns();
        let is_alone = match &entry.unit.fate {
            Fate::Decode { .. } | Fate::Parameters => false,
            Fate::Alone { .. } => true,
            Fate::Unsampled => {
                entry.outcome = Some(Outcome::Unsampled);
                return Ok(());
            }
            Fate::Skip(reason) => {
                entry.outcome = Some(Outcome::Skipped(reason.clone()));
                self.missing.push(Reverse(timecode));
                if matches!(reason, NoPicture::Empty) {
                    self.note_damage(number, None);
                }
                return Ok(());
            }
        };
        let Some(codec) = &self.codec else { return Ok(()) };
        if self.decoder.is_none() {
            self.decoder = Some(codec.open(self.options.max_pixels).map_err(|error| entry.at_position(error))?);
        }
        #[cfg(test)]
        self.options.probe.visit();
        if entry.unit.is_reference {
            self.undecided.insert(number);
        }
        let has_picture = !matches!(entry.unit.fate, Fate::Parameters);
        match send(codec, self.decoder.as_mut(), &entry.unit.packet, number) {
            // libavcodec fails on a packet without a picture.
            Err(_) if !has_picture => {}
            Err(error) => self.note_damage(number, Some(error)),
            Ok(()) => {}
        }
        if !has_picture && let Some(entry) = self.index_of(number).and_then(|at| self.entries.get_mut(at)) {
            entry.outcome = Some(Outcome::Skipped(NoPicture::Parameters));
        }
        self.receive(number);
        if self.codec.as_ref().is_some_and(Codec::is_in_order) {
            self.undecided.remove(&number);
        }
        if is_alone {
            self.flush(number);
        }
        Ok(())
    }

    /// Receives all pictures that the decoder has ready. Attributes a failure to the coded frame `number`.
    fn receive(&mut self, number: i64) {
        let mut errors = 0;
        while let Some(decoder) = self.decoder.as_mut().filter(|_| errors < MAX_ERRORS) {
            let mut video = frame::Video::empty();
            match decoder.receive_frame(&mut video) {
                Ok(()) => self.hold_back(video),
                Err(ffmpeg_next::Error::Eof | ffmpeg_next::Error::Other { errno: EAGAIN }) => return,
                Err(error) => {
                    errors += 1;
                    self.note_damage(number, Some(of_libavcodec(error)));
                }
            }
        }
    }

    /// Drains the decoder and resets it.
    fn flush(&mut self, number: i64) {
        if let Some(decoder) = &mut self.decoder {
            // Sending the end fails only if it was sent before.
            let _ = decoder.send_eof();
        }
        self.receive(number);
        if let Some(decoder) = &mut self.decoder {
            decoder.flush();
        }
        self.undecided.clear();
    }

    fn hold_back(&mut self, video: frame::Video) {
        let Some(number) = video.pts() else { return };
        self.undecided.remove(&number);
        let is_held = self.held.iter().any(|held| held.number == number);
        // A block may yield a second picture: the second field of a pair, for example.
        let entry = self.index_of(number).and_then(|at| self.entries.get(at));
        if is_held || entry.is_none_or(|entry| entry.outcome.is_some()) {
            return;
        }
        self.last_out = self.last_out.max(number);
        // Marked as corrupt but without errors: a picture before the recovery point. The decoder itself tracks which
        // later pictures are whole.
        let is_damaged = video.has_decode_errors() || entry.is_some_and(|entry| entry.error.is_some());
        let is_unrecovered = video.is_corrupt() && !is_damaged;
        if is_damaged {
            self.note_damage(number, None);
        }
        self.held.push_back(Held { number, video, is_damaged, is_unrecovered });
    }

    fn note_damage(&mut self, number: i64, error: Option<Error>) {
        self.undecided.remove(&number);
        let Some(entry) = self.index_of(number).and_then(|at| self.entries.get_mut(at)) else { return };
        let unit = &entry.unit;
        if unit.is_reference {
            // Frames decoded from now on refer to this group or, if they are leading, to the previous one.
            self.damaged_references.retain(|(_, group)| group + 1 >= unit.group);
            // The first damaged reference of a group affects all later frames of the group.
            match self.damaged_references.iter_mut().find(|(_, group)| *group == unit.group) {
                Some((first, _)) => *first = number.min(*first),
                None => self.damaged_references.push((number, unit.group)),
            }
        }
        if let Some(error) = error
            && entry.error.is_none()
        {
            if self.options.on_decode_error == OnDecodeError::Fail && unit.wanted().is_some() {
                let timecode = unit.packet.timecode_ns();
                if self.failure.as_ref().is_none_or(|(first, _)| timecode < *first) {
                    self.failure = Some((timecode, entry.failure(Some(error.clone()))));
                }
            }
            entry.error = Some(error);
        }
    }

    /// Emits the pictures whose references are known to be whole or damaged.
    fn release(&mut self, out: &mut Vec<FrameItem>) -> Result<()> {
        while let Some(head) = self.held.front() {
            let is_decided = self.undecided.first().is_none_or(|oldest| *oldest >= head.number);
            if !is_decided && !self.is_drained && self.held.len() <= MAX_HELD {
                break;
            }
            if let Some(head) = self.held.pop_front() {
                self.emit(head, out)?;
            }
        }
        Ok(())
    }

    fn emit(&mut self, held: Held, out: &mut Vec<FrameItem>) -> Result<()> {
        let Some(at) = self.index_of(held.number) else { return Ok(()) };
        let Some(entry) = self.entries.get_mut(at) else { return Ok(()) };
        let unit = &entry.unit;
        if let Some((timecode, error)) = &self.failure
            && *timecode < unit.packet.timecode_ns()
        {
            return Err(error.clone());
        }
        let Some(index) = unit.wanted() else {
            entry.outcome = Some(Outcome::Unsampled);
            return Ok(());
        };
        let refers_to_damaged = self.damaged_references.iter().any(|(number, group)| {
            *number < held.number && (*group == unit.group || unit.is_leading && *group + 1 == unit.group)
        });
        let is_damaged = held.is_damaged || refers_to_damaged || held.is_unrecovered;
        let timecode = unit.packet.timecode_ns();
        if !is_damaged || self.options.on_decode_error == OnDecodeError::Conceal {
            let mut missing = 0;
            while self.missing.peek().is_some_and(|Reverse(before)| *before < timecode) {
                self.missing.pop();
                missing += 1;
            }
            out.push(FrameItem::Frame(entry.frame(held.video, index, is_damaged, missing)));
            entry.outcome = Some(Outcome::Picture);
            return Ok(());
        }
        let error = entry.error.take();
        if self.options.on_decode_error == OnDecodeError::Fail && !held.is_unrecovered {
            return Err(entry.failure(error));
        }
        self.missing.push(Reverse(timecode));
        let reason = match (held.is_damaged, refers_to_damaged) {
            (true, _) => NoPicture::Damaged(error),
            (false, true) => NoPicture::RefersToDamaged,
            (false, false) => NoPicture::NotRecovered,
        };
        entry.outcome = Some(Outcome::Skipped(reason));
        Ok(())
    }

    /// Pops settled entries and emits finished reports.
    fn settle(&mut self, out: &mut Vec<FrameItem>) -> Result<()> {
        loop {
            while let Some(report) = self.fragments.pop_front_if(|report| report.is_complete()) {
                out.push(FrameItem::Report(report));
            }
            let is_late = self.is_drained || self.first.saturating_add(GIVE_UP_AFTER) < self.last_out;
            let Some(entry) = self.entries.front_mut().filter(|_| self.sent > 0) else { return Ok(()) };
            if entry.outcome.is_none() {
                if !is_late || self.held.iter().any(|held| held.number == self.first) {
                    return Ok(());
                }
                entry.outcome = Some(match (entry.unit.wanted(), entry.error.take()) {
                    (None, _) => Outcome::Unsampled,
                    (Some(_), Some(error)) => Outcome::Skipped(NoPicture::Damaged(Some(error))),
                    (Some(_), None) => Outcome::Skipped(NoPicture::NoOutput),
                });
                if matches!(entry.outcome, Some(Outcome::Skipped(_))) {
                    self.missing.push(Reverse(entry.unit.packet.timecode_ns()));
                }
                self.undecided.remove(&self.first);
            }
            let (entry, report) = (self.entries.pop_front(), self.fragments.front_mut());
            self.first += 1;
            self.sent -= 1;
            if let Some((entry, report)) = entry.zip(report) {
                entry.count(report);
            }
        }
    }

    fn index_of(&self, number: i64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first)?).ok()
    }
}

#[cfg(test)]
impl Drop for Decode {
    fn drop(&mut self) {
        self.options.probe.with(|seen| seen.runs -= 1);
    }
}

impl Entry {
    /// Creates the frame for a decoded picture.
    fn frame(&self, video: frame::Video, index: u32, is_damaged: bool, missing_before: u32) -> Frame {
        let Self { source, unit, .. } = self;
        let aspect = video.aspect_ratio();
        let aspect = u32::try_from(aspect.numerator()).ok().zip(u32::try_from(aspect.denominator()).ok());
        let info = FrameInfo {
            fragment: Arc::clone(&source.fragment),
            tags: source.tags.clone(),
            fragment_index: source.fragment_index,
            index,
            timecode_ns: unit.packet.timecode_ns(),
            producer_time: unit.packet.producer_time(),
            is_key: unit.packet.is_key(),
            is_damaged,
            missing_before,
            width: video.width(),
            height: video.height(),
            sample_aspect_ratio: aspect.filter(|(wide, high)| *wide > 0 && *high > 0).or(source.sample_aspect_ratio),
            rotation: rotation_of(&video).or(source.rotation),
        };
        Frame::new(info, Picture::decoded(video))
    }

    /// Adds the position of the coded frame to an error.
    fn at_position(&self, error: Error) -> Error {
        let number = self.source.fragment.number().map(ToString::to_string);
        error.at(self.unit.offset).in_fragment(number.as_deref()).on_track(self.source.track)
    }

    fn failure(&self, cause: Option<Error>) -> Error {
        let message = format!("the coded frame {} is damaged or refers to a damaged one", self.unit.packet.ordinal());
        let error = self.at_position(Error::malformed(message));
        if let Some(cause) = cause { error.caused_by(cause) } else { error }
    }

    fn count(self, report: &mut FragmentReport) {
        match self.outcome {
            Some(Outcome::Picture) => report.pictures += 1,
            Some(Outcome::Unsampled) | None => report.unsampled += 1,
            Some(Outcome::Skipped(reason)) => report.skipped.push(SkippedBlock {
                ordinal: self.unit.packet.ordinal(),
                offset: self.unit.offset,
                timecode_ns: self.unit.packet.timecode_ns(),
                reason,
            }),
        }
    }
}

fn send(codec: &Codec, decoder: Option<&mut decoder::Video>, packet: &Packet, number: i64) -> Result<()> {
    let Some(decoder) = decoder else { return Ok(()) };
    let reframed = codec.reframed(packet.payload())?;
    let bytes = reframed.as_ref().unwrap_or(packet.payload());
    if bytes.len() > MAX_CODED {
        return Err(Error::limit(format!("a coded frame of {} bytes is more than libavcodec takes", bytes.len())));
    }
    // libavcodec reads a little beyond the end, so it needs a padded copy.
    let mut coded = ffmpeg_next::Packet::copy(bytes);
    coded.set_pts(Some(number));
    coded.set_dts(Some(number));
    if packet.is_key() {
        coded.set_flags(packet::Flags::KEY);
    }
    decoder.send_packet(&coded).map_err(of_libavcodec)
}

fn of_libavcodec(error: ffmpeg_next::Error) -> Error {
    Error::malformed("the decoder rejected the coded frame").caused_by(error)
}

/// Returns the rotation of a display matrix. The first two columns of its 9 numbers rotate and scale.
fn rotation_of(video: &frame::Video) -> Option<f64> {
    let matrix = video.side_data(side_data::Type::DisplayMatrix)?;
    let number = |index: usize| {
        let bytes = matrix.data().get(index * 4..index * 4 + 4)?.try_into().ok()?;
        Some(f64::from(i32::from_ne_bytes(bytes)))
    };
    let (a, b, c, d) = (number(0)?, number(1)?, number(3)?, number(4)?);
    let (wide, high) = (a.hypot(c), b.hypot(d));
    let turned = -(b / high).atan2(a / wide).to_degrees();
    turned.is_finite().then_some(if turned == 0.0 { 0.0 } else { turned })
}
