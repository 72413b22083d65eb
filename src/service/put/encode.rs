//! Fragments as PutMedia takes them.

use bytes::Bytes;

use crate::ebml::writer::{Width, Writer};
use crate::ebml::{Element, Elements, id};
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::{Fragment, FragmentNumber, TagValue, Tags};

/// The tag after which the service persists a fragment without waiting for the next.
const END_OF_FRAGMENT: &str = "AWS_KINESISVIDEO_END_OF_FRAGMENT";

/// The prefix of tag names that a producer must not use.
const RESERVED: &str = "AWS";

const NANOS_PER_MILLI: i128 = 1_000_000;

/// A Cluster with its tags, ready to be sent.
#[derive(Clone, Debug)]
pub(super) struct Encoded {
    /// The number of the fragment that it was read from, to name it in errors.
    pub(super) number: Option<FragmentNumber>,
    /// The Cluster's time, in milliseconds. Acknowledgements name it.
    pub(super) timecode: i64,
    /// The start of a document, up to its Clusters.
    pub(super) head: Bytes,
    pub(super) data: Bytes,
}

/// Encodes the Clusters of a fragment: with its producer time, or with its own times if they are `relative`.
pub(super) fn encode(fragment: &Fragment, relative: bool) -> Result<Vec<Encoded>> {
    let header = fragment.header();
    let number = fragment.number();
    let named = |error: Error| error.in_fragment(number.map(FragmentNumber::as_str));
    let scale = header.timestamp_scale();
    let mkv = fragment.to_mkv();
    let head = head(&mkv).map_err(named)?;
    let mut clusters = Vec::new();
    for cluster in Elements::new(&mkv).lenient().find("Segment/Cluster") {
        let cluster = cluster.map_err(named)?;
        let (ticks, blocks) = blocks(&mkv, &cluster).map_err(named)?;
        if blocks.as_bytes().is_empty() {
            continue;
        }
        let own = i64::try_from(ticks).unwrap_or(i64::MAX);
        let ticks = if relative {
            ticks
        } else {
            let time = header.producer_time_at(own).ok_or_else(|| {
                let message =
                    "PutMedia: the fragment has no producer time; set one, or send its own times with relative()";
                named(Error::new(ErrorKind::InvalidArgument, message))
            })?;
            let nanos = u64::try_from(time.as_nanos()).map_err(|_| {
                let message =
                    format!("PutMedia: the producer time {time} is before 1970, which the service does not take");
                named(Error::new(ErrorKind::InvalidArgument, message))
            })?;
            nanos / scale.max(1)
        };
        let timecode = i64::try_from(i128::from(ticks) * i128::from(scale) / NANOS_PER_MILLI).unwrap_or(i64::MAX);
        clusters.push((timecode, ticks, blocks));
    }
    let last = clusters.len().saturating_sub(1);
    let encoded = clusters.into_iter().enumerate().map(|(at, (timecode, ticks, blocks))| {
        let mut data = Writer::new();
        let mut timestamp = Writer::new();
        timestamp.uint(id::TIMESTAMP, ticks);
        data.master(id::CLUSTER, Width::Octets(8), |cluster| {
            cluster.raw(timestamp.as_bytes());
            cluster.raw(blocks.as_bytes());
        });
        // The tags are those of the fragment, which ends with its last Cluster.
        if at == last {
            write_tags(fragment.tags(), &mut data);
        }
        end_of_fragment(&mut data);
        Encoded { number: number.cloned(), timecode, head: head.clone(), data: data.into_bytes().into() }
    });
    Ok(encoded.collect())
}

/// Returns the start of the document: EBML header, Segment, Info, Tracks.
fn head(mkv: &[u8]) -> Result<Bytes> {
    let mut out = Writer::new();
    for element in Elements::new(mkv).lenient() {
        let element = element?;
        match element.id() {
            id::EBML => out.raw(whole(mkv, &element)),
            id::SEGMENT => {
                out.unknown(id::SEGMENT, 8);
                for child in element.children() {
                    let child = child?;
                    match child.id() {
                        id::INFO => out.binary(id::INFO, info(mkv, &child)?.as_bytes()),
                        id::TRACKS => out.raw(whole(mkv, &child)),
                        id::CLUSTER => break,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(out.into_bytes().into())
}

/// Returns the content of Info without the duration of the file, which a stream does not have.
fn info(mkv: &[u8], info: &Element<'_>) -> Result<Writer> {
    let mut out = Writer::new();
    for child in info.children() {
        let child = child?;
        if ![id::DURATION, id::CRC_32, id::VOID].contains(&child.id()) {
            out.raw(whole(mkv, &child));
        }
    }
    Ok(out)
}

/// Returns the time of a Cluster in ticks, and its complete blocks.
fn blocks(mkv: &[u8], cluster: &Element<'_>) -> Result<(u64, Writer)> {
    let (mut ticks, mut blocks) = (0, Writer::new());
    for child in cluster.children() {
        let child = child?;
        match child.id() {
            id::TIMESTAMP => ticks = child.value().as_uint().unwrap_or(0),
            id::SIMPLE_BLOCK | id::BLOCK_GROUP if is_complete(&child) => blocks.raw(whole(mkv, &child)),
            _ => {}
        }
    }
    Ok((ticks, blocks))
}

/// Returns whether the element has all its bytes. The last one of a cut fragment may lack some.
fn is_complete(element: &Element<'_>) -> bool {
    element.header().size.is_none_or(|size| size == element.payload().len() as u64)
}

/// Returns the bytes of an element, header included.
fn whole<'a>(mkv: &'a [u8], element: &Element<'_>) -> &'a [u8] {
    let start = element.offset() as usize;
    let payload = element.header().payload() as usize;
    mkv.get(start..payload + element.payload().len()).unwrap_or_default()
}

fn write_tags(tags: &Tags, out: &mut Writer) {
    let mut simple_tags = Writer::new();
    for tag in tags.iter().filter(|tag| !tag.name().starts_with(RESERVED)) {
        simple_tags.master(id::TAG, Width::Minimal, |one| {
            if let Some(uid) = tag.track_uid() {
                one.master(id::TARGETS, Width::Minimal, |targets| targets.uint(id::TAG_TRACK_UID, uid));
            }
            one.master(id::SIMPLE_TAG, Width::Minimal, |simple| {
                simple.text(id::TAG_NAME, &tag.name());
                match tag.value() {
                    TagValue::Text(text) => simple.text(id::TAG_STRING, &text),
                    TagValue::Binary(bytes) => simple.binary(id::TAG_BINARY, bytes),
                }
            });
        });
    }
    if !simple_tags.as_bytes().is_empty() {
        out.binary(id::TAGS, simple_tags.as_bytes());
    }
}

fn end_of_fragment(out: &mut Writer) {
    out.master(id::TAGS, Width::Minimal, |tags| {
        tags.master(id::TAG, Width::Minimal, |tag| {
            tag.master(id::SIMPLE_TAG, Width::Minimal, |simple| {
                simple.text(id::TAG_NAME, END_OF_FRAGMENT);
                simple.text(id::TAG_STRING, "");
            });
        });
    });
}
