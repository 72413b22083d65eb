//! What comes in goes out while its fragment is still arriving.

use std::time::Duration;

use futures::{Stream, StreamExt, TryStreamExt};
use kinesis_video::demux::PacketItem;
use kinesis_video::local::LocalEndpoint;
use kinesis_video::{Bound, Fragment, FragmentEnd, KinesisVideo, Packet, Start, Timestamp};
use tokio::time::timeout;

use super::producer::{Producer, block, cluster, end_of_fragment, head, tag, two_blocks};
use crate::support::bodies::CAMERA;
use crate::support::endpoint::{ends_soon, unlimited};
use crate::support::ffmpeg::{Judged, ffprobe_packets, our_packets};

/// Longer than any step of a test takes.
const LONG: Duration = Duration::from_secs(60);

/// Receives items up to the next packet.
async fn next_packet(items: &mut (impl Stream<Item = kinesis_video::Result<PacketItem>> + Unpin)) -> Packet {
    loop {
        let item = timeout(LONG, items.next()).await.expect("a packet in time").expect("a packet").unwrap();
        if let PacketItem::Packet(packet) = item {
            return packet;
        }
    }
}

#[tokio::test]
async fn packets_are_handed_on_before_their_fragment_is_whole() {
    let endpoint = LocalEndpoint::start_with(0, unlimited().idle(LONG)).await.unwrap();
    endpoint.create_stream("door");
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let mut packets = Box::pin(kvs.live("door").start(Start::Earliest).packets());
    let mut producer = Producer::open(&endpoint, "door").await;
    producer.send(&[head(&[1]), cluster(1_000)].concat()).await;
    // Each block is sent only when the packet before has been received.
    for index in 0..5u8 {
        producer.send(&block(1, i16::from(index) * 40, &[index; 100])).await;
        let packet = next_packet(&mut packets).await;
        assert_eq!(packet.payload()[..], [index; 100]);
    }
    // The fragment is not archived before it is whole.
    let listed = kvs.list_fragments("door").entries().try_collect::<Vec<_>>();
    assert_eq!(listed.await.unwrap().len(), 0);
    producer.send(&end_of_fragment()).await;
    assert_eq!(producer.told(3).await, ["BUFFERING 1000", "RECEIVED 1000", "PERSISTED 1000"]);
    let listed = kvs.list_fragments("door").entries().try_collect::<Vec<_>>();
    assert_eq!(listed.await.unwrap().len(), 1);
}

#[tokio::test]
async fn every_packet_of_a_file_comes_out_live_and_archived() {
    let endpoint = LocalEndpoint::start_with(0, ends_soon()).await.unwrap();
    endpoint.create_stream("camera");
    let expected = in_order(ffprobe_packets(CAMERA));
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let live = tokio::spawn({
        let kvs = kvs.clone();
        let clusters = CAMERA.windows(4).filter(|four| *four == [0x1F, 0x43, 0xB6, 0x75]).count() as u64;
        async move {
            let live = kvs.live("camera").start(Start::Earliest).until(Bound::Count(clusters));
            live.fragments().try_collect::<Vec<_>>().await.unwrap()
        }
    });
    let mut producer = Producer::open(&endpoint, "camera").await;
    for piece in CAMERA.chunks(1_777) {
        producer.send(piece).await;
    }
    producer.end().await;
    let told = producer.rest().await;
    let persisted = told.iter().filter(|ack| ack.starts_with("PERSISTED")).count();
    assert_eq!(told.len(), persisted * 3, "{told:?}");
    let live = timeout(LONG, live).await.expect("all fragments in time").unwrap();
    assert_eq!((live.len(), packets_of(&live)), (persisted, expected.clone()));
    let range = Timestamp::from_millis(1)..=Timestamp::from_millis(4_000_000_000_000);
    let archived: Vec<_> = kvs.archive("camera").range(range).fragments().try_collect().await.unwrap();
    assert_eq!((archived.len(), packets_of(&archived)), (persisted, expected));
}

/// Sorts packets by track and time: fragments keep the order of each track.
fn in_order(mut packets: Vec<Judged>) -> Vec<Judged> {
    packets.sort_by_key(|(track, millis, ..)| (*track, *millis));
    packets
}

fn packets_of(fragments: &[Fragment]) -> Vec<Judged> {
    in_order(fragments.iter().flat_map(our_packets).collect())
}

#[tokio::test]
async fn a_fragment_that_fails_is_never_whole() {
    let endpoint = LocalEndpoint::start_with(0, unlimited().idle(LONG)).await.unwrap();
    endpoint.create_stream("door");
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    // One reader takes packets as they come, the other whole fragments.
    let mut packets = Box::pin(kvs.live("door").start(Start::Earliest).packets());
    let mut fragments = Box::pin(kvs.live("door").start(Start::Earliest).fragments());
    let mut producer = Producer::open(&endpoint, "door").await;
    producer.send(&[head(&[1]), two_blocks(1_000), tag("which", "first"), cluster(2_000)].concat()).await;
    producer.send(&block(1, 0, b"lost")).await;
    let first = timeout(LONG, fragments.next()).await.unwrap().unwrap().unwrap();
    assert_eq!(first.tags().get("which").as_deref(), Some("first"));
    for expected in ["frame 0 at 1000", "frame 1 at 1000", "lost"] {
        let packet = next_packet(&mut packets).await;
        assert_eq!(packet.payload(), expected);
    }
    drop(producer);

    let mut producer = Producer::reopen(&endpoint, "door").await;
    producer.send(&[head(&[1]), two_blocks(2_000)].concat()).await;
    producer.end().await;
    assert_eq!(producer.rest().await, ["BUFFERING 2000", "RECEIVED 2000", "PERSISTED 2000"]);
    // The body of GetMedia ended inside the failed fragment, which says so.
    let failed = timeout(LONG, fragments.next()).await.expect("a fragment in time").unwrap().unwrap();
    assert_eq!((failed.end_reason(), failed.packets().count()), (FragmentEnd::EndOfBody, 1));
    let second = timeout(LONG, fragments.next()).await.expect("a fragment in time").unwrap().unwrap();
    assert_eq!(second.end_reason(), FragmentEnd::Trailer);
    let payloads: Vec<_> = second.packets().map(|packet| packet.payload().clone()).collect();
    assert_eq!(payloads, ["frame 0 at 2000", "frame 1 at 2000"]);
    for expected in ["frame 0 at 2000", "frame 1 at 2000"] {
        let packet = next_packet(&mut packets).await;
        assert_eq!(packet.payload(), expected);
    }
    let range = Timestamp::from_millis(1)..=Timestamp::from_millis(4_000_000_000_000);
    let archived: Vec<_> = kvs.archive("door").range(range).fragments().try_collect().await.unwrap();
    assert_eq!(archived.len(), 2);
}
