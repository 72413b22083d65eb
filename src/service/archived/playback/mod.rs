//! URLs for players: HLS and MPEG-DASH.
//!
//! [`KinesisVideo::hls`] and [`KinesisVideo::dash`] begin a [`Session`], which says what is to be played and
//! how; [`url`](Session::url) asks the service for it.
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
//! // What is produced now.
//! let live = kvs.hls("front-door").url().await?;
//! // What is stored, as a list that does not change.
//! let stored = kvs
//!     .hls("front-door")
//!     .on_demand(start..=end)
//!     .by(Clock::Producer)
//!     .container(Container::FragmentedMp4)
//!     .expires(Duration::from_secs(3600))
//!     .url()
//!     .await?;
//! // What is stored, as if it were produced now, and then what is.
//! let again = kvs.dash("front-door").live_replay(start..).by(Clock::Producer).display_numbers(true).url().await?;
//! println!("{} is good until {}", live.as_str(), live.expires());
//! # let _ = (stored, again);
//! # Ok::<(), kinesis_video::Error>(()) }).unwrap();
//! ```
//!
//! # Modes
//!
//! | mode | plays | range |
//! |---|---|---|
//! | [`LiveMode`], unless told otherwise | the newest fragments, gaps or not; one that comes late is not added any more | none |
//! | [`LiveReplayMode`] | from the start on, each fragment when the one before it has been played | `start..` or `start..=end` |
//! | [`OnDemandMode`] | all at once, the oldest first, in a list that does not change | `start..=end` |
//!
//! What makes no sense does not compile: a range of what is live, stored media without a range, a
//! [container](HlsSession::container) or [discontinuities](HlsSession::discontinuities) in DASH, fragment
//! [numbers](DashSession::display_numbers) in HLS. What else can be told without asking the service is
//! refused before anything is sent, with [`ErrorKind::InvalidArgument`](crate::ErrorKind::InvalidArgument).
//! Left to the service is what depends on its clock: by [`Clock::Server`] a range must end in the past, and
//! begin behind the oldest that is still kept.
//!
//! # What is in a range
//!
//! Fragments that *begin* within it, both ends included: one that began before is left out, and the last may
//! go on behind the end. By [`Clock::Producer`], of fragments that begin at the same time only the one with
//! the largest number, the newest, is played; those that begin at different times and overlap are all played.
//! Of stored media the fragment that was *ingested* first is where playback begins, and then come those of
//! the range that were ingested right behind it: where the same time was uploaded at very different times,
//! only what was uploaded first is played. Live, this clock is used for that and for the times in the media;
//! which fragments are the newest is still told by the service's.
//!
//! # What can be played
//!
//! The service repacks, it does not convert. Frames have to have a length in front, not start codes, and
//! every track of every fragment its codec private data. The first fragment says what there is.
//!
//! | | track 1 | track 2, if there is one | codec private data may change |
//! |---|---|---|---|
//! | HLS in MP4 | H.264, H.265, or AAC alone | AAC | 500 times |
//! | HLS in MPEG-TS | H.264, or AAC alone | AAC | 500 times |
//! | DASH | H.264, H.265, or AAC alone | AAC; with H.264, G.711 too | no |
//!
//! What cannot be is told by the service, when the session begins or while it is played:
//! [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported).
//!
//! # Limits of the service
//!
//! 25 sessions a second for a stream, which all clones of a [`KinesisVideo`] keep to together. Within a
//! session, five calls a second for playlists, 20 for media: a URL is for one player. A live session is over
//! when no fragment has come for 30 seconds, whenever it expires; then a new one is to be asked for.
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
use crate::service::client::Client;
use crate::service::stream_id::StreamId;

pub use url::PlaybackUrl;

use request::{Mode, Protocol, Request};

/// Of a [`Session`]: HTTP Live Streaming.
#[derive(Clone, Copy, Debug)]
pub enum Hls {}

/// Of a [`Session`]: Dynamic Adaptive Streaming over HTTP.
#[derive(Clone, Copy, Debug)]
pub enum Dash {}

/// Of a [`Session`]: what is produced now. The service's `LIVE`.
#[derive(Clone, Copy, Debug)]
pub enum LiveMode {}

/// Of a [`Session`]: what is stored, as if it were produced now. The service's `LIVE_REPLAY`.
#[derive(Clone, Copy, Debug)]
pub enum LiveReplayMode {}

/// Of a [`Session`]: what is stored, all at once. The service's `ON_DEMAND`.
#[derive(Clone, Copy, Debug)]
pub enum OnDemandMode {}

/// What HLS gives media in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Container {
    /// MP4 in fragments.
    #[default]
    FragmentedMp4,
    /// MPEG transport stream, which takes 5 to 25 % more.
    MpegTs,
}

/// Between which fragments an HLS playlist says that one does not continue the other, so that players begin
/// anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Discontinuities {
    /// All of them.
    Always,
    /// None of them.
    Never,
    /// Those with a gap or an overlap of more than 50 milliseconds between them.
    OnDiscontinuity,
}

/// What to replay: `start..`, which goes on with what is ingested meanwhile, or `start..=end`.
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

/// What is to be played, and how: [`HlsSession`] or [`DashSession`], in one of three [modes](self#modes).
/// Nothing is sent before [`url`](Session::url).
#[derive(Clone, Debug)]
#[must_use = "nothing is asked for before url() is awaited"]
pub struct Session<P, M> {
    request: Request,
    types: PhantomData<(P, M)>,
}

/// A session of HLS, from [`KinesisVideo::hls`].
///
/// ```compile_fail
/// # async fn f(kvs: kinesis_video::KinesisVideo) {
/// kvs.hls("front-door").display_numbers(true).url().await; // DASH has those
/// # }
/// ```
pub type HlsSession<M = LiveMode> = Session<Hls, M>;

/// A session of MPEG-DASH, from [`KinesisVideo::dash`].
///
/// ```compile_fail
/// # async fn f(kvs: kinesis_video::KinesisVideo, start: kinesis_video::Timestamp) {
/// kvs.dash("front-door").on_demand(start..).url().await; // what is stored has an end
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
    /// Plays what is stored as if it were produced now: `start..=end`, or `start..`, which goes on with
    /// what is ingested meanwhile. An end is behind the start, by 24 hours at most.
    pub fn live_replay(self, range: impl Into<ReplayRange>) -> Session<P, LiveReplayMode> {
        Request { mode: Mode::LiveReplay(range.into()), ..self.request }.into()
    }

    /// Plays what is stored, as many fragments as [were asked for](Session::max_fragments). The end is behind
    /// the start, by 24 hours at most.
    pub fn on_demand(self, range: RangeInclusive<Timestamp>) -> Session<P, OnDemandMode> {
        Request { mode: Mode::OnDemand(range.into()), ..self.request }.into()
    }
}

impl<P, M> Session<P, M> {
    /// The clock by which the range is meant, and which the media tell: [`Clock::Server`] unless set.
    pub fn by(mut self, clock: Clock) -> Self {
        self.request.clock = Some(clock);
        self
    }

    /// How long the URL is good for: five minutes unless set; whole seconds, from five minutes to twelve hours.
    pub fn expires(mut self, after: Duration) -> Self {
        self.request.expires = Some(after);
        self
    }

    /// How many fragments a playlist or manifest has at most, from 1 to 5000: unless set, 5, and 1000 on
    /// demand. What is live is best played with 3 to 10: more are more behind, fewer may stall.
    pub fn max_fragments(mut self, fragments: u32) -> Self {
        self.request.max_fragments = Some(fragments);
        self
    }

    /// Whether the playlist says when each fragment began, on the [clock](Session::by) that was chosen: false
    /// unless set. In HLS as `EXT-X-PROGRAM-DATE-TIME`, in DASH as `kvs:ts` of each `S`. The timeline of a
    /// DASH manifest itself has its gaps taken out: only this tells what time it was.
    pub fn display_timestamps(mut self, display: bool) -> Self {
        self.request.display_timestamps = Some(display);
        self
    }

    /// How often to ask, if what goes wrong may go away by itself: eight times unless set. Pauses between
    /// grow, at random, to five seconds, to ten when throttled.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.request.attempts = attempts;
        self
    }

    /// How long an answer may take: 30 seconds unless set.
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.request.timeout = timeout;
        self
    }

    /// Begins the session.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for what cannot be, before anything is sent, and
    /// for what the service refuses. [`NotFound`](crate::ErrorKind::NotFound) if there is no such stream, or no
    /// fragment in the range, or, live, none of the last 30 seconds.
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for [media that cannot be played](self#what-can-be-played),
    /// [`Retention`](crate::ErrorKind::Retention) for a stream that keeps nothing,
    /// [`WrongEndpoint`](crate::ErrorKind::WrongEndpoint) for an answer without a URL.
    ///
    /// # Cancel safety
    /// Dropping the future drops the call. The service may have begun a session that nobody uses, until it
    /// expires.
    pub async fn url(self) -> Result<PlaybackUrl> {
        PlaybackUrl::ask(self.request).await
    }
}

impl<M> HlsSession<M> {
    /// What media are given in: [`Container::FragmentedMp4`] unless set.
    pub fn container(mut self, container: Container) -> Self {
        self.request.container = Some(container);
        self
    }

    /// Which fragments do not continue the one before: unless set, [all](Discontinuities::Always) by the
    /// server's clock, [none](Discontinuities::Never) by the producer's.
    pub fn discontinuities(mut self, discontinuities: Discontinuities) -> Self {
        self.request.discontinuities = Some(discontinuities);
        self
    }
}

impl<M> DashSession<M> {
    /// Whether the manifest says the number of each fragment, as `kvs:fn` of each `S`: false unless set.
    pub fn display_numbers(mut self, display: bool) -> Self {
        self.request.display_numbers = Some(display);
        self
    }
}
