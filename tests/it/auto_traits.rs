//! What every public type promises without saying so.

use std::fmt::Debug;
use std::mem::size_of;

use futures::stream::FusedStream;
use kinesis_video::packet::{Keyframes, PacketDecoder, PacketItem, PacketStream, Packets};
use kinesis_video::{
    BodyDecoder, BodyItem, BodyStream, Error, Fragment, FragmentDecoder, FragmentNumber, FragmentStream, KinesisVideo,
    Limits, Live, LiveFragments, MkvSink, Packet, StreamId, Summary, Tags, Timestamp, Track,
};
use tokio::fs::File;

fn value<T: Send + Sync + Unpin + Clone + Debug + 'static>() {}
fn stream<T: FusedStream + Send + Unpin + Debug + 'static>() {}
fn part<T: Send + Unpin + Debug + 'static>() {}

#[test]
fn values_can_go_anywhere() {
    value::<BodyItem>();
    value::<Error>();
    value::<Fragment>();
    value::<FragmentNumber>();
    value::<KinesisVideo>();
    value::<Limits>();
    value::<Live>();
    value::<Packet>();
    value::<PacketItem>();
    value::<StreamId>();
    value::<Summary>();
    value::<Tags>();
    value::<Timestamp>();
    value::<Track>();
    value::<kinesis_video::local::LocalStream>();
    part::<kinesis_video::local::LocalEndpoint>();
    part::<BodyDecoder>();
    part::<FragmentDecoder>();
    part::<MkvSink>();
    part::<PacketDecoder>();
}

#[test]
fn streams_can_be_spawned_and_selected() {
    stream::<BodyStream<File>>();
    stream::<FragmentStream<File>>();
    stream::<LiveFragments>();
    stream::<kinesis_video::fragment::Until<LiveFragments>>();
    stream::<PacketStream<File>>();
    stream::<Packets<FragmentStream<File>>>();
    stream::<Keyframes<Packets<LiveFragments>>>();
}

#[test]
fn errors_and_fragments_are_one_pointer_wide() {
    assert_eq!(size_of::<Error>(), size_of::<usize>());
    assert_eq!(size_of::<Fragment>(), size_of::<usize>());
}
