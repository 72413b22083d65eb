//! Packets of a range of time, rounded outward to key frames.

use std::ops::Bound;

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt, stream};
use kinesis_video::local::{Document, Shape};
use kinesis_video::packet::Trim;
use kinesis_video::{
    Error, ErrorKind, Fragment, FragmentStream, FragmentStreamExt, Packet, PacketStreamExt, Timestamp, TrackKind,
};
use proptest::prelude::*;

use crate::support::bodies::{CAMERA, Chunking, fragments, pieces, stamp_at};
use crate::support::endpoint::time;

const START: i64 = 1_700_000_000_000;

/// A group of pictures, and the audio between them.
#[derive(Clone, Debug)]
struct Group {
    pictures: usize,
    step: i64,
    /// Pictures are stored in another order than they are shown.
    reordered: bool,
    /// A picture that is shown before the key frame is stored after it.
    open: bool,
    /// Audio packets after each picture.
    audio: usize,
    /// The time without media before the group.
    gap: i64,
    /// The group begins a fragment.
    begins: bool,
}

fn group() -> impl Strategy<Value = Group> {
    let counts = (1..8_usize, 5..80_i64, 0..3_usize, prop_oneof![Just(0), 1..3000_i64]);
    (counts, any::<(bool, bool, bool)>()).prop_map(|((pictures, step, audio, gap), (reordered, open, begins))| Group {
        pictures,
        step,
        reordered,
        open,
        audio,
        gap,
        begins,
    })
}

/// A block: track, time, key flag.
type Planned = (u64, i64, bool);

/// Returns the blocks of each fragment.
fn planned(groups: &[Group], inside: usize) -> Vec<Vec<Planned>> {
    let mut now = 0;
    // The stream may begin inside of a group.
    let mut planned: Vec<Vec<Planned>> =
        vec![(0..inside).flat_map(|n| [(1, n as i64, false), (2, n as i64, true)]).collect()];
    for group in groups {
        now += group.gap + group.step;
        if group.begins {
            planned.push(Vec::new());
        }
        let fragment = planned.last_mut().unwrap();
        let mut order: Vec<usize> = (0..group.pictures).collect();
        if group.reordered {
            order[1..].chunks_mut(3).for_each(|chunk| chunk.rotate_right(1));
        }
        for (at, &place) in order.iter().enumerate() {
            let shown = now + place as i64 * group.step;
            fragment.push((1, shown, at == 0));
            fragment.extend((0..group.audio).map(|n| (2, shown + n as i64, true)));
            if at == 0 && group.open {
                fragment.push((1, shown - group.step / 2, false));
            }
        }
        now += (group.pictures - 1) as i64 * group.step;
    }
    planned.retain(|fragment| !fragment.is_empty());
    planned
}

fn body(planned: &[Vec<Planned>], has_video: bool) -> Bytes {
    let mut body = Vec::new();
    for (blocks, ordinal) in planned.iter().zip(1..) {
        let start = blocks[0].1;
        let document = Document::new(Shape::Producer).cluster_time(10_000 + start as u64);
        let document = match has_video {
            true => document.video_track(1).audio_track(2, "sound", "A_AAC"),
            false => document.audio_track(1, "sound", "A_AAC").audio_track(2, "sound", "A_AAC"),
        };
        let document = blocks.iter().zip(0_u32..).fold(document, |document, ((track, shown, key), n)| {
            document.block(*track, i16::try_from(shown - start).unwrap(), *key, &n.to_be_bytes())
        });
        body.extend_from_slice(&document.to_bytes(&stamp_at(ordinal, START + start + 700, START + start), 0));
    }
    body.into()
}

fn packets_of(fragments: &[Fragment]) -> Vec<Packet> {
    fragments.iter().flat_map(Fragment::packets).collect()
}

fn describe(packets: &[Packet]) -> Vec<String> {
    let one = |packet: &Packet| format!("{packet:?} {:?} {:?}", packet.producer_time(), packet.payload());
    packets.iter().map(one).collect()
}

fn millis(packet: &Packet) -> i64 {
    packet.producer_time().unwrap().as_millis()
}

fn is_entry(packet: &Packet) -> bool {
    packet.is_key() && packet.track().unwrap().kind() == TrackKind::Video
}

/// The definition: from the last key frame at or before the start, to the packet before the first one at or after the end.
fn naive(packets: &[Packet], start: Option<i64>, end: Option<i64>) -> &[Packet] {
    let first = start.map_or(Some(0), |start| {
        let last = packets.iter().rposition(|packet| is_entry(packet) && millis(packet) <= start);
        last.or_else(|| packets.iter().position(is_entry))
    });
    let stop = end.and_then(|end| packets.iter().position(|packet| is_entry(packet) && millis(packet) >= end));
    let stop = stop.unwrap_or(packets.len());
    &packets[first.unwrap_or(stop).min(stop)..stop]
}

fn collect(packets: impl Stream<Item = kinesis_video::Result<Packet>>) -> kinesis_video::Result<Vec<Packet>> {
    futures::executor::block_on(packets.try_collect())
}

proptest! {
    #[test]
    fn the_result_is_that_of_the_definition(
        groups in proptest::collection::vec(group(), 1..8),
        inside in 0..3_usize,
        start in proptest::option::of(-100..12_000_i64),
        length in proptest::option::of(1..9000_i64),
        seed in any::<u64>(),
    ) {
        let body = body(&planned(&groups, inside), true);
        let whole = packets_of(&futures::executor::block_on(fragments(&body)));
        let end = length.map(|length| START + start.unwrap_or(0) + length);
        let start = start.map(|start| START + start);
        let expected = describe(naive(&whole, start, end));
        let range = || {
            (start.map_or(Bound::Unbounded, |start| Bound::Included(time(start))),
            end.map_or(Bound::Unbounded, |end| Bound::Excluded(time(end))))
        };
        for chunking in [Chunking::Whole, Chunking::Each(7), Chunking::Random(300, seed)] {
            let packets = FragmentStream::from_stream(pieces(&body, chunking)).packets().trim(range());
            prop_assert_eq!(&describe(&collect(packets).unwrap()), &expected);
        }
        // Ends of every kind, to the millisecond.
        if let (Some(start), Some(end)) = (start, end) {
            let source = || stream::iter(whole.iter().cloned().map(Ok));
            let exact = (Bound::Excluded(time(start - 1)), Bound::Included(time(end - 1)));
            let before = time(start - 1).as_nanos() + 1;
            let expected = naive(&whole, Some(before.div_euclid(1_000_000)), Some(end));
            prop_assert_eq!(describe(&collect(source().trim(exact)).unwrap()), describe(expected));
        }
    }

    #[test]
    fn errors_pass_through_and_nothing_follows(
        groups in proptest::collection::vec(group(), 1..6),
        start in 0..4000_i64,
        length in 1..4000_i64,
        fails_at in 0..60_usize,
    ) {
        let whole = packets_of(&futures::executor::block_on(fragments(&body(&planned(&groups, 0), true))));
        let (start, end) = (START + start, START + start + length);
        let fails_at = fails_at.min(whole.len());
        let before = &whole[..fails_at];
        let source = before.iter().cloned().map(Ok).chain([Err(Error::new(ErrorKind::Io, "gone"))]);
        let mut trim = stream::iter(source).trim(time(start)..time(end));
        let is_over = before.iter().any(|packet| is_entry(packet) && millis(packet) >= end);
        let is_begun = before.iter().any(|packet| packet.track_number() == 1 && millis(packet) > start);
        let expected = if is_begun { describe(naive(before, Some(start), Some(end))) } else { Vec::new() };
        let (mut packets, mut error) = (Vec::new(), None);
        futures::executor::block_on(async {
            while let Some(item) = trim.next().await {
                match item {
                    Ok(packet) => packets.push(packet),
                    Err(failed) => error = Some(failed),
                }
            }
            for _ in 0..3 {
                assert!(trim.next().await.is_none());
            }
        });
        prop_assert_eq!(describe(&packets), expected);
        prop_assert_eq!(error.is_some(), !is_over);
    }
}

/// Yields these packets, and fails the test if more is asked for.
fn then_nothing(packets: &[Packet]) -> impl Stream<Item = kinesis_video::Result<Packet>> + use<> {
    stream::iter(packets.to_vec()).map(Ok).chain(stream::poll_fn(|_| panic!("polled after the end")))
}

async fn of_blocks(blocks: &[Planned], has_video: bool) -> Vec<Packet> {
    packets_of(&fragments(&body(&[blocks.to_vec()], has_video)).await)
}

fn times(packets: &[Packet]) -> Vec<(u64, i64)> {
    packets.iter().map(|packet| (packet.track_number(), millis(packet) - START)).collect()
}

#[tokio::test]
async fn the_stream_ends_at_the_key_frame_after_the_range() {
    let whole =
        of_blocks(&[(1, 0, true), (1, 40, false), (2, 41, true), (1, 80, true), (2, 81, true), (1, 120, true)], true)
            .await;
    let mut trim = then_nothing(&whole).trim(time(START + 90)..time(START + 100));
    assert_eq!(trim.range(), None);
    let mut packets = Vec::new();
    while let Some(packet) = trim.try_next().await.unwrap() {
        packets.push(packet);
        assert_eq!(trim.range().unwrap().0, time(START + 80));
    }
    assert_eq!(times(&packets), [(1, 80), (2, 81)]);
    // The durations are not declared, so the distance to the packet before on the track counts.
    assert_eq!(trim.range(), Some((time(START + 80), time(START + 81))));
    assert!(trim.next().await.is_none());
    assert_eq!(trim.size_hint(), (0, Some(0)));
    // An included end takes the key frame at the end, an excluded one does not.
    let range = |packets: &[Packet]| times(packets).last().copied();
    let included = collect(then_nothing(&whole).trim(time(START)..=time(START + 80))).unwrap();
    assert_eq!(range(&included), Some((2, 81)));
    let excluded = collect(then_nothing(&whole[..4]).trim(time(START)..time(START + 80))).unwrap();
    assert_eq!(range(&excluded), Some((2, 41)));
    // The end of the last packet is a step after it.
    let mut trim = stream::iter(whole[..4].iter().cloned().map(Ok)).trim(time(START)..);
    while trim.try_next().await.unwrap().is_some() {}
    assert_eq!(trim.range(), Some((time(START), time(START + 120))));
}

#[tokio::test]
async fn the_group_before_the_start_is_yielded_if_the_stream_ends_there() {
    let whole = of_blocks(&[(1, 0, true), (1, 40, true), (1, 80, false)], true).await;
    let source = || stream::iter(whole.clone()).map(Ok);
    assert_eq!(times(&collect(source().trim(time(START + 500)..)).unwrap()), [(1, 40), (1, 80)]);
    // A range before the stream has nothing.
    assert!(collect(then_nothing(&whole[..1]).trim(time(START - 9)..time(START))).unwrap().is_empty());
    assert_eq!(collect(source().trim(..)).unwrap().len(), 3);
}

#[tokio::test]
async fn every_packet_of_a_stream_without_video_is_an_entry_point() {
    let blocks: Vec<Planned> = (0..10).flat_map(|n| [(1, n * 64, true), (2, n * 64 + 3, true)]).collect();
    let whole = of_blocks(&blocks, false).await;
    let packets = collect(then_nothing(&whole[..11]).trim(time(START + 150)..time(START + 300))).unwrap();
    // The first one of each track contains the start.
    assert_eq!(times(&packets).first(), Some(&(1, 128)));
    assert_eq!(times(&packets).last(), Some(&(2, 259)));
    // A track that is silent since an earlier fragment does not count.
    let silent = [vec![(1, 0, true), (2, 0, true)], vec![(1, 5000, true), (1, 5064, true), (1, 5128, true)]];
    let whole = packets_of(&fragments(&body(&silent, false)).await);
    let packets = collect(stream::iter(whole).map(Ok).trim(time(START + 5100)..)).unwrap();
    assert_eq!(times(&packets), [(1, 5064), (1, 5128)]);
}

#[tokio::test]
async fn each_of_several_video_tracks_begins_with_a_key_frame() {
    let document = Document::new(Shape::Producer).video_track(1).video_track(2);
    let blocks = [(2, 0, true), (1, 1, true), (2, 40, false), (1, 41, false), (2, 80, true), (1, 90, true)];
    let document =
        blocks.iter().fold(document, |document, (track, shown, key)| document.block(*track, *shown, *key, &[7; 9]));
    let body = document.to_bytes(&stamp_at(1, START, START), 0);
    let whole = packets_of(&fragments(&body).await);
    let of = |range: std::ops::Range<i64>| {
        let range = time(START + range.start)..time(START + range.end);
        times(&collect(stream::iter(whole.clone()).map(Ok).trim(range)).unwrap())
    };
    assert_eq!(of(30..70), [(2, 0), (1, 1), (2, 40), (1, 41)]);
    assert_eq!(of(85..86), [(1, 1), (2, 40), (1, 41), (2, 80)]);
    assert_eq!(of(90..200).len(), 2);
    // A track that the next session does not have is forgotten.
    let next = Document::new(Shape::Producer).video_track(3).block(3, 0, true, &[1]).block(3, 40, true, &[1]);
    let next = next.to_bytes(&stamp_at(2, START + 500, START + 500), 0);
    let both = packets_of(&fragments(&[&body[..], &next].concat().into()).await);
    let packets = collect(stream::iter(both).map(Ok).trim(time(START + 550)..)).unwrap();
    assert_eq!(times(&packets), [(3, 540)]);
}

#[tokio::test]
async fn the_buffer_before_the_start_is_bounded() {
    let blocks: Vec<Planned> = (0..400).map(|n| (1, n * 10, n % 200 == 0)).collect();
    let whole = of_blocks(&blocks, true).await;
    let trim = |bytes: u64, start: i64| -> kinesis_video::Result<Vec<Packet>> {
        let trim: Trim<_> = stream::iter(whole.clone()).map(Ok).trim(time(START + start)..).buffer_bytes(bytes);
        collect(trim)
    };
    // After the start, nothing is buffered. Before it, a key frame empties the buffer.
    assert_eq!(trim(1000, 0).unwrap().len(), 400);
    assert_eq!(trim(30_000, 3990).unwrap().len(), 200);
    assert_eq!(trim(30_000, 1990).unwrap().len(), 400);
    let error = trim(1000, 1500).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("Trim::buffer_bytes"), "{error}");
    assert_eq!(error.position().track(), Some(1));
    // Empty packets count too.
    let empty = (0..400_i16)
        .fold(Document::new(Shape::Producer).video_track(1), |document, n| document.block(1, n, n == 0, &[]));
    let empty = packets_of(&fragments(&empty.to_bytes(&stamp_at(1, START, START), 0)).await);
    let error = collect(stream::iter(empty).map(Ok).trim(time(START + 399)..).buffer_bytes(1000)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
}

#[tokio::test]
async fn what_cannot_be_trimmed_is_refused() {
    let plain = || FragmentStream::new(CAMERA).packets();
    let mut trim = plain().trim(time(0)..);
    let error = trim.next().await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.position().track()), (ErrorKind::InvalidArgument, Some(1)));
    assert!(error.to_string().contains("timecode_ns"), "{error}");
    assert!(trim.next().await.is_none());
    assert_eq!(collect(plain().trim(..)).unwrap().len(), collect(plain()).unwrap().len());
    let whole = of_blocks(&[(1, 0, true)], true).await;
    let instant = time(START);
    let before = Timestamp::from_millis(START - 1);
    for range in
        [(Bound::Included(instant), Bound::Excluded(instant)), (Bound::Included(instant), Bound::Included(before))]
    {
        let mut trim = stream::iter(whole.clone()).map(Ok).trim(range);
        let error = trim.next().await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("is empty"), "{error}");
        assert!(trim.next().await.is_none());
    }
    // One instant is a range.
    assert_eq!(collect(stream::iter(whole).map(Ok).trim(instant..=instant)).unwrap().len(), 1);
}
