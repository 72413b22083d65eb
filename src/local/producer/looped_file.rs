//! A file repeated in real time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use crate::demux::BodyItem;
use crate::ebml::writer::{Width, Writer};
use crate::ebml::{Element, Elements, id};
use crate::error::{Error, Result};
use crate::fragment::{Block, Extent, Fragment, Timestamp};
use crate::local::media::document::{Stamp, leading_tags};
use crate::local::media::payload::items;
use crate::local::store::streams::Stream;

/// A Cluster of the file, without its stamp.
#[derive(Debug)]
pub(crate) struct Cluster {
    /// The unchanged bytes up to the service's tags.
    before: Bytes,
    /// The unchanged blocks of the Cluster.
    blocks: Bytes,
    nanos_per_tick: u64,
    /// The Cluster's time in the file, in nanoseconds.
    start: i64,
    /// The time to the next Cluster, or an estimate.
    duration: Duration,
}

/// The longest fragment that the service accepts.
const MAX_FRAGMENT: Duration = Duration::from_secs(20);

/// Returns the Clusters with media of a payload or an MKV file.
pub(crate) fn clusters(media: &Bytes) -> Result<Vec<Cluster>> {
    let mut clusters = Vec::new();
    for item in items(media) {
        if let BodyItem::Fragment(fragment) = item? {
            split(&fragment, &mut clusters)?;
        }
    }
    // The next Cluster's time is the best measure of a duration, unless the timeline jumps.
    let starts: Vec<i64> = clusters.iter().map(|cluster: &Cluster| cluster.start).collect();
    for (cluster, next) in clusters.iter_mut().zip(starts.into_iter().skip(1)) {
        let distance = Duration::from_nanos(u64::try_from(next.saturating_sub(cluster.start)).unwrap_or(0));
        if distance > Duration::ZERO && distance <= MAX_FRAGMENT {
            cluster.duration = distance;
        }
    }
    // The last Cluster may be a single frame. It gets the duration of the one before, or 1 s.
    let mut before = Duration::from_secs(1);
    for cluster in &mut clusters {
        if cluster.duration.is_zero() {
            cluster.duration = before;
        }
        before = cluster.duration;
    }
    if clusters.is_empty() {
        return Err(Error::invalid_argument("there is no Cluster with media to play"));
    }
    Ok(clusters)
}

fn split(fragment: &Fragment, clusters: &mut Vec<Cluster>) -> Result<()> {
    let mkv = fragment.to_mkv();
    let mut before = Writer::new();
    let nanos_per_tick = match Elements::new(&mkv).lenient().find("Segment/Info/TimestampScale").next() {
        Some(scale) => scale?.value().as_uint().unwrap_or(0).max(1),
        None => 1_000_000,
    };
    for element in Elements::new(&mkv).lenient() {
        let element = element?;
        match element.id() {
            id::EBML => before.raw(whole(&mkv, &element)),
            id::SEGMENT => {
                before.unknown(id::SEGMENT, 8);
                for child in element.children() {
                    let child = child?;
                    match child.id() {
                        id::INFO | id::TRACKS => before.raw(whole(&mkv, &child)),
                        id::TAGS if !is_of_service(&child)? => before.raw(whole(&mkv, &child)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let before = Bytes::from(before.into_bytes());
    // Blocks are in the order of their Clusters.
    let mut entries = fragment.blocks().zip(fragment.entries()).peekable();
    for cluster in Elements::new(&mkv).lenient().find("Segment/Cluster") {
        let cluster = cluster?;
        // The MKV file may have a header that the fragment's own bytes do not have.
        let shift = (mkv.len() - fragment.raw().len()) as u64;
        let end = cluster.header().payload() + cluster.payload().len() as u64;
        let inside = std::iter::from_fn(|| {
            entries.next_if(|(_, entry)| shift + u64::from(entry.start) < end).map(|(block, _)| block)
        });
        clusters.extend(media(&cluster, &mkv, inside, fragment, &before, nanos_per_tick)?);
    }
    Ok(())
}

fn media<'a>(
    cluster: &Element<'_>,
    mkv: &[u8],
    inside: impl Iterator<Item = Block<'a>>,
    fragment: &Fragment,
    before: &Bytes,
    nanos_per_tick: u64,
) -> Result<Option<Cluster>> {
    let mut blocks = Writer::new();
    let mut ticks = 0;
    for child in cluster.children() {
        let child = child?;
        match child.id() {
            id::SIMPLE_BLOCK | id::BLOCK_GROUP => blocks.raw(whole(mkv, &child)),
            id::TIMESTAMP => ticks = child.value().as_uint().unwrap_or(0),
            _ => {}
        }
    }
    let start = i64::try_from(ticks.saturating_mul(nanos_per_tick)).unwrap_or(i64::MAX);
    let mut inside = inside.peekable();
    if inside.peek().is_none() {
        return Ok(None);
    }
    let duration = Extent::of(inside).duration(fragment.header(), start);
    let blocks = Bytes::from(blocks.into_bytes());
    Ok(Some(Cluster { before: before.clone(), blocks, nanos_per_tick, start, duration }))
}

/// Returns the bytes of an element, header included.
fn whole<'a>(mkv: &'a [u8], element: &Element<'_>) -> &'a [u8] {
    let start = element.offset() as usize;
    let payload = element.header().payload() as usize;
    mkv.get(start..payload + element.payload().len()).unwrap_or_default()
}

fn is_of_service(tags: &Element<'_>) -> Result<bool> {
    for name in tags.children().find("Tag/SimpleTag/TagName") {
        if name?.payload().starts_with(b"AWS_KINESISVIDEO") {
            return Ok(true);
        }
    }
    Ok(false)
}

impl Cluster {
    /// Makes a document without closing tags, whose media begins at this time.
    fn at(&self, time: Timestamp, stream: &Stream) -> (Bytes, Stamp) {
        let stamp = stream.stamp_at(time);
        let ticks = u64::try_from(time.as_nanos()).unwrap_or(0) / self.nanos_per_tick;
        let mut out = Writer::new();
        out.raw(&self.before);
        leading_tags(&mut out, &stamp);
        out.master(id::CLUSTER, Width::Octets(8), |cluster| {
            cluster.uint(id::TIMESTAMP, ticks);
            cluster.raw(&self.blocks);
        });
        (out.into_bytes().into(), stamp)
    }
}

/// Plays the Clusters repeatedly. Each fragment is pushed when it would be complete.
pub(crate) async fn play(stream: Arc<Stream>, clusters: Vec<Cluster>) {
    let start = Instant::now();
    let mut played = Duration::ZERO;
    for cluster in clusters.iter().cycle() {
        let (document, stamp) = cluster.at(stream.clock().at(start + played), &stream);
        played += cluster.duration;
        sleep_until(start + played).await;
        stream.push(document, stamp);
    }
}
