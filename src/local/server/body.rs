//! Response bodies, with injected faults and quotas applied.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::Stream as FuturesStream;
use tokio::time::{Duration, Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::fragment::FragmentNumber;
use crate::local::clock::later;
use crate::local::faults::counters::{Counters, Event};
use crate::local::faults::injected_fault::InjectedFault;
use crate::local::faults::quotas::Quotas;
use crate::local::media::tag_names::TagNames;
use crate::local::server::connection::Resetter;
use crate::local::store::open_connections::OpenConnection;
use crate::local::store::streams::{Cursor, Next, Stream};

/// The chunks of a body.
#[derive(Debug)]
pub(crate) enum Source {
    /// The chunks of a stream from a position on, future ones included.
    Live { stream: Arc<Stream>, changes: tokio::sync::watch::Receiver<u64>, cursor: Cursor, ends: Instant },
    /// The requested fragments of the archive, each with its stored document, if any.
    Archive { asked: std::vec::IntoIter<(FragmentNumber, Option<Bytes>)>, names: TagNames },
    /// A single document that reports an error.
    Fault(Option<Bytes>),
    /// The parts of a file, one per fragment.
    Parts(std::vec::IntoIter<Bytes>),
}

/// A body of GetMedia, GetMediaForFragmentList or GetClip.
#[derive(Debug)]
pub(crate) struct SentBody {
    source: Source,
    open: Option<OpenConnection>,
    idle: Duration,
    fault: Option<InjectedFault>,
    stop: CancellationToken,
    connection: Resetter,
    counters: Arc<Counters>,
    /// Set once the fault has been counted.
    is_counted: bool,
    sent: u64,
    chunks: u64,
    /// Set between a part of a chunk and its end.
    is_inside: bool,
    pending: Bytes,
}

/// The delay before a connection is broken, so that the bytes before get onto the wire.
const GRACE: Duration = Duration::from_millis(20);

impl SentBody {
    pub(crate) fn new(source: Source, quotas: &Quotas, stop: CancellationToken, counters: Arc<Counters>) -> Self {
        Self {
            source,
            open: None,
            idle: quotas.idle,
            fault: None,
            stop,
            connection: Resetter::default(),
            counters,
            is_counted: false,
            sent: 0,
            chunks: 0,
            is_inside: false,
            pending: Bytes::new(),
        }
    }

    /// Sets the injected fault.
    pub(crate) fn fault(mut self, fault: Option<InjectedFault>) -> Self {
        self.fault = fault;
        self
    }

    /// Sets the connection that carries the body.
    pub(crate) fn connection(mut self, connection: Resetter) -> Self {
        self.connection = connection;
        self
    }

    /// Counts the body as an open connection. It lingers if the client closes it.
    pub(crate) fn open(mut self, mut open: OpenConnection, linger: Duration) -> Self {
        open.set_linger(linger);
        self.open = Some(open);
        self
    }

    fn into_stream(self) -> impl FuturesStream<Item = io::Result<Bytes>> + Send + 'static {
        futures::stream::unfold(Some(self), |body| async move {
            let mut body = body?;
            match body.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(body))),
                Ok(None) => {
                    body.settle();
                    None
                }
                Err(error) => {
                    body.settle();
                    Some((Err(error), None))
                }
            }
        })
    }

    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        // The number of bytes to send before the fault happens.
        let mut most = u64::MAX;
        match self.fault {
            Some(InjectedFault::CutAfter(after)) if after <= self.sent => {
                sleep(GRACE).await;
                self.count_once(Event::Cut);
                return Err(io::Error::other("cut"));
            }
            Some(InjectedFault::BreakOff(after)) if after <= self.sent => {
                self.count_once(Event::BreakOff);
                return Ok(None);
            }
            Some(InjectedFault::ResetAfter(after)) if after <= self.sent => {
                sleep(GRACE).await;
                self.count_once(Event::Reset);
                self.settle();
                // Writing one more byte makes the connection notice the reset.
                self.connection.reset();
                return Ok(Some(Bytes::from_static(b"!")));
            }
            Some(InjectedFault::Stall { after, pause }) if after <= self.sent => {
                self.fault = None;
                self.count_once(Event::Stall);
                self.pause(pause).await?;
            }
            Some(
                InjectedFault::BreakOff(after)
                | InjectedFault::CutAfter(after)
                | InjectedFault::ResetAfter(after)
                | InjectedFault::Stall { after, .. },
            ) => {
                most = after - self.sent;
            }
            Some(InjectedFault::Trickle { bytes, pause }) => {
                self.count_once(Event::Trickle);
                self.pause(pause).await?;
                most = bytes.max(1) as u64;
            }
            _ => {}
        }
        if self.pending.is_empty() {
            match self.more().await? {
                Some(bytes) => self.pending = bytes,
                None => return Ok(None),
            }
            if matches!(self.source, Source::Live { .. })
                && !self.is_inside
                && matches!(self.fault, Some(InjectedFault::EndBeforeTrailer(fragments)) if fragments < self.chunks)
            {
                self.count_once(Event::EndBeforeTrailer);
                self.fault = Some(InjectedFault::EndAfter(0));
                let tags = crate::ebml::id::TAGS.0.to_be_bytes();
                let trailer = self.pending.windows(tags.len()).rposition(|four| four == tags);
                self.pending.truncate(trailer.unwrap_or(self.pending.len()));
            }
        }
        if let Some(InjectedFault::DamageAt(at)) = self.fault {
            self.damage(at);
        }
        let length = self.pending.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        self.sent += length as u64;
        Ok(Some(self.pending.split_to(length)))
    }

    /// Returns the next chunk of the source.
    async fn more(&mut self) -> io::Result<Option<Bytes>> {
        match &mut self.fault {
            _ if self.is_inside => {}
            Some(InjectedFault::EndAfter(chunks)) if self.chunks >= *chunks => {
                self.count_once(Event::End);
                return Ok(None);
            }
            Some(InjectedFault::FaultAfter { fragments, id, message }) if self.chunks >= *fragments => {
                let names = match self.source {
                    Source::Archive { names, .. } => names,
                    _ => TagNames::Seen,
                };
                let document = names.fault(*id, message, None);
                self.fault = Some(InjectedFault::EndAfter(0));
                self.count_once(Event::Fault);
                return Ok(Some(document));
            }
            _ => {}
        }
        self.chunks += u64::from(!self.is_inside);
        let stopped = || io::Error::new(io::ErrorKind::ConnectionAborted, "the endpoint was stopped");
        match &mut self.source {
            Source::Archive { .. } | Source::Fault(_) | Source::Parts(_) if self.stop.is_cancelled() => Err(stopped()),
            Source::Archive { .. } => Ok(self.archived()),
            Source::Fault(fault) => Ok(fault.take()),
            Source::Parts(parts) => Ok(parts.next()),
            Source::Live { stream, changes, cursor, ends, .. } => loop {
                if self.stop.is_cancelled() {
                    return Err(stopped());
                }
                // Chunks added from here on wake this task.
                changes.mark_unchanged();
                let is_over = !self.is_inside && Instant::now() >= *ends;
                match stream.next(cursor) {
                    Next::End => return Ok(None),
                    _ if is_over => {
                        self.counters.count(Event::SessionEnd);
                        return Ok(None);
                    }
                    Next::Bytes { bytes, ends } => {
                        self.is_inside = !ends;
                        return Ok(Some(bytes));
                    }
                    Next::Wait => {}
                }
                let until = if self.is_inside { later(self.idle) } else { later(self.idle).min(*ends) };
                tokio::select! {
                    changed = timeout_at(until, changes.changed()) => {
                        if !matches!(changed, Ok(Ok(()))) {
                            let is_old = Instant::now() >= *ends;
                            self.counters.count(if is_old { Event::SessionEnd } else { Event::IdleEnd });
                            return Ok(None);
                        }
                    }
                    () = self.stop.cancelled() => {}
                }
            },
        }
    }

    /// Returns the document for the next requested fragment of the archive.
    fn archived(&mut self) -> Option<Bytes> {
        let Source::Archive { asked, names } = &mut self.source else { return None };
        let (names, mut next) = (*names, asked.next()?);
        let index = self.chunks - 1;
        match &self.fault {
            Some(InjectedFault::FaultAt { fragment, id, message }) if *fragment == index => {
                let document = names.fault(*id, message, Some(&next.0));
                self.count_once(Event::FaultAt);
                return Some(document);
            }
            Some(InjectedFault::Omit(omitted)) if *omitted == index => {
                let following = asked.next();
                self.count_once(Event::Omit);
                next = following?;
            }
            Some(InjectedFault::Shuffle(_)) => self.count_once(Event::Shuffle),
            _ => {}
        }
        // A missing fragment is reported in its place.
        let (number, stored) = next;
        let missing = || names.fault(3000, "FRAGMENT_NOT_FOUND", Some(&number));
        Some(stored.map_or_else(missing, |document| names.apply(&document)))
    }

    /// Turns lingering off: the body ends by itself, so the client does not close it early.
    fn settle(&mut self) {
        if let Some(open) = &mut self.open {
            open.set_linger(Duration::ZERO);
        }
    }

    /// Counts the fault, the first time it takes effect.
    fn count_once(&mut self, event: Event) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.counters.count(event);
        }
    }

    async fn pause(&self, pause: Duration) -> io::Result<()> {
        tokio::select! {
            () = sleep(pause) => Ok(()),
            () = self.stop.cancelled() => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the endpoint was stopped")),
        }
    }

    /// Overwrites the pending ones of the twelve bytes at this offset.
    fn damage(&mut self, at: u64) {
        let pending = self.sent..self.sent + self.pending.len() as u64;
        let (start, end) = (at.max(pending.start), at.saturating_add(12).min(pending.end));
        if start < end {
            let mut bytes = BytesMut::from(&self.pending[..]);
            let damaged = bytes.get_mut((start - self.sent) as usize..(end - self.sent) as usize);
            damaged.into_iter().flatten().for_each(|byte| *byte = 0);
            self.pending = bytes.freeze();
            self.count_once(Event::Damage);
        }
    }
}

impl IntoResponse for SentBody {
    fn into_response(self) -> Response {
        let mut response = Body::from_stream(self.into_stream()).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("video/webm"));
        response
    }
}
