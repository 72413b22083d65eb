//! Builds documents as the service sends them.
//!
//! A document is one MKV file with one fragment: an EBML header and a Segment with one Cluster.

use bytes::Bytes;

use crate::ebml::writer::{Width, Writer};
use crate::ebml::{ElementId, id};
use crate::fragment::{FragmentNumber, Timestamp};

/// The producer whose encoding a [`Document`] imitates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Shape {
    /// FFmpeg's muxer.
    ///
    /// The EBML header and the Cluster have size fields of 8 bytes; other size fields are minimal. The
    /// Cluster's size is known. DocTypeVersion is 4.
    Ffmpeg,
    /// The AWS producer SDK, which Amazon Connect uses too.
    ///
    /// The Cluster's size is unknown, and strings are padded with NUL. Each of the producer's tags has a
    /// Tags element of its own, after the Cluster. DocTypeVersion is 2.
    Producer,
}

/// The number and times that the service adds to a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The fragment's number.
    pub number: FragmentNumber,
    /// The time at which the service began to receive the fragment.
    pub server_time: Timestamp,
    /// The fragment's start on the producer's clock.
    pub producer_time: Timestamp,
}

/// A fragment as a producer makes it: a builder of MKV documents.
///
/// A document is one MKV file with one fragment. Push it into a
/// [`LocalStream`](crate::local::LocalStream), or write it to a buffer with
/// [`to_bytes`](Document::to_bytes).
///
/// ```
/// use futures::TryStreamExt;
/// use kinesis_video::local::{fragment_number, Document, Shape, Stamp};
/// use kinesis_video::{FragmentEnd, FragmentStream, Timestamp};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let document = Document::new(Shape::Producer)
///     .video_track(1)
///     .cluster_time(1_000)
///     .block(1, 0, true, b"a key frame")
///     .block(1, 40, false, b"another")
///     .tag("place", "front door");
/// let time = Timestamp::from_millis(1_511_852_109_126);
/// let stamp = Stamp { number: fragment_number(1, 1_511_852_109_126), server_time: time, producer_time: time };
/// let body = document.to_bytes(&stamp, 0);
///
/// let fragment = FragmentStream::new(&body[..]).try_next().await?.unwrap();
/// assert_eq!(fragment.end_reason(), FragmentEnd::Trailer);
/// assert_eq!(fragment.number(), Some(&stamp.number));
/// assert_eq!(fragment.tags().get("place").as_deref(), Some("front door"));
/// assert_eq!(fragment.packets().last().unwrap().timecode_ns(), 1_040_000_000);
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Document {
    shape: Shape,
    tracks: Writer,
    codec_private: Vec<u8>,
    title: String,
    app: String,
    cluster_time: u64,
    blocks: Writer,
    tags: Vec<(String, Vec<u8>, bool)>,
}

impl Document {
    /// Creates a document without tracks and media.
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            tracks: Writer::new(),
            codec_private: Vec::new(),
            title: "kinesis-video\0".into(),
            app: "kinesis-video 1.0\0".into(),
            cluster_time: 0,
            blocks: Writer::new(),
            tags: Vec::new(),
        }
    }

    /// Sets the codec private data of the tracks added later. Default: none.
    #[must_use]
    pub fn codec_private(mut self, data: &[u8]) -> Self {
        self.codec_private = data.to_vec();
        self
    }

    /// Adds an H.264 track named `kinesis_video`, of 640 x 480 pixels.
    #[must_use]
    pub fn video_track(self, number: u64) -> Self {
        self.picture_track(number, "V_MPEG4/ISO/AVC", 640, 480)
    }

    /// Adds a video track named `kinesis_video`, with this codec and size in pixels.
    #[must_use]
    pub fn picture_track(self, number: u64, codec_id: &str, width: u64, height: u64) -> Self {
        self.track(number, 1, "kinesis_video", codec_id, |entry| {
            entry.master(id::VIDEO, Width::Octets(4), |video| {
                video.uint(id::PIXEL_WIDTH, width);
                video.uint(id::PIXEL_HEIGHT, height);
            });
        })
    }

    /// Adds an audio track with this name and codec id.
    ///
    /// The track has no sampling rate or channel count, like the tracks of Amazon Connect.
    #[must_use]
    pub fn audio_track(self, number: u64, name: &str, codec_id: &str) -> Self {
        self.track(number, 2, name, codec_id, |_| {})
    }

    fn track(mut self, number: u64, kind: u64, name: &str, codec_id: &str, settings: impl FnOnce(&mut Writer)) -> Self {
        let padding = if self.shape == Shape::Producer { 32 } else { 0 };
        let width = self.master_width();
        let codec_private = &self.codec_private;
        self.tracks.master(id::TRACK_ENTRY, width, |entry| {
            entry.uint(id::TRACK_NUMBER, number);
            entry.binary(id::TRACK_UID, &number.to_be_bytes());
            entry.uint(id::TRACK_TYPE, kind);
            entry.text(id::NAME, &format!("{name:\0<padding$}"));
            entry.text(id::CODEC_ID, &format!("{codec_id:\0<padding$}"));
            settings(entry);
            if !codec_private.is_empty() {
                entry.binary(id::CODEC_PRIVATE, codec_private);
            }
        });
        self
    }

    /// Sets the title, and one name (`app`) for both the muxing and the writing application.
    ///
    /// Both are written as given, without a NUL added. Default title: `kinesis-video\0`. Default app:
    /// `kinesis-video 1.0\0`.
    #[must_use]
    pub fn titled(mut self, title: &str, app: &str) -> Self {
        self.title = title.into();
        self.app = app.into();
        self
    }

    /// Sets the timecode of the Cluster, in milliseconds. Default: 0.
    #[must_use]
    pub fn cluster_time(mut self, millis: u64) -> Self {
        self.cluster_time = millis;
        self
    }

    /// Adds a SimpleBlock, at this many milliseconds relative to the Cluster's timecode.
    #[must_use]
    pub fn block(mut self, track: u64, relative_millis: i16, key: bool, payload: &[u8]) -> Self {
        let width = if self.shape == Shape::Producer { Width::Octets(8) } else { Width::Minimal };
        let block = simple_block(track, relative_millis, if key { 0x80 } else { 0 }, payload);
        self.blocks.element(id::SIMPLE_BLOCK, width, &block);
        self
    }

    /// Adds an encoded EBML element to the Cluster, after the blocks so far.
    ///
    /// The bytes are not checked.
    #[must_use]
    pub fn cluster_element(mut self, element: &[u8]) -> Self {
        self.blocks.raw(element);
        self
    }

    /// Adds a tag of the producer, after the media.
    #[must_use]
    pub fn tag(mut self, name: &str, value: &str) -> Self {
        self.tags.push((name.into(), value.into(), true));
        self
    }

    /// Adds a tag of the producer, before the media.
    #[must_use]
    pub fn leading_tag(mut self, name: &str, value: &str) -> Self {
        self.tags.push((name.into(), value.into(), false));
        self
    }

    /// Encodes the document as GetMedia sends it, with its closing tags.
    ///
    /// `millis_behind_now` is the value of the tag MILLIS_BEHIND_NOW, in milliseconds.
    pub fn to_bytes(&self, stamp: &Stamp, millis_behind_now: u64) -> Bytes {
        let mut out = Writer::new();
        out.raw(&self.before_trailer(stamp));
        trailer(&mut out, millis_behind_now, stamp.number.as_str());
        out.into_bytes().into()
    }

    /// Encodes the document as the archive sends it, without closing tags.
    pub fn to_bytes_without_trailer(&self, stamp: &Stamp) -> Bytes {
        self.before_trailer(stamp)
    }

    /// Encodes an error as GetMedia reports it inside a body.
    ///
    /// The document contains only tags: the message, the id, and the fragment's number if given.
    pub fn fault(id: u32, message: &str, number: Option<&FragmentNumber>) -> Bytes {
        let error_id = id.to_string();
        let mut tags = vec![("AWS_KINESISVIDEO_ERROR_CODE", message), ("AWS_KINESISVIDEO_ERROR_ID", &error_id)];
        tags.extend(number.map(|number| ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number.as_str())));
        Self::of_tags(&tags)
    }

    /// Encodes a document that contains only these tags, as names and values.
    pub fn of_tags(tags: &[(&str, &str)]) -> Bytes {
        let mut out = Writer::new();
        ebml_header(&mut out, Shape::Producer);
        out.unknown(id::SEGMENT, 8);
        service_tags(&mut out, tags);
        out.into_bytes().into()
    }

    pub(crate) fn before_trailer(&self, stamp: &Stamp) -> Bytes {
        let mut out = Writer::new();
        ebml_header(&mut out, self.shape);
        out.unknown(id::SEGMENT, 8);
        self.user_tags(&mut out, false);
        out.master(id::INFO, Width::Minimal, |info| {
            info.binary(id::SEGMENT_UUID, &[7; 16]);
            info.binary(id::TIMESTAMP_SCALE, &1_000_000u64.to_be_bytes());
            info.text(id::TITLE, &self.title);
            info.text(id::MUXING_APP, &self.app);
            info.text(id::WRITING_APP, &self.app);
        });
        out.element(id::TRACKS, self.master_width(), self.tracks.as_bytes());
        leading_tags(&mut out, stamp);
        let mut cluster = Writer::new();
        cluster.binary(id::TIMESTAMP, &self.cluster_time.to_be_bytes());
        cluster.binary(id::POSITION, &[0]);
        cluster.raw(self.blocks.as_bytes());
        match self.shape {
            Shape::Ffmpeg => out.element(id::CLUSTER, Width::Octets(8), cluster.as_bytes()),
            Shape::Producer => {
                out.unknown(id::CLUSTER, 1);
                out.raw(cluster.as_bytes());
            }
        }
        self.user_tags(&mut out, true);
        out.into_bytes().into()
    }

    fn user_tags(&self, out: &mut Writer, after_media: bool) {
        let width = if self.shape == Shape::Producer { Width::Octets(8) } else { Width::Minimal };
        for (name, value, _) in self.tags.iter().filter(|tag| tag.2 == after_media) {
            tags_element(out, width, &[(name.as_bytes(), value)]);
        }
    }

    fn master_width(&self) -> Width {
        if self.shape == Shape::Producer { Width::Octets(4) } else { Width::Minimal }
    }
}

/// Encodes the contents of a SimpleBlock.
fn simple_block(track: u64, relative_millis: i16, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut block = Vec::with_capacity(payload.len() + 12);
    let width = crate::ebml::vint::width(track).unwrap_or(8);
    crate::ebml::vint::write_number(&mut block, track, width);
    block.extend_from_slice(&relative_millis.to_be_bytes());
    block.push(flags);
    block.extend_from_slice(payload);
    block
}

fn ebml_header(out: &mut Writer, shape: Shape) {
    let (width, doc_type, version) = match shape {
        Shape::Ffmpeg => (Width::Octets(8), "matroska", 4),
        Shape::Producer => (Width::Minimal, "matroska\0", 2),
    };
    out.master(id::EBML, width, |ebml| {
        ebml.uint(id::EBML_VERSION, 1);
        ebml.uint(id::EBML_READ_VERSION, 1);
        ebml.uint(id::EBML_MAX_ID_LENGTH, 4);
        ebml.uint(id::EBML_MAX_SIZE_LENGTH, 8);
        ebml.text(id::DOC_TYPE, doc_type);
        ebml.uint(id::DOC_TYPE_VERSION, version);
        ebml.uint(id::DOC_TYPE_READ_VERSION, 2);
    });
}

/// Writes the tags that the service puts directly before the Cluster.
pub(crate) fn leading_tags(out: &mut Writer, stamp: &Stamp) {
    let seconds =
        |time: Timestamp| format!("{}.{:03}", time.as_millis().div_euclid(1000), time.as_millis().rem_euclid(1000));
    service_tags(
        out,
        &[
            ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", stamp.number.as_str()),
            ("AWS_KINESISVIDEO_SERVER_TIMESTAMP", &seconds(stamp.server_time)),
            ("AWS_KINESISVIDEO_PRODUCER_TIMESTAMP", &seconds(stamp.producer_time)),
        ],
    );
}

/// Writes the closing tags of a document.
pub(crate) fn trailer(out: &mut Writer, millis_behind_now: u64, continuation_token: &str) {
    service_tags(
        out,
        &[
            ("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", &millis_behind_now.to_string()),
            ("AWS_KINESISVIDEO_CONTINUATION_TOKEN", continuation_token),
        ],
    );
}

/// Writes a Tags element as the service encodes it: size fields of 4 bytes at every level.
pub(crate) fn service_tags(out: &mut Writer, tags: &[(&str, &str)]) {
    let tags: Vec<_> = tags.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
    tags_element(out, Width::Octets(4), &tags);
}

fn tags_element<N: AsRef<[u8]>, V: AsRef<[u8]>>(out: &mut Writer, width: Width, tags: &[(N, V)]) {
    out.master(id::TAGS, width, |element| {
        element.master(id::TAG, width, |tag| {
            for (name, value) in tags {
                tag.master(id::SIMPLE_TAG, width, |simple| {
                    let mut leaf = |id: ElementId, text: &[u8]| simple.element(id, width, text);
                    leaf(id::TAG_NAME, name.as_ref());
                    leaf(id::TAG_STRING, value.as_ref());
                });
            }
        });
    });
}
