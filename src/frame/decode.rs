//! A run of one decoder: over one fragment, or over several that continue each other.

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

/// One step gives about so many pictures and reports, or bytes of them, before it lets others have the
/// thread.
pub(super) const STEP_ITEMS: usize = 16;
const STEP_BYTES: usize = 16 << 20;

/// One step decodes so many coded frames at most, whether anything comes of them or not.
const STEP_FRAMES: usize = 64;

/// The most pictures that are held back to see whether what they refer to is whole. Decoders reorder no
/// more than 16 (ITU-T H.264 section A.3.1, H.265 section A.4.1).
const MOST_HELD: usize = 16;

/// A coded frame of which nothing came while so many behind it were decoded will not come any more.
const GIVEN_UP_AFTER: i64 = 64;

/// libavcodec counts bytes in 32 bits with a sign, and puts some behind.
const MOST_CODED: usize = (1 << 31) - 1024;

/// How often a decoder may fail in a row before it is taken to be at its end.
const MOST_ERRORS: usize = 64;

pub(super) struct Decode {
    options: FrameOptions,
    codec: Option<Codec>,
    decoder: Option<decoder::Video>,
    fragments: VecDeque<FragmentReport>,
    /// Those that are not settled yet, in decoding order. The first has the number `first`, which is also
    /// its time for the decoder: unlike timecodes, numbers are never the same.
    entries: VecDeque<Entry>,
    first: i64,
    /// How many of `entries` the decoder has had.
    sent: usize,
    groups: u32,
    /// More fragments may be added.
    is_open: bool,
    is_drained: bool,
    held: VecDeque<Held>,
    /// References that the decoder has had and not given: whether they are whole is not known.
    undecided: BTreeSet<i64>,
    /// The first damaged reference of each group that still matters.
    damaged_references: Vec<(i64, u32)>,
    last_out: i64,
    /// When the blocks were to be shown that gave no picture, and are not told of yet.
    missing: BinaryHeap<Reverse<i64>>,
    /// With [`OnDecodeError::Fail`], what failed first, and when it was to be shown.
    failure: Option<(i64, Error)>,
}

struct Entry {
    source: Arc<Source>,
    unit: Unit,
    /// What the decoder said about it.
    error: Option<Error>,
    outcome: Option<Outcome>,
}

enum Outcome {
    Picture,
    Unsampled,
    Skipped(NoPicture),
}

/// A picture of which it is not known yet whether all that it refers to is whole.
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

    /// Adds a fragment. In a run of several, one of the same track parameters.
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

    /// No fragment will be added any more.
    pub(super) fn close(&mut self) {
        self.is_open = false;
    }

    /// Whether a step would get any further.
    pub(super) fn has_work(&self) -> bool {
        self.sent < self.entries.len() || !self.is_open && !self.is_drained
    }

    /// Whether nothing will come any more.
    pub(super) fn is_finished(&self) -> bool {
        self.is_drained && !self.is_open
    }

    /// How many blocks gave no picture since the last one.
    pub(super) fn missing(&self) -> u32 {
        self.missing.len() as u32
    }

    /// Decodes until there is something worth giving out, or nothing left to do.
    ///
    /// # Errors
    /// If the decoder cannot be made, or damage is to be an error.
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

    /// Hands the decoder the next coded frame, or tells it that there is none.
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
            self.decoder = Some(codec.open(self.options.most_pixels).map_err(|error| entry.place(error))?);
        }
        #[cfg(test)]
        self.options.probe.visit();
        if entry.unit.is_reference {
            self.undecided.insert(number);
        }
        let has_picture = !matches!(entry.unit.fate, Fate::Parameters);
        match send(codec, self.decoder.as_mut(), &entry.unit.packet, number) {
            // libavcodec misses the picture in what has none.
            Err(_) if !has_picture => {}
            Err(error) => self.note_damage(number, Some(error)),
            Ok(()) => {}
        }
        if !has_picture && let Some(entry) = self.place_of(number).and_then(|at| self.entries.get_mut(at)) {
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

    /// Takes what the decoder has to give. If it fails, that is laid to the coded frame it had last.
    fn receive(&mut self, number: i64) {
        let mut errors = 0;
        while let Some(decoder) = self.decoder.as_mut().filter(|_| errors < MOST_ERRORS) {
            let mut video = frame::Video::empty();
            match decoder.receive_frame(&mut video) {
                Ok(()) => self.hold(video),
                Err(ffmpeg_next::Error::Eof | ffmpeg_next::Error::Other { errno: EAGAIN }) => return,
                Err(error) => {
                    errors += 1;
                    self.note_damage(number, Some(of_libavcodec(error)));
                }
            }
        }
    }

    /// Gets all out of the decoder, and makes it ready to begin anew.
    fn flush(&mut self, number: i64) {
        if let Some(decoder) = &mut self.decoder {
            // It fails only if it is at its end already.
            let _ = decoder.send_eof();
        }
        self.receive(number);
        if let Some(decoder) = &mut self.decoder {
            decoder.flush();
        }
        self.undecided.clear();
    }

    fn hold(&mut self, video: frame::Video) {
        let Some(number) = video.pts() else { return };
        self.undecided.remove(&number);
        let is_held = self.held.iter().any(|held| held.number == number);
        // A block may give a second picture: the other of a pair of fields, for example.
        let entry = self.place_of(number).and_then(|at| self.entries.get(at));
        if is_held || entry.is_none_or(|entry| entry.outcome.is_some()) {
            return;
        }
        self.last_out = self.last_out.max(number);
        // Marked, but without errors: not whole yet, on the way to a recovery point. The decoder itself knows which pictures
        // behind it are.
        let is_damaged = video.has_decode_errors() || entry.is_some_and(|entry| entry.error.is_some());
        let is_unrecovered = video.is_corrupt() && !is_damaged;
        if is_damaged {
            self.note_damage(number, None);
        }
        self.held.push_back(Held { number, video, is_damaged, is_unrecovered });
    }

    fn note_damage(&mut self, number: i64, error: Option<Error>) {
        self.undecided.remove(&number);
        let Some(entry) = self.place_of(number).and_then(|at| self.entries.get_mut(at)) else { return };
        let unit = &entry.unit;
        if unit.is_reference {
            // What is decoded from now on refers to this group or, if it is shown before it, the last.
            self.damaged_references.retain(|(_, group)| group + 1 >= unit.group);
            // Of each group the first says it all.
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

    /// Gives out the pictures of which it is known whether what they refer to is whole.
    fn release(&mut self, out: &mut Vec<FrameItem>) -> Result<()> {
        while let Some(head) = self.held.front() {
            let is_decided = self.undecided.first().is_none_or(|oldest| *oldest >= head.number);
            if !is_decided && !self.is_drained && self.held.len() <= MOST_HELD {
                break;
            }
            if let Some(head) = self.held.pop_front() {
                self.give(head, out)?;
            }
        }
        Ok(())
    }

    fn give(&mut self, held: Held, out: &mut Vec<FrameItem>) -> Result<()> {
        let Some(at) = self.place_of(held.number) else { return Ok(()) };
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

    /// Lets go of the coded frames at the front of which it is known what became of them, and reports the
    /// fragments that are through.
    fn settle(&mut self, out: &mut Vec<FrameItem>) -> Result<()> {
        loop {
            while let Some(report) = self.fragments.pop_front_if(|report| report.is_complete()) {
                out.push(FrameItem::Report(report));
            }
            let is_late = self.is_drained || self.first.saturating_add(GIVEN_UP_AFTER) < self.last_out;
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

    fn place_of(&self, number: i64) -> Option<usize> {
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
    /// The picture, with all that is known of it.
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

    /// Says where an error was found.
    fn place(&self, error: Error) -> Error {
        let number = self.source.fragment.number().map(ToString::to_string);
        error.at(self.unit.offset).in_fragment(number.as_deref()).on_track(self.source.track)
    }

    fn failure(&self, cause: Option<Error>) -> Error {
        let message = format!("the coded frame {} is damaged, or one that it refers to is", self.unit.packet.ordinal());
        let error = self.place(Error::malformed(message));
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
    if bytes.len() > MOST_CODED {
        return Err(Error::limit(format!("a coded frame of {} bytes is more than libavcodec takes", bytes.len())));
    }
    // Copied, since libavcodec wants to read a little beyond the end.
    let mut coded = ffmpeg_next::Packet::copy(bytes);
    coded.set_pts(Some(number));
    coded.set_dts(Some(number));
    if packet.is_key() {
        coded.set_flags(packet::Flags::KEY);
    }
    decoder.send_packet(&coded).map_err(of_libavcodec)
}

fn of_libavcodec(error: ffmpeg_next::Error) -> Error {
    Error::malformed("the decoder refused it").caused_by(error)
}

/// The angle of a display matrix: 9 numbers, of which the first two columns turn and stretch.
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
