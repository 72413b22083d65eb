//! Where each block of a call goes. No clock, no I/O: fragments in, chunks out.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{AudioChunk, AudioDiscontinuity, NANOS_PER_SAMPLE, Party, Samples, nanos};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Fragment, FragmentNumber, Timestamp};
use crate::packet::Packet;

/// A block that begins so near to where the last one ended continues it: 8 ms.
const TOLERANCE: i64 = 64;

/// No timecode within one call is so far from the one before it, a day ahead or the longest fragment of 20 s back: then
/// the timeline has begun anew.
const LONGEST_HOLE: i64 = 24 * 3600 * 8000;
const LONGEST_FRAGMENT: i64 = 20 * 8000;

/// Silence comes in pieces of this length at most, so that no hole takes memory.
const SILENCE: usize = 8000;

/// At the start of a stream, so many fragments are kept until one says which contact they are of.
const MOST_KEPT: usize = 16;

/// Places the audio of one contact after the other.
pub(super) struct Placement {
    pub(super) max_silence: Option<u64>,
    /// The contact that was named last.
    id: Option<Arc<str>>,
    contact: Option<Contact>,
    /// From the start of the stream, while none has said which contact it is of.
    kept: VecDeque<Fragment>,
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
            id: None,
            contact: None,
            kept: VecDeque::new(),
            pieces: VecDeque::new(),
            silence: vec![0; SILENCE].into(),
        }
    }

    /// Takes a fragment.
    ///
    /// # Errors
    /// If it has tracks and none of them is one of Amazon Connect.
    pub(super) fn push(&mut self, fragment: Fragment) -> Result<()> {
        let id = fragment.tags().get("ContactId").filter(|id| !id.is_empty()).map(|id| Arc::<str>::from(&*id));
        if id.is_none() && self.id.is_none() && self.contact.is_none() && self.kept.len() < MOST_KEPT {
            // Looked at now, so that an error is where it belongs.
            blocks(&fragment)?;
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
        std::mem::take(&mut self.kept).iter().try_for_each(|kept| self.place(kept, None))
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
        let Some(earliest) = blocks.iter().map(|block| block.time).min() else { return Ok(()) };
        let contact = self.contact.get_or_insert_with(|| Contact::new(earliest));
        contact.check_timeline(earliest, fragment);
        for block in &blocks {
            contact.last = contact.last.max(block.time);
            contact.place(block, self.id.as_ref(), self.max_silence, &self.silence, &mut self.pieces);
        }
        contact.last_start = earliest;
        contact.last_number = fragment.number().cloned().or(contact.last_number.take());
        contact.last_producer_time = fragment.producer_time();
        Ok(())
    }
}

/// The blocks of the parties, as they stand.
fn blocks(fragment: &Fragment) -> Result<Vec<Block>> {
    let is_only = fragment.tracks().len() == 1;
    let party = |number: u64| Party::of_track(fragment.track(number)?, is_only);
    let found = fragment.packets().filter_map(|packet| {
        let party = party(packet.track_number())?;
        Some(Block { party, time: packet.timecode_ns().div_euclid(NANOS_PER_SAMPLE), packet })
    });
    let blocks: Vec<Block> = found.collect();
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

    /// Where the timeline has begun anew, goes on behind all audio so far, as far as the producer's clock says.
    fn check_timeline(&mut self, earliest: i64, fragment: &Fragment) {
        let ahead = earliest.saturating_sub(self.last);
        let is_newer = match (&self.last_number, fragment.number()) {
            (Some(last), Some(number)) => number > last,
            // Where fragments have no numbers, one that was sent again cannot be told.
            _ => true,
        };
        if ahead <= LONGEST_HOLE && (ahead >= -LONGEST_FRAGMENT || !is_newer) {
            return;
        }
        let passed = self
            .last_producer_time
            .zip(fragment.producer_time())
            .map(|(last, now)| now.as_nanos().saturating_sub(last.as_nanos()) / NANOS_PER_SAMPLE);
        let end = self.ends.iter().copied().max().unwrap_or_default();
        let start = self.last_start.saturating_sub(self.origin);
        let position =
            passed.filter(|passed| (0..LONGEST_HOLE).contains(passed)).map_or(end, |passed| end.max(start + passed));
        self.origin = earliest.saturating_sub(position);
        self.last = earliest;
        for discontinuities in &mut self.discontinuities {
            discontinuities.push(AudioDiscontinuity::TimelineReset);
        }
    }

    fn place(
        &mut self,
        block: &Block,
        id: Option<&Arc<str>>,
        max_silence: Option<u64>,
        silence: &Arc<[i16]>,
        pieces: &mut VecDeque<Piece>,
    ) {
        let Block { party, time, packet } = block;
        let lane = party.lane();
        let mut samples = samples_of(packet.payload());
        let length = samples.get().len() as i64;
        self.leave_out(*time, max_silence);
        let position = time.saturating_sub(self.origin);
        let Some(end) = self.ends.get_mut(lane) else { return };
        let Some(discontinuities) = self.discontinuities.get_mut(lane) else { return };
        let hole = position.saturating_sub(*end);
        let chunk = |position: i64, samples: Samples, discontinuities: Vec<AudioDiscontinuity>| AudioChunk {
            party: *party,
            contact: id.cloned(),
            position: position.unsigned_abs(),
            producer_time: packet
                .producer_time()
                .map(|time| time.plus_nanos(nanos(position - (time_of(block) - self.origin)))),
            samples,
            is_filled: false,
            discontinuities: discontinuities.into(),
            fragment: Arc::clone(packet.fragment()),
        };
        if hole > TOLERANCE {
            let mut filled = std::mem::take(discontinuities);
            filled.push(AudioDiscontinuity::Filled(hole.unsigned_abs()));
            let nothing = Samples { buffer: Arc::clone(silence), range: 0..0 };
            let first = AudioChunk { is_filled: true, ..chunk(*end, nothing, filled) };
            pieces.push_back(Piece::Silence { first, left: hole.unsigned_abs() });
            *end = position;
        } else if hole < -TOLERANCE {
            let again = hole.saturating_neg().min(length);
            samples.skip(usize::try_from(again).unwrap_or(usize::MAX));
            note_trimmed(discontinuities, again.unsigned_abs());
        }
        if !samples.get().is_empty() {
            let length = samples.get().len() as i64;
            pieces.push_back(Piece::Chunk(chunk(*end, samples, std::mem::take(discontinuities))));
            *end += length;
        }
    }

    /// Shortens a hole in both parties' audio to what is wished.
    fn leave_out(&mut self, time: i64, max_silence: Option<u64>) {
        let Some(most) = max_silence.and_then(|most| i64::try_from(most).ok()) else { return };
        let end = self.ends.iter().copied().max().unwrap_or_default();
        let surplus = time.saturating_sub(self.origin).saturating_sub(end).saturating_sub(most);
        if surplus > 0 {
            self.origin = self.origin.saturating_add(surplus);
            for discontinuities in &mut self.discontinuities {
                discontinuities.push(AudioDiscontinuity::LeftOut(surplus.unsigned_abs()));
            }
        }
    }
}

fn time_of(block: &Block) -> i64 {
    block.time
}

fn note_trimmed(discontinuities: &mut Vec<AudioDiscontinuity>, samples: u64) {
    match discontinuities.last_mut() {
        _ if samples == 0 => {}
        Some(AudioDiscontinuity::Trimmed(before)) => *before += samples,
        _ => discontinuities.push(AudioDiscontinuity::Trimmed(samples)),
    }
}

/// A last odd byte is no sample.
fn samples_of(payload: &[u8]) -> Samples {
    let buffer: Arc<[i16]> = payload.as_chunks().0.iter().copied().map(i16::from_le_bytes).collect();
    Samples { range: 0..buffer.len(), buffer }
}
