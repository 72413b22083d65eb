//! Fetching fragments, in several calls at a time, into one row.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use async_stream::stream;
use aws_sdk_kinesisvideo::types::ApiName;
use aws_smithy_types::byte_stream::ByteStream;
use futures::stream::{BoxStream, StreamExt};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::progress::ArchiveProgress;
use super::work::{CallId, Came, Ready, Work};
use super::{Fetching, Unavailable};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{BodyItem, BodyStream, Continuity, Discontinuity, End, Fragment, FragmentNumber};
use crate::service::archived::overrides;
use crate::service::backoff::Backoff;
use crate::service::call::{Call, Origin, Reply};
use crate::service::rates::Rate;
use crate::service::watched_body::WatchedBody;
use crate::service::{KinesisVideo, SdkBody, StreamId};

const OPERATION: &str = "GetMediaForFragmentList";

/// Carries out the work: makes calls, reads what they bring, gives it out in order.
pub(super) struct Fetch {
    kvs: KinesisVideo,
    stream: StreamId,
    how: Fetching,
    work: Work,
    bodies: Vec<Body>,
    /// Calls that failed, one behind the other, for reasons that have to do with no fragment.
    failures: u32,
    backoff: Backoff,
    /// No call is made before.
    not_before: Option<Instant>,
    continuity: Continuity,
    /// What happened before the next fragment.
    before: Vec<Discontinuity>,
    /// What comes behind the fragment that was given out last.
    failed: Option<Error>,
    bytes: Arc<AtomicU64>,
    progress: watch::Sender<ArchiveProgress>,
}

/// A call, from before it is made to the end of its body.
struct Body {
    id: CallId,
    events: BoxStream<'static, Event>,
    /// Once it is answered.
    origin: Option<Origin>,
}

#[derive(Debug)]
enum Event {
    Refused(Error),
    Opened(Origin),
    Item(BodyItem),
    Over(Option<Error>),
}

impl Fetch {
    pub(super) fn new(
        kvs: KinesisVideo,
        stream: StreamId,
        how: Fetching,
        work: Work,
        progress: watch::Sender<ArchiveProgress>,
    ) -> Self {
        let continuity = Continuity::new(how.gap_tolerance);
        Self {
            kvs,
            stream,
            how,
            work,
            bodies: Vec::new(),
            failures: 0,
            backoff: Backoff::default(),
            not_before: None,
            continuity,
            before: Vec::new(),
            failed: None,
            bytes: Arc::default(),
            progress,
        }
    }

    /// The next fragment; none behind the last.
    pub(super) async fn next(&mut self) -> Result<Option<Fragment>> {
        loop {
            if let Some(error) = self.failed.take() {
                return Err(error);
            }
            if let Some(ready) = self.work.pop() {
                match self.give_out(ready) {
                    Some(fragment) => return Ok(Some(fragment)),
                    None => continue,
                }
            }
            if self.work.is_done() {
                return Ok(None);
            }
            let now = Instant::now();
            let due = self.make_calls(now);
            let (bodies, work) = (&mut self.bodies, &self.work);
            let event = tokio::select! {
                biased;
                event = poll_fn(|cx| poll_bodies(bodies, work, cx)) => event,
                () = at(due) => continue,
            };
            if let Err(error) = self.handle(event.0, event.1) {
                self.progress.send_modify(|progress| progress.error = Some(error.clone()));
                // What there is of the one that everything waits for comes first.
                match self.work.take_part() {
                    None => return Err(error),
                    Some(part) => {
                        self.failed = Some(error);
                        let bytes = part.raw().len() as u64;
                        return Ok(Some(self.finish(part, bytes)));
                    }
                }
            }
        }
    }

    /// What happened before the end, where no fragment follows that could say so.
    pub(super) fn into_trailing(self) -> Vec<Discontinuity> {
        self.before
    }

    /// Makes as many calls as may be made. When that is to be tried again, if nothing comes before.
    fn make_calls(&mut self, now: Instant) -> Option<Instant> {
        if let Some(not_before) = self.not_before.filter(|at| *at > now) {
            return Some(not_before);
        }
        self.not_before = None;
        if let Some(id) = self.work.in_the_way(now) {
            tracing::debug!(call = id, "given up for one that is needed more");
            self.drop_body(id, false);
        }
        while let Some((id, numbers)) = self.work.next_call(now) {
            tracing::debug!(call = id, fragments = numbers.len(), "calling {OPERATION}");
            self.progress.send_modify(|progress| progress.calls += 1);
            let events = self.call(numbers);
            self.bodies.push(Body { id, events, origin: None });
        }
        self.work.next_due(now)
    }

    fn call(&self, numbers: Vec<FragmentNumber>) -> BoxStream<'static, Event> {
        let (kvs, stream, how, bytes) = (self.kvs.clone(), self.stream.clone(), self.how, Arc::clone(&self.bytes));
        stream! {
            let Reply { output, origin, .. } = match call(&kvs, &stream, &how, &numbers).await {
                Ok(reply) => reply,
                Err(error) => {
                    yield Event::Refused(error);
                    return;
                }
            };
            yield Event::Opened(origin);
            let body = WatchedBody::new(OPERATION, SdkBody::from(output), how.read_timeout, how.read_timeout, bytes);
            let mut body = BodyStream::new(body).limits(how.limits).resync(true);
            while let Some(item) = body.next().await {
                match item {
                    Ok(item) => yield Event::Item(item),
                    Err(error) => {
                        yield Event::Over(Some(error));
                        return;
                    }
                }
            }
            yield Event::Over(None);
        }
        .boxed()
    }

    /// # Errors
    /// What ends all.
    fn handle(&mut self, id: CallId, event: Event) -> Result<()> {
        let now = Instant::now();
        match event {
            Event::Refused(error) => {
                self.bodies.retain(|body| body.id != id);
                self.work.abandon(id, false);
                if matches!(error.kind(), ErrorKind::Throttled | ErrorKind::ConnectionLimit) {
                    self.work.refused();
                }
                self.trouble(error, now)
            }
            Event::Opened(origin) => {
                if let Some(body) = self.body(id) {
                    body.origin = Some(origin);
                }
                Ok(())
            }
            Event::Item(BodyItem::Fragment(fragment)) => {
                let number = fragment.number().cloned();
                match self.work.came(id, fragment) {
                    Came::Unwanted => tracing::debug!(?number, "not asked for, or come before"),
                    // In smaller parts there is less that can come first.
                    Came::OutOfOrder if self.work.overflows() => {
                        tracing::debug!(call = id, "too much came out of order");
                        self.drop_body(id, true);
                    }
                    Came::OutOfOrder | Came::InOrder => {}
                }
                Ok(())
            }
            Event::Item(BodyItem::Skipped(skipped)) => {
                tracing::debug!(offset = skipped.offset(), length = skipped.length(), reason = %skipped.reason(), "skipped");
                self.work.skipped(id, &skipped);
                Ok(())
            }
            Event::Item(BodyItem::Fault(fault)) => {
                tracing::debug!(id = fault.id(), message = fault.message(), number = ?fault.fragment_number(), "fault");
                let judged = self.work.fault(id, &fault, now);
                judged.map_err(|error| self.name_in(id, error))
            }
            Event::Over(cause) => {
                let cause = cause.map(|error| self.name_in(id, error));
                self.bodies.retain(|body| body.id != id);
                let ended = self.work.over(id, cause, now);
                if ended.is_fruitful {
                    self.failures = 0;
                    self.backoff.reset();
                }
                match ended.trouble {
                    Some(error) if !ended.is_fruitful => self.trouble(error, now),
                    _ if !ended.is_fruitful => {
                        self.not_before = now.checked_add(self.backoff.pause(None));
                        Ok(())
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Something went wrong that has to do with no fragment.
    fn trouble(&mut self, error: Error, now: Instant) -> Result<()> {
        if error.kind() == ErrorKind::WrongEndpoint {
            self.kvs.endpoints.forget(&self.stream, &ApiName::GetMediaForFragmentList);
        }
        self.failures += 1;
        if !error.is_retryable() || self.failures >= self.how.budget.attempts {
            return Err(error.of_stream(self.stream.as_str()));
        }
        let pause = self.backoff.pause(Some(&error));
        tracing::warn!(%error, ?pause, "before the next call");
        self.not_before = now.checked_add(pause);
        self.progress.send_modify(|progress| progress.error = Some(error));
        Ok(())
    }

    fn give_out(&mut self, ready: Ready) -> Option<Fragment> {
        match ready {
            Ready::Fragment(fragment, listed) => {
                self.failures = 0;
                let bytes = if listed == 0 { fragment.raw().len() as u64 } else { listed };
                Some(self.finish(fragment, bytes))
            }
            Ready::Unavailable { number, error, part, bytes } => {
                let error = error.of_stream(self.stream.as_str());
                let part = part.map(|part| self.finish(part, bytes));
                match self.how.unavailable {
                    Unavailable::Fail => self.failed = Some(error),
                    Unavailable::Skip => {
                        tracing::warn!(%error, fragment = %number, "passed over");
                        self.before.push(Discontinuity::PassedOver { number, cause: error });
                        let is_counted = part.is_some();
                        self.progress.send_modify(|progress| {
                            progress.unavailable += 1;
                            if !is_counted {
                                progress.fragments += 1;
                                progress.bytes += bytes;
                            }
                        });
                    }
                }
                part
            }
        }
    }

    /// The last that is done to a fragment.
    fn finish(&mut self, mut fragment: Fragment, bytes: u64) -> Fragment {
        let mut noted = std::mem::take(&mut self.before);
        self.continuity.begins(fragment.header(), &mut noted);
        self.continuity.lasted(fragment.duration(), fragment.end() != End::Cut);
        fragment.add_discontinuities(&mut noted);
        let (received, held) = (self.bytes.load(Ordering::Relaxed), self.work.held_bytes());
        self.progress.send_modify(|progress| {
            progress.fragments += 1;
            progress.bytes += bytes;
            progress.received_bytes = received;
            progress.held_bytes = held;
            progress.error = None;
            progress.position = Some(fragment.position());
        });
        fragment
    }

    fn body(&mut self, id: CallId) -> Option<&mut Body> {
        self.bodies.iter_mut().find(|body| body.id == id)
    }

    fn drop_body(&mut self, id: CallId, smaller: bool) {
        self.bodies.retain(|body| body.id != id);
        self.work.abandon(id, smaller);
    }

    fn name_in(&self, id: CallId, error: Error) -> Error {
        match self.bodies.iter().find(|body| body.id == id).and_then(|body| body.origin.as_ref()) {
            Some(origin) => origin.name_in(error),
            None => error.of_stream(self.stream.as_str()),
        }
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

/// What happens next: first of all in the call that brings what everything waits for.
fn poll_bodies(bodies: &mut [Body], work: &Work, cx: &mut Context<'_>) -> Poll<(CallId, Event)> {
    let needed = work.needed_call();
    let may_read_ahead = work.may_read_ahead();
    let (first, others): (Vec<_>, Vec<_>) = bodies.iter_mut().partition(|body| Some(body.id) == needed);
    for body in first.into_iter().chain(others) {
        // What is not needed yet waits where it is, once there is enough.
        let waits = body.origin.is_some() && !may_read_ahead && Some(body.id) != needed;
        if !waits && let Poll::Ready(Some(event)) = body.events.poll_next_unpin(cx) {
            return Poll::Ready((body.id, event));
        }
    }
    Poll::Pending
}

/// Calls GetMediaForFragmentList once, when that is allowed.
async fn call(
    kvs: &KinesisVideo,
    stream: &StreamId,
    how: &Fetching,
    numbers: &[FragmentNumber],
) -> Result<Reply<ByteStream>> {
    let fragments: Vec<String> = numbers.iter().map(|number| number.as_str().to_owned()).collect();
    let points = u32::try_from(fragments.len()).unwrap_or(u32::MAX);
    let cost = [Rate::media(points, how.points_per_second)];
    let api = ApiName::GetMediaForFragmentList;
    let call = Call { kvs, stream, api, operation: OPERATION, cost: &cost, limit: how.call_timeout };
    let reply = call.once(|endpoint, probe| {
        let (name, arn) = stream.name_and_arn();
        let call = kvs.archived.get_media_for_fragment_list().set_stream_name(name).set_stream_arn(arn);
        let call = call.set_fragments(Some(fragments.clone())).customize();
        call.config_override(overrides(endpoint)).interceptor(probe).send()
    });
    let Reply { output, origin, date } = reply.await?;
    Ok(Reply { output: output.payload, origin, date })
}
