//! The line to a live stream: body after body, until there is a reason to stop.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_kinesisvideo::types::ApiName;
use aws_smithy_types::byte_stream::ByteStream;
use futures::StreamExt;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::body::ReadBody;
use super::call::get_media;
use super::resume::{Refused, Resume};
use super::start::Start;
use super::status::Observer;
use super::{Live, Options};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Bound, StreamEnd, Timestamp};
use crate::service::call::{Backoff, Origin, Reply, SdkBody, WatchedBody, at, is_about_credentials};
use crate::service::client::Client;

/// How long a fragment that is coming in may still take when the stream is to stop.
const STOPPING: Duration = Duration::from_secs(10);

/// How often something that will hardly go away by itself is tried again, once the stream has been
/// read.
const STRIKES: u32 = 5;

/// A body that brought nothing but took so long was waiting for media.
const WAITED: Duration = Duration::from_secs(1);

/// What happens on the line.
#[derive(Debug)]
pub(super) enum Event<T> {
    /// A body has begun.
    Opened,
    /// Something came.
    Piece(T),
    /// The body is over: in good order, or with an error.
    Over(Option<Error>),
    /// The place to go on is no longer there, as this error says.
    Gone(Error),
    /// This was the last body.
    Ended(StreamEnd),
}

/// The line to a live stream.
#[derive(Debug)]
pub(super) struct Line<B> {
    client: Client,
    options: Options,
    body: Option<Open<B>>,
    ends: Ends,
    pub(super) observer: Observer,
    backoff: Backoff,
    strikes: u32,
    was_read: bool,
    /// Before the next call.
    pause: Duration,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Open<B> {
    body: B,
    origin: Origin,
    date: Option<Timestamp>,
    since: Instant,
}

/// From the end of a body until something comes again.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) cause: Option<Error>,
    began: Instant,
    pub(super) calls: u32,
    /// When the body began that is read now.
    opened: Option<Instant>,
}

/// What ends the stream from outside.
#[derive(Debug)]
struct Ends {
    stop: CancellationToken,
    /// When it has to be over, after it was told to stop.
    stopping: Option<Instant>,
    deadline: Option<Instant>,
    idle_timeout: Option<Duration>,
    idle_at: Option<Instant>,
    /// How many bytes there were when that was set.
    idle_bytes: u64,
}

impl Ends {
    async fn reached(&self) -> StreamEnd {
        tokio::select! {
            biased;
            () = self.stop.cancelled(), if self.stopping.is_none() => StreamEnd::Stopped,
            () = at(self.stopping) => StreamEnd::Stopped,
            () = at(self.deadline) => StreamEnd::Deadline,
        }
    }

    /// Whoever reads is waiting from now on.
    fn wait(&mut self, bytes: u64) {
        self.idle_at = self.idle_timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        self.idle_bytes = bytes;
    }
}

impl<B: ReadBody> Line<B> {
    pub(super) fn new(live: Live, observer: Observer, stop: CancellationToken) -> Self {
        let Live { client, options } = live;
        let deadline = match options.until {
            Some(Bound::Deadline(deadline)) => Some(Instant::from_std(deadline)),
            _ => None,
        };
        let ends =
            Ends { stop, stopping: None, deadline, idle_timeout: options.idle_timeout, idle_at: None, idle_bytes: 0 };
        Self {
            client,
            options,
            body: None,
            ends,
            observer,
            backoff: Backoff::default(),
            strikes: 0,
            was_read: false,
            pause: Duration::ZERO,
            outage: None,
        }
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// Whoever reads is waiting from now on.
    pub(super) fn wait(&mut self) {
        self.ends.wait(self.observer.bytes().load(Ordering::Relaxed));
    }

    /// What happens next. Where there is no body, one is asked for, as often as it takes.
    pub(super) async fn next(&mut self, resume: &mut Resume) -> Result<Event<B::Piece>> {
        loop {
            let Some(open) = &mut self.body else { return self.open(resume).await };
            if self.ends.stopping.is_some() && open.body.is_between_fragments() {
                return Ok(Event::Ended(StreamEnd::Stopped));
            }
            tokio::select! {
                biased;
                reason = self.ends.reached() => {
                    if reason != StreamEnd::Stopped || self.ends.stopping.is_some() || open.body.is_between_fragments() {
                        return Ok(Event::Ended(reason));
                    }
                    tracing::debug!("stopping behind the fragment that is coming in");
                    self.ends.stopping = Some(Instant::now() + STOPPING);
                }
                piece = open.body.next() => return Ok(match piece {
                    Some(Ok(piece)) => Event::Piece(piece),
                    Some(Err(error)) => Event::Over(Some(open.origin.name_in(error))),
                    None => Event::Over(None),
                }),
                // Behind what there is to read: whoever reads may have done something else meanwhile.
                () = at(self.ends.idle_at) => {
                    let bytes = self.observer.bytes().load(Ordering::Relaxed);
                    if bytes == self.ends.idle_bytes {
                        return Ok(Event::Ended(StreamEnd::IdleTimeout));
                    }
                    self.ends.wait(bytes);
                }
            }
        }
    }

    async fn open(&mut self, resume: &mut Resume) -> Result<Event<B::Piece>> {
        if self.ends.stop.is_cancelled() {
            return Ok(Event::Ended(StreamEnd::Stopped));
        }
        loop {
            let start = resume.start();
            let call = Box::pin(call(&self.client, &self.options, self.pause, &start));
            let reply = tokio::select! {
                biased;
                reason = self.ends.reached() => return self.unreached(reason),
                reply = call => reply,
                () = at(self.ends.idle_at) => return self.unreached(StreamEnd::IdleTimeout),
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
            self.pause = self.backoff.pause(Some(&error));
            match &mut self.outage {
                Some(outage) => outage.cause = outage.cause.take().or_else(|| Some(error.clone())),
                None => self.outage = Some(Outage { calls: 1, ..Outage::began(Some(error.clone())) }),
            }
            match error.kind() {
                ErrorKind::InvalidArgument | ErrorKind::Retention if self.options.reconnect => {
                    match resume.not_understood() {
                        Refused::Again => {}
                        Refused::AgedOut => return Ok(Event::Gone(error)),
                        Refused::Wrong => return Err(error),
                    }
                }
                _ => self.judge(&error)?,
            }
        }
    }

    /// It ends while there is no connection.
    fn unreached(&mut self, reason: StreamEnd) -> Result<Event<B::Piece>> {
        let outage = self.outage.take().filter(|outage| outage.opened.is_none() && !self.was_read);
        match outage.and_then(|outage| outage.cause) {
            // Nothing came because the service was never reached.
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
        let body = WatchedBody::new("GetMedia", body, *first_byte_timeout, *read_timeout, bytes);
        let body = B::open(body, *limits, resync);
        self.body = Some(Open { body, origin: reply.origin, date: reply.date, since: now });
        self.was_read = true;
    }

    /// Whether to try again after this.
    pub(super) fn judge(&mut self, error: &Error) -> Result<()> {
        let is_first = self.strikes == 0;
        if error.kind() == ErrorKind::WrongEndpoint {
            self.client.endpoints.forget(&self.options.stream, &ApiName::GetMedia);
        }
        let may_be_tried = match error.kind() {
            ErrorKind::WrongEndpoint if !error.is_retryable() => false,
            // Once is for an endpoint that has moved.
            ErrorKind::WrongEndpoint if !self.options.reconnect => is_first,
            // The host says nothing of it itself: if it goes on like this, it is no host of the service.
            ErrorKind::WrongEndpoint if error.code().is_none() => self.strikes < STRIKES,
            _ if !self.options.reconnect => false,
            _ if error.is_retryable() => return Ok(()),
            // Credentials get renewed.
            _ if is_about_credentials(error) => self.was_read && self.strikes < STRIKES,
            // The service says something that nobody has heard before.
            ErrorKind::Service => self.strikes < STRIKES,
            _ => false,
        };
        self.strikes += 1;
        if may_be_tried { Ok(()) } else { Err(error.clone()) }
    }

    /// The body is over, and another one is wanted. `fruitful` if something new was in it.
    pub(super) fn hang_up(&mut self, cause: Option<Error>, fruitful: bool) {
        let Some(open) = self.body.take() else { return };
        self.observer.closed();
        if let Some(cause) = &cause {
            self.observer.failed(cause);
        } else {
            self.strikes = 0;
        }
        self.pause = match &cause {
            None if fruitful || open.since.elapsed() >= WAITED => {
                self.backoff.reset();
                Duration::ZERO
            }
            cause => self.backoff.pause(cause.as_ref()),
        };
        let outage = self.outage.get_or_insert_with(|| Outage::began(cause));
        outage.opened = None;
    }

    /// Something came in whole: whatever was wrong is over.
    pub(super) fn progressed(&mut self) {
        self.backoff.reset();
        self.strikes = 0;
    }

    /// What was between the connections, if this is another one than that of the last fragment.
    pub(super) fn take_outage(&mut self) -> Option<Outage> {
        self.outage.take()
    }

    /// Whether the fragment that is coming in is the last.
    pub(super) fn is_stopping(&self) -> bool {
        self.ends.stopping.is_some()
    }

    /// When the body began that is read, on the service's clock, if it has been waiting for media since.
    pub(super) fn waited_since(&self) -> Option<Timestamp> {
        let open = self.body.as_ref().filter(|open| open.since.elapsed() >= WAITED)?;
        open.date
    }

    /// An error with the connection it came over.
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

    /// From the end of a body until the next one began.
    pub(super) fn lasted(&self) -> Duration {
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
