//! Places the blocks of a conversation: fragments in, chunks out. No clock, no I/O.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{AudioChunk, AudioDiscontinuity, NANOS_PER_SAMPLE, Party, Samples, nanos};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Fragment, FragmentEnd, FragmentNumber, Timestamp};
use crate::packet::Packet;

/// A block that begins at most this far from the end of its party's audio continues it: 8 ms.
const TOLERANCE: i64 = 64;

/// The largest step forward on one timeline: a day. A larger one means that the timeline restarted.
const LONGEST_HOLE: i64 = 24 * 3600 * 8000;

/// The largest step back on one timeline: the longest fragment, 20 s. A larger one means that the timeline restarted.
const LONGEST_FRAGMENT: i64 = 20 * 8000;

/// The longest chunk of silence: 1 s. Longer holes are filled with several chunks that share one buffer.
const SILENCE: usize = 8000;

/// The number of fragments buffered at the start of a stream while no contact id has arrived.
const MAX_BUFFERED: usize = 8;

/// The same limit in bytes, which replaces [`MAX_BUFFERED`] when only one contact is wanted.
const MAX_BUFFERED_BYTES: usize = 4 << 20;

/// A cut fragment without a contact id that starts more than this after the current audio starts a new contact: 1 s.
const PAUSE: i64 = 8000;

/// The number of contact ids that an error message lists.
pub(super) const MAX_LISTED: usize = 8;

/// Places the audio of one contact after the other.
pub(super) struct Placement {
    pub(super) max_silence: Option<u64>,
    /// The contact selected by the user.
    pub(super) wanted: Option<Arc<str>>,
    named: Vec<Arc<str>>,
    /// The most recent contact id.
    id: Option<Arc<str>>,
    contact: Option<Contact>,
    /// Fragments from the start of the stream that wait for the first contact id.
    buffered: VecDeque<Source>,
    /// A fragment that was cut before its contact id. The service may send it again in full.
    cut: Option<Source>,
    pieces: VecDeque<Piece>,
    silence: Arc<[i16]>,
}

/// The state of the current contact. Times are in samples on the timeline of the producer session.
struct Contact {
    /// The time of position 0.
    origin: i64,
    /// The position where the audio of each party ends.
    ends: [i64; 2],
    /// The time of the last block of any party.
    last: i64,
    /// The time of the first block of the last fragment.
    last_start: i64,
    last_number: Option<FragmentNumber>,
    last_producer_time: Option<Timestamp>,
    /// The discontinuities of each party since its last chunk.
    discontinuities: [Vec<AudioDiscontinuity>; 2],
}

/// An output: a chunk, or silence that is divided into chunks when it is taken.
enum Piece {
    Chunk(AudioChunk),
    Silence { first: AudioChunk, left: u64 },
}

/// A fragment with the blocks of both parties, sorted by time.
struct Source {
    fragment: Fragment,
    blocks: Vec<Block>,
}

/// A block of one party and its time on the timeline, in samples.
struct Block {
    party: Party,
    time: i64,
    packet: Packet,
}

impl Placement {
    pub(super) fn new() -> Self {
        Self {
            max_silence: None,
            wanted: None,
            named: Vec::new(),
            id: None,
            contact: None,
            buffered: VecDeque::new(),
            cut: None,
            pieces: VecDeque::new(),
            silence: vec![0; SILENCE].into(),
        }
    }

    /// Returns the first contact ids of the stream, at most [`MAX_LISTED`] and one more.
    pub(super) fn named(&self) -> &[Arc<str>] {
        &self.named
    }

    /// Places a fragment, or buffers it until its contact is known.
    ///
    /// # Errors
    /// If the fragment has tracks and none of them is a track of Amazon Connect. Everything before it is placed.
    pub(super) fn push(&mut self, fragment: Fragment) -> Result<()> {
        let source = match Source::new(fragment) {
            Ok(source) => source,
            Err(error) => {
                self.finish();
                return Err(error);
            }
        };
        let fragment = &source.fragment;
        let id = fragment.tags().get("ContactId").filter(|id| !id.is_empty()).map(|id| Arc::<str>::from(&*id));
        if let Some(id) = &id
            && self.named.len() <= MAX_LISTED
            && !self.named.contains(id)
        {
            self.named.push(Arc::clone(id));
        }
        if let Some(cut) = self.cut.take()
            && (cut.fragment.number().is_none() || cut.fragment.number() != fragment.number())
        {
            let cut_id = if self.continues(&cut) { None } else { id.clone() };
            self.place(&cut, cut_id);
        }
        if id.is_none() && fragment.end_reason() == FragmentEnd::Cut {
            self.cut = Some(source);
            return Ok(());
        }
        if id.is_none() && self.id.is_none() && self.contact.is_none() && self.has_room() {
            self.buffered.push_back(source);
            return Ok(());
        }
        for buffered in std::mem::take(&mut self.buffered) {
            self.place(&buffered, id.clone());
        }
        self.place(&source, id);
        Ok(())
    }

    /// Places all buffered fragments at the end of the stream.
    pub(super) fn finish(&mut self) {
        for buffered in std::mem::take(&mut self.buffered) {
            self.place(&buffered, None);
        }
        let Some(cut) = self.cut.take() else { return };
        if !self.continues(&cut) {
            (self.contact, self.id) = (None, None);
        }
        self.place(&cut, None);
    }

    fn has_room(&self) -> bool {
        match self.wanted {
            Some(_) => {
                let bytes = self.buffered.iter().map(|source| source.fragment.raw().len()).sum::<usize>();
                bytes < MAX_BUFFERED_BYTES
            }
            None => self.buffered.len() < MAX_BUFFERED,
        }
    }

    /// Returns whether a fragment starts within [`PAUSE`] of the end of the current contact's audio, if there is any.
    fn continues(&self, source: &Source) -> bool {
        self.contact.as_ref().zip(source.earliest()).is_none_or(|(contact, earliest)| {
            earliest.saturating_sub(contact.end().saturating_add(contact.origin)) <= PAUSE
        })
    }

    /// Returns the next piece as a chunk. A piece of silence has no samples yet.
    pub(super) fn front(&self) -> Option<&AudioChunk> {
        self.pieces.front().map(|piece| match piece {
            Piece::Chunk(chunk) | Piece::Silence { first: chunk, .. } => chunk,
        })
    }

    /// Drops the next chunk, or the whole of a silence.
    pub(super) fn drop_front(&mut self) {
        self.pieces.pop_front();
    }

    /// Takes the next chunk.
    pub(super) fn pop(&mut self) -> Option<AudioChunk> {
        match self.pieces.pop_front()? {
            Piece::Chunk(chunk) => Some(chunk),
            Piece::Silence { mut first, left } => {
                let length = left.min(SILENCE as u64);
                first.samples.range.end = length as usize;
                if left > length {
                    let mut rest = first.part(length as usize, 0);
                    rest.samples.range = 0..0;
                    self.pieces.push_front(Piece::Silence { first: rest, left: left - length });
                }
                Some(first)
            }
        }
    }

    /// Places the blocks of a fragment. `id` is its contact id; without one it belongs to the current contact.
    fn place(&mut self, source: &Source, id: Option<Arc<str>>) {
        if let Some(id) = id {
            // The first id of an unnamed contact names that contact.
            if self.id.as_ref().is_some_and(|last| *last != id) {
                self.contact = None;
            }
            self.id = Some(id);
        }
        let Some(earliest) = source.earliest() else { return };
        let contact = self.contact.get_or_insert_with(|| Contact::new(earliest));
        contact.check_timeline(earliest, &source.fragment);
        for block in &source.blocks {
            if block.time.saturating_sub(contact.last) > LONGEST_HOLE {
                contact.restart_timeline(block.time, 0);
            }
            contact.last = contact.last.max(block.time);
            contact.leave_out(block.time, self.max_silence);
            contact.place(block, self.id.as_ref(), &self.silence, &mut self.pieces);
        }
        if contact.is_newer(&source.fragment) {
            contact.last_start = earliest;
            contact.last_number = source.fragment.number().cloned();
            contact.last_producer_time = source.fragment.producer_time();
        }
    }
}

impl Source {
    /// Extracts the blocks of both parties and sorts them by time. Blocks of different tracks may arrive in any order.
    fn new(fragment: Fragment) -> Result<Self> {
        let is_only = fragment.tracks().len() == 1;
        let has_party = fragment.tracks().iter().any(|track| Party::of_track(track, is_only).is_some());
        if !has_party && !fragment.tracks().is_empty() {
            return Err(no_connect_track(&fragment));
        }
        let party = |number: u64| Party::of_track(fragment.track(number)?, is_only);
        let blocks = fragment.packets().filter_map(|packet| {
            let party = party(packet.track_number())?;
            Some(Block { party, time: packet.timecode_ns().div_euclid(NANOS_PER_SAMPLE), packet })
        });
        let mut blocks: Vec<Block> = blocks.collect();
        blocks.sort_by_key(|block| block.time);
        Ok(Self { fragment, blocks })
    }

    fn earliest(&self) -> Option<i64> {
        self.blocks.first().map(|block| block.time)
    }
}

fn no_connect_track(fragment: &Fragment) -> Error {
    let names = fragment.tracks().iter().map(|track| format!("{:?}", track.name().unwrap_or_default()));
    let names = names.collect::<Vec<_>>().join(", ");
    let number = fragment.number().map(ToString::to_string);
    let message = format!("the fragment has no track of Amazon Connect, only {names}");
    Error::new(ErrorKind::Unsupported, message).at(fragment.offset()).in_fragment(number.as_deref())
}

impl Contact {
    fn new(origin: i64) -> Self {
        Self {
            origin,
            ends: [0, 0],
            last: origin,
            last_start: origin,
            last_number: None,
            last_producer_time: None,
            discontinuities: [Vec::new(), Vec::new()],
        }
    }

    /// Returns whether a fragment is not a repeat. A fragment without a number counts as newer.
    fn is_newer(&self, fragment: &Fragment) -> bool {
        self.last_number.as_ref().zip(fragment.number()).is_none_or(|(last, number)| number > last)
    }

    /// Detects a restarted timeline and continues after all audio so far.
    ///
    /// The gap is the difference on the producer's clock, or none if that clock is unknown.
    fn check_timeline(&mut self, earliest: i64, fragment: &Fragment) {
        let since = earliest.saturating_sub(self.last_start);
        let passed = self.last_producer_time.zip(fragment.producer_time());
        let passed = passed.map(|(last, now)| now.as_nanos().saturating_sub(last.as_nanos()) / NANOS_PER_SAMPLE);
        // A producer whose timecodes begin at 0 may restart so early that the step back is small.
        let has_restarted = since < 0
            && (0..LONGEST_HOLE).contains(&earliest)
            && passed.is_some_and(|passed| passed.saturating_sub(since) > PAUSE);
        let is_back = earliest.saturating_sub(self.last) < -LONGEST_FRAGMENT || has_restarted;
        if is_back && self.is_newer(fragment) {
            let start = self.last_start.saturating_sub(self.origin);
            let passed = passed.filter(|passed| (0..LONGEST_HOLE).contains(passed));
            self.restart_timeline(earliest, passed.map_or(0, |passed| start.saturating_add(passed)));
        }
    }

    /// Maps `time` to the end of all audio so far, but at least to `position`.
    fn restart_timeline(&mut self, time: i64, position: i64) {
        self.origin = time.saturating_sub(self.end().max(position));
        self.last = time;
        self.note_both(AudioDiscontinuity::TimelineReset);
    }

    /// Returns the position where the audio of both parties has ended.
    fn end(&self) -> i64 {
        self.ends.iter().copied().max().unwrap_or_default()
    }

    fn note_both(&mut self, what: AudioDiscontinuity) {
        self.discontinuities.iter_mut().for_each(|noted| note(noted, what));
    }

    /// Shortens a silence of both parties to `max_silence`.
    fn leave_out(&mut self, time: i64, max_silence: Option<u64>) {
        let Some(most) = max_silence.and_then(|most| i64::try_from(most).ok()) else { return };
        let surplus = time.saturating_sub(self.origin).saturating_sub(self.end()).saturating_sub(most);
        if surplus > 0 {
            self.origin = self.origin.saturating_add(surplus);
            self.note_both(AudioDiscontinuity::LeftOut(surplus.unsigned_abs()));
        }
    }

    /// Places a block, after silence if there is a hole before it.
    fn place(&mut self, block: &Block, id: Option<&Arc<str>>, silence: &Arc<[i16]>, pieces: &mut VecDeque<Piece>) {
        let Block { party, time, packet } = block;
        let mut samples = samples_of(packet.payload());
        let length = samples.get().len() as i64;
        let position = time.saturating_sub(self.origin);
        let lanes = self.ends.get_mut(party.lane()).zip(self.discontinuities.get_mut(party.lane()));
        let Some((end, discontinuities)) = lanes else { return };
        let chunk = |at: i64, samples: Samples, discontinuities: Vec<AudioDiscontinuity>| AudioChunk {
            party: *party,
            contact: id.cloned(),
            position: at.unsigned_abs(),
            producer_time: packet.producer_time().map(|time| time.plus_nanos(nanos(at - position))),
            samples,
            is_filled: false,
            discontinuities: discontinuities.into(),
            fragment: Arc::clone(packet.fragment()),
        };
        // Negative if the block overlaps audio that is already placed.
        let hole = position.saturating_sub(*end);
        if hole > TOLERANCE {
            note(discontinuities, AudioDiscontinuity::Filled(hole.unsigned_abs()));
            let empty = Samples { buffer: Arc::clone(silence), range: 0..0 };
            let first = AudioChunk { is_filled: true, ..chunk(*end, empty, std::mem::take(discontinuities)) };
            pieces.push_back(Piece::Silence { first, left: hole.unsigned_abs() });
            *end = position;
        } else if hole < -TOLERANCE {
            let overlap = hole.saturating_neg().min(length);
            samples.skip(usize::try_from(overlap).unwrap_or(usize::MAX));
            note(discontinuities, AudioDiscontinuity::Trimmed(overlap.unsigned_abs()));
        }
        if !samples.get().is_empty() {
            let length = samples.get().len() as i64;
            pieces.push_back(Piece::Chunk(chunk(*end, samples, std::mem::take(discontinuities))));
            *end += length;
        }
    }
}

/// Adds a discontinuity, or merges it into the last one of the same kind.
///
/// At most 16 are noted, so that a stream without audio of one party takes no memory.
fn note(noted: &mut Vec<AudioDiscontinuity>, what: AudioDiscontinuity) {
    use AudioDiscontinuity::{LeftOut, TimelineReset, Trimmed};
    let is_full = noted.len() >= 16;
    match (noted.last_mut(), what) {
        (_, Trimmed(0)) | (Some(TimelineReset), TimelineReset) => {}
        (Some(Trimmed(before)), Trimmed(samples)) | (Some(LeftOut(before)), LeftOut(samples)) => {
            *before = before.saturating_add(samples);
        }
        _ if is_full => {}
        _ => noted.push(what),
    }
}

/// Decodes 16-bit little-endian samples. An odd last byte is ignored.
fn samples_of(payload: &[u8]) -> Samples {
    let buffer: Arc<[i16]> = payload.as_chunks().0.iter().copied().map(i16::from_le_bytes).collect();
    Samples { range: 0..buffer.len(), buffer }
}
