//! An endpoint on loopback that speaks the service's wire format, so that nobody needs an AWS
//! account to develop or test.

mod clock;
mod faults;
mod media;
mod operations;
mod producer;
mod server;
mod store;

use std::collections::BTreeMap;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, ErrorKind, Result};

pub use faults::injected_fault::{Mishap, Operation};
pub use faults::quotas::{Expired, Quotas};
pub use media::document::{Document, Shape, Stamp};
pub use media::fragment_number::fragment_number;
pub use media::tag_names::Spelling;
pub use producer::connect_call::ConnectCall;

use media::payload::blocking;
use producer::{connect_call, looped_file};
use server::connection::{Accept, Resetter};
#[cfg(feature = "aws")]
use server::in_process;
use server::state::{self as server_state, Server};
use server::wire;
use store::streams::Stream;

/// Kinesis Video Streams on 127.0.0.1: GetDataEndpoint, DescribeStream, ListStreams, GetMedia and the archive,
/// for any client that can be told where the service is. It keeps to the
/// service's [`Quotas`], and [goes wrong](LocalEndpoint::script) when told to.
///
/// Streams are fed from payload files as they are ([`serve_file`](LocalEndpoint::serve_file)), from a
/// file played over and over in real time ([`loop_file`](LocalEndpoint::loop_file)), or by pushing
/// documents ([`create_stream`](LocalEndpoint::create_stream)). Nothing is authenticated. Dropping it
/// stops it and cuts all connections.
///
/// It writes no MP4. GetHLSStreamingSessionURL and GetDASHStreamingSessionURL refuse what the service refuses,
/// and give URLs behind which there is the HTTP status 501, or 403 when the session has expired. A clip of GetClip
/// is a file without media: a box of type `ftyp`, and one of type `free` with a line for each fragment that
/// the clip covers, its number. GetImages has real pictures, with the feature `ffmpeg`.
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
    stop: CancellationToken,
}

/// A stream of a [`LocalEndpoint`], to be fed. Cheap to clone; clones feed the same stream.
#[derive(Clone)]
pub struct LocalStream {
    stream: Arc<Stream>,
}

impl LocalEndpoint {
    /// Starts on a free port, with the quotas of the service. Needs a tokio runtime with I/O and time.
    ///
    /// # Errors
    /// If no port can be had.
    pub async fn start() -> Result<Self> {
        Self::start_with(0, Quotas::default()).await
    }

    /// Starts on this port, or a free one if it is 0, with these quotas.
    ///
    /// # Errors
    /// If the port is taken.
    pub async fn start_with(port: u16, quotas: Quotas) -> Result<Self> {
        let failed = |error| {
            let message = format!("listening on 127.0.0.1:{port} failed");
            Error::new(ErrorKind::Io, message).retryable(false).caused_by(error)
        };
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let stop = CancellationToken::new();
        let server = Arc::new(Server::new(format!("http://{address}"), quotas, stop.clone()));
        let service = server_state::router(Arc::clone(&server)).into_make_service_with_connect_info::<Resetter>();
        let stopped = stop.clone().cancelled_owned();
        let accept = Accept { listener, stop: stop.clone() };
        tokio::spawn(async move {
            if let Err(error) = axum::serve(accept, service).with_graceful_shutdown(stopped).await {
                tracing::warn!(%error, "the local endpoint failed");
            }
        });
        Ok(Self { address, server, stop })
    }

    /// Lets something go wrong with the next call of an operation, for this stream or, without one,
    /// for any. Mishaps of one operation happen one a call, in the order they were added.
    ///
    /// ```
    /// # #[cfg(feature = "aws")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use futures::TryStreamExt;
    /// use kinesis_video::local::{LocalEndpoint, Mishap, Operation};
    /// use kinesis_video::{ErrorKind, KinesisVideo};
    ///
    /// let endpoint = LocalEndpoint::start().await?;
    /// endpoint.create_stream("door").finish();
    /// endpoint.script(Operation::GetMedia, Some("door"), Mishap::Refuse("ClientLimitExceededException".into()));
    ///
    /// let kvs = KinesisVideo::new(&endpoint.sdk_config());
    /// // By itself it would try again.
    /// let error = kvs.live("door").reconnect(false).fragments().try_next().await.unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Throttled);
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub fn script(&self, operation: Operation, stream: Option<&str>, mishap: Mishap) {
        self.server.script.add(operation, stream.map(str::to_owned), mishap);
    }

    /// How many mishaps have not happened yet.
    pub fn scripted(&self) -> usize {
        self.server.script.len()
    }

    /// How many requests have come.
    pub fn requests(&self) -> u64 {
        self.server.requests()
    }

    /// How often each thing has taken effect, by name: mishaps (`break off`, `cut`, `damage`, `empty page`,
    /// `end`, `end before trailer`, `fault`, `fault at`, `omit`, `refuse`, `repeat`, `repeat page`, `reset`,
    /// `shuffle`, `stale endpoint`, `stall`, `trickle`, `unknown operation`) and quotas (`aged out`,
    /// `connection limit`, `idle end`, `request expired`, `session end`, `throttled`). All names are there,
    /// with 0 too.
    ///
    /// A mishap that was scripted has not happened yet, and never does if the body ends before it. Every
    /// call that a stale endpoint refuses counts.
    ///
    /// ```
    /// # #[cfg(feature = "aws")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use kinesis_video::local::{LocalEndpoint, Mishap, Operation};
    ///
    /// let endpoint = LocalEndpoint::start().await?;
    /// endpoint.script(Operation::ListStreams, None, Mishap::Refuse("AccessDeniedException".into()));
    /// assert_eq!(endpoint.happened()["refuse"], 0);
    ///
    /// let control = aws_sdk_kinesisvideo::Client::new(&endpoint.sdk_config());
    /// assert!(control.list_streams().send().await.is_err());
    /// assert_eq!(endpoint.happened()["refuse"], 1);
    /// assert_eq!(endpoint.calls(Operation::ListStreams, "").len(), 1);
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub fn happened(&self) -> BTreeMap<&'static str, u64> {
        self.server.happened.counts()
    }

    /// When each call of an operation for a stream came, refused ones included: the last 10,000. The
    /// stream of ListStreams is `""`.
    pub fn calls(&self, operation: Operation, stream: &str) -> Vec<tokio::time::Instant> {
        self.server.happened.calls(operation, stream)
    }

    /// Puts the endpoint's clock so many milliseconds ahead of this machine's, or behind it. It moves with
    /// tokio's clock, the paused one too; fragments are stamped by it, and answers dated.
    pub fn set_clock_offset(&self, millis: i64) {
        self.server.clock.set_offset(millis);
    }

    /// Where it listens: `http://127.0.0.1:PORT`.
    pub fn url(&self) -> &str {
        self.server.url()
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A configuration with which any client of the AWS SDK talks to this endpoint.
    #[cfg(feature = "aws")]
    pub fn sdk_config(&self) -> aws_config::SdkConfig {
        use aws_credential_types::Credentials;
        use aws_credential_types::provider::SharedCredentialsProvider;

        let credentials = Credentials::new("local", "local", None, None, "local endpoint");
        aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new(wire::REGION))
            .endpoint_url(self.url())
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build()
    }

    /// A configuration with which any client of the AWS SDK talks to this endpoint without a socket
    /// between. Since nothing is waited for that tokio does not know, its clock may be paused: what takes
    /// hours at the service takes no time in a test. The SDK signs by that clock too.
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
        let client = in_process::client(server_state::router(Arc::clone(&self.server)), self.stop.clone());
        let time = in_process::MachineTime(Arc::clone(&self.server.clock));
        self.sdk_config().into_builder().http_client(client).time_source(time).build()
    }

    /// Makes a stream that is fed by pushing documents. One of the same name is replaced.
    pub fn create_stream(&self, name: &str) -> LocalStream {
        let stream = Arc::new(Stream::new(name, &self.server.clock));
        self.server.add(Arc::clone(&stream));
        LocalStream { stream }
    }

    /// Makes a stream of a payload file, byte for byte: a reader that starts at
    /// [`Earliest`](crate::Start::Earliest) gets the whole file, then its body ends.
    ///
    /// # Errors
    /// If the file cannot be read. One that is not a payload is served all the same.
    pub async fn serve_file(&self, name: &str, path: impl AsRef<Path>) -> Result<()> {
        let (stream, payload) = (Arc::new(Stream::new(name, &self.server.clock)), read(path.as_ref()).await?);
        let filled = Arc::clone(&stream);
        blocking(move || filled.add_payload(payload)).await?;
        self.server.add(stream);
        Ok(())
    }

    /// Makes a stream of a payload, byte for byte, as [`serve_file`](LocalEndpoint::serve_file) does.
    pub fn serve_payload(&self, name: &str, payload: impl Into<Bytes>) {
        let stream = Stream::new(name, &self.server.clock);
        stream.add_payload(payload.into());
        self.server.add(Arc::new(stream));
    }

    /// Makes a stream that plays a file over and over in real time, with fresh fragment numbers and
    /// times: each Cluster of the file becomes a fragment as long as the media in it, and can be
    /// read when it is complete, as if a camera had just sent it. The file may be a payload or any
    /// MKV file whose Clusters begin with key frames.
    ///
    /// # Errors
    /// If the file cannot be read, or has no Cluster with media.
    pub async fn loop_file(&self, name: &str, path: impl AsRef<Path>) -> Result<()> {
        let media = read(path.as_ref()).await?;
        self.play(name, blocking(move || looped_file::clusters(&media)).await??);
        Ok(())
    }

    /// Makes a stream that plays these bytes over and over, as
    /// [`loop_file`](LocalEndpoint::loop_file) does.
    ///
    /// # Errors
    /// If they cannot be read, or have no Cluster with media.
    pub fn loop_media(&self, name: &str, media: impl Into<Bytes>) -> Result<()> {
        self.play(name, looped_file::clusters(&media.into())?);
        Ok(())
    }

    /// Makes a stream that plays a call in real time, as if it had just been answered. It ends with the call.
    pub fn play_call(&self, name: &str, call: &ConnectCall) {
        self.play_calls(name, call, false);
    }

    /// Makes a stream that plays a call over and over in real time, each time as another contact: behind
    /// the first, `-2`, `-3` and so on is added to its id.
    pub fn loop_call(&self, name: &str, call: &ConnectCall) {
        self.play_calls(name, call, true);
    }

    fn play_calls(&self, name: &str, call: &ConnectCall, again: bool) {
        let stream = Arc::new(Stream::new(name, &self.server.clock));
        self.server.add(Arc::clone(&stream));
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(connect_call::play(stream, call.clone(), again)));
    }

    fn play(&self, name: &str, clusters: Vec<looped_file::Cluster>) {
        let stream = Arc::new(Stream::new(name, &self.server.clock));
        self.server.add(Arc::clone(&stream));
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(looped_file::play(stream, clusters)));
    }
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
    /// Its ARN.
    pub fn arn(&self) -> &str {
        self.stream.arn()
    }

    /// How many bodies of GetMedia are open, without those that only [linger](Quotas::linger).
    pub fn open_bodies(&self) -> u32 {
        self.stream.bodies().count()
    }

    /// How many bodies of GetMediaForFragmentList are open, without those that only
    /// [linger](Quotas::linger).
    pub fn open_list_bodies(&self) -> u32 {
        self.stream.list_bodies().count()
    }

    /// In which names the archive says what it says: those of GetMedia, unless they are set.
    ///
    /// ```
    /// # #[cfg(feature = "aws")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use kinesis_video::local::{Document, LocalEndpoint, Shape, Spelling};
    ///
    /// let endpoint = LocalEndpoint::start().await?;
    /// let door = endpoint.create_stream("door");
    /// door.set_archive_spelling(Spelling::Documented);
    /// let stamp = door.push(&Document::new(Shape::Producer).video_track(1).block(1, 0, true, b"coded frame"));
    ///
    /// let archive = aws_sdk_kinesisvideoarchivedmedia::Client::new(&endpoint.sdk_config());
    /// let call = archive.get_media_for_fragment_list().stream_name("door").fragments(stamp.number.as_str());
    /// let body = call.send().await.unwrap().payload.collect().await.unwrap().into_bytes();
    /// let name = b"AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP";
    /// assert!(body.windows(name.len()).any(|bytes| bytes == name));
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub fn set_archive_spelling(&self, spelling: Spelling) {
        self.stream.set_spelling(spelling);
    }

    /// Adds a fragment, as if it had been ingested now: it gets the next number, and the time of now
    /// on both clocks. Returns what it was stamped with.
    pub fn push(&self, document: &Document) -> Stamp {
        let stamp = self.stream.next_stamp();
        self.push_stamped(document, stamp.clone());
        stamp
    }

    /// Adds a fragment with a number and times of one's own. Numbers must rise.
    pub fn push_stamped(&self, document: &Document, stamp: Stamp) {
        self.stream.push(document.before_trailer(&stamp), stamp);
    }

    /// Adds a fragment that is exactly these bytes, closing tags included, under this stamp, whatever they
    /// say: one that was stored damaged, and comes damaged each time it is asked for.
    pub fn push_bytes(&self, bytes: impl Into<Bytes>, stamp: Stamp) {
        self.stream.push_bytes(bytes.into(), stamp);
    }

    /// Adds bytes as they are: parts of documents, or no documents at all.
    pub fn push_raw(&self, bytes: impl Into<Bytes>) {
        self.stream.push_raw(bytes.into());
    }

    /// Drops so many of its oldest fragments, as retention does in time. What is not a fragment goes with
    /// those behind it.
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

    /// Sets how long fragments are kept, by the service's time and the endpoint's clock: those that are
    /// older are gone for every operation. If it is zero there is no archive: nothing is listed and nothing
    /// can be had from it, while GetMedia goes on as before.
    ///
    /// A stream that was never told says 24 hours, but drops nothing for being old, so that fragments may
    /// be stamped with any time; it keeps the newest 200 MB. So does one with a retention of zero.
    pub fn set_retention(&self, retention: Duration) {
        self.stream.set_retention(retention);
    }

    /// Says that no more will come: readers get what there is, then their bodies end.
    pub fn finish(&self) {
        self.stream.finish();
    }
}

impl fmt::Debug for LocalStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalStream").field("arn", &self.arn()).finish_non_exhaustive()
    }
}
