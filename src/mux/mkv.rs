//! [`Mkv`]: one Matroska file (RFC 9559) of many fragments.
//!
//! The Segment has an unknown size while the file grows, so that it plays after every fragment. At the end come the Cues, the
//! index for seeking. Then the space that was reserved at the start receives the size, the duration and a SeekHead.

use bytes::Bytes;

use super::codec::audio::{AudioCodec, AudioConfig};
use super::codec::video::{VideoCodec, VideoConfig};
use super::{Finish, Muxer, Patch, Placed, Sample, codec};
use crate::ebml::writer::{Width, Writer};
use crate::ebml::{ElementId, id, vint};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{TagValue, Track, TrackKind};

/// The options of a Matroska file.
#[derive(Clone, Debug, Default)]
pub(crate) struct MkvOptions {
    /// The producer's tags of each fragment are kept.
    pub(crate) keeps_tags: bool,
    /// The output cannot seek, so no index is kept.
    pub(crate) is_live: bool,
}

/// Writes one Matroska file.
pub(crate) struct Mkv {
    options: MkvOptions,
    tracks: Vec<MkvTrack>,
    /// The bytes written so far.
    length: u64,
    /// The offset of the Segment's size, and of its first byte after that.
    segment: (u64, u64),
    info: u64,
    track_list: u64,
    /// The offset of the space for the duration.
    duration: u64,
    cues: Vec<Cue>,
    /// The end of the last sample, in nanoseconds.
    end: i64,
}

struct MkvTrack {
    number: u64,
    kind: TrackKind,
    video: Option<VideoConfig>,
}

/// A place from which playing can start.
#[derive(Debug)]
struct Cue {
    millis: u64,
    /// Counted from the start of the Segment's content.
    cluster: u64,
}

/// Bytes at the start of the Segment for a SeekHead of three entries.
const SEEK_HEAD: usize = 80;

/// Bytes of the element Duration.
const DURATION: usize = 11;

/// The largest time of a block after the time of its Cluster.
const LONGEST_CLUSTER: u64 = i16::MAX as u64;

/// The octets of sizes that are filled in later.
const WIDE: u8 = 8;

impl Muxer for Mkv {
    type Options = MkvOptions;

    fn begin(options: &MkvOptions, first: &Placed, out: &mut Vec<u8>) -> Result<Self> {
        let declared = first.header.tracks();
        if declared.is_empty() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "the fragment declares no tracks, so it cannot begin a file",
            ));
        }
        let mut entries = Writer::new();
        let mut tracks = Vec::new();
        for track in declared.iter() {
            tracks.push(MkvTrack::write(track, first, &mut entries)?);
        }
        let mut start = Writer::new();
        start.master(id::EBML, Width::Minimal, |header| {
            for (id, value) in [
                (id::EBML_VERSION, 1),
                (id::EBML_READ_VERSION, 1),
                (id::EBML_MAX_ID_LENGTH, 4),
                (id::EBML_MAX_SIZE_LENGTH, 8),
            ] {
                header.uint(id, value);
            }
            header.text(id::DOC_TYPE, "matroska");
            header.uint(id::DOC_TYPE_VERSION, 4);
            header.uint(id::DOC_TYPE_READ_VERSION, 2);
        });
        start.unknown(id::SEGMENT, WIDE);
        let content = start.as_bytes().len() as u64;
        start.raw(&void(SEEK_HEAD));
        let info = start.as_bytes().len() as u64;
        let mut description = Writer::new();
        description.uint(id::TIMESTAMP_SCALE, 1_000_000);
        description.text(id::MUXING_APP, APP);
        description.text(id::WRITING_APP, APP);
        if let Some(time) = first.header.producer_time() {
            description.int(id::DATE_UTC, time.as_nanos().saturating_sub(EPOCH_2001));
        }
        // The space for the duration is the end of Info.
        description.raw(&void(DURATION));
        start.binary(id::INFO, description.as_bytes());
        let track_list = start.as_bytes().len() as u64;
        start.binary(id::TRACKS, entries.as_bytes());
        let length = start.as_bytes().len() as u64;
        out.extend_from_slice(start.as_bytes());
        Ok(Self {
            options: options.clone(),
            tracks,
            length,
            segment: (content - u64::from(WIDE), content),
            info,
            track_list,
            duration: track_list - DURATION as u64,
            cues: Vec::new(),
            end: 0,
        })
    }

    fn push(&mut self, placed: &Placed, out: &mut Vec<u8>) -> Result<()> {
        let mut blocks = Vec::with_capacity(placed.samples.len());
        for sample in &placed.samples {
            let track = self.tracks.iter().find(|track| track.number == sample.packet.track_number());
            let track = track.ok_or_else(|| {
                let message = "a packet belongs to a track that the document does not declare";
                codec::located(Error::malformed(message), &sample.packet)
            })?;
            blocks.push(Block::of(sample, track)?);
        }
        let begins = out.len();
        let mut rest = &blocks[..];
        while !rest.is_empty() {
            let (cluster, after) = rest.split_at(cluster_length(rest));
            self.write_cluster(cluster, (out.len() - begins) as u64, out);
            rest = after;
        }
        if self.options.keeps_tags && !placed.tags.is_empty() {
            write_tags(placed, out);
        }
        let ends = placed.samples.iter().map(|sample| sample.pts.saturating_add(sample.duration));
        self.end = self.end.max(ends.max().unwrap_or(0));
        self.length += (out.len() - begins) as u64;
        Ok(())
    }

    fn finish(self) -> Finish {
        let content = self.segment.1;
        let position = |offset: u64| offset - content;
        let mut cues = Writer::new();
        // Players seek by the first video track, or else by the first track.
        let by = self.tracks.iter().find(|track| track.kind == TrackKind::Video).or(self.tracks.first());
        let by = by.map_or(1, |track| track.number);
        for cue in &self.cues {
            cues.master(id::CUE_POINT, Width::Minimal, |point| {
                point.uint(id::CUE_TIME, cue.millis);
                point.master(id::CUE_TRACK_POSITIONS, Width::Minimal, |positions| {
                    positions.uint(id::CUE_TRACK, by);
                    positions.uint(id::CUE_CLUSTER_POSITION, cue.cluster);
                });
            });
        }
        let mut index = Writer::new();
        if !self.cues.is_empty() {
            index.binary(id::CUES, cues.as_bytes());
        }
        let index = index.into_bytes();
        let size = position(self.length) + index.len() as u64;
        let mut seek = Writer::new();
        seek.master(id::SEEK_HEAD, Width::Minimal, |seek| {
            let places = [(id::INFO, self.info), (id::TRACKS, self.track_list), (id::CUES, self.length)];
            let count = if index.is_empty() { 2 } else { 3 };
            for (id, offset) in places.into_iter().take(count) {
                seek.master(id::SEEK, Width::Minimal, |entry| {
                    entry.binary(id::SEEK_ID, &id_bytes(id));
                    entry.uint(id::SEEK_POSITION, position(offset));
                });
            }
        });
        let rest = SEEK_HEAD.saturating_sub(seek.as_bytes().len());
        seek.raw(&void(rest));
        let mut duration = Writer::new();
        duration.float(id::DURATION, self.end as f64 / 1e6);
        let mut segment_size = Vec::new();
        vint::write_number(&mut segment_size, size, WIDE);
        let patches = vec![
            Patch { at: content, bytes: seek.into_bytes() },
            Patch { at: self.duration, bytes: duration.into_bytes() },
            Patch { at: self.segment.0, bytes: segment_size },
        ];
        Finish::new([index], patches)
    }
}

impl Mkv {
    /// Writes blocks as a Cluster. `before` is the number of bytes since the fragment began.
    fn write_cluster(&mut self, blocks: &[Block], before: u64, out: &mut Vec<u8>) {
        let time = blocks.iter().map(|block| block.millis).min().unwrap_or(0);
        let mut timestamp = Writer::new();
        timestamp.uint(id::TIMESTAMP, time);
        let size: usize = blocks.iter().map(Block::size).sum();
        let starts_with_key = blocks.iter().find(|block| block.is_video).is_none_or(|block| block.is_key);
        if starts_with_key && !self.options.is_live {
            let video = blocks.iter().find(|block| block.is_video);
            let millis = video.map_or(time, |block| block.millis);
            self.cues.push(Cue { millis, cluster: self.length + before - self.segment.1 });
        }
        out.reserve(size + 32);
        out.extend_from_slice(&id_bytes(id::CLUSTER));
        vint::write_number(out, (timestamp.as_bytes().len() + size) as u64, WIDE);
        out.extend_from_slice(timestamp.as_bytes());
        for block in blocks {
            block.write(time, out);
        }
    }
}

impl MkvTrack {
    /// Writes the TrackEntry of a track.
    ///
    /// # Errors
    /// If the codec private data cannot be read.
    fn write(track: &Track, first: &Placed, out: &mut Writer) -> Result<Self> {
        let number = track.number();
        let packets = first.of_track(number).map(|sample| &sample.packet);
        let video =
            VideoCodec::of_track(track).map(|codec| VideoConfig::of_track(track, codec, packets)).transpose()?;
        // Amazon Connect declares its PCM as AAC, so the samples decide.
        let pcm = match track.kind() {
            TrackKind::Audio => AudioConfig::of_track(track, first.header.tracks()).ok(),
            _ => None,
        };
        let pcm = pcm.filter(|config| matches!(config.codec(), AudioCodec::Pcm { .. }) && track.codec_id() == "A_AAC");
        out.master(id::TRACK_ENTRY, Width::Minimal, |entry| {
            entry.uint(id::TRACK_NUMBER, number);
            entry.uint(id::TRACK_UID, track.uid().filter(|uid| *uid > 0).unwrap_or(number));
            entry.uint(id::TRACK_TYPE, track.kind().number());
            entry.uint(id::FLAG_LACING, 0);
            entry.text(id::LANGUAGE, "und");
            if let Some(name) = track.name() {
                entry.text(id::NAME, name);
            }
            entry.text(id::CODEC_ID, if pcm.is_some() { "A_PCM/INT/LIT" } else { track.codec_id() });
            let private = video.as_ref().map(VideoConfig::record).or(track.codec_private());
            if let Some(private) = private.filter(|private| pcm.is_none() && !private.is_empty()) {
                entry.binary(id::CODEC_PRIVATE, private);
            }
            if let Some(duration) = track.default_duration_ns().filter(|duration| *duration > 0) {
                entry.uint(id::DEFAULT_DURATION, duration);
            }
            match track.kind() {
                TrackKind::Video => write_video(track, entry),
                TrackKind::Audio => write_audio(track, pcm.as_ref(), entry),
                TrackKind::Other(_) => {}
            }
        });
        Ok(Self { number, kind: track.kind(), video })
    }
}

fn write_video(track: &Track, entry: &mut Writer) {
    entry.master(id::VIDEO, Width::Minimal, |video| {
        let sizes = [(id::PIXEL_WIDTH, track.width()), (id::PIXEL_HEIGHT, track.height())];
        for (id, size) in sizes {
            if let Some(size) = size {
                video.uint(id, size);
            }
        }
        if let Some((wide, high)) = track.sample_aspect_ratio().filter(|(wide, high)| wide != high) {
            // Only the ratio of the display size matters. Its unit says so.
            video.uint(id::DISPLAY_WIDTH, track.width().unwrap_or(0).saturating_mul(u64::from(wide)));
            video.uint(id::DISPLAY_HEIGHT, track.height().unwrap_or(0).saturating_mul(u64::from(high)));
            video.uint(id::DISPLAY_UNIT, 3);
        }
        if let Some(roll) = track.rotation() {
            video.master(id::PROJECTION, Width::Minimal, |projection| {
                projection.uint(id::PROJECTION_TYPE, 0);
                projection.float(id::PROJECTION_POSE_ROLL, roll);
            });
        }
    });
}

fn write_audio(track: &Track, pcm: Option<&AudioConfig>, entry: &mut Writer) {
    entry.master(id::AUDIO, Width::Minimal, |audio| {
        let rate = pcm.map(|config| f64::from(config.sample_rate())).or(track.sampling_frequency());
        let channels = pcm.map(|config| u64::from(config.channels())).or(track.channels());
        if let Some(rate) = rate {
            audio.float(id::SAMPLING_FREQUENCY, rate);
        }
        if let Some(channels) = channels {
            audio.uint(id::CHANNELS, channels);
        }
        if let Some(depth) = pcm.map(|config| u64::from(config.bits_per_sample())).or(track.bit_depth()) {
            audio.uint(id::BIT_DEPTH, depth);
        }
    });
}

/// A packet as a SimpleBlock, or as a BlockGroup if only that can hold its duration.
struct Block {
    track: u64,
    millis: u64,
    payload: Bytes,
    is_key: bool,
    is_video: bool,
    /// The duration in milliseconds, of tracks that are neither video nor audio.
    duration: Option<u64>,
}

impl Block {
    fn of(sample: &Sample, track: &MkvTrack) -> Result<Self> {
        let packet = &sample.packet;
        let payload = match &track.video {
            Some(config) => config.payload(packet)?,
            None => packet.payload().clone(),
        };
        let millis = |ns: i64| u64::try_from((ns.saturating_add(500_000)) / 1_000_000).unwrap_or(0);
        let is_timed = matches!(track.kind, TrackKind::Other(_));
        Ok(Self {
            track: track.number,
            millis: millis(sample.pts),
            payload,
            is_key: packet.is_key(),
            is_video: track.kind == TrackKind::Video,
            duration: packet.duration_ns().filter(|_| is_timed).map(millis),
        })
    }

    /// Returns the bytes of the block element, without its own id and size.
    fn content(&self) -> usize {
        usize::from(vint::width(self.track).unwrap_or(WIDE)) + 3 + self.payload.len()
    }

    fn size(&self) -> usize {
        let block = element_size(self.content());
        self.duration.map_or(block, |duration| element_size(block + duration_element(duration).len()))
    }

    fn write(&self, cluster: u64, out: &mut Vec<u8>) {
        let mut id = id::SIMPLE_BLOCK;
        let duration = self.duration.map(duration_element);
        if let Some(duration) = &duration {
            write_header(id::BLOCK_GROUP, element_size(self.content()) + duration.len(), out);
            id = id::BLOCK;
        }
        write_header(id, self.content(), out);
        vint::write_number(out, self.track, vint::width(self.track).unwrap_or(WIDE));
        let relative = i16::try_from(self.millis - cluster.min(self.millis)).unwrap_or(i16::MAX);
        out.extend_from_slice(&relative.to_be_bytes());
        out.push(if self.is_key && duration.is_none() { 0x80 } else { 0 });
        out.extend_from_slice(&self.payload);
        out.extend_from_slice(duration.as_deref().unwrap_or_default());
    }
}

/// Returns how many blocks fit into one Cluster: the times of blocks count from its first one, in 16 bits.
fn cluster_length(blocks: &[Block]) -> usize {
    let (mut first, mut last) = (u64::MAX, 0);
    let fits = blocks.iter().take_while(|block| {
        (first, last) = (first.min(block.millis), last.max(block.millis));
        last - first <= LONGEST_CLUSTER
    });
    fits.count().max(1)
}

/// Writes the producer's tags of a fragment.
fn write_tags(placed: &Placed, out: &mut Vec<u8>) {
    let mut tags = Writer::new();
    tags.master(id::TAGS, Width::Minimal, |tags| {
        tags.master(id::TAG, Width::Minimal, |tag| {
            tag.master(id::TARGETS, Width::Minimal, |_| {});
            if let Some(number) = placed.header.number() {
                simple_tag("FRAGMENT_NUMBER", &TagValue::Text(number.as_str().into()), tag);
            }
            for kept in placed.tags.iter() {
                simple_tag(&kept.name(), &kept.value(), tag);
            }
        });
    });
    out.extend_from_slice(tags.as_bytes());
}

fn element_size(content: usize) -> usize {
    1 + usize::from(vint::width(content as u64).unwrap_or(WIDE)) + content
}

fn write_header(id: ElementId, content: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&id_bytes(id));
    vint::write_number(out, content as u64, vint::width(content as u64).unwrap_or(WIDE));
}

fn duration_element(millis: u64) -> Vec<u8> {
    let mut element = Writer::new();
    element.uint(id::BLOCK_DURATION, millis);
    element.into_bytes()
}

fn id_bytes(id: ElementId) -> Vec<u8> {
    id.0.to_be_bytes().into_iter().skip(4 - usize::from(id.width())).collect()
}

/// Returns a Void element of this many bytes in all, of which it needs two.
fn void(bytes: usize) -> Vec<u8> {
    let Some(content) = bytes.checked_sub(2) else { return Vec::new() };
    let mut element = Writer::new();
    element.binary(id::VOID, &vec![0; content]);
    element.into_bytes()
}

const APP: &str = concat!("kinesis-video ", env!("CARGO_PKG_VERSION"));

/// Nanoseconds from 1970 to 2001, when Matroska's time begins.
const EPOCH_2001: i64 = 978_307_200_000_000_000;

fn simple_tag(name: &str, value: &TagValue<'_>, out: &mut Writer) {
    out.master(id::SIMPLE_TAG, Width::Minimal, |tag| {
        tag.text(id::TAG_NAME, name);
        match value {
            TagValue::Text(text) => tag.text(id::TAG_STRING, text),
            TagValue::Binary(bytes) => tag.binary(id::TAG_BINARY, bytes),
        }
    });
}
