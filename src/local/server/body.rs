//! Bodies that are sent, and what may happen to them.

use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::Stream as FuturesStream;
use tokio::time::{Duration, Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::fragment::FragmentNumber;
use crate::local::faults::counters::{Event, Happened};
use crate::local::faults::injected_fault::Mishap;
use crate::local::faults::quotas::Quotas;
use crate::local::media::tag_names::Spelling;
use crate::local::server::connection::Resetter;
use crate::local::store::open_connections::OpenBody;
use crate::local::store::streams::{Next, Stream};

/// Where the chunks of a body come from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A stream, from a chunk on, with those that are still to come.
    Live { stream: Arc<Stream>, changes: tokio::sync::watch::Receiver<u64>, index: u64, ends: Instant },
    /// Fragments of the archive, each as it is stored, if it is there.
    Archive { asked: std::vec::IntoIter<(FragmentNumber, Option<Bytes>)>, spelling: Spelling },
    /// An error.
    Fault(Option<Bytes>),
    /// The parts of a file, one a fragment.
    Parts(std::vec::IntoIter<Bytes>),
}

/// One body of GetMedia, GetMediaForFragmentList or GetClip.
#[derive(Debug)]
pub(crate) struct SentBody {
    source: Source,
    open: Option<OpenBody>,
    idle: Duration,
    mishap: Option<Mishap>,
    stop: CancellationToken,
    connection: Resetter,
    happened: Arc<Happened>,
    /// Whether the mishap has been counted.
    is_counted: bool,
    sent: u64,
    chunks: u64,
    pending: Bytes,
}

/// How long what was written before a connection breaks has to get onto the wire.
const GRACE: Duration = Duration::from_millis(20);

/// So long from now; as good as never, if that cannot be told.
pub(crate) fn later(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration).unwrap_or(now + Duration::from_secs(100 * 365 * 86_400))
}

impl SentBody {
    pub(crate) fn new(source: Source, quotas: &Quotas, stop: CancellationToken, happened: Arc<Happened>) -> Self {
        Self {
            source,
            open: None,
            idle: quotas.idle,
            mishap: None,
            stop,
            connection: Resetter::default(),
            happened,
            is_counted: false,
            sent: 0,
            chunks: 0,
            pending: Bytes::new(),
        }
    }

    /// What goes wrong with it.
    pub(crate) fn mishap(mut self, mishap: Option<Mishap>) -> Self {
        self.mishap = mishap;
        self
    }

    /// The connection that it is sent over.
    pub(crate) fn connection(mut self, connection: Resetter) -> Self {
        self.connection = connection;
        self
    }

    /// What it counts as while it lasts, and so much longer if the client closes it.
    pub(crate) fn open(mut self, mut open: OpenBody, linger: Duration) -> Self {
        open.set_linger(linger);
        self.open = Some(open);
        self
    }

    pub(crate) fn into_stream(self) -> impl FuturesStream<Item = io::Result<Bytes>> + Send + 'static {
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
        // How many bytes may come before something happens.
        let mut most = u64::MAX;
        match self.mishap {
            Some(Mishap::CutAfter(after)) if after <= self.sent => {
                sleep(GRACE).await;
                self.count_once(Event::Cut);
                return Err(io::Error::other("cut"));
            }
            Some(Mishap::BreakOff(after)) if after <= self.sent => {
                self.count_once(Event::BreakOff);
                return Ok(None);
            }
            Some(Mishap::ResetAfter(after)) if after <= self.sent => {
                sleep(GRACE).await;
                self.count_once(Event::Reset);
                self.settle();
                // The byte that is written next breaks the connection.
                self.connection.reset();
                return Ok(Some(Bytes::from_static(b"!")));
            }
            Some(Mishap::Stall { after, pause }) if after <= self.sent => {
                self.mishap = None;
                self.count_once(Event::Stall);
                self.pause(pause).await?;
            }
            Some(
                Mishap::BreakOff(after)
                | Mishap::CutAfter(after)
                | Mishap::ResetAfter(after)
                | Mishap::Stall { after, .. },
            ) => {
                most = after - self.sent;
            }
            Some(Mishap::Trickle { bytes, pause }) => {
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
                && matches!(self.mishap, Some(Mishap::EndBeforeTrailer(fragments)) if fragments < self.chunks)
            {
                self.count_once(Event::EndBeforeTrailer);
                self.mishap = Some(Mishap::EndAfter(0));
                let tags = crate::ebml::id::TAGS.0.to_be_bytes();
                let trailer = self.pending.windows(tags.len()).rposition(|four| four == tags);
                self.pending.truncate(trailer.unwrap_or(self.pending.len()));
            }
        }
        if let Some(Mishap::DamageAt(at)) = self.mishap {
            self.damage(at);
        }
        let length = self.pending.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        self.sent += length as u64;
        Ok(Some(self.pending.split_to(length)))
    }

    /// The next chunk, as it is stored.
    async fn more(&mut self) -> io::Result<Option<Bytes>> {
        match &mut self.mishap {
            Some(Mishap::EndAfter(chunks)) if self.chunks >= *chunks => {
                self.count_once(Event::End);
                return Ok(None);
            }
            Some(Mishap::FaultAfter { fragments, id, message }) if self.chunks >= *fragments => {
                let spelling = match self.source {
                    Source::Archive { spelling, .. } => spelling,
                    _ => Spelling::Seen,
                };
                let fault = spelling.fault(*id, message, None);
                self.mishap = Some(Mishap::EndAfter(0));
                self.count_once(Event::Fault);
                return Ok(Some(fault));
            }
            _ => {}
        }
        self.chunks += 1;
        let stopped = || io::Error::new(io::ErrorKind::ConnectionAborted, "the endpoint was stopped");
        match &mut self.source {
            Source::Archive { .. } | Source::Fault(_) | Source::Parts(_) if self.stop.is_cancelled() => Err(stopped()),
            Source::Archive { .. } => Ok(self.archived()),
            Source::Fault(fault) => Ok(fault.take()),
            Source::Parts(parts) => Ok(parts.next()),
            Source::Live { stream, changes, index, ends, .. } => loop {
                if self.stop.is_cancelled() {
                    return Err(stopped());
                }
                // What is added from here on wakes us up.
                changes.mark_unchanged();
                match stream.next(index) {
                    Next::End => return Ok(None),
                    _ if Instant::now() >= *ends => {
                        self.happened.count(Event::SessionEnd);
                        return Ok(None);
                    }
                    Next::Chunk(bytes) => return Ok(Some(bytes)),
                    Next::Wait => {}
                }
                let until = later(self.idle).min(*ends);
                tokio::select! {
                    changed = timeout_at(until, changes.changed()) => {
                        if !matches!(changed, Ok(Ok(()))) {
                            let is_old = Instant::now() >= *ends;
                            self.happened.count(if is_old { Event::SessionEnd } else { Event::IdleEnd });
                            return Ok(None);
                        }
                    }
                    () = self.stop.cancelled() => {}
                }
            },
        }
    }

    /// What comes in the next place of those that were asked for from the archive.
    fn archived(&mut self) -> Option<Bytes> {
        let Source::Archive { asked, spelling } = &mut self.source else { return None };
        let (spelling, mut next) = (*spelling, asked.next()?);
        let place = self.chunks - 1;
        match &self.mishap {
            Some(Mishap::FaultAt { fragment, id, message }) if *fragment == place => {
                let fault = spelling.fault(*id, message, Some(&next.0));
                self.count_once(Event::FaultAt);
                return Some(fault);
            }
            Some(Mishap::Omit(omitted)) if *omitted == place => {
                let behind = asked.next();
                self.count_once(Event::Omit);
                next = behind?;
            }
            Some(Mishap::Shuffle(_)) => self.count_once(Event::Shuffle),
            _ => {}
        }
        // What is not there, or not yet, is reported where it would stand.
        let (number, stored) = next;
        let missing = || spelling.fault(3000, "FRAGMENT_NOT_FOUND", Some(&number));
        Some(stored.map_or_else(missing, |document| spelling.spell(&document)))
    }

    /// It ends by itself: the client is not the one who closes the connection.
    fn settle(&mut self) {
        if let Some(open) = &mut self.open {
            open.set_linger(Duration::ZERO);
        }
    }

    /// Counts the mishap, which may take effect in many pieces.
    fn count_once(&mut self, event: Event) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.happened.count(event);
        }
    }

    async fn pause(&self, pause: Duration) -> io::Result<()> {
        tokio::select! {
            () = sleep(pause) => Ok(()),
            () = self.stop.cancelled() => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the endpoint was stopped")),
        }
    }

    /// Overwrites what there is of the twelve bytes at this offset.
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
