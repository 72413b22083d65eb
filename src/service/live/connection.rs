//! The connection to a live stream: body after body, until there is a reason to stop.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_kinesisvideo::types::ApiName;
use aws_smithy_types::byte_stream::ByteStream;
use futures::StreamExt;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::body::ReadBody;
use super::call::get_media;
use super::resume::{AfterRejection, Resume};
use super::start::Start;
use super::status::Observer;
use super::{Live, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Bound, StreamEnd, Timestamp};
use crate::service::call::{Backoff, Origin, Reply, SdkBody, TimeoutBody, at, is_about_credentials, log_retry};
use crate::service::client::Client;

/// The time that a fragment may still take after the stream was told to stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of retries after an error that will hardly go away by itself.
const MAX_ATTEMPTS: u32 = 5;

/// A body that took at least this long and brought nothing was waiting for media.
const WAITED_FOR_MEDIA: Duration = Duration::from_secs(1);

/// An event on the connection.
#[derive(Debug)]
pub(super) enum Event<T> {
    /// A body has begun.
    Opened,
    /// An item of the body has arrived.
    Item(T),
    /// The body has ended, with an error if there is one.
    BodyEnded(Option<Error>),
    /// The place to resume at is no longer retained.
    AgedOut(Error),
    /// The stream ends here.
    Ended(StreamEnd),
}

/// The connection to a live stream. It opens one body after another.
#[derive(Debug)]
pub(super) struct Connection<B> {
    client: Client,
    options: Options,
    body: Option<OpenBody<B>>,
    stop: StopConditions,
    pub(super) observer: Observer,
    backoff: Backoff,
    /// The number of consecutive errors that will hardly go away by themselves.
    attempts: u32,
    was_read: bool,
    /// The time to wait before the next call.
    pause: Duration,
    /// The error that makes the next call necessary, until a body has begun.
    failure: Option<Error>,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct OpenBody<B> {
    body: B,
    origin: Origin,
    date: Option<Timestamp>,
    since: Instant,
}

/// The time from the end of a body until the next fragment.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) cause: Option<Error>,
    began: Instant,
    pub(super) calls: u32,
    /// When the current body began.
    opened: Option<Instant>,
}

/// The conditions that end the stream from outside.
#[derive(Debug)]
struct StopConditions {
    token: CancellationToken,
    /// When to stop at the latest, after the stream was told to stop.
    stopping: Option<Instant>,
    deadline: Option<Instant>,
    idle_timeout: Option<Duration>,
    idle_at: Option<Instant>,
    /// The number of bytes received when `idle_at` was set.
    idle_bytes: u64,
}

/// The number of retries that an error allows.
#[derive(Debug)]
enum Retry {
    Never,
    /// Up to this many times in a row.
    Times(u32),
    Always,
}

impl StopConditions {
    async fn reached(&self) -> StreamEnd {
        tokio::select! {
            biased;
            () = self.token.cancelled(), if self.stopping.is_none() => StreamEnd::Stopped,
            () = at(self.stopping) => StreamEnd::Stopped,
            () = at(self.deadline) => StreamEnd::Deadline,
        }
    }

    /// Starts the idle timeout.
    fn start_waiting(&mut self, bytes: u64) {
        self.idle_at = self.idle_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.idle_bytes = bytes;
    }
}

impl<B: ReadBody> Connection<B> {
    pub(super) fn new(live: Live, observer: Observer, token: CancellationToken) -> Self {
        let Live { client, options } = live;
        let deadline = match options.until {
            Some(Bound::Deadline(deadline)) => Some(Instant::from_std(deadline)),
            _ => None,
        };
        let stop = StopConditions {
            token,
            stopping: None,
            deadline,
            idle_timeout: options.idle_timeout,
            idle_at: None,
            idle_bytes: 0,
        };
        Self {
            client,
            options,
            body: None,
            stop,
            observer,
            backoff: Backoff::default(),
            attempts: 0,
            was_read: false,
            pause: Duration::ZERO,
            failure: None,
            outage: None,
        }
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// Starts the idle timeout, since a reader waits for an item from now on.
    pub(super) fn start_waiting(&mut self) {
        self.stop.start_waiting(self.observer.bytes().load(Ordering::Relaxed));
    }

    /// Returns the next event. Opens a body if there is none, with as many calls as it takes.
    pub(super) async fn next(&mut self, resume: &mut Resume) -> Result<Event<B::BodyItem>> {
        loop {
            let Some(open) = &mut self.body else { return self.open(resume).await };
            if self.stop.stopping.is_some() && open.body.is_between_fragments() {
                return Ok(Event::Ended(StreamEnd::Stopped));
            }
            tokio::select! {
                biased;
                reason = self.stop.reached() => {
                    if reason != StreamEnd::Stopped || self.stop.stopping.is_some() || open.body.is_between_fragments() {
                        return Ok(Event::Ended(reason));
                    }
                    tracing::debug!("stopping after the fragment that is being received");
                    self.stop.stopping = Some(Instant::now() + STOP_TIMEOUT);
                }
                item = open.body.next() => return Ok(match item {
                    Some(Ok(item)) => Event::Item(item),
                    Some(Err(error)) => Event::BodyEnded(Some(open.origin.name_in(error))),
                    None => Event::BodyEnded(None),
                }),
                // The body is polled first: the reader may have been busy, and the body may have data.
                () = at(self.stop.idle_at) => {
                    let bytes = self.observer.bytes().load(Ordering::Relaxed);
                    if bytes == self.stop.idle_bytes {
                        return Ok(Event::Ended(StreamEnd::IdleTimeout));
                    }
                    self.stop.start_waiting(bytes);
                }
            }
        }
    }

    async fn open(&mut self, resume: &mut Resume) -> Result<Event<B::BodyItem>> {
        if self.stop.token.is_cancelled() {
            return Ok(Event::Ended(StreamEnd::Stopped));
        }
        loop {
            if let Some(error) = &self.failure {
                let calls = self.outage.as_ref().map_or(0, |outage| outage.calls);
                log_retry(&self.options.stream, error, self.pause, calls + 1);
            }
            let start = resume.start();
            let call = Box::pin(call(&self.client, &self.options, self.pause, &start));
            let reply = tokio::select! {
                biased;
                reason = self.stop.reached() => return self.ended_while_disconnected(reason),
                reply = call => reply,
                () = at(self.stop.idle_at) => return self.ended_while_disconnected(StreamEnd::IdleTimeout),
            };
            if let Some(outage) = &mut self.outage {
                outage.calls += 1;
            }
            let error = match reply {
                Ok(reply) => {
                    if self.options.reconnect {
                        resume.opened(reply.date);
                    }
                    self.opened(reply, resume.resyncs());
                    return Ok(Event::Opened);
                }
                Err(error) => error,
            };
            self.observer.failed(&error);
            self.failure = Some(error.clone());
            self.pause = self.backoff.pause(Some(&error));
            match &mut self.outage {
                Some(outage) => outage.cause = outage.cause.take().or_else(|| Some(error.clone())),
                None => self.outage = Some(Outage { calls: 1, ..Outage::began(Some(error.clone())) }),
            }
            match error.kind() {
                ErrorKind::InvalidArgument | ErrorKind::Retention if self.options.reconnect => {
                    match resume.rejected() {
                        AfterRejection::Retry => {}
                        AfterRejection::AgedOut => return Ok(Event::AgedOut(error)),
                        AfterRejection::Fail => return Err(error),
                    }
                }
                _ => self.attempt_failed(&error)?,
            }
        }
    }

    /// Ends the stream while there is no body.
    fn ended_while_disconnected(&mut self, reason: StreamEnd) -> Result<Event<B::BodyItem>> {
        let outage = self.outage.take().filter(|outage| outage.opened.is_none() && !self.was_read);
        match outage.and_then(|outage| outage.cause) {
            // The service was never reached.
            Some(error) if reason == StreamEnd::IdleTimeout => Err(error),
            _ => Ok(Event::Ended(reason)),
        }
    }

    fn opened(&mut self, reply: Reply<ByteStream>, resync: bool) {
        let calls = self.outage.as_ref().map_or(1, |outage| outage.calls);
        self.observer.opened(calls, reply.origin.request_id(), reply.origin.endpoint());
        let now = Instant::now();
        if let Some(outage) = &mut self.outage {
            outage.opened = Some(now);
        }
        let Options { first_byte_timeout, read_timeout, limits, .. } = &self.options;
        let bytes = self.observer.bytes().clone();
        let body = SdkBody::from(reply.output);
        let body = TimeoutBody::new("GetMedia", body, *first_byte_timeout, *read_timeout, bytes);
        let body = B::open(body, *limits, resync);
        self.body = Some(OpenBody { body, origin: reply.origin, date: reply.date, since: now });
        self.was_read = true;
        self.failure = None;
    }

    /// Returns whether a call may be retried after an error.
    fn retry_after(&self, error: &Error) -> Retry {
        match error.kind() {
            ErrorKind::WrongEndpoint if !error.is_retryable() => Retry::Never,
            // The endpoint may have moved.
            ErrorKind::WrongEndpoint if !self.options.reconnect => Retry::Times(1),
            // The response has no error code: a host that always responds so does not belong to the service.
            ErrorKind::WrongEndpoint if error.code().is_none() => Retry::Times(MAX_ATTEMPTS),
            _ if !self.options.reconnect => Retry::Never,
            _ if error.is_retryable() => Retry::Always,
            // Credentials get renewed.
            _ if is_about_credentials(error) && self.was_read => Retry::Times(MAX_ATTEMPTS),
            // The error code is unknown.
            ErrorKind::Service => Retry::Times(MAX_ATTEMPTS),
            _ => Retry::Never,
        }
    }

    /// Counts a failed attempt, and returns the error if there must be no further one.
    pub(super) fn attempt_failed(&mut self, error: &Error) -> Result<()> {
        if error.kind() == ErrorKind::WrongEndpoint {
            self.client.endpoints.forget(&self.options.stream, &ApiName::GetMedia);
        }
        let max = match self.retry_after(error) {
            Retry::Always => return Ok(()),
            Retry::Times(max) => max,
            Retry::Never => 0,
        };
        self.attempts += 1;
        if self.attempts <= max { Ok(()) } else { Err(error.clone()) }
    }

    /// Drops the body, so that the next event opens another one.
    pub(super) fn close(&mut self, cause: Option<Error>, made_progress: bool) {
        let Some(open) = self.body.take() else { return };
        self.observer.closed();
        if let Some(cause) = &cause {
            self.observer.failed(cause);
        } else {
            self.attempts = 0;
        }
        self.failure.clone_from(&cause);
        self.pause = match &cause {
            None if made_progress || open.since.elapsed() >= WAITED_FOR_MEDIA => {
                self.backoff.reset();
                Duration::ZERO
            }
            cause => self.backoff.pause(cause.as_ref()),
        };
        let outage = self.outage.get_or_insert_with(|| Outage::began(cause));
        outage.opened = None;
    }

    /// Forgets earlier failures, since a complete fragment has arrived.
    pub(super) fn made_progress(&mut self) {
        self.backoff.reset();
        self.attempts = 0;
    }

    /// Takes the outage before the current fragment, if there was one.
    pub(super) fn take_outage(&mut self) -> Option<Outage> {
        self.outage.take()
    }

    /// Returns whether the fragment that is being received is the last one.
    pub(super) fn is_stopping(&self) -> bool {
        self.stop.stopping.is_some()
    }

    /// Returns when the current body began, on the service's clock, if it has been waiting for media since.
    pub(super) fn waiting_since(&self) -> Option<Timestamp> {
        let open = self.body.as_ref().filter(|open| open.since.elapsed() >= WAITED_FOR_MEDIA)?;
        open.date
    }

    /// Adds the stream, the endpoint and the request id to an error.
    pub(super) fn name_in(&self, error: Error) -> Error {
        match &self.body {
            Some(open) => open.origin.name_in(error),
            None => error.of_stream(self.options.stream.as_str()),
        }
    }
}

impl Outage {
    fn began(cause: Option<Error>) -> Self {
        Self { cause, began: Instant::now(), calls: 0, opened: None }
    }

    /// Returns the time from the end of the last body until the current one began.
    pub(super) fn duration(&self) -> Duration {
        self.opened.unwrap_or(self.began).duration_since(self.began)
    }
}

async fn call(client: &Client, options: &Options, pause: Duration, start: &Start) -> Result<Reply<ByteStream>> {
    if !pause.is_zero() {
        tracing::debug!(?pause, "before the next call");
        sleep(pause).await;
    }
    tracing::debug!(?start, "calling GetMedia");
    get_media(client, &options.stream, start, options.call_timeout).await
}
