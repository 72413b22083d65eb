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
use tokio::time::Instant;

use super::progress::ArchiveProgress;
use super::scheduler::{CallId, Came, Ended, Ready, Work};
use super::{Fetching, Unavailable};
use crate::demux::{BodyItem, BodyStream};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Discontinuity, Fragment, FragmentEnd, FragmentNumber};
use crate::service::call::{Backoff, Call, Origin, Rate, Reply, SdkBody, WatchedBody, at, on_its_own, overrides};
use crate::service::client::Client;
use crate::service::continuity::Continuity;
use crate::service::stream_id::StreamId;

const OPERATION: &str = "GetMediaForFragmentList";

/// Carries out the work: makes calls, reads what they bring, gives it out in order.
pub(super) struct Fetch {
    client: Client,
    stream: StreamId,
    how: Fetching,
    work: Work,
    bodies: Vec<Body>,
    /// How often calls failed, one behind the other, for reasons that have to do with no fragment; those that
    /// were made at the same time once.
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
    /// How often calls had failed when it was made.
    failures: u32,
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
        client: Client,
        stream: StreamId,
        how: Fetching,
        work: Work,
        progress: watch::Sender<ArchiveProgress>,
    ) -> Self {
        let continuity = Continuity::new(how.gap_tolerance);
        Self {
            client,
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
                let received = self.bytes.load(Ordering::Relaxed);
                self.progress.send_modify(|progress| {
                    progress.received_bytes = received;
                    progress.error = Some(error.clone());
                });
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
            self.handle(event.0, event.1);
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
            self.drop_body(id);
            self.work.abandon(id, |_| usize::MAX);
        }
        while let Some((id, numbers)) = self.work.next_call(now) {
            tracing::debug!(call = id, fragments = numbers.len(), "calling {OPERATION}");
            self.progress.send_modify(|progress| progress.calls += 1);
            let events = self.call(numbers);
            self.bodies.push(Body { id, events, origin: None, failures: self.failures });
        }
        self.work.next_due(now)
    }

    fn call(&self, numbers: Vec<FragmentNumber>) -> BoxStream<'static, Event> {
        let (client, stream, how, bytes) =
            (self.client.clone(), self.stream.clone(), self.how, Arc::clone(&self.bytes));
        // Not to be kept waiting by whoever reads: the answer has its time.
        let reply = on_its_own(async move { call(&client, &stream, &how, &numbers).await });
        stream! {
            let Reply { output, origin, .. } = match reply.await {
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

    fn handle(&mut self, id: CallId, event: Event) {
        let now = Instant::now();
        match event {
            Event::Refused(error) => self.refused(id, error, now),
            Event::Opened(origin) => {
                if let Some(body) = self.body(id) {
                    body.origin = Some(origin);
                }
            }
            Event::Item(BodyItem::Fragment(fragment)) => {
                let number = fragment.number().cloned();
                match self.work.came(id, fragment) {
                    Came::Unwanted => tracing::debug!(?number, "not asked for, or come before"),
                    // In smaller parts there is less that can come first.
                    Came::OutOfOrder if self.work.overflows() => {
                        tracing::debug!(call = id, "too much came out of order");
                        self.drop_body(id);
                        self.work.abandon(id, |asked| asked / 2);
                    }
                    Came::OutOfOrder | Came::InOrder => {}
                }
            }
            Event::Item(BodyItem::Skipped(skipped)) => {
                tracing::debug!(offset = skipped.offset(), length = skipped.length(), reason = %skipped.reason(), "skipped");
                self.work.skipped(id, &skipped);
            }
            Event::Item(BodyItem::Fault(fault)) => {
                tracing::debug!(id = fault.id(), message = fault.message(), number = ?fault.fragment_number(), "fault");
                if let Some(error) = self.work.fault(id, &fault, now) {
                    let error = self.name_in(id, error);
                    self.drop_body(id);
                    let first = self.work.abandon(id, |_| usize::MAX);
                    self.end_at(first, error);
                }
            }
            Event::Over(cause) => {
                let cause = cause.map(|error| self.name_in(id, error));
                let failures = self.drop_body(id);
                let Ended { is_fruitful, is_empty, trouble, first } = self.work.over(id, cause, now);
                if is_fruitful {
                    self.failures = 0;
                    self.backoff.reset();
                    return;
                }
                match trouble {
                    Some(error) => self.trouble(error, failures, first, now),
                    None if is_empty => self.pause(None, now),
                    None => {}
                }
            }
        }
    }

    fn refused(&mut self, id: CallId, error: Error, now: Instant) {
        let failures = self.drop_body(id);
        // Which of the fragments it is that is not understood is not said.
        if error.kind() == ErrorKind::InvalidArgument {
            return self.work.not_understood(id, &error, now);
        }
        let first = self.work.abandon(id, |_| usize::MAX);
        if matches!(error.kind(), ErrorKind::Throttled | ErrorKind::ConnectionLimit) {
            self.work.refused();
        }
        self.trouble(error, failures, first, now);
    }

    /// Something went wrong that has to do with no fragment, in a call that was made when calls had failed so
    /// often. From the first that it has not answered on nothing else will do better, if it is not tried again.
    fn trouble(&mut self, error: Error, failures: u32, first: Option<usize>, now: Instant) {
        if error.kind() == ErrorKind::WrongEndpoint {
            self.client.endpoints.forget(&self.stream, &ApiName::GetMediaForFragmentList);
        }
        // Others that were made at the same time failed before: it is one failure.
        let is_counted = failures >= self.failures;
        self.failures += u32::from(is_counted);
        self.progress.send_modify(|progress| progress.error = Some(error.clone()));
        if !error.is_retryable() || self.failures >= self.how.budget.attempts {
            self.end_at(first, error);
        } else if is_counted {
            self.pause(Some(&error), now);
        }
    }

    /// Makes no call for a while.
    fn pause(&mut self, cause: Option<&Error>, now: Instant) {
        let pause = self.backoff.pause(cause);
        match cause {
            Some(error) => tracing::warn!(%error, ?pause, "before the next call"),
            None => tracing::debug!(?pause, "before the next call"),
        }
        self.not_before = self.not_before.max(now.checked_add(pause));
    }

    /// Nothing is to be had from there on.
    fn end_at(&mut self, first: Option<usize>, error: Error) {
        let Some(first) = first else { return };
        self.work.end_at(first, error.of_stream(self.stream.as_str()));
        self.bodies.retain(|body| self.work.has(body.id));
    }

    fn give_out(&mut self, ready: Ready) -> Option<Fragment> {
        match ready {
            Ready::Fragment(fragment, listed) => {
                self.failures = 0;
                let bytes = if listed == 0 { fragment.raw().len() as u64 } else { listed };
                let position = fragment.position();
                let fragment = self.finish(fragment);
                self.count(bytes, |progress| {
                    progress.error = None;
                    progress.position = Some(position);
                });
                Some(fragment)
            }
            Ready::Unavailable { number, error, part, bytes } if self.how.unavailable == Unavailable::Skip => {
                let error = error.of_stream(self.stream.as_str());
                tracing::warn!(%error, fragment = %number, "passed over");
                let part = part.map(|part| self.finish(part));
                self.count(bytes, |progress| progress.unavailable += 1);
                self.before.push(Discontinuity::SkippedFragment { number, cause: error });
                part
            }
            Ready::Unavailable { error, part, .. } | Ready::End { error, part } => {
                self.failed = Some(error.of_stream(self.stream.as_str()));
                part.map(|part| self.finish(part))
            }
        }
    }

    /// One more is done with.
    fn count(&self, bytes: u64, change: impl FnOnce(&mut ArchiveProgress)) {
        let (received, held) = (self.bytes.load(Ordering::Relaxed), self.work.held_bytes());
        self.progress.send_modify(|progress| {
            progress.fragments += 1;
            progress.bytes += bytes;
            progress.received_bytes = received;
            progress.held_bytes = held;
            change(progress);
        });
    }

    /// The last that is done to a fragment.
    fn finish(&mut self, mut fragment: Fragment) -> Fragment {
        let mut noted = std::mem::take(&mut self.before);
        self.continuity.begins(fragment.header(), &mut noted);
        self.continuity.lasted(fragment.duration(), fragment.end_reason() != FragmentEnd::Cut);
        fragment.add_discontinuities(&mut noted);
        fragment
    }

    fn body(&mut self, id: CallId) -> Option<&mut Body> {
        self.bodies.iter_mut().find(|body| body.id == id)
    }

    /// Closes the connection. How often calls had failed when it was made.
    fn drop_body(&mut self, id: CallId) -> u32 {
        let index = self.bodies.iter().position(|body| body.id == id);
        index.map_or(0, |index| self.bodies.remove(index).failures)
    }

    fn name_in(&self, id: CallId, error: Error) -> Error {
        match self.bodies.iter().find(|body| body.id == id).and_then(|body| body.origin.as_ref()) {
            Some(origin) => origin.name_in(error),
            None => error.of_stream(self.stream.as_str()),
        }
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
    client: &Client,
    stream: &StreamId,
    how: &Fetching,
    numbers: &[FragmentNumber],
) -> Result<Reply<ByteStream>> {
    let fragments: Vec<String> = numbers.iter().map(|number| number.as_str().to_owned()).collect();
    let points = u32::try_from(fragments.len()).unwrap_or(u32::MAX);
    let cost = [Rate::media(points, how.points_per_second)];
    let api = ApiName::GetMediaForFragmentList;
    let call = Call { client, stream, api, operation: OPERATION, cost: &cost, limit: how.call_timeout };
    let reply = call.once(|endpoint, probe| {
        let (name, arn) = stream.name_and_arn();
        let call = client.archived.get_media_for_fragment_list().set_stream_name(name).set_stream_arn(arn);
        let call = call.set_fragments(Some(fragments.clone())).customize();
        call.config_override(overrides(endpoint)).interceptor(probe).send()
    });
    let Reply { output, origin, date } = reply.await?;
    Ok(Reply { output: output.payload, origin, date })
}
