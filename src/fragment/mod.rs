//! Fragments, and their parts: tracks, tags, blocks and timestamps.
//!
//! A fragment is the unit that Kinesis Video Streams stores and sends: one MKV document with one Cluster.
//! [`demux`](crate::demux) reads fragments from bytes.

mod block;
mod clock;
mod continuity;
mod detect_gaps;
mod discontinuity;
mod duration;
mod fault;
mod number;
mod position;
mod service_tags;
mod share;
mod skipped;
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
pub use clock::Clock;
pub use detect_gaps::DetectGaps;
pub use discontinuity::Discontinuity;
pub use fault::Fault;
pub use number::FragmentNumber;
pub use position::Position;
pub use share::{Share, Subscriber};
pub use skipped::{SkipReason, Skipped};
pub use tags::{Tag, TagValue, Tags, TagsIter};
pub use timestamp::Timestamp;
pub use track::{Track, TrackKind};
pub use until::{Bound, StreamEnd, Until};

pub(crate) use block::BlockEntry;
#[cfg(feature = "aws")]
pub(crate) use continuity::Continuity;
#[cfg(any(feature = "aws", feature = "local"))]
pub(crate) use duration::Extent;
pub(crate) use service_tags::ServiceTags;
pub(crate) use tags::TagCollector;

/// The end of a fragment: complete, unknown or cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FragmentEnd {
    /// The fragment is incomplete, and has only the blocks that arrived completely.
    ///
    /// The body ended or failed inside an element, could not be read, or the service reported an error.
    Cut,
    /// The body ended between two elements.
    ///
    /// If the sizes of Segment and Cluster are unknown, more data may have been missing.
    EndOfBody,
    /// The next document started, or another fragment of the same document.
    NextDocument,
    /// The service's closing tags arrived.
    ///
    /// Only this proves that a fragment of GetMedia is complete.
    Trailer,
}

impl FragmentEnd {
    /// Returns a short name: `trailer`, `next`, `eof` or `cut`.
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

/// The metadata of a fragment that precedes its media.
///
/// The header is complete as soon as the Cluster starts. [`FragmentFooter`] has the metadata after the media.
#[derive(Clone, Debug)]
pub struct FragmentHeader {
    number: Option<FragmentNumber>,
    server_time: Option<Timestamp>,
    producer_time: Option<Timestamp>,
    tracks: Arc<[Track]>,
    tags: Tags,
    /// The time of the first Cluster, in ticks.
    timecode: i64,
    /// Nanoseconds per tick.
    timestamp_scale: u64,
}

impl FragmentHeader {
    /// Creates a header from the tags and tracks before the media.
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

    /// Returns the fragment number, which the service assigned.
    ///
    /// Returns `None` for a file that did not come from the service.
    pub fn number(&self) -> Option<&FragmentNumber> {
        self.number.as_ref()
    }

    /// Returns the time at which the service began to receive the fragment.
    ///
    /// The time is measured on the service's clock, with a resolution of 1 ms.
    pub fn server_time(&self) -> Option<Timestamp> {
        self.server_time
    }

    /// Returns the time at which the fragment began, on the producer's clock.
    ///
    /// The resolution is 1 ms. Returns `None` if the service sent no such time.
    pub fn producer_time(&self) -> Option<Timestamp> {
        self.producer_time
    }

    /// Returns the tracks.
    ///
    /// Consecutive fragments with identical track declarations share one allocation.
    pub fn tracks(&self) -> &Arc<[Track]> {
        &self.tracks
    }

    /// Returns the first track with this number, or `None` if there is none.
    pub fn track(&self, number: u64) -> Option<&Track> {
        self.tracks.iter().find(|track| track.number() == number)
    }

    /// Returns the producer's tags that precede the media.
    ///
    /// Tags of most producers follow the media: see [`Fragment::tags`] and [`FragmentFooter::tags`].
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Returns the time of the first Cluster on the producer session's timeline, in nanoseconds.
    ///
    /// Returns 0 if the Cluster has no time.
    pub fn timecode_ns(&self) -> i64 {
        self.ticks_to_ns(self.timecode)
    }

    /// Creates a header with only a number and a server time.
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

    /// Returns the nanoseconds per tick.
    #[cfg(feature = "aws")]
    pub(crate) fn timestamp_scale(&self) -> u64 {
        self.timestamp_scale
    }

    pub(crate) fn ticks_to_ns(&self, ticks: i64) -> i64 {
        let ns = i128::from(ticks) * i128::from(self.timestamp_scale);
        i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
    }

    /// Converts a time on the timeline, in ticks, to the producer's clock.
    pub(crate) fn producer_time_at(&self, ticks: i64) -> Option<Timestamp> {
        let relative = self.ticks_to_ns(ticks.saturating_sub(self.timecode));
        self.producer_time.map(|start| start.plus_nanos(relative))
    }
}

/// The metadata of a fragment that follows its media, and how the fragment ended.
///
/// Streams of packets yield a footer after the last packet of each fragment.
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

    /// Creates the footer of a fragment whose rest will not arrive.
    #[cfg(feature = "aws")]
    pub(crate) fn cut(header: Arc<FragmentHeader>) -> Self {
        let tags = Tags::default();
        Self { header, tags, end: FragmentEnd::Cut, offset: 0, behind_millis: None, continuation_token: None }
    }

    /// Returns the metadata that precedes the media.
    pub fn fragment(&self) -> &Arc<FragmentHeader> {
        &self.header
    }

    /// Returns how the fragment ended.
    pub fn end_reason(&self) -> FragmentEnd {
        self.end
    }

    /// Returns the offset in the body of the first byte after the fragment.
    ///
    /// Returns 0 if a live stream lost the connection, and the rest of the fragment did not arrive.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the producer's tags that follow the media.
    pub fn tags(&self) -> &Tags {
        &self.tags
    }

    /// Returns how far the fragment lagged behind the newest one when it was sent.
    ///
    /// This is the closing tag MILLIS_BEHIND_NOW, which only GetMedia sends. Returns `None` without the tag.
    pub fn behind_now(&self) -> Option<Duration> {
        self.behind_millis.map(Duration::from_millis)
    }

    /// Returns the token with which GetMedia resumes after the fragment.
    ///
    /// It is the service's tag CONTINUATION_TOKEN after the media. Returns `None` if the fragment lacks the tag.
    pub fn continuation_token(&self) -> Option<&str> {
        self.continuation_token.as_deref()
    }
}

/// The arrival times of a fragment's first and last byte, on this machine's monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The time at which the read with the first byte returned.
    pub first_byte: Instant,
    /// The time at which the read with the last byte returned.
    pub last_byte: Instant,
}

/// A fragment: one Cluster of media from the producer, with the metadata of the service.
///
/// A fragment of a file without tags of the service can have several Clusters.
///
/// A fragment owns one buffer with its bytes exactly as they were received ([`raw`](Fragment::raw)), and an
/// index of the blocks in the buffer. A fragment is cheap to clone, `Send` and `'static`, so other tasks can
/// receive it. Packets and payloads are slices of the buffer and keep it alive.
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

/// The change that turns the bytes of a fragment into an MKV file.
#[derive(Clone, Debug)]
pub(crate) enum Mkv {
    /// No change: the bytes are an MKV file.
    Whole,
    /// Prepend this document header, which was sent with an earlier fragment.
    After(Bytes),
    /// Set the size of the Segment to unknown.
    ///
    /// The declared size covers later fragments too. `at` is the offset of the size field, and `width` is its
    /// length in bytes.
    Resized { at: u32, width: u8 },
}

impl Fragment {
    /// Creates a fragment without arrival times and discontinuities.
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

    /// Returns the fragment with another producer time, for sending it to another stream.
    ///
    /// The times of blocks and packets move with it. [`raw`](Self::raw) and the service's tags in it are unchanged. The
    /// bytes are shared, not copied.
    ///
    /// ```
    /// use kinesis_video::{Fragment, Timestamp};
    ///
    /// fn postpone(fragment: Fragment) -> Fragment {
    ///     let millis = fragment.producer_time().map_or(0, Timestamp::as_millis);
    ///     fragment.with_producer_time(Timestamp::from_millis(millis + 60_000))
    /// }
    /// ```
    #[must_use]
    pub fn with_producer_time(mut self, time: Timestamp) -> Self {
        let header = &mut Arc::make_mut(&mut self.inner).header;
        Arc::make_mut(header).producer_time = Some(time);
        self
    }

    /// Marks the fragment as incomplete.
    #[cfg(feature = "aws")]
    pub(crate) fn into_cut(mut self) -> Self {
        Arc::make_mut(&mut self.inner).end = FragmentEnd::Cut;
        self
    }

    /// Returns the metadata that precedes the media.
    pub fn header(&self) -> &Arc<FragmentHeader> {
        &self.inner.header
    }

    /// Returns the fragment number, which the service assigned.
    ///
    /// Returns `None` for a file that did not come from the service.
    pub fn number(&self) -> Option<&FragmentNumber> {
        self.inner.header.number()
    }

    /// Returns the time at which the service began to receive the fragment.
    ///
    /// The time is measured on the service's clock, with a resolution of 1 ms. Returns `None` for a file that did
    /// not come from the service.
    pub fn server_time(&self) -> Option<Timestamp> {
        self.inner.header.server_time()
    }

    /// Returns the time at which the fragment began, on the producer's clock.
    ///
    /// The resolution is 1 ms. The time is near 1970 if the producer counts from its own start. Returns `None` if
    /// the service sent no such time.
    pub fn producer_time(&self) -> Option<Timestamp> {
        self.inner.header.producer_time()
    }

    /// Returns how far the fragment lagged behind the newest one when it was sent.
    ///
    /// This is the closing tag MILLIS_BEHIND_NOW, which only GetMedia sends. Returns `None` without the tag.
    pub fn behind_now(&self) -> Option<Duration> {
        self.inner.behind_millis.map(Duration::from_millis)
    }

    /// Returns the token with which GetMedia resumes after the fragment.
    ///
    /// It is the service's tag CONTINUATION_TOKEN after the media. Returns `None` if the fragment lacks the tag.
    pub fn continuation_token(&self) -> Option<&str> {
        self.inner.continuation_token.as_deref()
    }

    /// Returns the producer's tags, before and after the media.
    pub fn tags(&self) -> &Tags {
        &self.inner.tags
    }

    /// Returns the tracks.
    ///
    /// Consecutive fragments with identical track declarations share one allocation.
    pub fn tracks(&self) -> &Arc<[Track]> {
        self.inner.header.tracks()
    }

    /// Returns the first track with this number, or `None` if there is none.
    pub fn track(&self, number: u64) -> Option<&Track> {
        self.inner.header.track(number)
    }

    /// Returns the blocks in file order.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = Block<'_>> {
        self.inner.blocks.iter().map(|entry| Block { fragment: self, entry })
    }

    /// Returns the EBML elements of the fragment, which are parsed lazily.
    ///
    /// [`Element::offset`](crate::ebml::Element::offset) counts from the start of the body. The last element of a
    /// cut fragment has the payload that arrived. Most fragments start with the elements `EBML` and `Segment`.
    /// A later fragment of the same document starts with the children of `Segment`.
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

    /// Returns the bytes exactly as they were received.
    pub fn raw(&self) -> &Bytes {
        &self.inner.raw
    }

    /// Returns the fragment as a complete MKV file.
    ///
    /// This is [`raw`](Fragment::raw) without a copy, unless the fragment's document held several
    /// fragments. Then the bytes are copied, and the document header is added or adapted. The file of a
    /// [cut](FragmentEnd::Cut) fragment ends where the received bytes end.
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

    /// Returns how the fragment ended.
    pub fn end_reason(&self) -> FragmentEnd {
        self.inner.end
    }

    /// Returns the offset in the body of the fragment's first byte, from 0.
    ///
    /// Every body counts from 0, also the bodies that a live stream or the archive reads one after another.
    pub fn offset(&self) -> u64 {
        self.inner.offset
    }

    /// Returns the arrival times of the first and last byte.
    ///
    /// Returns `None` if the fragment was decoded without a stream, for example with
    /// [`FragmentDecoder`](crate::FragmentDecoder).
    pub fn arrival(&self) -> Option<Arrival> {
        self.inner.arrival
    }

    /// Returns the events between the previous fragment and this one.
    pub fn discontinuities(&self) -> &[Discontinuity] {
        &self.inner.discontinuities
    }

    /// Returns a copy with its own buffer.
    ///
    /// A fragment is a slice of its receive buffer, and keeps all of it alive. The copy does not.
    #[must_use]
    pub fn detach(&self) -> Self {
        let raw = Bytes::copy_from_slice(&self.inner.raw);
        Self { inner: Arc::new(Inner { raw, ..(*self.inner).clone() }) }
    }

    pub(crate) fn set_arrival(&mut self, arrival: Arrival) {
        Arc::make_mut(&mut self.inner).arrival = Some(arrival);
    }

    /// Inserts events before the fragment's own ones, and empties `before`.
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
