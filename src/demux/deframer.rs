//! Pieces out of a buffer, damage and ends included: what all decoders do.

use bytes::{Bytes, BytesMut};

use super::assembler::{Assembler, Boundary, Grain, Piece};
use super::resync::{self, Search};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{SkipReason, Skipped};
use crate::limits::Limits;

/// The most that is reserved ahead on the word of a declared size.
const RESERVE: u64 = 1 << 20;

/// Where more than this is sure to come, so much is reserved for what comes behind it: only there is it seen to be
/// whole, and a buffer without room for that would double.
const BEHIND: usize = 32 << 10;

/// What is searched in vain is given out in pieces of about this size, so that it need not be kept.
const SEARCHED: usize = 1 << 20;

/// Runs an [`Assembler`] over a buffer.
#[derive(Debug)]
pub(crate) struct Deframer {
    assembler: Assembler,
    resync: bool,
    /// Where reading last went on behind damage. Not twice at the same place.
    resumed_at: Option<u64>,
    state: State,
}

#[derive(Debug)]
enum State {
    Reading,
    /// The transport failed: what is whole comes, then what there is as cut.
    Aborting,
    Aborted,
    /// The error comes when what was before it has been taken.
    Failing(Error),
    /// What could not be read is passed over, up to the next document.
    Seeking(Seek),
    Done,
}

#[derive(Debug)]
struct Seek {
    cause: Error,
    /// How far there is no document.
    from: usize,
    /// Where the damaged Cluster says that it ends, until it is known whether that can be trusted.
    cluster_end: Option<usize>,
}

/// What seeking has come to.
enum Sought {
    Skipped(Skipped),
    /// A document, with nothing before it.
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

    pub(crate) fn resync(self, resync: bool) -> Self {
        Self { resync, ..self }
    }

    /// The next piece. At the end it is to be asked until there is none.
    #[inline]
    pub(crate) fn read(&mut self, received: &mut BytesMut, at_end: bool) -> Result<Option<Piece>> {
        if matches!(self.state, State::Reading) {
            match self.assembler.scan(received) {
                Ok(Some(boundary)) => return Ok(Some(self.split(received, boundary))),
                Ok(None) if !at_end => {
                    let owed = self.assembler.owed(received.len()).min(RESERVE);
                    let owed = owed as usize;
                    received.reserve(if owed > BEHIND { owed + BEHIND } else { owed });
                    return Ok(None);
                }
                Ok(None) => {}
                Err(error) => self.state = State::Failing(error),
            }
        }
        self.read_otherwise(received, at_end)
    }

    /// How many bytes there must be before [`read`](Deframer::read) can come to anything.
    pub(crate) fn wanted(&self) -> usize {
        match self.state {
            State::Reading => self.assembler.wanted(),
            _ => 0,
        }
    }

    /// Gives up on the body: from now on what there is comes as cut, then nothing.
    pub(crate) fn abort(&mut self) {
        if matches!(self.state, State::Reading) {
            self.state = State::Aborting;
        }
    }

    pub(crate) fn fail<T>(&mut self, error: Error, received: &mut BytesMut) -> Result<T> {
        self.state = State::Done;
        *received = BytesMut::new();
        Err(error)
    }

    fn read_otherwise(&mut self, received: &mut BytesMut, at_end: bool) -> Result<Option<Piece>> {
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
                        // Not worth waiting for if it is far off: what is wrong may be its size.
                        let cluster_end = self.assembler.cluster_end().filter(|&end| end <= SEARCHED);
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
                        // Where reading stopped at a document, it is the Cluster's size that is wrong.
                        let rest = received.get(end..).unwrap_or_default();
                        match (resync::begins_document(received), resync::is_beside_cluster(rest)) {
                            (Some(true), _) | (_, Some(false)) => {}
                            (None, _) if !at_end => return Ok(None),
                            // What is inside of it may look like documents, but is none.
                            (_, Some(true)) => seek.from = end,
                            (_, None) if at_end && received.len() == end => seek.from = end,
                            (_, None) if !at_end => return Ok(None),
                            (_, None) => {}
                        }
                    }
                    seek.cluster_end = None;
                    match self.seek(received, at_end) {
                        Sought::Skipped(skipped) => return Ok(Some(Piece::Skipped(skipped))),
                        Sought::Document => return self.read(received, at_end),
                        Sought::Nothing => return Ok(None),
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

    fn seek(&mut self, received: &mut BytesMut, at_end: bool) -> Sought {
        let State::Seeking(seek) = &mut self.state else { return Sought::Nothing };
        let base = self.assembler.base();
        let cause = Some(seek.cause.clone());
        let length = loop {
            match resync::find_document(received, seek.from, at_end) {
                // It was found before, and could not be read.
                Search::Found(length) if self.resumed_at == Some(base + length as u64) => seek.from = length + 1,
                Search::Found(length) => {
                    self.resumed_at = Some(base + length as u64);
                    self.state = State::Reading;
                    break length;
                }
                Search::NotBefore(length) if at_end || length >= SEARCHED => {
                    seek.from = 0;
                    break length;
                }
                Search::NotBefore(length) => {
                    seek.from = length;
                    return Sought::Nothing;
                }
            }
        };
        let offset = self.assembler.pass_over(length);
        if length > 0 {
            let raw = received.split_to(length).freeze();
            Sought::Skipped(Skipped::new(offset, raw, SkipReason::Damaged, cause))
        } else if matches!(self.state, State::Reading) {
            Sought::Document
        } else {
            Sought::Nothing
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

    /// Reads a body byte by byte, to its end or its error, and returns the headers that were tried.
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
    fn work_is_in_proportion_to_what_comes() {
        let ebml = [0x1A, 0x45, 0xDF, 0xA3, 0x80].to_vec();
        let start = [&ebml[..], &[0x18, 0x53, 0x80, 0x67, 0xFF, 0x1F, 0x43, 0xB6, 0x75, 0xFF]].concat();
        let after = |rest: &[u8]| [&start[..], rest].concat();
        // An EBML header as long as is looked at, full of small elements, again and again.
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
