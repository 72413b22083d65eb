//! Streams and their stored fragments.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::demux::BodyItem;
use crate::ebml::writer::Writer;
use crate::fragment::{FragmentNumber, Timestamp};
use crate::local::clock::Clock;
use crate::local::faults::operation::Operation;
use crate::local::media::document::{Stamp, trailer};
use crate::local::media::fragment_number::fragment_number;
use crate::local::media::payload::items;
use crate::local::media::tag_names::TagNames;
use crate::local::store::open_connections::OpenConnections;
use crate::local::store::settings::Settings;

/// The region of the streams' ARNs.
pub(crate) const REGION: &str = "us-west-2";

/// The account of the streams' ARNs.
const ACCOUNT: &str = "111122223333";

/// The bytes that a stream without a retention keeps, as at the service.
const KEPT_BYTES: usize = 200 << 20;

/// The retention that a stream reports if none was set.
const DEFAULT_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// The bytes that a failed fragment counts as, so that failures cannot fill the memory.
const FAILED_BYTES: usize = 1 << 10;

/// The most bytes that a reader takes of a growing fragment at once.
const MAX_PIECE: usize = 256 << 10;

/// The longest fragment that the service accepts.
const MAX_FRAGMENT: Duration = Duration::from_secs(20);

/// A stored fragment, or other bytes that are sent unchanged.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    contents: Contents,
    number: Option<FragmentNumber>,
    server_time: Option<Timestamp>,
    producer_time: Option<Timestamp>,
    duration: Duration,
    /// Set if the closing tags are added on sending. They contain the lag at that time.
    needs_trailer: bool,
}

/// The bytes of a chunk.
#[derive(Clone, Debug)]
enum Contents {
    Whole(Bytes),
    /// A fragment that is still arriving.
    Growing(Vec<u8>),
    /// A fragment whose producer went away in the middle.
    Failed,
}

impl Chunk {
    fn raw(bytes: Bytes) -> Self {
        let (contents, duration) = (Contents::Whole(bytes), Duration::ZERO);
        Self { contents, number: None, server_time: None, producer_time: None, duration, needs_trailer: false }
    }

    /// Returns how many bytes count against the bytes kept.
    fn size(&self) -> usize {
        match &self.contents {
            Contents::Whole(bytes) => bytes.len(),
            Contents::Growing(bytes) => bytes.len(),
            Contents::Failed => FAILED_BYTES,
        }
    }

    /// Returns the bytes, unless the chunk is still arriving or failed.
    fn whole(&self) -> Option<&Bytes> {
        match &self.contents {
            Contents::Whole(bytes) => Some(bytes),
            Contents::Growing(_) | Contents::Failed => None,
        }
    }

    /// Returns the duration, or the greatest possible one while the fragment arrives.
    fn possible_duration(&self) -> Duration {
        if matches!(self.contents, Contents::Growing(_)) { MAX_FRAGMENT } else { self.duration }
    }
}

/// The position of a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    /// The index of the next chunk among all that the stream has ever had.
    index: u64,
    /// The bytes already read of this chunk.
    offset: usize,
}

impl Cursor {
    /// Creates a position at the start of a chunk.
    pub(crate) fn at(index: u64) -> Self {
        Self { index, offset: 0 }
    }
}

/// A fragment that is arriving. Dropping it before it is complete discards the fragment.
#[derive(Debug)]
pub(crate) struct GrowingFragment {
    stream: Arc<Stream>,
    index: u64,
    is_complete: bool,
}

/// The position at which a reader starts: GetMedia's StartSelector.
#[derive(Clone, Debug)]
pub(crate) enum Selector {
    Now,
    Earliest,
    After(FragmentNumber),
    Server(Timestamp),
    Producer(Timestamp),
}

#[derive(Debug)]
pub(crate) struct Stream {
    name: String,
    arn: String,
    created: Timestamp,
    clock: Arc<Clock>,
    store: Mutex<Store>,
    changes: watch::Sender<u64>,
    connections: Arc<OpenConnections>,
    list_connections: Arc<OpenConnections>,
    put_connections: Arc<OpenConnections>,
    settings: Mutex<Settings>,
    deleted: CancellationToken,
    /// The operations whose data endpoint is stale.
    stale: Mutex<HashSet<Operation>>,
}

/// A fragment as ListFragments describes it.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// Its index among all chunks that the stream has ever had.
    pub(crate) index: u64,
    pub(crate) number: FragmentNumber,
    pub(crate) bytes: usize,
    pub(crate) server_time: Timestamp,
    pub(crate) producer_time: Timestamp,
    pub(crate) duration: Duration,
}

#[derive(Debug, Default)]
struct Store {
    chunks: VecDeque<Chunk>,
    /// The index of each fragment among all chunks that the stream has ever had.
    places: HashMap<FragmentNumber, u64>,
    /// The number of chunks dropped from the front.
    dropped: u64,
    /// The greatest fragment number among the dropped chunks.
    dropped_number: Option<FragmentNumber>,
    bytes: usize,
    ordinal: u32,
    finished: bool,
    /// Set once a producer has sent media. The retention alone does not bound what it may send.
    is_put: bool,
    /// The retention, if one was set.
    retention: Option<Duration>,
    tag_names: TagNames,
}

/// The next chunk of a reader.
#[derive(Debug)]
pub(crate) enum Next {
    /// A chunk, or a piece of one that is still arriving.
    Bytes {
        bytes: Bytes,
        /// Set if the chunk ends with these bytes.
        ends: bool,
    },
    /// No chunk yet.
    Wait,
    /// No more chunks.
    End,
}

impl Store {
    fn kept_since(&self, clock: &Clock) -> Option<Timestamp> {
        let retention = self.retention.filter(|retention| !retention.is_zero())?;
        Some(clock.before(retention))
    }

    fn is_without_archive(&self) -> bool {
        self.retention.is_some_and(|retention| retention.is_zero())
    }

    /// Drops fragments from the front that are older than the retention.
    ///
    /// Other bytes are dropped with the fragment after them.
    fn drop_old(&mut self, clock: &Clock) {
        let Some(since) = self.kept_since(clock) else { return };
        while let Some(oldest) = self.chunks.iter().position(|chunk| chunk.server_time.is_some())
            && self.chunks.get(oldest).is_some_and(|chunk| chunk.server_time < Some(since))
        {
            (0..=oldest).for_each(|_| drop(self.drop_oldest()));
        }
    }

    fn add(&mut self, chunk: Chunk) {
        self.bytes += chunk.size();
        if let Some(number) = &chunk.number {
            self.places.insert(number.clone(), self.dropped + self.chunks.len() as u64);
        }
        self.chunks.push_back(chunk);
    }

    /// Returns a fragment of the archive.
    fn archived(&self, number: &FragmentNumber) -> Option<&Chunk> {
        let place = self.places.get(number).filter(|_| !self.is_without_archive())?;
        self.chunks.get(place.checked_sub(self.dropped)? as usize).filter(|chunk| chunk.whole().is_some())
    }

    /// Returns the chunk with this index, if it is kept.
    fn chunk_mut(&mut self, index: u64) -> Option<&mut Chunk> {
        self.chunks.get_mut(usize::try_from(index.checked_sub(self.dropped)?).ok()?)
    }

    /// Drops the oldest chunks until those left fit the bytes kept.
    fn drop_excess(&mut self) {
        // With a retention, age alone decides what is dropped, unless an untrusted producer feeds the stream.
        let is_bounded = self.is_put || self.retention.is_none() || self.is_without_archive();
        while is_bounded && !self.finished && self.bytes > KEPT_BYTES && self.chunks.len() > 1 {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) -> Option<Chunk> {
        let chunk = self.chunks.pop_front()?;
        if let Some(number) = &chunk.number
            && self.places.get(number) == Some(&self.dropped)
        {
            self.places.remove(number);
        }
        self.bytes -= chunk.size();
        self.dropped += 1;
        if chunk.number > self.dropped_number {
            self.dropped_number.clone_from(&chunk.number);
        }
        Some(chunk)
    }
}

impl Stream {
    pub(crate) fn new(name: &str, clock: &Arc<Clock>) -> Self {
        let created = clock.now();
        Self {
            name: name.to_owned(),
            arn: format!("arn:aws:kinesisvideo:{REGION}:{ACCOUNT}:stream/{name}/{}", created.as_millis()),
            created,
            clock: Arc::clone(clock),
            store: Mutex::default(),
            changes: watch::Sender::new(0),
            connections: Arc::default(),
            list_connections: Arc::default(),
            put_connections: Arc::default(),
            settings: Mutex::default(),
            deleted: CancellationToken::new(),
            stale: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn arn(&self) -> &str {
        &self.arn
    }

    pub(crate) fn created(&self) -> Timestamp {
        self.created
    }

    /// Returns the clock that stamps fragments.
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Returns the open connections of GetMedia.
    pub(crate) fn connections(&self) -> &Arc<OpenConnections> {
        &self.connections
    }

    /// Returns the open connections of GetMediaForFragmentList.
    pub(crate) fn list_connections(&self) -> &Arc<OpenConnections> {
        &self.list_connections
    }

    /// Returns the open connections of PutMedia.
    pub(crate) fn put_connections(&self) -> &Arc<OpenConnections> {
        &self.put_connections
    }

    /// Returns the stream's settings.
    pub(crate) fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a token that is cancelled when the stream is deleted.
    pub(crate) fn deleted(&self) -> &CancellationToken {
        &self.deleted
    }

    /// Ends the stream, because it was deleted.
    pub(crate) fn delete(&self) {
        self.deleted.cancel();
        self.finish();
    }

    /// Tells whether the stream takes no more media.
    pub(crate) fn is_finished(&self) -> bool {
        self.lock().finished
    }

    pub(crate) fn set_tag_names(&self, names: TagNames) {
        self.lock().tag_names = names;
    }

    pub(crate) fn tag_names(&self) -> TagNames {
        self.lock().tag_names
    }

    pub(crate) fn set_stale(&self, operation: Operation, is_stale: bool) {
        let mut stale = self.stale.lock().unwrap_or_else(PoisonError::into_inner);
        if is_stale {
            stale.insert(operation);
        } else {
            stale.remove(&operation);
        }
    }

    pub(crate) fn is_stale(&self, operation: Operation) -> bool {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner).contains(&operation)
    }

    /// Returns how long fragments are kept.
    pub(crate) fn retention(&self) -> Duration {
        self.lock().retention.unwrap_or(DEFAULT_RETENTION)
    }

    /// Sets how long fragments are kept.
    pub(crate) fn set_retention(&self, retention: Duration) {
        self.lock().retention = Some(retention);
    }

    /// Returns the server time of the oldest fragments that retention keeps.
    ///
    /// Without a retention, or with one of zero, age drops nothing: `None`.
    pub(crate) fn kept_since(&self) -> Option<Timestamp> {
        self.lock().kept_since(&self.clock)
    }

    /// Returns a receiver that is notified when a chunk is added or the stream ends.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Makes the stamp of a fragment that is ingested now.
    pub(crate) fn next_stamp(&self) -> Stamp {
        self.stamp_at(self.clock.now())
    }

    /// Makes the stamp of a fragment that began at this time.
    pub(crate) fn stamp_at(&self, time: Timestamp) -> Stamp {
        // The service's times have milliseconds.
        let time = Timestamp::from_millis(time.as_millis());
        let mut store = self.lock();
        store.ordinal += 1;
        let millis = u64::try_from(time.as_millis()).unwrap_or(0);
        Stamp { number: fragment_number(store.ordinal, millis), server_time: time, producer_time: time }
    }

    /// Makes the stamp of a fragment that began at this time, with a time of the producer's clock.
    pub(crate) fn stamp_of(&self, time: Timestamp, producer_time: Timestamp) -> Stamp {
        Stamp { producer_time, ..self.stamp_at(time) }
    }

    pub(crate) fn push(&self, before_trailer: Bytes, stamp: Stamp) {
        self.add_stamped(before_trailer, stamp, true);
    }

    pub(crate) fn push_bytes(&self, bytes: Bytes, stamp: Stamp) {
        self.add_stamped(bytes, stamp, false);
    }

    /// Adds a fragment that arrives in pieces, and begins with these bytes.
    pub(crate) fn begin(self: &Arc<Self>, bytes: Vec<u8>, stamp: Stamp) -> GrowingFragment {
        let mut store = self.lock();
        store.is_put = true;
        let index = store.dropped + store.chunks.len() as u64;
        store.add(Chunk {
            contents: Contents::Growing(bytes),
            number: Some(stamp.number),
            server_time: Some(stamp.server_time),
            producer_time: Some(stamp.producer_time),
            duration: Duration::ZERO,
            needs_trailer: true,
        });
        store.drop_excess();
        drop(store);
        self.notify();
        GrowingFragment { stream: Arc::clone(self), index, is_complete: false }
    }

    fn notify(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn add_stamped(&self, bytes: Bytes, stamp: Stamp, needs_trailer: bool) {
        let duration = match items(&bytes).next() {
            Some(Ok(BodyItem::Fragment(fragment))) => fragment.duration(),
            _ => Duration::ZERO,
        };
        self.add(Chunk {
            duration,
            contents: Contents::Whole(bytes),
            number: Some(stamp.number),
            server_time: Some(stamp.server_time),
            producer_time: Some(stamp.producer_time),
            needs_trailer,
        });
    }

    pub(crate) fn push_raw(&self, bytes: Bytes) {
        self.add(Chunk::raw(bytes));
    }

    /// Adds all of a payload, byte for byte, and ends the stream. The unreadable rest is a chunk too.
    pub(crate) fn add_payload(&self, payload: Bytes) {
        // A finished stream drops nothing to save memory.
        self.lock().finished = true;
        let mut sent = 0;
        for item in items(&payload).map_while(Result::ok) {
            let bytes = payload.slice(sent..sent + item.raw().len());
            sent += bytes.len();
            let chunk = match &item {
                BodyItem::Fragment(fragment) => Chunk {
                    contents: Contents::Whole(bytes),
                    number: fragment.number().cloned(),
                    server_time: fragment.server_time(),
                    producer_time: fragment.producer_time(),
                    duration: fragment.duration(),
                    needs_trailer: false,
                },
                _ => Chunk::raw(bytes),
            };
            self.add(chunk);
        }
        if sent < payload.len() {
            self.push_raw(payload.slice(sent..));
        }
        self.finish();
    }

    pub(crate) fn finish(&self) {
        self.lock().finished = true;
        self.notify();
    }

    fn add(&self, chunk: Chunk) {
        let mut store = self.lock();
        store.add(chunk);
        store.drop_excess();
        drop(store);
        self.notify();
    }

    /// Drops this many fragments, with the bytes before them.
    pub(crate) fn expire(&self, fragments: usize) {
        let mut store = self.lock();
        let mut left = fragments;
        while left > 0 {
            match store.drop_oldest() {
                Some(chunk) => left -= usize::from(chunk.number.is_some()),
                None => break,
            }
        }
    }

    /// Returns the index at which a reader starts, and whether fragments after its position were dropped.
    pub(crate) fn seek(&self, selector: &Selector) -> (u64, bool) {
        let store = self.lock();
        let chunks = &store.chunks;
        // The first fragment that ends later: it contains the time, or follows the gap around it.
        let containing = |time: &Timestamp, of: fn(&Chunk) -> Option<Timestamp>| {
            chunks.iter().position(|chunk| {
                let duration = i64::try_from(chunk.possible_duration().as_nanos()).unwrap_or(i64::MAX).max(1);
                of(chunk).is_some_and(|start| start.plus_nanos(duration) > *time)
            })
        };
        let index = match selector {
            Selector::Now => chunks.len().checked_sub(1),
            Selector::Earliest => Some(0),
            Selector::After(number) => {
                chunks.iter().position(|chunk| chunk.number.as_ref().is_some_and(|n| n > number))
            }
            Selector::Server(time) => containing(time, |chunk| chunk.server_time),
            Selector::Producer(time) => containing(time, |chunk| chunk.producer_time),
        };
        let is_aged_out = matches!(selector, Selector::After(number)
            if store.dropped_number.as_ref().is_some_and(|dropped| dropped > number));
        (store.dropped + index.unwrap_or(chunks.len()) as u64, is_aged_out)
    }

    /// Returns the index that is up to this many fragments before another one.
    pub(crate) fn before(&self, index: u64, fragments: u64) -> u64 {
        let store = self.lock();
        let earlier = (store.dropped..).zip(&store.chunks).take_while(|(at, _)| *at < index);
        let earlier: Vec<u64> = earlier.filter(|(_, chunk)| chunk.number.is_some()).map(|(at, _)| at).collect();
        let fragments = usize::try_from(fragments).unwrap_or(usize::MAX).min(earlier.len());
        earlier.get(earlier.len() - fragments).copied().unwrap_or(index)
    }

    /// Returns the bytes at a reader's position, and advances it.
    pub(crate) fn next(&self, cursor: &mut Cursor) -> Next {
        let store = self.lock();
        if cursor.index < store.dropped {
            if cursor.offset > 0 {
                return Next::End;
            }
            // A reader that was too slow continues with the oldest chunk.
            cursor.index = store.dropped;
        }
        let chunk = loop {
            let Some(chunk) = store.chunks.get((cursor.index - store.dropped) as usize) else {
                return if store.finished { Next::End } else { Next::Wait };
            };
            match &chunk.contents {
                Contents::Whole(_) => break chunk,
                Contents::Growing(bytes) => {
                    let unread = bytes.get(cursor.offset..).unwrap_or_default();
                    let piece = unread.get(..unread.len().min(MAX_PIECE)).unwrap_or_default();
                    cursor.offset += piece.len();
                    return match piece {
                        [] => Next::Wait,
                        _ => Next::Bytes { bytes: Bytes::copy_from_slice(piece), ends: false },
                    };
                }
                // A reader inside the fragment cannot be told otherwise that the rest never comes.
                Contents::Failed if cursor.offset > 0 => return Next::End,
                Contents::Failed => cursor.index += 1,
            }
        };
        let unread = chunk.whole().cloned().unwrap_or_default();
        let unread = unread.slice(cursor.offset.min(unread.len())..);
        *cursor = Cursor::at(cursor.index + 1);
        if !chunk.needs_trailer {
            return Next::Bytes { bytes: unread, ends: true };
        }
        let newest = store.chunks.iter().rev().find_map(|chunk| chunk.server_time);
        let millis = |time: Option<Timestamp>| time.map_or(0, Timestamp::as_millis);
        let lag = millis(newest).saturating_sub(millis(chunk.server_time));
        let number = chunk.number.clone();
        drop(store);
        let mut out = Writer::new();
        out.raw(&unread);
        let token = number.as_ref().map_or("", FragmentNumber::as_str);
        trailer(&mut out, u64::try_from(lag).unwrap_or(0), token);
        Next::Bytes { bytes: out.into_bytes().into(), ends: true }
    }

    /// Returns the number of chunks that the stream has ever had.
    pub(crate) fn chunks(&self) -> u64 {
        let store = self.lock();
        store.dropped + store.chunks.len() as u64
    }

    /// Returns the fragments of the archive, in the order they were ingested.
    pub(crate) fn list(&self) -> Vec<Listed> {
        let store = self.lock();
        if store.is_without_archive() {
            return Vec::new();
        }
        let listed = |(index, chunk): (u64, &Chunk)| {
            Some(Listed {
                index,
                number: chunk.number.clone()?,
                bytes: chunk.whole()?.len(),
                server_time: chunk.server_time?,
                producer_time: chunk.producer_time?,
                duration: chunk.duration,
            })
        };
        (store.dropped..).zip(&store.chunks).filter_map(listed).collect()
    }

    /// Returns the stored document of a fragment of the archive.
    pub(crate) fn document(&self, number: &FragmentNumber) -> Option<Bytes> {
        self.lock().archived(number).and_then(|chunk| chunk.whole().cloned())
    }

    /// Returns the server time of a fragment of the archive.
    pub(crate) fn received(&self, number: &FragmentNumber) -> Option<Timestamp> {
        self.lock().archived(number)?.server_time
    }

    /// Locks the store, after dropping the fragments that are too old.
    fn lock(&self) -> MutexGuard<'_, Store> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.drop_old(&self.clock);
        store
    }
}

impl GrowingFragment {
    /// Appends bytes. Readers receive them at once.
    pub(crate) fn extend(&self, more: &[u8]) {
        let mut store = self.stream.lock();
        if let Some(Chunk { contents: Contents::Growing(bytes), .. }) = store.chunk_mut(self.index) {
            bytes.extend_from_slice(more);
            store.bytes += more.len();
            store.drop_excess();
        }
        drop(store);
        self.stream.notify();
    }

    /// Completes the fragment. It is part of the archive from now on, and readers receive its closing tags.
    pub(crate) fn complete(mut self, duration: Duration) {
        self.is_complete = true;
        let mut store = self.stream.lock();
        if let Some(chunk) = store.chunk_mut(self.index) {
            chunk.duration = duration;
            if let Contents::Growing(bytes) = &mut chunk.contents {
                let mut bytes = std::mem::take(bytes);
                bytes.shrink_to_fit();
                chunk.contents = Contents::Whole(bytes.into());
            }
        }
        drop(store);
        self.stream.notify();
    }
}

impl Drop for GrowingFragment {
    fn drop(&mut self) {
        if self.is_complete {
            return;
        }
        let mut store = self.stream.lock();
        if let Some(chunk) = store.chunk_mut(self.index) {
            let number = chunk.number.take();
            let before = chunk.size();
            chunk.contents = Contents::Failed;
            store.bytes = store.bytes + FAILED_BYTES - before;
            if let Some(number) = number {
                store.places.remove(&number);
            }
        }
        drop(store);
        self.stream.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dropped_fragments_are_not_found() {
        let stream = Stream::new("door", &Arc::new(Clock::new()));
        let stamps: Vec<_> = (0..5).map(|_| stream.next_stamp()).collect();
        for stamp in &stamps {
            stream.push_raw(Bytes::from_static(b"between"));
            stream.push_bytes(Bytes::copy_from_slice(stamp.number.as_str().as_bytes()), stamp.clone());
        }
        stream.expire(2);
        assert_eq!(stream.lock().places.len(), 3);
        for (place, Stamp { number, .. }) in stamps.iter().enumerate() {
            let expected = (place >= 2).then(|| Bytes::copy_from_slice(number.as_str().as_bytes()));
            assert_eq!(stream.document(number), expected);
        }
    }
}
