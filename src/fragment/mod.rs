//! Fragments and what they consist of.
//!
//! [`demux`](crate::demux) reads them from bytes.

mod block;
mod discontinuity;
mod duration;
mod fault;
mod number;
mod position;
mod service_tags;
mod share;
mod tags;
mod timestamp;
mod track;
mod until;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use crate::ebml::Elements;

pub use block::Block;
pub use discontinuity::Discontinuity;
pub use fault::{Fault, SkipReason, Skipped};
pub use number::FragmentNumber;
pub use position::Position;
pub use share::{Share, Subscriber};
pub use tags::{Tag, TagValue, Tags, TagsIter};
pub use timestamp::Timestamp;
pub use track::{Track, TrackKind};
pub use until::{Bound, StreamEnd, Until};

pub(crate) use block::BlockEntry;
#[cfg(any(feature = "aws", feature = "local"))]
pub(crate) use duration::Extent;
pub(crate) use service_tags::ServiceTags;
pub(crate) use tags::TagCollector;

/// How a fragment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FragmentEnd {
    /// Inside an element: the body ended, failed or became unreadable, or the service reported an
    /// error, before all that was announced had come. The fragment has the blocks that are whole.
    Cut,
    /// With the body, between elements. Where sizes are unknown, whether more was to come cannot be
    /// told.
    EndOfBody,
    /// Where the next document begins.
    NextDocument,
    /// With the service's closing tags. The only proof that a fragment of GetMedia is whole.
    Trailer,
}

impl FragmentEnd {
    /// `trailer`, `next`, `eof` or `cut`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::EndOfBody => "eof",
            Self::NextDocument => "next",
            Self::Trailer => "trailer",
        }
    }
}

impl fmt::Display for FragmentEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a fragment says of itself before its media: known as soon as its Cluster begins.
#[derive(Clone, Debug)]
pub struct FragmentHeader {
    number: Option<FragmentNumber>,
    server_time: Option<Timestamp>,
    producer_time: Option<Timestamp>,
    tracks: Arc<[Track]>,
    tags: Tags,
    /// Of its first Cluster, in ticks.
    timecode: i64,
    /// Nanoseconds a tick.
    timestamp_scale: u64,
}

impl FragmentHeader {
    /// Makes a header of what the service and the document say before the media.
    pub(crate) fn new(
        service: &ServiceTags,
        tracks: Arc<[Track]>,
        tags: Tags,
        timecode: i64,
        timestamp_scale: u64,
    ) -> Self {
        let ServiceTags { number, server_time, producer_time, .. } = service;
        let (number, server_time, producer_time) = (number.clone(), *server_time, *producer_time);
        Self { number, server_time, producer_time, tracks, tags, timecode, timestamp_scale }
    }

    /// The number that the service gave the fragment.
    pub fn number(&self) -> Option<&FragmentNumber> {
        self.number.as_ref()
    }

    /// When the service began to receive it, on the service's clock.
    pub fn server_time(&self) -> Option<Timestamp> {
        self.server_time
    }

    /// When it began, on the producer's clock.
    pub fn producer_time(&self) -> Option<Timestamp> {
        self.producer_time
    }

    /// The tracks. Two fragments whose tracks were declared in the same bytes share them.
    pub fn tracks(&self) -> &Arc<[Track]> {
        &self.tracks
    }

    /// The track with this number.
    pub fn track(&self, number: u64) -> Option<&Track> {
        self.tracks.iter().find(|track| track.number() == number)
    }

    /// The producer's tags that stand before the media. Most producers' stand behind: see
    /// [`Fragment::tags`].
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// The time of the Cluster in nanoseconds, on the timeline of the producer session.
    pub fn timecode_ns(&self) -> i64 {
        self.ticks_to_ns(self.timecode)
    }

    /// One that says only this.
    #[cfg(all(test, feature = "aws"))]
    pub(crate) fn for_test(number: &str, server_millis: i64) -> Self {
        Self {
            number: number.parse().ok(),
            server_time: Some(Timestamp::from_millis(server_millis)),
            producer_time: None,
            tracks: Arc::default(),
            tags: Tags::default(),
            timecode: 0,
            timestamp_scale: 1_000_000,
        }
    }

    pub(crate) fn ticks_to_ns(&self, ticks: i64) -> i64 {
        let ns = i128::from(ticks) * i128::from(self.timestamp_scale);
        i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
    }

    /// The producer's time of something at `ticks` on the timeline.
    pub(crate) fn producer_time_at(&self, ticks: i64) -> Option<Timestamp> {
        let relative = self.ticks_to_ns(ticks.saturating_sub(self.timecode));
        self.producer_time.map(|start| start.plus_nanos(relative))
    }
}

/// What a fragment says of itself behind its media, for those who take its packets one by one.
#[derive(Clone, Debug)]
pub struct FragmentFooter {
    header: Arc<FragmentHeader>,
    tags: Tags,
    end: FragmentEnd,
    offset: u64,
    behind_millis: Option<u64>,
    continuation_token: Option<Arc<str>>,
}

impl FragmentFooter {
    pub(crate) fn new(
        header: Arc<FragmentHeader>,
        tags: Tags,
        end: FragmentEnd,
        offset: u64,
        service: ServiceTags,
    ) -> Self {
        let ServiceTags { behind_millis, continuation_token, .. } = service;
        Self { header, tags, end, offset, behind_millis, continuation_token }
    }

    /// Of a fragment of which nothing more comes.
    #[cfg(feature = "aws")]
    pub(crate) fn cut(header: Arc<FragmentHeader>) -> Self {
        let tags = Tags::default();
        Self { header, tags, end: FragmentEnd::Cut, offset: 0, behind_millis: None, continuation_token: None }
    }

    /// What it said of itself before its media.
    pub fn fragment(&self) -> &Arc<FragmentHeader> {
        &self.header
    }

    /// How it ended.
    pub fn end_reason(&self) -> FragmentEnd {
        self.end
    }

    /// Where it ended in the body: the offset of what follows.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The producer's tags that stand behind the media.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// How far the fragment was behind the newest of the stream when it was sent; GetMedia only.
    pub fn behind_now(&self) -> Option<Duration> {
        self.behind_millis.map(Duration::from_millis)
    }

    /// The token with which GetMedia goes on behind it.
    pub fn continuation_token(&self) -> Option<&str> {
        self.continuation_token.as_deref()
    }
}

/// When the first and the last byte of a fragment arrived, on this machine's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When the read returned that brought the first byte.
    pub first_byte: Instant,
    /// When the read returned that brought the last byte.
    pub last_byte: Instant,
}

/// A fragment: what the producer sent as one Cluster, with what the service says about it.
///
/// It owns one buffer with its bytes exactly as they were received ([`raw`](Fragment::raw)) and an
/// index of what is in it. Cheap to clone, `Send` and `'static`, so it can be handed to other
/// tasks. Packets and payloads are slices of the buffer and keep it alive.
///
/// ```
/// use futures::TryStreamExt;
/// use kinesis_video::FragmentStream;
///
/// # async fn f() -> Result<(), kinesis_video::Error> {
/// let file = tokio::fs::File::open("dump.mkv").await?;
/// let mut fragments = FragmentStream::new(file);
/// while let Some(fragment) = fragments.try_next().await? {
///     println!("{:?} at {:?}", fragment.number(), fragment.producer_time());
///     for packet in fragment.packets() {
///         println!("  track {} has {} bytes", packet.track_number(), packet.payload().len());
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Fragment {
    inner: Arc<Inner>,
}

#[derive(Clone)]
struct Inner {
    header: Arc<FragmentHeader>,
    raw: Bytes,
    blocks: Vec<BlockEntry>,
    tags: Tags,
    end: FragmentEnd,
    behind_millis: Option<u64>,
    continuation_token: Option<Arc<str>>,
    offset: u64,
    mkv: Mkv,
    arrival: Option<Arrival>,
    discontinuities: Vec<Discontinuity>,
}

/// The parts of a [`Fragment`].
pub(crate) struct FragmentParts {
    pub(crate) header: FragmentHeader,
    pub(crate) raw: Bytes,
    pub(crate) blocks: Vec<BlockEntry>,
    pub(crate) tags: Tags,
    pub(crate) end: FragmentEnd,
    pub(crate) service: ServiceTags,
    pub(crate) offset: u64,
    pub(crate) mkv: Mkv,
}

/// What makes the bytes of a fragment a file of its own.
#[derive(Clone, Debug)]
pub(crate) enum Mkv {
    /// Nothing: they are one.
    Whole,
    /// The header of its document, which went with an earlier fragment.
    After(Bytes),
    /// A Segment of unknown size, since the one declared covers later fragments too. Where the size
    /// field stands and how wide it is.
    Resized { at: u32, width: u8 },
}

impl Fragment {
    pub(crate) fn from_parts(parts: FragmentParts) -> Self {
        let FragmentParts { header, raw, blocks, tags, end, service, offset, mkv } = parts;
        let ServiceTags { behind_millis, continuation_token, .. } = service;
        Self {
            inner: Arc::new(Inner {
                header: Arc::new(header),
                raw,
                blocks,
                tags,
                end,
                behind_millis,
                continuation_token,
                offset,
                mkv,
                arrival: None,
                discontinuities: Vec::new(),
            }),
        }
    }

    /// The same, known not to be whole.
    #[cfg(feature = "aws")]
    pub(crate) fn into_cut(mut self) -> Self {
        Arc::make_mut(&mut self.inner).end = FragmentEnd::Cut;
        self
    }

    /// What it says of itself before its media.
    pub fn header(&self) -> &Arc<FragmentHeader> {
        &self.inner.header
    }

    /// The number that the service gave it. `None` in a file that did not come from the service.
    pub fn number(&self) -> Option<&FragmentNumber> {
        self.inner.header.number()
    }

    /// When the service began to receive it, on the service's clock, to the millisecond.
    pub fn server_time(&self) -> Option<Timestamp> {
        self.inner.header.server_time()
    }

    /// When it began, on the producer's clock, to the millisecond. Near 1970 if the producer counts
    /// from its own start.
    pub fn producer_time(&self) -> Option<Timestamp> {
        self.inner.header.producer_time()
    }

    /// How far it was behind the newest of the stream when it was sent; GetMedia only.
    pub fn behind_now(&self) -> Option<Duration> {
        self.inner.behind_millis.map(Duration::from_millis)
    }

    /// The token with which GetMedia goes on behind it.
    pub fn continuation_token(&self) -> Option<&str> {
        self.inner.continuation_token.as_deref()
    }

    /// The producer's tags, those before and those after the media.
    pub fn tags(&self) -> &Tags {
        &self.inner.tags
    }

    /// The tracks. Two fragments whose tracks were declared in the same bytes share them.
    pub fn tracks(&self) -> &Arc<[Track]> {
        self.inner.header.tracks()
    }

    /// The track with this number.
    pub fn track(&self, number: u64) -> Option<&Track> {
        self.inner.header.track(number)
    }

    /// Its blocks, in the order they stand.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = Block<'_>> {
        self.inner.blocks.iter().map(|entry| Block { fragment: self, entry })
    }

    /// The tree of its elements, read as far as it is asked for. Offsets count from the start of
    /// the body.
    ///
    /// ```
    /// # use kinesis_video::{Fragment, Result};
    /// # fn f(fragment: &Fragment) -> Result<()> {
    /// for name in fragment.elements().find("Segment/Tracks/TrackEntry/Name") {
    ///     println!("{}", name?.value());
    /// }
    /// println!("{}", fragment.elements()); // the whole tree
    /// # Ok(())
    /// # }
    /// ```
    pub fn elements(&self) -> Elements<'_> {
        Elements::at(&self.inner.raw, self.inner.offset).lenient()
    }

    /// Its bytes, exactly as they were received.
    pub fn raw(&self) -> &Bytes {
        &self.inner.raw
    }

    /// It as an MKV file of its own. That is [`raw`](Fragment::raw) without a copy, unless the
    /// fragment came out of a document that held several: then it is copied behind, or with, a
    /// header that fits.
    pub fn to_mkv(&self) -> Bytes {
        let Inner { raw, mkv, .. } = &*self.inner;
        match mkv {
            Mkv::Whole => raw.clone(),
            Mkv::After(header) => {
                let mut file = BytesMut::with_capacity(header.len() + raw.len());
                file.extend_from_slice(header);
                file.extend_from_slice(raw);
                file.freeze()
            }
            Mkv::Resized { at, width } => {
                let mut unknown = Vec::with_capacity(8);
                crate::ebml::vint::write_unknown(&mut unknown, *width);
                let mut file = BytesMut::from(&raw[..]);
                if let Some(field) = file.get_mut(*at as usize..*at as usize + unknown.len()) {
                    field.copy_from_slice(&unknown);
                }
                file.freeze()
            }
        }
    }

    /// How it ended.
    pub fn end_reason(&self) -> FragmentEnd {
        self.inner.end
    }

    /// Where it begins in the body.
    pub fn offset(&self) -> u64 {
        self.inner.offset
    }

    /// When its bytes arrived. `None` if no [`FragmentStream`](crate::FragmentStream) read it.
    pub fn arrival(&self) -> Option<Arrival> {
        self.inner.arrival
    }

    /// What happened between the fragment before it and this one.
    pub fn discontinuities(&self) -> &[Discontinuity] {
        &self.inner.discontinuities
    }

    /// A copy that shares no buffer with anything else. A slice keeps all of the buffer that a
    /// fragment was received into; this lets it go.
    #[must_use]
    pub fn detach(&self) -> Self {
        let raw = Bytes::copy_from_slice(&self.inner.raw);
        Self { inner: Arc::new(Inner { raw, ..(*self.inner).clone() }) }
    }

    pub(crate) fn set_arrival(&mut self, arrival: Arrival) {
        Arc::make_mut(&mut self.inner).arrival = Some(arrival);
    }

    /// Puts what happened before it in front of what it knows itself.
    pub(crate) fn add_discontinuities(&mut self, before: &mut Vec<Discontinuity>) {
        if !before.is_empty() {
            let inner = Arc::make_mut(&mut self.inner);
            before.append(&mut inner.discontinuities);
            inner.discontinuities = std::mem::take(before);
        }
    }

    pub(crate) fn entries(&self) -> &[BlockEntry] {
        &self.inner.blocks
    }
}

impl fmt::Debug for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fragment")
            .field("number", &self.number())
            .field("producer_time", &self.producer_time().map(|time| time.to_string()))
            .field("offset", &self.offset())
            .field("bytes", &self.raw().len())
            .field("blocks", &self.inner.blocks.len())
            .field("end", &self.end_reason())
            .finish_non_exhaustive()
    }
}
