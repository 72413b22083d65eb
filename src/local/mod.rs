//! A local endpoint that speaks the service's wire format, for tests and development.
//!
//! [`LocalEndpoint`] serves Kinesis Video Streams on 127.0.0.1, without an AWS account. Clients in any
//! language can use it. `docs/local-endpoint.md` is its guide.

mod clock;
mod faults;
mod media;
pub(crate) mod operations;
mod producer;
mod server;
mod store;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::{Error, Result};

pub use faults::counters::FaultCounts;
pub use faults::injected_fault::InjectedFault;
pub use faults::operation::Operation;
pub use faults::quotas::{Expired, Quotas};
pub use media::document::{Document, Shape, Stamp};
pub use media::fragment_number::fragment_number;
pub use media::tag_names::TagNames;
pub use producer::connect_call::ConnectCall;
pub use server::access::Access;

#[cfg(feature = "viewer")]
pub(crate) use server::connection::Resetter;

use media::payload::blocking;
use producer::{connect_call, looped_file};
#[cfg(feature = "aws")]
use server::in_process;
use server::router::router;
use server::serve::Socket;
use server::state::Server;
#[cfg(feature = "aws")]
use store::streams::REGION;
use store::streams::Stream;

/// Kinesis Video Streams on 127.0.0.1, for any client that takes an endpoint URL.
///
/// It implements these operations:
///
/// | Operation | Answer |
/// |---|---|
/// | GetDataEndpoint, DescribeStream, ListStreams | as the service's |
/// | CreateStream, DeleteStream, UpdateDataRetention | as the service's; a new stream is active at once |
/// | TagStream, UntagStream, ListTagsForStream | as the service's |
/// | PutMedia | as the service's; `docs/local-endpoint.md` lists its limits |
/// | GetMedia | as the service's |
/// | ListFragments, GetMediaForFragmentList | as the service's |
/// | GetClip | MP4, of at most 200 fragments or 100 MB, without re-encoding |
/// | GetImages | images, with the feature `ffmpeg`; `NotImplementedException` without |
/// | GetHLSStreamingSessionURL, GetDASHStreamingSessionURL | the URL of a playlist or manifest; it and its media are served too |
///
/// Requests are validated as the service validates them. The service's [`Quotas`] apply.
/// [`inject`](LocalEndpoint::inject) makes calls fail. Credentials and signatures are not checked, except a
/// signature's date.
///
/// A stream is fed in one of these ways:
///
/// | Method | Fragments |
/// |---|---|
/// | PutMedia, into a stream of CreateStream or `create_stream` | a producer's |
/// | [`create_stream`](LocalEndpoint::create_stream) | the ones pushed into the [`LocalStream`] |
/// | [`serve_file`](LocalEndpoint::serve_file), [`serve_payload`](LocalEndpoint::serve_payload) | a payload's, byte for byte; a payload is the HTTP body of GetMedia |
/// | [`loop_file`](LocalEndpoint::loop_file), [`loop_media`](LocalEndpoint::loop_media) | a file's, repeated in real time |
/// | [`play_call`](LocalEndpoint::play_call), [`loop_call`](LocalEndpoint::loop_call) | an Amazon Connect conversation's, in real time |
///
/// Dropping the endpoint stops it and closes all connections.
///
/// ```
/// # #[cfg(feature = "aws")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use futures::TryStreamExt;
/// use kinesis_video::{KinesisVideo, Start};
/// use kinesis_video::local::{Document, LocalEndpoint, Shape};
///
/// let endpoint = LocalEndpoint::start().await?;
/// let door = endpoint.create_stream("door");
/// door.push(&Document::new(Shape::Ffmpeg).video_track(1).block(1, 0, true, b"coded frame"));
/// door.finish();
///
/// let kvs = KinesisVideo::new(&endpoint.sdk_config());
/// let live = kvs.live("door").start(Start::Earliest).reconnect(false);
/// let fragments: Vec<_> = live.fragments().try_collect().await?;
/// assert_eq!(fragments.len(), 1);
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
pub struct LocalEndpoint {
    address: SocketAddr,
    server: Arc<Server>,
    /// The token that the client of this endpoint sends.
    #[cfg(feature = "aws")]
    token: Option<String>,
    stop: CancellationToken,
}

/// A stream of a [`LocalEndpoint`], and the handle that feeds it.
///
/// Clones are cheap and feed the same stream.
#[derive(Clone)]
pub struct LocalStream {
    stream: Arc<Stream>,
}

impl LocalEndpoint {
    /// Starts an endpoint on a free port, with the service's quotas.
    ///
    /// It needs a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    /// If no port is free.
    pub async fn start() -> Result<Self> {
        Self::start_with(0, Quotas::default()).await
    }

    /// Starts an endpoint on this port, with these quotas. Port 0 takes a free one.
    ///
    /// It needs a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    /// If the port cannot be bound, usually because it is taken.
    pub async fn start_with(port: u16, quotas: Quotas) -> Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, port).into(), quotas, Access::default()).await
    }

    /// Starts an endpoint at this address, with these quotas, for the clients with this access.
    ///
    /// It needs a tokio runtime with I/O and time enabled.
    ///
    /// # Errors
    /// - [`InvalidArgument`](ErrorKind::InvalidArgument) for an address that other machines can reach, if the access needs
    ///   no token.
    /// - If the address cannot be bound.
    pub async fn start_at(address: SocketAddr, quotas: Quotas, access: Access) -> Result<Self> {
        let socket = Socket::bind(address, access.clone()).await?;
        let (address, stop) = (socket.address, CancellationToken::new());
        let server = Arc::new(Server::new(access.url(address), quotas, stop.clone()));
        socket.serve(router(Arc::clone(&server)), stop.clone());
        #[cfg(feature = "aws")]
        let token = access.token_text().map(str::to_owned);
        Ok(Self {
            address,
            server,
            #[cfg(feature = "aws")]
            token,
            stop,
        })
    }

    /// Injects a fault into the next call of an operation.
    ///
    /// With a stream, only a call for that stream takes the fault; without one, any call of the operation
    /// does. A call of ListStreams has no stream. Each call takes at most one fault, in the order they were
    /// injected. Invalid calls and calls beyond a quota take none, except invalid ones of ListStreams.
    /// [`StaleEndpoint`](InjectedFault::StaleEndpoint) affects later calls too.
    ///
    /// ```
    /// # #[cfg(feature = "aws")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use futures::TryStreamExt;
    /// use kinesis_video::local::{InjectedFault, LocalEndpoint, Operation};
    /// use kinesis_video::{ErrorKind, KinesisVideo};
    ///
    /// let endpoint = LocalEndpoint::start().await?;
    /// endpoint.create_stream("door").finish();
    /// endpoint.inject(Operation::GetMedia, Some("door"), InjectedFault::Refuse("ClientLimitExceededException".into()));
    ///
    /// let kvs = KinesisVideo::new(&endpoint.sdk_config());
    /// // By default, the reader would retry.
    /// let error = kvs.live("door").reconnect(false).fragments().try_next().await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Throttled);
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub fn inject(&self, operation: Operation, stream: Option<&str>, fault: InjectedFault) {
        self.server.pending_faults.add(operation, stream.map(str::to_owned), fault);
    }

    /// Returns how many injected faults no call has taken yet.
    pub fn pending_faults(&self) -> usize {
        self.server.pending_faults.len()
    }

    /// Returns how many requests the endpoint has received, refused ones included.
    pub fn requests(&self) -> u64 {
        self.server.requests()
    }

    /// Returns how often each injected fault and each quota has taken effect.
    ///
    /// ```
    /// # #[cfg(feature = "aws")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use kinesis_video::local::{InjectedFault, LocalEndpoint, Operation};
    ///
    /// let endpoint = LocalEndpoint::start().await?;
    /// endpoint.inject(Operation::ListStreams, None, InjectedFault::Refuse("AccessDeniedException".into()));
    /// assert_eq!(endpoint.fault_counts().refuse, 0);
    ///
    /// let control = aws_sdk_kinesisvideo::Client::new(&endpoint.sdk_config());
    /// assert!(control.list_streams().send().await.is_err());
    /// assert_eq!(endpoint.fault_counts().refuse, 1);
    /// assert_eq!(endpoint.calls(Operation::ListStreams, "").len(), 1);
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub fn fault_counts(&self) -> FaultCounts {
        self.server.counters.counts()
    }

    /// Returns the arrival times of an operation's calls for a stream, oldest first.
    ///
    /// At most the last 10,000 calls are kept, refused ones included. The stream of ListStreams is
    /// `""`. The instants follow tokio's clock, even while that is paused.
    pub fn calls(&self, operation: Operation, stream: &str) -> Vec<Instant> {
        self.server.counters.calls(operation, stream)
    }

    /// Sets how many milliseconds the endpoint's clock is ahead of this machine's. Default: 0.
    ///
    /// Negative numbers set it back. The endpoint's clock moves with tokio's, even while that is paused.
    /// It stamps fragments and dates answers. The ages of fragments and signatures are measured by this clock.
    pub fn set_clock_offset(&self, millis: i64) {
        self.server.clock.set_offset(millis);
    }

    /// Sets whether HLS playlists number their discontinuities with EXT-X-DISCONTINUITY-SEQUENCE. Default: false.
    ///
    /// The service's playlists do not. Players need the number to follow a live playlist that has discontinuities.
    pub fn number_discontinuities(&self, numbers: bool) {
        self.server.numbers_discontinuities.store(numbers, std::sync::atomic::Ordering::Relaxed);
    }

    /// Returns the URL of the endpoint: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// Returns the port of the endpoint.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Shows a page at the paths that are not the service's.
    #[cfg(feature = "viewer")]
    pub(crate) fn show_page(&self, page: axum::Router) {
        self.server.set_page(page);
    }

    /// Returns an AWS SDK configuration that points all clients to this endpoint.
    ///
    /// The region is `us-west-2`.
    #[cfg(feature = "aws")]
    pub fn sdk_config(&self) -> aws_config::SdkConfig {
        use aws_credential_types::Credentials;
        use aws_credential_types::provider::SharedCredentialsProvider;

        let key = self.token.as_deref().unwrap_or("local");
        let credentials = Credentials::new(key, "local", None, None, "local endpoint");
        aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new(REGION))
            .endpoint_url(self.url())
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build()
    }

    /// Returns an AWS SDK configuration that reaches this endpoint without sockets.
    ///
    /// All waiting goes through tokio's timers. With tokio's clock paused, a test skips hours in an
    /// instant. The SDK signs requests by that clock too.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use kinesis_video::local::LocalEndpoint;
    ///
    /// tokio::time::pause();
    /// let endpoint = LocalEndpoint::start().await?;
    /// let door = endpoint.create_stream("door");
    /// let control = aws_sdk_kinesisvideo::Client::new(&endpoint.in_process_config());
    /// let described = control.describe_stream().stream_name("door").send().await.unwrap();
    /// assert_eq!(described.stream_info().unwrap().stream_arn(), Some(door.arn()));
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    #[cfg(feature = "aws")]
    pub fn in_process_config(&self) -> aws_config::SdkConfig {
        let client = in_process::client(router(Arc::clone(&self.server)), self.stop.clone());
        let time = in_process::MachineTime(Arc::clone(&self.server.clock));
        self.sdk_config().into_builder().http_client(client).time_source(time).build()
    }

    /// Creates a stream that is fed by pushing documents.
    ///
    /// The new stream replaces one with the same name, as with all methods that create a stream.
    pub fn create_stream(&self, name: &str) -> LocalStream {
        let stream = Arc::new(Stream::new(name, &self.server.clock));
        self.server.add(Arc::clone(&stream));
        LocalStream { stream }
    }

    /// Creates a stream that serves a payload file, byte for byte. A stream of the same name is replaced.
    ///
    /// A reader that starts at [`Earliest`](crate::Start::Earliest) receives the whole file, then the end
    /// of the body. The contents need not be a valid payload.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub async fn serve_file(&self, name: &str, path: impl AsRef<Path>) -> Result<()> {
        let (stream, payload) = (Arc::new(Stream::new(name, &self.server.clock)), read(path.as_ref()).await?);
        let filled = Arc::clone(&stream);
        blocking(move || filled.add_payload(payload)).await?;
        self.server.add(stream);
        Ok(())
    }

    /// Creates a stream that serves these bytes, as [`serve_file`](LocalEndpoint::serve_file) does.
    pub fn serve_payload(&self, name: &str, payload: impl Into<Bytes>) {
        let stream = Stream::new(name, &self.server.clock);
        stream.add_payload(payload.into());
        self.server.add(Arc::new(stream));
    }

    /// Creates a stream that repeats a file in real time, as a camera would send it.
    ///
    /// Each Cluster of the file becomes a fragment with a new number and new times. Readers receive a
    /// fragment when it is complete. The file may be a payload, or any MKV file whose Clusters start with
    /// key frames.
    ///
    /// # Errors
    /// If the file cannot be read or parsed, or has no Cluster with media.
    pub async fn loop_file(&self, name: &str, path: impl AsRef<Path>) -> Result<()> {
        let media = read(path.as_ref()).await?;
        self.play(name, blocking(move || looped_file::clusters(&media)).await??);
        Ok(())
    }

    /// Creates a stream that repeats these bytes, as [`loop_file`](LocalEndpoint::loop_file) does.
    ///
    /// Call this method in a tokio runtime.
    ///
    /// # Errors
    /// If the bytes cannot be parsed, or have no Cluster with media.
    pub fn loop_media(&self, name: &str, media: impl Into<Bytes>) -> Result<()> {
        self.play(name, looped_file::clusters(&media.into())?);
        Ok(())
    }

    /// Creates a stream that plays a conversation once, in real time.
    ///
    /// The stream ends with the conversation. Call this method in a tokio runtime.
    pub fn play_call(&self, name: &str, call: &ConnectCall) {
        self.play_calls(name, call, false);
    }

    /// Creates a stream that repeats a conversation in real time.
    ///
    /// Each repetition is a new contact: `-2`, `-3` and so on is appended to the contact id. A conversation
    /// of zero length ends the stream at once. Call this method in a tokio runtime.
    pub fn loop_call(&self, name: &str, call: &ConnectCall) {
        self.play_calls(name, call, true);
    }

    fn play_calls(&self, name: &str, call: &ConnectCall, repeats: bool) {
        let stream = Arc::new(Stream::new(name, &self.server.clock));
        self.server.add(Arc::clone(&stream));
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(connect_call::play(stream, call.clone(), repeats)));
    }

    fn play(&self, name: &str, clusters: Vec<looped_file::Cluster>) {
        let stream = Arc::new(Stream::new(name, &self.server.clock));
        self.server.add(Arc::clone(&stream));
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(looped_file::play(stream, clusters)));
    }
}

/// Serves a router at an address until it is stopped. Returns the address.
#[cfg(feature = "viewer")]
pub(crate) async fn serve(
    address: SocketAddr,
    access: Access,
    router: axum::Router,
    stop: CancellationToken,
) -> Result<SocketAddr> {
    let socket = Socket::bind(address, access).await?;
    let address = socket.address;
    socket.serve(router, stop);
    Ok(address)
}

async fn read(path: &Path) -> Result<Bytes> {
    let bytes = tokio::fs::read(path).await.map_err(|error| Error::of_file("reading", path, error))?;
    Ok(bytes.into())
}

impl Drop for LocalEndpoint {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for LocalEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalEndpoint").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl LocalStream {
    /// Returns the stream's ARN.
    pub fn arn(&self) -> &str {
        self.stream.arn()
    }

    /// Returns how many connections of GetMedia are open for this stream.
    ///
    /// [Lingering](Quotas::linger) ones are not counted.
    pub fn open_connections(&self) -> u32 {
        self.stream.connections().count()
    }

    /// Returns how many connections of GetMediaForFragmentList are open for this stream.
    ///
    /// [Lingering](Quotas::linger) ones are not counted.
    pub fn open_list_connections(&self) -> u32 {
        self.stream.list_connections().count()
    }

    /// Sets the names of the tags that the archive sends. Default: [`TagNames::Seen`].
    ///
    /// ```
    /// # #[cfg(feature = "aws")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use kinesis_video::local::{Document, LocalEndpoint, Shape, TagNames};
    ///
    /// let endpoint = LocalEndpoint::start().await?;
    /// let door = endpoint.create_stream("door");
    /// door.set_archive_tag_names(TagNames::Documented);
    /// let stamp = door.push(&Document::new(Shape::Producer).video_track(1).block(1, 0, true, b"coded frame"));
    ///
    /// let archive = aws_sdk_kinesisvideoarchivedmedia::Client::new(&endpoint.sdk_config());
    /// let call = archive.get_media_for_fragment_list().stream_name("door").fragments(stamp.number.as_str());
    /// let body = call.send().await.unwrap().payload.collect().await.unwrap().into_bytes();
    /// let name = b"AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP";
    /// assert!(body.windows(name.len()).any(|bytes| bytes == name));
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub fn set_archive_tag_names(&self, names: TagNames) {
        self.stream.set_tag_names(names);
    }

    /// Adds a fragment as if it had been ingested now, and returns its stamp.
    ///
    /// The stamp has the next fragment number, and the current time as server and producer time.
    pub fn push(&self, document: &Document) -> Stamp {
        let stamp = self.stream.next_stamp();
        self.push_stamped(document, stamp.clone());
        stamp
    }

    /// Adds a fragment with this number and these times.
    ///
    /// Numbers must rise. They are not checked.
    pub fn push_stamped(&self, document: &Document, stamp: Stamp) {
        self.stream.push(document.before_trailer(&stamp), stamp);
    }

    /// Adds a fragment of exactly these bytes, closing tags included.
    ///
    /// The endpoint finds the fragment by the number and times of `stamp`. The bytes are not checked. Use this
    /// method for a fragment that is damaged each time it is read.
    pub fn push_bytes(&self, bytes: impl Into<Bytes>, stamp: Stamp) {
        self.stream.push_bytes(bytes.into(), stamp);
    }

    /// Adds arbitrary bytes to the stream, without a fragment number.
    pub fn push_raw(&self, bytes: impl Into<Bytes>) {
        self.stream.push_raw(bytes.into());
    }

    /// Drops this many of the oldest fragments, as retention does after a while.
    ///
    /// If the stream has fewer, all are dropped.
    /// Bytes of [`push_raw`](LocalStream::push_raw) are dropped with the fragment after them.
    ///
    /// ```
    /// # #[cfg(feature = "aws")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use futures::TryStreamExt;
    /// use kinesis_video::local::{Document, LocalEndpoint, Shape};
    /// use kinesis_video::{KinesisVideo, Start};
    ///
    /// let endpoint = LocalEndpoint::start().await?;
    /// let door = endpoint.create_stream("door");
    /// let document = Document::new(Shape::Ffmpeg).video_track(1).block(1, 0, true, b"coded frame");
    /// let stamps: Vec<_> = (0..3).map(|_| door.push(&document)).collect();
    /// door.finish();
    /// door.expire(2);
    ///
    /// let kvs = KinesisVideo::new(&endpoint.sdk_config());
    /// let oldest = kvs.live("door").start(Start::Earliest).fragments().try_next().await?.unwrap();
    /// assert_eq!(oldest.number(), Some(&stamps[2].number));
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub fn expire(&self, fragments: usize) {
        self.stream.expire(fragments);
    }

    /// Sets how long fragments are kept, by their server time and the endpoint's clock.
    ///
    /// | Retention | Kept | DataRetentionInHours |
    /// |---|---|---|
    /// | not set | the newest 200 MiB, whatever their times | 24 |
    /// | zero | the newest 200 MiB, for GetMedia only: the archive is empty | 0 |
    /// | more | fragments younger than that, for all operations | the same, rounded up |
    pub fn set_retention(&self, retention: Duration) {
        self.stream.set_retention(retention);
    }

    /// Ends the stream: readers receive the remaining fragments, then the end of the body.
    pub fn finish(&self) {
        self.stream.finish();
    }
}

impl fmt::Debug for LocalStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStream").field("arn", &self.arn()).finish_non_exhaustive()
    }
}
