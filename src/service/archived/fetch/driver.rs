//! [`Driver`]: runs the calls of an archive read and yields its fragments in order.

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
use super::scheduler::{BodyOutcome, CallId, FetchScheduler, Output, Placement};
use super::{FetchOptions, OnUnavailable};
use crate::demux::{BodyItem, BodyStream};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Continuity, Discontinuity, Fragment, FragmentEnd, FragmentNumber};
use crate::service::call::{
    Backoff, Call, Origin, Rate, Reply, SdkBody, TimeoutBody, at, log_retry, on_its_own, overrides,
};
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

const OPERATION: &str = "GetMediaForFragmentList";

/// Makes the calls that the [`FetchScheduler`] plans, reads their bodies and yields fragments in order.
pub(super) struct Driver {
    client: Client,
    stream: StreamId,
    options: FetchOptions,
    scheduler: FetchScheduler,
    bodies: Vec<Body>,
    /// Failed calls in a row, for reasons that concern no single fragment. Calls made at the same time count once.
    failures: u32,
    backoff: Backoff,
    /// No call is made before this time.
    not_before: Option<Instant>,
    continuity: Continuity,
    /// Discontinuities for the next fragment.
    discontinuities: Vec<Discontinuity>,
    /// The error to return after the fragment that was yielded last.
    error: Option<Error>,
    received_bytes: Arc<AtomicU64>,
    progress: watch::Sender<ArchiveProgress>,
}

/// A call, from before it is sent to the end of its body.
struct Body {
    id: CallId,
    events: BoxStream<'static, Event>,
    /// Set once the call is answered.
    origin: Option<Origin>,
    /// The driver's `failures` when the call was made.
    failures_before: u32,
}

#[derive(Debug)]
enum Event {
    Refused(Error),
    Opened(Origin),
    Item(BodyItem),
    End(Option<Error>),
}

impl Driver {
    pub(super) fn new(
        client: Client,
        stream: StreamId,
        options: FetchOptions,
        scheduler: FetchScheduler,
        progress: watch::Sender<ArchiveProgress>,
    ) -> Self {
        let continuity = Continuity::new(options.gap_tolerance);
        let backoff = Backoff::new(options.budget.retry);
        Self {
            client,
            stream,
            options,
            scheduler,
            bodies: Vec::new(),
            failures: 0,
            backoff,
            not_before: None,
            continuity,
            discontinuities: Vec::new(),
            error: None,
            received_bytes: Arc::default(),
            progress,
        }
    }

    /// Returns the next fragment, or `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<Fragment>> {
        loop {
            if let Some(error) = self.error.take() {
                let received = self.received_bytes.load(Ordering::Relaxed);
                self.progress.send_modify(|progress| {
                    progress.received_bytes = received;
                    progress.error = Some(error.clone());
                });
                return Err(error);
            }
            if let Some(output) = self.scheduler.pop() {
                match self.finish_output(output) {
                    Some(fragment) => return Ok(Some(fragment)),
                    None => continue,
                }
            }
            if self.scheduler.is_done() {
                return Ok(None);
            }
            let now = Instant::now();
            let due = self.make_calls(now);
            let (bodies, scheduler) = (&mut self.bodies, &self.scheduler);
            let (id, event) = tokio::select! {
                biased;
                event = poll_fn(|cx| poll_bodies(bodies, scheduler, cx)) => event,
                () = at(due) => continue,
            };
            self.handle(id, event);
        }
    }

    /// Returns the discontinuities after the last fragment.
    pub(super) fn into_trailing(self) -> Vec<Discontinuity> {
        self.discontinuities
    }

    /// Makes all calls that are allowed now. Returns when to try again if no event occurs before.
    fn make_calls(&mut self, now: Instant) -> Option<Instant> {
        if let Some(not_before) = self.not_before.filter(|at| *at > now) {
            return Some(not_before);
        }
        self.not_before = None;
        if let Some(id) = self.scheduler.call_to_preempt(now) {
            tracing::debug!(call = id, "dropped in favor of the next fragment");
            self.drop_body(id);
            self.scheduler.abandon(id, |_| usize::MAX);
        }
        while let Some((id, numbers)) = self.scheduler.next_call(now) {
            tracing::debug!(call = id, fragments = numbers.len(), "calling {OPERATION}");
            self.progress.send_modify(|progress| progress.calls += 1);
            let events = self.call(numbers);
            self.bodies.push(Body { id, events, origin: None, failures_before: self.failures });
        }
        self.scheduler.next_due(now)
    }

    fn call(&self, numbers: Vec<FragmentNumber>) -> BoxStream<'static, Event> {
        let (client, stream, options) = (self.client.clone(), self.stream.clone(), self.options);
        let bytes = Arc::clone(&self.received_bytes);
        // A task of its own keeps the time limit exact when the reader polls rarely.
        let reply = on_its_own(async move { call(&client, &stream, &options, &numbers).await });
        stream! {
            let Reply { output, origin, .. } = match reply.await {
                Ok(reply) => reply,
                Err(error) => {
                    yield Event::Refused(error);
                    return;
                }
            };
            yield Event::Opened(origin);
            let timeout = options.read_timeout;
            let body = TimeoutBody::new(OPERATION, SdkBody::from(output), timeout, timeout, bytes);
            let mut body = BodyStream::new(body).limits(options.limits).resync(true);
            while let Some(item) = body.next().await {
                match item {
                    Ok(item) => yield Event::Item(item),
                    Err(error) => {
                        yield Event::End(Some(error));
                        return;
                    }
                }
            }
            yield Event::End(None);
        }
        .boxed()
    }

    fn handle(&mut self, id: CallId, event: Event) {
        let now = Instant::now();
        match event {
            Event::Refused(error) => self.handle_refusal(id, error, now),
            Event::Opened(origin) => {
                if let Some(body) = self.bodies.iter_mut().find(|body| body.id == id) {
                    body.origin = Some(origin);
                }
            }
            Event::Item(item) => self.handle_item(id, item, now),
            Event::End(cause) => self.handle_end(id, cause, now),
        }
    }

    fn handle_item(&mut self, id: CallId, item: BodyItem, now: Instant) {
        match item {
            BodyItem::Fragment(fragment) => {
                let number = fragment.number().cloned();
                match self.scheduler.on_fragment(id, fragment) {
                    Placement::Unwanted => tracing::debug!(?number, "not requested, or a repeat"),
                    // Smaller calls leave less that can arrive out of order.
                    Placement::OutOfOrder if self.scheduler.overflows() => {
                        tracing::debug!(call = id, "too much arrived out of order");
                        self.drop_body(id);
                        self.scheduler.abandon(id, |requested| requested / 2);
                    }
                    Placement::OutOfOrder | Placement::InOrder => {}
                }
            }
            BodyItem::Skipped(skipped) => {
                let (offset, length, reason) = (skipped.offset(), skipped.length(), skipped.reason());
                tracing::debug!(offset, length, %reason, "skipped");
                self.scheduler.on_skipped(id, &skipped);
            }
            BodyItem::Fault(fault) => {
                tracing::debug!(id = fault.id(), message = fault.message(), number = ?fault.fragment_number(), "fault");
                if let Some(error) = self.scheduler.on_fault(id, &fault, now) {
                    let error = self.name_in(id, error);
                    self.drop_body(id);
                    let first = self.scheduler.abandon(id, |_| usize::MAX);
                    self.end_at(first, error);
                }
            }
        }
    }

    fn handle_end(&mut self, id: CallId, cause: Option<Error>, now: Instant) {
        let cause = cause.map(|error| self.name_in(id, error));
        let failures_before = self.drop_body(id);
        let BodyOutcome { made_progress, must_pause, failure, first_missing } =
            self.scheduler.on_body_end(id, cause, now);
        if made_progress {
            self.failures = 0;
            self.backoff.reset();
            return;
        }
        match failure {
            Some(error) => self.handle_failure(error, failures_before, first_missing, now),
            None if must_pause => self.pause(None, now),
            None => {}
        }
    }

    fn handle_refusal(&mut self, id: CallId, error: Error, now: Instant) {
        let failures_before = self.drop_body(id);
        // The service does not say which of the fragment numbers it rejects.
        if error.kind() == ErrorKind::InvalidArgument {
            return self.scheduler.on_rejected(id, &error, now);
        }
        let first = self.scheduler.abandon(id, |_| usize::MAX);
        if matches!(error.kind(), ErrorKind::Throttled | ErrorKind::ConnectionLimit) {
            self.scheduler.limit_calls();
        }
        self.handle_failure(error, failures_before, first, now);
    }

    /// Retries after a failure that concerns no single fragment, or ends the stream at `first_missing`.
    fn handle_failure(&mut self, error: Error, failures_before: u32, first_missing: Option<usize>, now: Instant) {
        if error.kind() == ErrorKind::WrongEndpoint {
            self.client.endpoints.forget(&self.stream, &ApiName::GetMediaForFragmentList);
        }
        // Several calls that were made at the same time count as one failure.
        let is_counted = failures_before >= self.failures;
        self.failures += u32::from(is_counted);
        self.progress.send_modify(|progress| progress.error = Some(error.clone()));
        if !error.is_retryable() || self.failures >= self.options.budget.retry.attempts() {
            self.end_at(first_missing, error);
        } else if is_counted {
            self.pause(Some(&error), now);
        }
    }

    /// Makes no call for a while.
    fn pause(&mut self, cause: Option<&Error>, now: Instant) {
        let pause = self.backoff.pause(cause);
        match cause {
            Some(error) => log_retry(&self.stream, error, pause, self.failures + 1),
            None => tracing::debug!(?pause, "pausing before the next call"),
        }
        self.not_before = self.not_before.max(now.checked_add(pause));
    }

    /// Ends the stream with an error in place of the fragment at this index.
    fn end_at(&mut self, index: Option<usize>, error: Error) {
        let Some(index) = index else { return };
        self.scheduler.end_at(index, error.of_stream(self.stream.as_str()));
        self.bodies.retain(|body| self.scheduler.has_call(body.id));
    }

    fn finish_output(&mut self, output: Output) -> Option<Fragment> {
        match output {
            Output::Fragment { fragment, listed_bytes } => {
                self.failures = 0;
                let bytes = if listed_bytes == 0 { fragment.raw().len() as u64 } else { listed_bytes };
                let position = fragment.position();
                let fragment = self.finish(fragment);
                self.count(bytes, |progress| {
                    progress.error = None;
                    progress.position = Some(position);
                });
                Some(fragment)
            }
            Output::Unavailable { number, error, part, listed_bytes }
                if self.options.on_unavailable == OnUnavailable::Skip =>
            {
                let error = error.of_stream(self.stream.as_str());
                tracing::warn!(%error, fragment = %number, "skipped an unavailable fragment");
                let part = part.map(|part| self.finish(part));
                self.count(listed_bytes, |progress| progress.unavailable += 1);
                self.discontinuities.push(Discontinuity::SkippedFragment { number, cause: error });
                part
            }
            Output::Unavailable { error, part, .. } | Output::End { error, part } => {
                self.error = Some(error.of_stream(self.stream.as_str()));
                part.map(|part| self.finish(part))
            }
        }
    }

    /// Counts a fragment as yielded or unavailable.
    fn count(&self, bytes: u64, change: impl FnOnce(&mut ArchiveProgress)) {
        let (received, held) = (self.received_bytes.load(Ordering::Relaxed), self.scheduler.held_bytes());
        self.progress.send_modify(|progress| {
            progress.fragments += 1;
            progress.bytes += bytes;
            progress.received_bytes = received;
            progress.held_bytes = held;
            change(progress);
        });
    }

    /// Adds the discontinuities before a fragment to it.
    fn finish(&mut self, mut fragment: Fragment) -> Fragment {
        let mut discontinuities = std::mem::take(&mut self.discontinuities);
        self.continuity.begins(fragment.header(), &mut discontinuities);
        self.continuity.lasted(fragment.duration(), fragment.end_reason() != FragmentEnd::Cut);
        fragment.add_discontinuities(&mut discontinuities);
        fragment
    }

    /// Closes the call's connection. Returns the driver's `failures` from before the call.
    fn drop_body(&mut self, id: CallId) -> u32 {
        let index = self.bodies.iter().position(|body| body.id == id);
        index.map_or(0, |index| self.bodies.remove(index).failures_before)
    }

    fn name_in(&self, id: CallId, error: Error) -> Error {
        match self.bodies.iter().find(|body| body.id == id).and_then(|body| body.origin.as_ref()) {
            Some(origin) => origin.name_in(error),
            None => error.of_stream(self.stream.as_str()),
        }
    }
}

/// Polls all calls, first the one that has the next fragment to yield.
fn poll_bodies(bodies: &mut [Body], scheduler: &FetchScheduler, cx: &mut Context<'_>) -> Poll<(CallId, Event)> {
    let needed = scheduler.needed_call();
    let may_read_ahead = scheduler.may_read_ahead();
    let (first, others): (Vec<_>, Vec<_>) = bodies.iter_mut().partition(|body| Some(body.id) == needed);
    for body in first.into_iter().chain(others) {
        // A full buffer stops the other bodies. The HTTP client then slows down their senders.
        let is_stopped = body.origin.is_some() && !may_read_ahead && Some(body.id) != needed;
        if !is_stopped && let Poll::Ready(Some(event)) = body.events.poll_next_unpin(cx) {
            return Poll::Ready((body.id, event));
        }
    }
    Poll::Pending
}

/// Calls GetMediaForFragmentList once, as soon as the rate limits allow it.
async fn call(
    client: &Client,
    stream: &StreamId,
    options: &FetchOptions,
    numbers: &[FragmentNumber],
) -> Result<Reply<ByteStream>> {
    let fragments: Vec<String> = numbers.iter().map(|number| number.as_str().to_owned()).collect();
    let points = u32::try_from(fragments.len()).unwrap_or(u32::MAX);
    let cost = [Rate::media(points, options.points_per_second)];
    let api = ApiName::GetMediaForFragmentList;
    let call = Call { client, stream, api, operation: OPERATION, cost: &cost, limit: options.call_timeout };
    let reply = call.once(|endpoint, probe| {
        let (name, arn) = stream.name_and_arn();
        let call = client.archived.get_media_for_fragment_list().set_stream_name(name).set_stream_arn(arn);
        let call = call.set_fragments(Some(fragments.clone())).customize();
        call.config_override(overrides(endpoint)).interceptor(probe).send()
    });
    let Reply { output, origin, date } = reply.await?;
    Ok(Reply { output: output.payload, origin, date })
}
