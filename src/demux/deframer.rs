//! The buffer handling of all decoders, with resync after damage.

use bytes::{Bytes, BytesMut};

use super::assembler::{Assembler, Boundary, Grain, Piece};
use super::resync::{self, Search};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{SkipReason, Skipped};
use crate::limits::Limits;

/// The most that is reserved for a declared size, in bytes.
const MAX_RESERVE: u64 = 1 << 20;

/// Slack reserved after a large element, to avoid doubling the buffer.
const SLACK: usize = 32 << 10;

/// The approximate size of one skipped piece, in bytes. It bounds the memory of a search.
const SEARCH_CHUNK: usize = 1 << 20;

/// Splits a buffer into pieces with an [`Assembler`].
#[derive(Debug)]
pub(crate) struct Deframer {
    assembler: Assembler,
    resync: bool,
    /// The offset of the last document at which reading resumed. It never resumes there again.
    resumed_at: Option<u64>,
    state: State,
}

#[derive(Debug)]
enum State {
    Reading,
    /// The transport failed. Complete pieces are returned, then the rest as cut.
    Aborting,
    Aborted,
    /// The error is returned after the pieces before it.
    Failing(Error),
    /// Unreadable bytes are skipped, up to the next document.
    Seeking(Seek),
    Done,
}

#[derive(Debug)]
struct Seek {
    cause: Error,
    /// The index before which no document begins.
    from: usize,
    /// The declared end of the damaged Cluster, until it is known whether it is correct.
    cluster_end: Option<usize>,
}

/// The result of seeking.
enum SeekResult {
    Skipped(Skipped),
    /// A document begins at the start of the buffer.
    Document,
    Nothing,
}

impl Deframer {
    pub(crate) fn new(grain: Grain) -> Self {
        let assembler = Assembler::new(Limits::default(), grain);
        Self { assembler, resync: false, resumed_at: None, state: State::Reading }
    }

    pub(crate) fn limits(self, limits: Limits) -> Self {
        Self { assembler: self.assembler.limits(limits), ..self }
    }

    pub(crate) fn per_cluster(self, per_cluster: bool) -> Self {
        Self { assembler: self.assembler.per_cluster(per_cluster), ..self }
    }

    pub(crate) fn resync(self, resync: bool) -> Self {
        Self { resync, ..self }
    }

    /// Returns the next piece. At the end of the body, call it until it returns `None`.
    #[inline]
    pub(crate) fn read(&mut self, received: &mut BytesMut, at_end: bool) -> Result<Option<Piece>> {
        if matches!(self.state, State::Reading) {
            match self.assembler.scan(received) {
                Ok(Some(boundary)) => return Ok(Some(self.split(received, boundary))),
                Ok(None) if !at_end => {
                    let announced = self.assembler.announced(received.len()).min(MAX_RESERVE) as usize;
                    received.reserve(if announced > SLACK { announced + SLACK } else { announced });
                    return Ok(None);
                }
                Ok(None) => {}
                Err(error) => self.state = State::Failing(error),
            }
        }
        self.read_exceptional(received, at_end)
    }

    /// Returns how many bytes the buffer needs before [`read`](Deframer::read) can make progress.
    pub(crate) fn wanted(&self) -> usize {
        match self.state {
            State::Reading => self.assembler.wanted(),
            _ => 0,
        }
    }

    /// Ends the body after a transport error. The rest of the buffer is returned as cut.
    pub(crate) fn abort(&mut self) {
        if matches!(self.state, State::Reading) {
            self.state = State::Aborting;
        }
    }

    /// Ends reading with `error` and frees the buffer.
    pub(crate) fn fail<T>(&mut self, error: Error, received: &mut BytesMut) -> Result<T> {
        self.state = State::Done;
        *received = BytesMut::new();
        Err(error)
    }

    /// Handles everything but plain reading: the end of the body, errors and resync.
    fn read_exceptional(&mut self, received: &mut BytesMut, at_end: bool) -> Result<Option<Piece>> {
        loop {
            let boundary = match &mut self.state {
                State::Reading => self.assembler.finish(received),
                State::Aborting => match self.assembler.scan(received) {
                    Ok(Some(boundary)) => Some(boundary),
                    _ => {
                        self.state = State::Aborted;
                        continue;
                    }
                },
                State::Aborted => self.assembler.abort(received),
                State::Failing(error) => match self.assembler.cut(received) {
                    Some(boundary) => Some(boundary),
                    None if self.resync && error.kind() != ErrorKind::Unsupported => {
                        // A distant end is not awaited, because the size itself may be the damage.
                        let cluster_end = self.assembler.cluster_end().filter(|&end| end <= SEARCH_CHUNK);
                        self.state = State::Seeking(Seek { cause: error.clone(), from: 0, cluster_end });
                        continue;
                    }
                    None => {
                        let error = error.clone();
                        return self.fail(error, received);
                    }
                },
                State::Seeking(seek) => {
                    if let Some(end) = seek.cluster_end {
                        // If a document begins where reading stopped, the Cluster's size is wrong.
                        let rest = received.get(end..).unwrap_or_default();
                        match (resync::begins_document(received), resync::begins_cluster_sibling(rest)) {
                            (Some(true), _) | (_, Some(false)) => {}
                            (None, _) if !at_end => return Ok(None),
                            // The size is correct. Bytes inside the Cluster may look like a document, so the
                            // search begins after it.
                            (_, Some(true)) => seek.from = end,
                            (_, None) if at_end && received.len() == end => seek.from = end,
                            (_, None) if !at_end => return Ok(None),
                            (_, None) => {}
                        }
                    }
                    seek.cluster_end = None;
                    match self.seek(received, at_end) {
                        SeekResult::Skipped(skipped) => return Ok(Some(Piece::Skipped(skipped))),
                        SeekResult::Document => return self.read(received, at_end),
                        SeekResult::Nothing => return Ok(None),
                    }
                }
                State::Done => {
                    *received = BytesMut::new();
                    return Ok(None);
                }
            };
            return match boundary {
                Some(boundary) => Ok(Some(self.split(received, boundary))),
                None => {
                    self.state = State::Done;
                    Ok(None)
                }
            };
        }
    }

    fn seek(&mut self, received: &mut BytesMut, at_end: bool) -> SeekResult {
        let State::Seeking(seek) = &mut self.state else { return SeekResult::Nothing };
        let base = self.assembler.base();
        let cause = Some(seek.cause.clone());
        let length = loop {
            match resync::find_document(received, seek.from, at_end) {
                // This document was found before and could not be read.
                Search::Found(length) if self.resumed_at == Some(base + length as u64) => seek.from = length + 1,
                Search::Found(length) => {
                    self.resumed_at = Some(base + length as u64);
                    self.state = State::Reading;
                    break length;
                }
                Search::NotBefore(length) if at_end || length >= SEARCH_CHUNK => {
                    seek.from = 0;
                    break length;
                }
                Search::NotBefore(length) => {
                    seek.from = length;
                    return SeekResult::Nothing;
                }
            }
        };
        let offset = self.assembler.skip(length);
        if length > 0 {
            let raw = received.split_to(length).freeze();
            SeekResult::Skipped(Skipped::new(offset, raw, SkipReason::Damaged, cause))
        } else if matches!(self.state, State::Reading) {
            SeekResult::Document
        } else {
            SeekResult::Nothing
        }
    }

    #[inline]
    fn split(&mut self, received: &mut BytesMut, boundary: Boundary) -> Piece {
        let raw = if boundary.length == 0 { Bytes::new() } else { received.split_to(boundary.length).freeze() };
        self.assembler.take(raw, boundary)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ebml::header::work;

    /// Reads a body byte by byte, to its end or its error, and returns the number of headers tried.
    fn headers_tried(body: &[u8], grain: Grain, resync: bool) -> u64 {
        let limits = Limits::default().fragment_bytes(4 << 20);
        let mut deframer = Deframer::new(grain).limits(limits).resync(resync);
        let mut received = BytesMut::new();
        work::taken();
        for &byte in body {
            received.extend_from_slice(&[byte]);
            while let Ok(Some(_)) = deframer.read(&mut received, false) {}
        }
        while let Ok(Some(_)) = deframer.read(&mut received, true) {}
        work::taken()
    }

    #[test]
    fn work_is_linear_in_the_input() {
        let ebml = [0x1A, 0x45, 0xDF, 0xA3, 0x80].to_vec();
        let start = [&ebml[..], &[0x18, 0x53, 0x80, 0x67, 0xFF, 0x1F, 0x43, 0xB6, 0x75, 0xFF]].concat();
        let after = |rest: &[u8]| [&start[..], rest].concat();
        // EBML headers of the longest recognized length, full of small elements.
        let header = [&[0x1A, 0x45, 0xDF, 0xA3, 0x4F, 0xFE][..], &[0x42, 0x86, 0x80].repeat(1365)].concat();
        for (name, body) in [
            ("documents", ebml.repeat(20_000)),
            ("empty elements", after(&[0xEC, 0x80].repeat(50_000))),
            ("empty clusters", after(&[0x1F, 0x43, 0xB6, 0x75, 0xFF].repeat(20_000))),
            ("empty blocks", after(&[0xA3, 0x84, 0x81, 0, 0, 0].repeat(20_000))),
            ("one large element", after(&[&[0xA3, 0x20, 0x0F, 0xFF, 0x81, 0, 0, 0][..], &[7; 100_000]].concat())),
            ("tags", after(&[0x12, 0x54, 0xC3, 0x67, 0x83, 0x73, 0x73, 0x80].repeat(10_000))),
            ("zeros", vec![0; 100_000]),
            ("markers", [0x1A, 0x45, 0xDF, 0xA3].repeat(25_000)),
            ("long headers", header.repeat(20)),
            ("a broken cluster", after(&[&[0x1F, 0x43, 0xB6, 0x75, 0x10, 0x0F, 0, 0, 0][..], &[7; 300_000]].concat())),
            ("broken documents", [&start[..], &[0; 20]].concat().repeat(3000)),
        ] {
            for (grain, resync) in [(Grain::Fragment, false), (Grain::Fragment, true), (Grain::Packet, true)] {
                let tried = headers_tried(&body, grain, resync);
                let most = 4 * body.len() as u64;
                assert!(tried <= most, "{name}, {grain:?}, {resync}: {tried} headers for {} bytes", body.len());
            }
        }
    }
}
