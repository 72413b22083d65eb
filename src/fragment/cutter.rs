//! Pieces out of a buffer, damage and ends included: what all decoders do.

use bytes::{Bytes, BytesMut};

use super::assembler::{Assembler, Boundary, Grain, Piece};
use super::fault::{SkipReason, Skipped};
use super::resync::{self, Search};
use crate::error::{Error, ErrorKind, Result};
use crate::limits::Limits;

/// The most that is reserved ahead on the word of a declared size.
const RESERVE: u64 = 1 << 20;

/// What is searched in vain is given out in pieces of about this size, so that it need not be kept.
const SEARCHED: usize = 1 << 20;

/// Runs an [`Assembler`] over a buffer.
#[derive(Debug)]
pub(crate) struct Cutter {
    assembler: Assembler,
    limits: Limits,
    grain: Grain,
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

impl Cutter {
    pub(crate) fn new(grain: Grain) -> Self {
        let limits = Limits::default();
        Self {
            assembler: Assembler::new(limits, grain),
            limits,
            grain,
            resync: false,
            resumed_at: None,
            state: State::Reading,
        }
    }

    pub(crate) fn limits(self, limits: Limits) -> Self {
        Self { assembler: Assembler::new(limits, self.grain), limits, ..self }
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
                    received.reserve(owed as usize);
                    return Ok(None);
                }
                Ok(None) => {}
                Err(error) => self.state = State::Failing(error),
            }
        }
        self.read_otherwise(received, at_end)
    }

    /// Gives up on the body: from now on what there is comes as cut, then nothing.
    pub(crate) fn abort(&mut self) {
        if matches!(self.state, State::Reading) {
            self.state = State::Aborting;
        }
    }

    pub(crate) fn fail<T>(&mut self, error: Error, received: &mut BytesMut) -> Result<T> {
        self.state = State::Done;
        received.clear();
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
                        let cluster_end = self.assembler.cluster_end();
                        let within = |end: &usize| *end <= self.limits.fragment_bytes as usize;
                        self.state = State::Seeking(Seek {
                            cause: error.clone(),
                            from: 0,
                            cluster_end: cluster_end.filter(within),
                        });
                        continue;
                    }
                    None => {
                        let error = error.clone();
                        return self.fail(error, received);
                    }
                },
                State::Seeking(seek) => {
                    if let Some(end) = seek.cluster_end {
                        match resync::is_beside_cluster(received.get(end..).unwrap_or_default()) {
                            // What is inside of it may look like documents, but is none.
                            Some(true) => seek.from = end,
                            None if !at_end => return Ok(None),
                            Some(false) | None => {}
                        }
                        seek.cluster_end = None;
                    }
                    match self.seek(received, at_end) {
                        Sought::Skipped(skipped) => return Ok(Some(Piece::Skipped(skipped))),
                        Sought::Document => return self.read(received, at_end),
                        Sought::Nothing => return Ok(None),
                    }
                }
                State::Done => {
                    received.clear();
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
            Sought::Skipped(Skipped { offset, length: length as u64, raw, reason: SkipReason::Damaged, cause })
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
