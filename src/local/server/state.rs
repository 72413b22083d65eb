//! The state that all operations share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::local::clock::Clock;
use crate::local::faults::counters::{Counters, Event};
use crate::local::faults::injected_fault::{InjectedFault, PendingFaults};
use crate::local::faults::operation::Operation;
use crate::local::faults::quotas::{Buckets, Points, Quotas};
use crate::local::operations::playback::session::Session;
use crate::local::server::body::{SentBody, Source};
use crate::local::server::wire::{self, ErrorResponse, StreamRequest};
use crate::local::store::sessions::Sessions;
use crate::local::store::streams::Stream;

/// One endpoint: its streams, quotas, pending faults and counters.
pub(crate) struct Server {
    url: String,
    stop: CancellationToken,
    pub(crate) quotas: Quotas,
    streams: RwLock<BTreeMap<String, Arc<Stream>>>,
    requests: AtomicU64,
    buckets: Buckets,
    pub(crate) clock: Arc<Clock>,
    pub(crate) pending_faults: PendingFaults,
    pub(crate) counters: Arc<Counters>,
    pub(crate) sessions: Sessions<Session>,
    /// True if HLS playlists number their discontinuities, which the service's do not.
    pub(crate) numbers_discontinuities: AtomicBool,
    /// What answers the paths that are not the service's.
    page: RwLock<Option<Router>>,
}

impl Server {
    pub(crate) fn new(url: String, quotas: Quotas, stop: CancellationToken) -> Self {
        Self {
            url,
            stop,
            quotas,
            streams: RwLock::default(),
            requests: AtomicU64::new(0),
            buckets: Buckets::default(),
            clock: Arc::new(Clock::new()),
            pending_faults: PendingFaults::default(),
            counters: Arc::default(),
            sessions: Sessions::default(),
            numbers_discontinuities: AtomicBool::new(false),
            page: RwLock::default(),
        }
    }

    /// Returns the router for the paths that are not the service's.
    pub(crate) fn page(&self) -> Option<Router> {
        self.page.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cfg(feature = "viewer")]
    pub(crate) fn set_page(&self, page: Router) {
        *self.page.write().unwrap_or_else(PoisonError::into_inner) = Some(page);
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the number of requests received.
    pub(crate) fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Counts a request, and returns how many arrived before it.
    pub(crate) fn count_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds a stream. It replaces one with the same name.
    pub(crate) fn add(&self, stream: Arc<Stream>) {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        streams.insert(stream.name().to_owned(), stream);
    }

    /// Adds a stream, unless there is one with its name or there are `most` streams.
    ///
    /// # Errors
    /// The service's exception for either.
    pub(crate) fn create(&self, stream: Arc<Stream>, most: usize) -> Result<(), ErrorResponse> {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        if streams.contains_key(stream.name()) {
            let message = format!("The stream {} already exists", stream.name());
            return Err(ErrorResponse::new("ResourceInUseException", message));
        }
        if streams.len() >= most {
            let message = format!("The account has {most} streams, which is the most allowed");
            return Err(ErrorResponse::new("AccountStreamLimitExceededException", message));
        }
        streams.insert(stream.name().to_owned(), stream);
        Ok(())
    }

    /// Removes a stream. Its readers and producers end.
    pub(crate) fn delete(&self, stream: &Arc<Stream>) {
        let mut streams = self.streams.write().unwrap_or_else(PoisonError::into_inner);
        if streams.get(stream.name()).is_some_and(|found| Arc::ptr_eq(found, stream)) {
            streams.remove(stream.name());
        }
        drop(streams);
        self.buckets.forget(stream.name());
        stream.delete();
    }

    /// Returns the token that is cancelled when the endpoint stops.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Returns all streams by name.
    pub(crate) fn streams(&self) -> RwLockReadGuard<'_, BTreeMap<String, Arc<Stream>>> {
        self.streams.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the stream that a request names.
    ///
    /// # Errors
    /// If the stream does not exist, or the request does not give exactly one of name and ARN.
    pub(crate) fn find(&self, request: &StreamRequest) -> Result<Arc<Stream>, ErrorResponse> {
        let streams = self.streams();
        let (found, asked) = match (&request.stream_name, &request.stream_arn) {
            (Some(name), None) => (streams.get(name), name),
            (None, Some(arn)) => (streams.values().find(|stream| stream.arn() == arn), arn),
            _ => {
                let message = "Either StreamName or StreamARN must be given, and not both";
                return Err(ErrorResponse::invalid_argument(message));
            }
        };
        found.cloned().ok_or_else(|| ErrorResponse::not_found(asked))
    }

    /// Finds the stream of a call that counts against the calls per second.
    pub(crate) fn find_for_call(
        &self,
        operation: Operation,
        request: &StreamRequest,
    ) -> Result<Arc<Stream>, ErrorResponse> {
        let stream = self.find(request)?;
        let is_taken = |rate| self.buckets.take(stream.name(), operation.name(), rate, 1);
        if !self.quotas.calls_per_second.is_none_or(is_taken) {
            return Err(self.throttled(&format!("calls of {}", operation.name())));
        }
        Ok(stream)
    }

    /// Finds the stream of a call to the archive. Such calls cost points instead of being counted.
    pub(crate) fn find_for_archive_call(
        &self,
        operation: Operation,
        request: &StreamRequest,
    ) -> Result<Arc<Stream>, ErrorResponse> {
        let stream = self.find(request)?;
        self.check_endpoint(operation, &stream)?;
        Ok(stream)
    }

    /// Refuses a call whose data endpoint is stale.
    pub(crate) fn check_endpoint(&self, operation: Operation, stream: &Stream) -> Result<(), ErrorResponse> {
        if stream.is_stale(operation) { Err(self.stale()) } else { Ok(()) }
    }

    /// Spends points of a stream.
    ///
    /// # Errors
    /// If fewer are left: the call is throttled.
    pub(crate) fn spend(&self, stream: &Stream, bucket: Points, points: u64) -> Result<(), ErrorResponse> {
        let is_taken = |rate| self.buckets.take(stream.name(), bucket.name(), rate, points);
        if bucket.budget(&self.quotas).is_none_or(is_taken) {
            return Ok(());
        }
        Err(self.throttled(&format!("{} points spent", bucket.name())))
    }

    /// Counts a playback session that begins.
    ///
    /// # Errors
    /// If too many began this second: the call is throttled.
    pub(crate) fn spend_session(&self, operation: Operation, stream: &Stream) -> Result<(), ErrorResponse> {
        let is_taken = |rate| self.buckets.take(stream.name(), operation.name(), rate, 1);
        if self.quotas.sessions_per_second.is_none_or(is_taken) {
            return Ok(());
        }
        Err(self.throttled(&format!("sessions of {}", operation.name())))
    }

    /// Counts a call with the token of a session.
    ///
    /// # Errors
    /// If too many were made this second: the call is throttled.
    pub(crate) fn spend_action(
        &self,
        session: &Session,
        action: &'static str,
        rate: Option<u32>,
    ) -> Result<(), ErrorResponse> {
        if rate.is_none_or(|rate| session.buckets.take("", action, rate, 1)) {
            return Ok(());
        }
        self.counters.count(Event::Throttled);
        let message = format!("Too many calls of {action} for this session. Please try again later.");
        Err(ErrorResponse::new("ClientLimitExceededException", message))
    }

    fn throttled(&self, what: &str) -> ErrorResponse {
        self.counters.count(Event::Throttled);
        let message = format!("Too many {what} for this stream. Please try again later.");
        ErrorResponse::new("ClientLimitExceededException", message)
    }

    fn stale(&self) -> ErrorResponse {
        self.counters.count(Event::StaleEndpoint);
        let message = "The data endpoint is not valid for this stream. Call GetDataEndpoint to get the current one.";
        ErrorResponse::new("InvalidEndpointException", message)
    }

    /// Takes the next injected fault of a call that is valid otherwise.
    ///
    /// # Errors
    /// If the fault is to refuse the call.
    pub(crate) fn take_fault(
        &self,
        operation: Operation,
        stream: Option<&Stream>,
    ) -> Result<Option<InjectedFault>, ErrorResponse> {
        match (self.pending_faults.take(operation, stream.map_or("", Stream::name)), stream) {
            (Some(InjectedFault::Refuse(name)), _) => {
                self.counters.count(Event::Refuse);
                Err(ErrorResponse::new(&name, format!("{name}, an injected fault")))
            }
            (Some(InjectedFault::UnknownOperation), _) => {
                self.counters.count(Event::UnknownOperation);
                Err(ErrorResponse::UnknownOperation)
            }
            (Some(InjectedFault::StaleEndpoint), Some(stream)) if operation.has_endpoint() => {
                stream.set_stale(operation, true);
                Err(self.stale())
            }
            (fault, _) => Ok(fault),
        }
    }

    /// Records that a call arrived, even if it is refused later. `body` is the request's.
    pub(crate) fn record_call(&self, operation: Operation, body: &[u8]) {
        self.record_call_for(operation, wire::parse::<StreamRequest>(body).ok());
    }

    /// Records a call for the stream that it names.
    pub(crate) fn record_call_for(&self, operation: Operation, named: Option<StreamRequest>) {
        let found = named.as_ref().and_then(|request| self.find(request).ok()).map(|stream| stream.name().to_owned());
        let asked = || named.and_then(|request| request.stream_name.or(request.stream_arn)).unwrap_or_default();
        self.counters.record_call(operation, found.unwrap_or_else(asked));
    }

    /// Makes a body that sends the chunks of this source.
    pub(crate) fn body(&self, source: Source) -> SentBody {
        SentBody::new(source, &self.quotas, self.stop.clone(), Arc::clone(&self.counters))
    }
}
