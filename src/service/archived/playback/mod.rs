//! URLs for players: HLS and MPEG-DASH.
//!
//! [`KinesisVideo::hls`](crate::KinesisVideo::hls) and [`KinesisVideo::dash`](crate::KinesisVideo::dash) return a
//! [`Session`], a builder of the request. [`Session::url`] sends the request.
//!
//! ```
//! # #[cfg(feature = "local")]
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! # use kinesis_video::local::{Document, LocalEndpoint, Shape};
//! # let endpoint = LocalEndpoint::start().await?;
//! # let door = endpoint.create_stream("front-door");
//! # let avc = [1, 0x64, 0, 12, 0xFF, 0xE1, 0, 2, 0x67, 0x64, 1, 0, 2, 0x68, 0xEE];
//! # let document = Document::new(Shape::Ffmpeg).codec_private(&avc).video_track(1);
//! # let pushed = door.push(&document.block(1, 0, true, &[0, 0, 0, 2, 0x65, 0x88]));
//! # let kvs = kinesis_video::KinesisVideo::new(&endpoint.sdk_config());
//! # let start = pushed.producer_time;
//! # let end = kinesis_video::Timestamp::from_millis(start.as_millis() + 1000);
//! use std::time::Duration;
//! use kinesis_video::Clock;
//! use kinesis_video::service::playback::Container;
//!
//! // Live.
//! let live = kvs.hls("front-door").url().await?;
//! // Stored media, as a playlist that does not change.
//! let stored = kvs
//!     .hls("front-door")
//!     .on_demand(start..=end)
//!     .clock(Clock::Producer)
//!     .container(Container::FragmentedMp4)
//!     .expires(Duration::from_secs(3600))
//!     .url()
//!     .await?;
//! // Stored media as if they were live, then the live ones.
//! let replay = kvs.dash("front-door").live_replay(start..).clock(Clock::Producer).display_numbers(true).url().await?;
//! println!("{} expires at {}", live.as_str(), live.expires());
//! # let _ = (stored, replay);
//! # Ok::<(), kinesis_video::Error>(()) }).unwrap();
//! ```
//!
//! # Modes
//!
//! | mode | plays | range |
//! |---|---|---|
//! | [`LiveMode`], the default | the newest fragments, with or without gaps; fragments that arrive late are left out | none |
//! | [`LiveReplayMode`] | from the start on, each fragment after the one before it has been played | `start..` or `start..=end` |
//! | [`OnDemandMode`] | all fragments at once, the oldest first, in a playlist that does not change | `start..=end` |
//!
//! Invalid combinations do not compile: a range for live media, stored media without a range, a
//! [container](HlsSession::container) or [discontinuities](HlsSession::discontinuities) for DASH, fragment
//! [numbers](DashSession::display_numbers) for HLS. Other invalid options fail before anything is sent, with
//! [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument). The service checks the rules that depend on
//! its clock: with [`Clock::Server`] a range must end in the past and start after the oldest fragment that is kept.
//!
//! # Fragments of a range
//!
//! A range has the fragments that *start* within it, both ends included. A fragment that starts before the range is
//! left out. The last fragment may continue after the end.
//!
//! With [`Clock::Producer`] these rules apply too:
//!
//! - Of several fragments with the same start only the newest, which has the largest number, is played.
//! - Fragments that overlap and have different starts are all played.
//! - Playback of stored media starts with the fragment that was *ingested* first. It continues with the fragments of
//!   the range that were ingested right after it. If the same time was uploaded at very different times, only the
//!   first upload is played.
//! - In live mode this clock sets the times in the media. The server's clock still decides which fragments are the
//!   newest.
//!
//! # Supported media
//!
//! The service repackages media and does not convert them. Frames must have length prefixes, not start codes. Every
//! track of every fragment must have codec private data. The first fragment sets the tracks.
//!
//! | protocol | track 1 | track 2, optional | codec private data may change |
//! |---|---|---|---|
//! | HLS in MP4 | H.264, H.265, or AAC alone | AAC | 500 times |
//! | HLS in MPEG-TS | H.264, or AAC alone | AAC | 500 times |
//! | DASH | H.264, H.265, or AAC alone | AAC; with H.264 also G.711 | no |
//!
//! The service reports unsupported media when the session begins or while it is played:
//! [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
//!
//! # Limits of the service
//!
//! | limit | value |
//! |---|---|
//! | sessions per second and stream | 25; all clones of a [`KinesisVideo`](crate::KinesisVideo) stay within it together |
//! | playlist requests per second and session | 5 |
//! | media requests per second and session | 20 |
//! | live session without a new fragment | ends after 30 s, even before it expires |
//!
//! The limits per session allow one player per URL. After the end of a live session, request a new URL.
//!
//! Source: AWS API reference, GetHLSStreamingSessionURL and GetDASHStreamingSessionURL; AWS developer guide,
//! "Video playback track requirements" and "Kinesis Video Streams service quotas".

mod request;
mod url;

use std::marker::PhantomData;
use std::ops::{RangeFrom, RangeInclusive};
use std::time::Duration;

use super::Clock;
use crate::error::Result;
use crate::fragment::Timestamp;
use crate::service::call::RetryConfig;
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

pub use url::PlaybackUrl;

use request::{Mode, Protocol, Request};

/// Marker type of a [`Session`]: HTTP Live Streaming.
#[derive(Clone, Copy, Debug)]
pub enum Hls {}

/// Marker type of a [`Session`]: Dynamic Adaptive Streaming over HTTP.
#[derive(Clone, Copy, Debug)]
pub enum Dash {}

/// Marker type of a [`Session`]: live media. The service's `LIVE`.
#[derive(Clone, Copy, Debug)]
pub enum LiveMode {}

/// Marker type of a [`Session`]: stored media as if they were live. The service's `LIVE_REPLAY`.
#[derive(Clone, Copy, Debug)]
pub enum LiveReplayMode {}

/// Marker type of a [`Session`]: stored media, all at once. The service's `ON_DEMAND`.
#[derive(Clone, Copy, Debug)]
pub enum OnDemandMode {}

/// The container format of HLS media.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Container {
    /// Fragmented MP4.
    #[default]
    FragmentedMp4,
    /// MPEG transport stream, 5 to 25 % larger than fragmented MP4.
    MpegTs,
}

/// Placement of discontinuity marks in an HLS playlist.
///
/// Players reset their decoders at these marks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Discontinuities {
    /// Between all fragments.
    Always,
    /// Nowhere.
    Never,
    /// Between fragments with a gap or an overlap of more than 50 ms.
    OnDiscontinuity,
}

/// The range of a replay: `start..`, which continues with new fragments, or `start..=end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayRange {
    start: Timestamp,
    end: Option<Timestamp>,
}

impl From<RangeFrom<Timestamp>> for ReplayRange {
    fn from(range: RangeFrom<Timestamp>) -> Self {
        Self { start: range.start, end: None }
    }
}

impl From<RangeInclusive<Timestamp>> for ReplayRange {
    fn from(range: RangeInclusive<Timestamp>) -> Self {
        let (start, end) = range.into_inner();
        Self { start, end: Some(end) }
    }
}

/// Builder of a playback session, in one of three [modes](self#modes).
///
/// [`HlsSession`] and [`DashSession`] are its two forms. Nothing is sent before [`url`](Session::url).
#[derive(Clone, Debug)]
#[must_use = "nothing is requested before url() is awaited"]
pub struct Session<P, M> {
    request: Request,
    types: PhantomData<(P, M)>,
}

/// A builder of an HLS session, from [`KinesisVideo::hls`](crate::KinesisVideo::hls).
///
/// ```
/// # async fn f(kvs: kinesis_video::KinesisVideo) -> kinesis_video::Result<()> {
/// let url = kvs.hls("front-door").display_timestamps(true).url().await?;
/// # Ok(())
/// # }
/// ```
///
/// Fragment numbers exist in DASH only. This does not compile:
///
/// ```compile_fail,E0599
/// # async fn f(kvs: kinesis_video::KinesisVideo) {
/// kvs.hls("front-door").display_numbers(true).url().await;
/// # }
/// ```
pub type HlsSession<M = LiveMode> = Session<Hls, M>;

/// A builder of an MPEG-DASH session, from [`KinesisVideo::dash`](crate::KinesisVideo::dash).
///
/// ```
/// # use kinesis_video::{KinesisVideo, Timestamp};
/// # async fn f(kvs: KinesisVideo, start: Timestamp, end: Timestamp) -> kinesis_video::Result<()> {
/// let url = kvs.dash("front-door").on_demand(start..=end).url().await?;
/// # Ok(())
/// # }
/// ```
///
/// An on-demand range needs an end. This does not compile:
///
/// ```compile_fail,E0308
/// # async fn f(kvs: kinesis_video::KinesisVideo, start: kinesis_video::Timestamp) {
/// kvs.dash("front-door").on_demand(start..).url().await;
/// # }
/// ```
pub type DashSession<M = LiveMode> = Session<Dash, M>;

impl HlsSession {
    pub(in crate::service) fn new(client: Client, stream: StreamId) -> Self {
        Request::new(client, stream, Protocol::Hls).into()
    }
}

impl DashSession {
    pub(in crate::service) fn new(client: Client, stream: StreamId) -> Self {
        Request::new(client, stream, Protocol::Dash).into()
    }
}

impl<P, M> From<Request> for Session<P, M> {
    fn from(request: Request) -> Self {
        Self { request, types: PhantomData }
    }
}

impl<P> Session<P, LiveMode> {
    /// Selects stored media, played as if they were live.
    ///
    /// The range is `start..=end`, or `start..`, which continues with new fragments. The end must be after the start,
    /// by at most 24 h. [`url`](Session::url) checks this.
    pub fn live_replay(self, range: impl Into<ReplayRange>) -> Session<P, LiveReplayMode> {
        Request { mode: Mode::LiveReplay(range.into()), ..self.request }.into()
    }

    /// Selects stored media, all in one playlist that does not change.
    ///
    /// The playlist has at most [`max_fragments`](Session::max_fragments). The end must be after the start, by at most
    /// 24 h. [`url`](Session::url) checks this.
    pub fn on_demand(self, range: RangeInclusive<Timestamp>) -> Session<P, OnDemandMode> {
        Request { mode: Mode::OnDemand(range.into()), ..self.request }.into()
    }
}

impl<P, M> Session<P, M> {
    /// Sets which clock the range and the shown times refer to. Default: [`Clock::Server`].
    ///
    /// In live mode no clock is sent unless it is set, and the service chooses.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.request.clock = Some(clock);
        self
    }

    /// Sets the lifetime of the URL: 5 min to 12 h, in whole seconds. Default: 5 min.
    ///
    /// [`url`](Session::url) fails for other values.
    pub fn expires(mut self, after: Duration) -> Self {
        self.request.expires = Some(after);
        self
    }

    /// Sets the maximum number of fragments in a playlist or manifest, 1 to 5000.
    ///
    /// Default: 1000 on demand, 5 in the other modes. [`url`](Session::url) fails for other values. For live media use
    /// 3 to 10. More fragments add latency, fewer may stall.
    pub fn max_fragments(mut self, fragments: u32) -> Self {
        self.request.max_fragments = Some(fragments);
        self
    }

    /// Sets whether the playlist shows the start of each fragment, on the [clock](Session::clock). Default: false.
    ///
    /// The start is `EXT-X-PROGRAM-DATE-TIME` in HLS and the attribute `kvs:ts` of each `S` element in DASH. Without
    /// this option, a DASH manifest does not show the time of day, because its timeline has no gaps.
    pub fn display_timestamps(mut self, display: bool) -> Self {
        self.request.display_timestamps = Some(display);
        self
    }

    /// Sets the retries of the call. Default: [`RetryConfig::default`].
    ///
    /// Only [retryable](crate::Error::is_retryable) errors are retried. 0 attempts count as 1.
    pub fn retry(mut self, retry: RetryConfig) -> Self {
        self.request.retry = retry;
        self
    }

    /// Sets the timeout of each attempt of the call. Default: 30 s.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = timeout;
        self
    }

    /// Begins the session and returns its URL.
    ///
    /// # Errors
    ///
    /// | kind | cause |
    /// |---|---|
    /// | [`InvalidArgument`](crate::ErrorKind::InvalidArgument) | invalid options, before anything is sent, or refused by the service |
    /// | [`NotFound`](crate::ErrorKind::NotFound) | no such stream, no fragment in the range, or, live, none in the last 30 s |
    /// | [`Unsupported`](crate::ErrorKind::Unsupported) | [media that cannot be played](self#supported-media) |
    /// | [`Retention`](crate::ErrorKind::Retention) | a stream without retention |
    /// | [`WrongEndpoint`](crate::ErrorKind::WrongEndpoint) | a response without a URL, or a host that does not serve the stream, after all [attempts](Session::retry) |
    /// | [`AccessDenied`](crate::ErrorKind::AccessDenied) | credentials that do not permit the call |
    /// | others | throttling, broken connections and errors of the service, after all attempts |
    ///
    /// # Cancel safety
    /// Dropping the future drops the call. The service may still have begun a session, which then expires unused.
    pub async fn url(self) -> Result<PlaybackUrl> {
        PlaybackUrl::request(self.request).await
    }
}

impl<M> HlsSession<M> {
    /// Sets the container format. Default: [`Container::FragmentedMp4`].
    pub fn container(mut self, container: Container) -> Self {
        self.request.container = Some(container);
        self
    }

    /// Sets the placement of discontinuity marks in the playlist.
    ///
    /// Default: [`Always`](Discontinuities::Always) with the server's clock, [`Never`](Discontinuities::Never) with
    /// the producer's.
    pub fn discontinuities(mut self, discontinuities: Discontinuities) -> Self {
        self.request.discontinuities = Some(discontinuities);
        self
    }
}

impl<M> DashSession<M> {
    /// Sets whether the DASH manifest shows fragment numbers. Default: false.
    ///
    /// The number is the attribute `kvs:fn` of each `S` element of the timeline.
    pub fn display_numbers(mut self, display: bool) -> Self {
        self.request.display_numbers = Some(display);
        self
    }
}
