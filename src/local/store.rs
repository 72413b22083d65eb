//! The fragments that a stream of the local endpoint has.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;
use tokio_util::codec::Decoder;

use super::document::{Stamp, trailer};
use super::number::fragment_number;
use super::wire;
use crate::ebml::Writer;
use crate::fragment::{BodyDecoder, BodyItem, FragmentNumber, Timestamp};
use crate::limits::Limits;

/// What a stream without retention keeps: 200 MB, as the service does.
const KEPT_BYTES: usize = 200 << 20;

/// One stored fragment, or other bytes that are sent as they are.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    bytes: Bytes,
    number: Option<FragmentNumber>,
    server_time: Option<Timestamp>,
    producer_time: Option<Timestamp>,
    /// Closing tags are made when it is sent, since they say how far behind it is then.
    needs_trailer: bool,
}

/// Where a reader begins, as StartSelector says.
#[derive(Clone, Debug)]
pub(super) enum Selector {
    Now,
    Earliest,
    After(FragmentNumber),
    Server(Timestamp),
    Producer(Timestamp),
}

#[derive(Debug)]
pub(super) struct Stream {
    name: String,
    arn: String,
    created: Timestamp,
    store: Mutex<Store>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Store {
    chunks: VecDeque<Chunk>,
    /// How many were dropped from the front.
    dropped: u64,
    bytes: usize,
    ordinal: u32,
    finished: bool,
}

/// What a reader gets next.
#[derive(Debug)]
pub(super) enum Next {
    Chunk(Bytes),
    /// Nothing yet.
    Wait,
    /// Nothing any more.
    End,
}

impl Stream {
    pub(super) fn new(name: &str) -> Self {
        let created = Timestamp::from(SystemTime::now());
        Self {
            name: name.to_owned(),
            arn: wire::arn(name, created.as_millis()),
            created,
            store: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn arn(&self) -> &str {
        &self.arn
    }

    pub(super) fn created(&self) -> Timestamp {
        self.created
    }

    /// Told whenever something is added.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The stamp of a fragment that is ingested now.
    pub(super) fn next_stamp(&self) -> Stamp {
        self.stamp_at(Timestamp::from(SystemTime::now()))
    }

    /// The stamp of a fragment that began at this time.
    pub(super) fn stamp_at(&self, time: Timestamp) -> Stamp {
        let mut store = self.lock();
        store.ordinal += 1;
        let millis = u64::try_from(time.as_millis()).unwrap_or(0);
        Stamp { number: fragment_number(store.ordinal, millis), server_time: time, producer_time: time }
    }

    pub(super) fn push(&self, before_trailer: Bytes, stamp: Stamp) {
        self.add(Chunk {
            bytes: before_trailer,
            number: Some(stamp.number),
            server_time: Some(stamp.server_time),
            producer_time: Some(stamp.producer_time),
            needs_trailer: true,
        });
    }

    pub(super) fn push_raw(&self, bytes: Bytes) {
        self.add(Chunk { bytes, number: None, server_time: None, producer_time: None, needs_trailer: false });
    }

    /// Adds all of a payload, byte for byte, and finishes. What cannot be read of it is a chunk too.
    pub(super) fn add_payload(&self, payload: Bytes) {
        // Nothing of it is dropped for being old.
        self.lock().finished = true;
        let limits = Limits::default().fragment_bytes(u32::MAX >> 1).blocks(u32::MAX);
        let mut decoder = BodyDecoder::new().limits(limits);
        let mut unread = BytesMut::from(&payload[..]);
        let mut sent = 0;
        while let Ok(Some(item)) = decoder.decode_eof(&mut unread) {
            let bytes = payload.slice(sent..sent + item.raw().len());
            sent += bytes.len();
            let chunk = match &item {
                BodyItem::Fragment(fragment) => Chunk {
                    bytes,
                    number: fragment.number().cloned(),
                    server_time: fragment.server_time(),
                    producer_time: fragment.producer_time(),
                    needs_trailer: false,
                },
                _ => Chunk { bytes, number: None, server_time: None, producer_time: None, needs_trailer: false },
            };
            self.add(chunk);
        }
        if sent < payload.len() {
            self.push_raw(payload.slice(sent..));
        }
        self.finish();
    }

    pub(super) fn finish(&self) {
        self.lock().finished = true;
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn add(&self, chunk: Chunk) {
        let mut store = self.lock();
        store.bytes += chunk.bytes.len();
        store.chunks.push_back(chunk);
        while store.bytes > KEPT_BYTES && store.chunks.len() > 1 && !store.finished {
            let oldest = store.chunks.pop_front();
            store.bytes -= oldest.map_or(0, |chunk| chunk.bytes.len());
            store.dropped += 1;
        }
        drop(store);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// The index at which a reader begins.
    pub(super) fn seek(&self, selector: &Selector) -> u64 {
        let store = self.lock();
        let chunks = &store.chunks;
        let containing = |time: &Timestamp, of: fn(&Chunk) -> Option<Timestamp>| {
            let begun = |chunk: &Chunk| of(chunk).is_some_and(|start| start <= *time);
            // The last one that had begun contains the time, or was the last before a gap.
            chunks.iter().rposition(begun).or_else(|| chunks.iter().position(|chunk| of(chunk).is_some()))
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
        store.dropped + index.unwrap_or(chunks.len()) as u64
    }

    /// What a reader gets that wants the chunk with this index; moves the index on.
    pub(super) fn next(&self, index: &mut u64) -> Next {
        let store = self.lock();
        // Whoever was too slow goes on with the oldest that is left.
        *index = (*index).max(store.dropped);
        let Some(chunk) = store.chunks.get((*index - store.dropped) as usize) else {
            return if store.finished { Next::End } else { Next::Wait };
        };
        *index += 1;
        if !chunk.needs_trailer {
            return Next::Chunk(chunk.bytes.clone());
        }
        let newest = store.chunks.iter().rev().find_map(|chunk| chunk.server_time);
        let millis = |time: Option<Timestamp>| time.map_or(0, Timestamp::as_millis);
        let behind = millis(newest).saturating_sub(millis(chunk.server_time));
        let chunk = chunk.clone();
        drop(store);
        let mut out = Writer::new();
        out.raw(&chunk.bytes);
        let token = chunk.number.as_ref().map_or("", FragmentNumber::as_str);
        trailer(&mut out, u64::try_from(behind).unwrap_or(0), token);
        Next::Chunk(out.into_bytes().into())
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
