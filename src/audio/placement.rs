//! Where each block of a call goes. No clock, no I/O: fragments in, chunks out.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{AudioChunk, AudioDiscontinuity, NANOS_PER_SAMPLE, Party, Samples, nanos};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Fragment, FragmentEnd, FragmentNumber, Timestamp};
use crate::packet::Packet;

/// A block that begins so near to where the last one ended continues it: 8 ms.
const TOLERANCE: i64 = 64;

/// No timecode within one call is so far from the one before it, a day ahead or the longest fragment of 20 s back: then
/// the timeline has begun anew.
const LONGEST_HOLE: i64 = 24 * 3600 * 8000;
const LONGEST_FRAGMENT: i64 = 20 * 8000;

/// Silence comes in pieces of this length at most, so that no hole takes memory.
const SILENCE: usize = 8000;

/// At the start of a stream, so many fragments are kept until one says which contact they are of; as many as take so much
/// memory, if only one contact is wanted.
const MOST_KEPT: usize = 8;
const MOST_KEPT_BYTES: usize = 4 << 20;

/// A fragment that begins so long behind its contact's audio, and was cut before it said which it is of, is taken to be of
/// another.
const PAUSE: i64 = 8000;

/// More contacts than that are not worth listing.
pub(super) const MOST_NAMED: usize = 8;

/// Places the audio of one contact after the other.
pub(super) struct Placement {
    pub(super) max_silence: Option<u64>,
    /// The only contact that is wanted.
    pub(super) wanted: Option<Arc<str>>,
    named: Vec<Arc<str>>,
    /// The contact that was named last.
    id: Option<Arc<str>>,
    contact: Option<Contact>,
    /// From the start of the stream, while none has said which contact it is of.
    kept: VecDeque<Fragment>,
    /// One that was cut before it could say which contact it is of. It may come again in full.
    cut: Option<Fragment>,
    pieces: VecDeque<Piece>,
    silence: Arc<[i16]>,
}

/// What is known of the current contact. Times are in samples on the timeline of the producer session.
struct Contact {
    /// What has position 0.
    origin: i64,
    /// Where the audio of each party ends, as a position.
    ends: [i64; 2],
    /// The last block of any party.
    last: i64,
    /// Where the last fragment began, what its number was, and its time on the producer's clock.
    last_start: i64,
    last_number: Option<FragmentNumber>,
    last_producer_time: Option<Timestamp>,
    /// What happened since the last chunk of each party.
    discontinuities: [Vec<AudioDiscontinuity>; 2],
}

/// What comes out: chunks, or silence that becomes chunks when it is its turn.
enum Piece {
    Chunk(AudioChunk),
    Silence { first: AudioChunk, left: u64 },
}

/// A block of a party, where it stands on the timeline.
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
            kept: VecDeque::new(),
            cut: None,
            pieces: VecDeque::new(),
            silence: vec![0; SILENCE].into(),
        }
    }

    /// The first contacts that were named, up to one more than are worth listing.
    pub(super) fn named(&self) -> &[Arc<str>] {
        &self.named
    }

    /// Takes a fragment.
    ///
    /// # Errors
    /// If it has tracks and none of them is one of Amazon Connect. What came before is placed.
    pub(super) fn push(&mut self, fragment: Fragment) -> Result<()> {
        // Looked at now, so that an error is where it belongs.
        if let Err(error) = blocks(&fragment) {
            return self.finish().and(Err(error));
        }
        let id = fragment.tags().get("ContactId").filter(|id| !id.is_empty()).map(|id| Arc::<str>::from(&*id));
        if let Some(id) = &id
            && self.named.len() <= MOST_NAMED
            && !self.named.contains(id)
        {
            self.named.push(Arc::clone(id));
        }
        if let Some(cut) = self.cut.take()
            && (cut.number().is_none() || cut.number() != fragment.number())
        {
            let of = if self.continues(&cut)? { None } else { id.clone() };
            self.place(&cut, of)?;
        }
        if id.is_none() && fragment.end_reason() == FragmentEnd::Cut {
            self.cut = Some(fragment);
            return Ok(());
        }
        if id.is_none() && self.id.is_none() && self.contact.is_none() && self.has_room() {
            self.kept.push_back(fragment);
            return Ok(());
        }
        for kept in std::mem::take(&mut self.kept) {
            self.place(&kept, id.clone())?;
        }
        self.place(&fragment, id)
    }

    /// No more fragments will come.
    pub(super) fn finish(&mut self) -> Result<()> {
        std::mem::take(&mut self.kept).iter().try_for_each(|kept| self.place(kept, None))?;
        let Some(cut) = self.cut.take() else { return Ok(()) };
        if !self.continues(&cut)? {
            (self.contact, self.id) = (None, None);
        }
        self.place(&cut, None)
    }

    fn has_room(&self) -> bool {
        match self.wanted {
            Some(_) => self.kept.iter().map(|fragment| fragment.raw().len()).sum::<usize>() < MOST_KEPT_BYTES,
            None => self.kept.len() < MOST_KEPT,
        }
    }

    /// Whether a fragment goes on where the audio of the contact ends.
    fn continues(&self, fragment: &Fragment) -> Result<bool> {
        let earliest = blocks(fragment)?.first().map(|block| block.time);
        let Some((contact, earliest)) = self.contact.as_ref().zip(earliest) else { return Ok(true) };
        Ok(earliest.saturating_sub(contact.end().saturating_add(contact.origin)) <= PAUSE)
    }

    /// The next chunk; of silence, its beginning.
    pub(super) fn front(&self) -> Option<&AudioChunk> {
        self.pieces.front().map(|piece| match piece {
            Piece::Chunk(chunk) | Piece::Silence { first: chunk, .. } => chunk,
        })
    }

    /// Leaves the next chunk out, silence however long it is.
    pub(super) fn drop_front(&mut self) {
        self.pieces.pop_front();
    }

    /// The next chunk.
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

    fn place(&mut self, fragment: &Fragment, id: Option<Arc<str>>) -> Result<()> {
        let blocks = blocks(fragment)?;
        if let Some(id) = id {
            // One that becomes known is that of the audio so far.
            if self.id.as_ref().is_some_and(|last| *last != id) {
                self.contact = None;
            }
            self.id = Some(id);
        }
        let Some(earliest) = blocks.first().map(|block| block.time) else { return Ok(()) };
        let contact = self.contact.get_or_insert_with(|| Contact::new(earliest));
        contact.check_timeline(earliest, fragment);
        for block in &blocks {
            if block.time.saturating_sub(contact.last) > LONGEST_HOLE {
                contact.begin_anew(block.time, 0);
            }
            contact.last = contact.last.max(block.time);
            contact.leave_out(block.time, self.max_silence);
            contact.place(block, self.id.as_ref(), &self.silence, &mut self.pieces);
        }
        if contact.is_newer(fragment) {
            contact.last_start = earliest;
            contact.last_number = fragment.number().cloned();
            contact.last_producer_time = fragment.producer_time();
        }
        Ok(())
    }
}

/// The blocks of the parties, in the order of their times: how tracks are interleaved says nothing.
fn blocks(fragment: &Fragment) -> Result<Vec<Block>> {
    let is_only = fragment.tracks().len() == 1;
    let party = |number: u64| Party::of_track(fragment.track(number)?, is_only);
    let found = fragment.packets().filter_map(|packet| {
        let party = party(packet.track_number())?;
        Some(Block { party, time: packet.timecode_ns().div_euclid(NANOS_PER_SAMPLE), packet })
    });
    let mut blocks: Vec<Block> = found.collect();
    blocks.sort_by_key(|block| block.time);
    let has_party = fragment.tracks().iter().any(|track| Party::of_track(track, is_only).is_some());
    if !has_party && !fragment.tracks().is_empty() {
        let names: Vec<_> =
            fragment.tracks().iter().map(|track| format!("{:?}", track.name().unwrap_or_default())).collect();
        let message = format!("no track of Amazon Connect, only {}", names.join(", "));
        let number = fragment.number().map(ToString::to_string);
        return Err(Error::new(ErrorKind::Unsupported, message).at(fragment.offset()).in_fragment(number.as_deref()));
    }
    Ok(blocks)
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

    /// Whether a fragment is not one that came again. Where there are no numbers, that cannot be told.
    fn is_newer(&self, fragment: &Fragment) -> bool {
        self.last_number.as_ref().zip(fragment.number()).is_none_or(|(last, number)| number > last)
    }

    /// Where the timeline has begun anew, goes on behind all audio so far, as far as the producer's clock says.
    fn check_timeline(&mut self, earliest: i64, fragment: &Fragment) {
        let since = earliest.saturating_sub(self.last_start);
        let passed = self.last_producer_time.zip(fragment.producer_time());
        let passed = passed.map(|(last, now)| now.as_nanos().saturating_sub(last.as_nanos()) / NANOS_PER_SAMPLE);
        // Timecodes that count from the start of the producer may begin again after a little.
        let has_restarted = since < 0
            && (0..LONGEST_HOLE).contains(&earliest)
            && passed.is_some_and(|passed| passed.saturating_sub(since) > PAUSE);
        let is_back = earliest.saturating_sub(self.last) < -LONGEST_FRAGMENT || has_restarted;
        if is_back && self.is_newer(fragment) {
            let start = self.last_start.saturating_sub(self.origin);
            let passed = passed.filter(|passed| (0..LONGEST_HOLE).contains(passed));
            self.begin_anew(earliest, passed.map_or(0, |passed| start.saturating_add(passed)));
        }
    }

    /// From now on, this time on the timeline is behind all audio so far, and at this position at least.
    fn begin_anew(&mut self, time: i64, position: i64) {
        self.origin = time.saturating_sub(self.end().max(position));
        self.last = time;
        self.note_both(AudioDiscontinuity::TimelineReset);
    }

    /// Where the audio of both parties ends, as a position.
    fn end(&self) -> i64 {
        self.ends.iter().copied().max().unwrap_or_default()
    }

    fn note_both(&mut self, what: AudioDiscontinuity) {
        self.discontinuities.iter_mut().for_each(|noted| note(noted, what));
    }

    /// Shortens a hole in both parties' audio to what is wished.
    fn leave_out(&mut self, time: i64, max_silence: Option<u64>) {
        let Some(most) = max_silence.and_then(|most| i64::try_from(most).ok()) else { return };
        let surplus = time.saturating_sub(self.origin).saturating_sub(self.end()).saturating_sub(most);
        if surplus > 0 {
            self.origin = self.origin.saturating_add(surplus);
            self.note_both(AudioDiscontinuity::LeftOut(surplus.unsigned_abs()));
        }
    }

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
        let hole = position.saturating_sub(*end);
        if hole > TOLERANCE {
            note(discontinuities, AudioDiscontinuity::Filled(hole.unsigned_abs()));
            let nothing = Samples { buffer: Arc::clone(silence), range: 0..0 };
            let first = AudioChunk { is_filled: true, ..chunk(*end, nothing, std::mem::take(discontinuities)) };
            pieces.push_back(Piece::Silence { first, left: hole.unsigned_abs() });
            *end = position;
        } else if hole < -TOLERANCE {
            let again = hole.saturating_neg().min(length);
            samples.skip(usize::try_from(again).unwrap_or(usize::MAX));
            note(discontinuities, AudioDiscontinuity::Trimmed(again.unsigned_abs()));
        }
        if !samples.get().is_empty() {
            let length = samples.get().len() as i64;
            pieces.push_back(Piece::Chunk(chunk(*end, samples, std::mem::take(discontinuities))));
            *end += length;
        }
    }
}

/// Two of a kind are one: a party may be silent for as long as it likes.
fn note(noted: &mut Vec<AudioDiscontinuity>, what: AudioDiscontinuity) {
    use AudioDiscontinuity::{LeftOut, TimelineReset, Trimmed};
    let is_full = noted.len() >= 16;
    match (noted.last_mut(), what) {
        (_, Trimmed(0)) | (Some(TimelineReset), TimelineReset) => {}
        (Some(Trimmed(before)), Trimmed(samples)) | (Some(LeftOut(before)), LeftOut(samples)) => {
            *before = before.saturating_add(samples);
        }
        // More than this is hard to make, and nobody reads it.
        _ if is_full => {}
        _ => noted.push(what),
    }
}

/// A last odd byte is no sample.
fn samples_of(payload: &[u8]) -> Samples {
    let buffer: Arc<[i16]> = payload.as_chunks().0.iter().copied().map(i16::from_le_bytes).collect();
    Samples { range: 0..buffer.len(), buffer }
}
