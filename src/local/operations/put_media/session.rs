//! One call of PutMedia: reads the body, stores fragments, and acknowledges them.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use axum::body::BodyDataStream;
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::ack::{AckedFragment, EventType, line};
use super::cutter::{Cut, FragmentCutter};
use super::error::PutError;
use super::headers::PutHeaders;
use crate::ebml::writer::Writer;
use crate::fragment::Timestamp;
use crate::local::clock::later;
use crate::local::faults::counters::Event;
use crate::local::faults::injected_fault::InjectedFault;
use crate::local::media::document::leading_tags;
use crate::local::server::connection::Resetter;
use crate::local::server::state::Server;
use crate::local::store::open_connections::OpenConnection;
use crate::local::store::streams::{GrowingFragment, Stream};

/// How long a client may leave acknowledgements unread.
const SLOWEST_READER: Duration = Duration::from_secs(30);

/// How long the rest of a body is read after the last acknowledgement.
///
/// A connection that is closed with unread bytes is reset, and the client may lose what it was sent.
const DRAIN: Duration = Duration::from_secs(2);

/// The delay before an injected reset.
const GRACE: Duration = Duration::from_millis(20);

/// The request's side of a call.
pub(super) struct Source {
    /// The first bytes of the body, if they have been read.
    pub(super) first: Option<Result<Bytes, axum::Error>>,
    pub(super) body: BodyDataStream,
    pub(super) connection: Resetter,
    /// Counts as an open connection until the session ends.
    pub(super) open: OpenConnection,
}

/// The state of one call.
pub(super) struct Session {
    stream: Arc<Stream>,
    cutter: FragmentCutter,
    acks: mpsc::Sender<Bytes>,
    needs_acks: bool,
    /// The producer's time of timecode 0.
    origin: Timestamp,
    fault: Option<InjectedFault>,
    /// When the current Cluster began.
    opened: Timestamp,
    growing: Option<(GrowingFragment, AckedFragment)>,
    fragments: u64,
    received: u64,
}

impl Session {
    pub(super) fn new(
        stream: Arc<Stream>,
        acks: mpsc::Sender<Bytes>,
        headers: &PutHeaders,
        fault: Option<InjectedFault>,
    ) -> Self {
        Self {
            opened: stream.clock().now(),
            stream,
            cutter: FragmentCutter::new(),
            acks,
            needs_acks: headers.needs_acks,
            origin: headers.origin,
            fault,
            growing: None,
            fragments: 0,
            received: 0,
        }
    }

    async fn apply(&mut self, cuts: Vec<Cut>) -> ControlFlow<()> {
        for cut in cuts {
            match cut {
                Cut::Opened => self.opened = self.stream.clock().now(),
                Cut::Begun { before, timecode } => self.begin(before, timecode).await?,
                Cut::Media(bytes) => {
                    if let Some((growing, _)) = &self.growing {
                        growing.extend(&bytes);
                    }
                }
                Cut::Complete { duration } => self.complete(duration).await?,
                Cut::Failed { error, reason } => return self.fail(error, &reason).await,
            }
        }
        ControlFlow::Continue(())
    }

    async fn begin(&mut self, before: Vec<u8>, timecode: i64) -> ControlFlow<()> {
        let Some(time) = self.origin.as_nanos().checked_add(timecode) else {
            return self.fail(PutError::InvalidProducerTimestamp, "the fragment begins after the year 2262").await;
        };
        let producer_time = Timestamp::from_millis(time.div_euclid(1_000_000));
        let stamp = self.stream.stamp_of(self.opened, producer_time);
        let fragment = AckedFragment { timecode: timecode / 1_000_000, number: stamp.number.clone() };
        let mut document = Writer::new();
        document.raw(&before);
        leading_tags(&mut document, &stamp);
        let growing = self.stream.begin(document.into_bytes(), stamp);
        self.growing = Some((growing, fragment.clone()));
        self.acknowledge(EventType::Buffering, &fragment).await
    }

    async fn complete(&mut self, duration: Duration) -> ControlFlow<()> {
        let Some((growing, fragment)) = self.growing.take() else { return ControlFlow::Continue(()) };
        growing.complete(duration);
        self.fragments += 1;
        self.acknowledge(EventType::Received, &fragment).await?;
        // Without a retention nothing is persisted.
        if !self.stream.retention().is_zero() {
            self.acknowledge(EventType::Persisted, &fragment).await?;
        }
        if let Some(InjectedFault::FaultAfter { fragments, id, message }) = &self.fault
            && self.fragments >= *fragments
        {
            let line = line(EventType::Error, Some(&fragment), Some((*id, message)));
            self.send(line).await?;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Discards the fragment that has begun, and reports the error.
    async fn fail(&mut self, error: PutError, reason: &str) -> ControlFlow<()> {
        tracing::debug!(stream = self.stream.name(), error = error.code(), reason, "a session of PutMedia failed");
        let fragment = self.growing.take().map(|(_, fragment)| fragment);
        self.send(line(EventType::Error, fragment.as_ref(), Some((error.id(), error.code())))).await?;
        ControlFlow::Break(())
    }

    async fn acknowledge(&self, event_type: EventType, fragment: &AckedFragment) -> ControlFlow<()> {
        if !self.needs_acks {
            return ControlFlow::Continue(());
        }
        self.send(line(event_type, Some(fragment), None)).await
    }

    async fn send(&self, line: Bytes) -> ControlFlow<()> {
        match timeout(SLOWEST_READER, self.acks.send(line)).await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }

    /// Counts received bytes, and returns whether an injected fault resets the connection after them.
    ///
    /// It shortens `bytes` to those before the reset.
    fn cut_off(&mut self, bytes: &mut Bytes) -> bool {
        if let Some(InjectedFault::ResetAfter(after)) = self.fault {
            let left = usize::try_from(after.saturating_sub(self.received)).unwrap_or(usize::MAX);
            self.received += bytes.len() as u64;
            bytes.truncate(left);
            return self.received >= after;
        }
        false
    }
}

/// Runs a session to its end.
pub(super) async fn run(mut session: Session, source: Source, server: Arc<Server>) {
    let Source { first, mut body, connection, open } = source;
    let ends = later(server.quotas.put_session);
    let deleted = session.stream.deleted().clone();
    let mut first = first;
    loop {
        let idle = later(server.quotas.put_idle);
        let next = async {
            match first.take() {
                Some(first) => Some(first),
                None => body.next().await,
            }
        };
        let flow = tokio::select! {
            biased;
            // The client is gone, or the endpoint stops: nobody reads an acknowledgement.
            () = session.acks.closed() => break,
            () = server.stop().cancelled() => break,
            () = deleted.cancelled() => session.fail(PutError::StreamDeleted, "the stream was deleted").await,
            () = tokio::time::sleep_until(ends) => {
                session.fail(PutError::MaxConnectionDurationReached, "the session is too old").await
            }
            next = next => match next {
                Some(Ok(mut bytes)) => {
                    let is_cut_off = session.cut_off(&mut bytes);
                    let cuts = session.cutter.push(&bytes);
                    let flow = session.apply(cuts).await;
                    if is_cut_off {
                        // The acknowledgements so far get onto the wire.
                        tokio::time::sleep(GRACE).await;
                        server.counters.count(Event::Reset);
                        connection.reset();
                        // Writing makes the connection notice the reset.
                        let _ = session.send(Bytes::from_static(b"\n")).await;
                        break;
                    }
                    flow
                }
                Some(Err(error)) => session.fail(PutError::StreamReadError, &error.to_string()).await,
                None => {
                    let cuts = session.cutter.finish();
                    let _ = session.apply(cuts).await;
                    break;
                }
            },
            () = tokio::time::sleep_until(idle) => {
                let _ = session.send(line(EventType::Idle, None, None)).await;
                ControlFlow::Break(())
            }
        };
        if flow.is_break() {
            break;
        }
    }
    // The answer ends here, and another connection may take over.
    drop(session);
    drop(open);
    drain(body, server).await;
}

/// Reads and drops the rest of a body for a while.
async fn drain(mut body: BodyDataStream, server: Arc<Server>) {
    let until = Instant::now() + DRAIN;
    let rest = async { while let Some(Ok(_)) = body.next().await {} };
    tokio::select! {
        () = rest => {}
        () = tokio::time::sleep_until(until) => {}
        () = server.stop().cancelled() => {}
    }
}
