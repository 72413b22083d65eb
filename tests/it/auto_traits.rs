//! The auto traits of every public type.

use std::fmt::Debug;
use std::mem::size_of;

use futures::stream::FusedStream;
use kinesis_video::audio::{ConnectAudio, Rechunk, Stereo};
use kinesis_video::checkpoint::Acknowledged;
use kinesis_video::demux::{PacketDecoder, PacketItem, PacketStream};
use kinesis_video::frame::{
    Convert, FragmentFrames, FragmentReport, FrameAt, FrameInfo, FrameItem, FrameItems, FrameOptions, Frames,
};
use kinesis_video::packet::{Keyframes, Packets, Trim};
use kinesis_video::{
    Acks, AudioChunk, BodyDecoder, BodyItem, BodyStream, EncodedFrame, Error, FileCheckpoint, Fragment,
    FragmentDecoder, FragmentNumber, FragmentStream, Frame, ImageSink, KinesisVideo, Limits, Live, LiveFragments,
    LivePackets, LiveStatus, MemoryCheckpoint, MkvSink, Packet, PayloadSink, Position, RgbFrame, Share, Start,
    StereoChunk, StopHandle, StreamId, Subscriber, Summary, Tags, Timestamp, Track, WavFile, WavSink,
};
use tokio::fs::File;

fn value<T: Send + Sync + Unpin + Clone + Debug + 'static>() {}
fn stream<T: FusedStream + Send + Unpin + Debug + 'static>() {}
fn part<T: Send + Unpin + Debug + 'static>() {}

#[test]
fn values_are_send_sync_and_clone() {
    value::<Acks>();
    value::<AudioChunk>();
    value::<BodyItem>();
    value::<EncodedFrame>();
    value::<Error>();
    value::<FileCheckpoint>();
    value::<Fragment>();
    value::<FragmentNumber>();
    value::<FragmentReport>();
    value::<Frame>();
    value::<FrameInfo>();
    value::<FrameItem>();
    value::<FrameOptions>();
    value::<kinesis_video::fleet::DynamoCheckpoint>();
    value::<kinesis_video::fleet::DynamoLeases>();
    value::<kinesis_video::fleet::MemoryLeases>();
    value::<KinesisVideo>();
    value::<Limits>();
    value::<Live>();
    value::<MemoryCheckpoint>();
    value::<LiveStatus>();
    value::<Packet>();
    value::<PacketItem>();
    value::<kinesis_video::ArchivedImage>();
    value::<kinesis_video::DashSession>();
    value::<kinesis_video::HlsSession>();
    value::<kinesis_video::PlaybackUrl>();
    value::<kinesis_video::StreamInfo>();
    value::<kinesis_video::StreamList>();
    value::<kinesis_video::StreamStatus>();
    value::<Position>();
    value::<kinesis_video::PresignedRequest>();
    value::<kinesis_video::PutAck>();
    value::<kinesis_video::PutMedia>();
    value::<kinesis_video::PutStatus>();
    part::<kinesis_video::PutSink>();
    value::<RgbFrame>();
    value::<Start>();
    value::<StopHandle>();
    value::<Share>();
    value::<StereoChunk>();
    value::<StreamId>();
    value::<Summary>();
    value::<Tags>();
    value::<Timestamp>();
    value::<Track>();
    value::<WavFile>();
    value::<kinesis_video::local::ConnectCall>();
    value::<kinesis_video::local::LocalStream>();
    part::<kinesis_video::local::LocalEndpoint>();
    part::<FrameAt<LiveFragments>>();
    part::<BodyDecoder>();
    part::<FragmentDecoder>();
    part::<ImageSink>();
    part::<MkvSink>();
    part::<PayloadSink>();
    part::<PacketDecoder>();
    part::<WavSink>();
    part::<kinesis_video::AudioSink>();
    part::<kinesis_video::PipeSink>();
    value::<kinesis_video::AudioPacket>();
    value::<kinesis_video::PipeEnd>();
    value::<kinesis_video::mux::AudioConfig>();
}

#[test]
fn streams_are_send_unpin_and_fused() {
    stream::<Acknowledged<LiveFragments>>();
    stream::<BodyStream<File>>();
    stream::<FragmentStream<File>>();
    stream::<ConnectAudio<LiveFragments>>();
    stream::<Rechunk<ConnectAudio<LiveFragments>>>();
    stream::<Stereo<ConnectAudio<LiveFragments>>>();
    stream::<FragmentFrames>();
    stream::<Frames<LiveFragments>>();
    stream::<FrameItems<FragmentStream<File>>>();
    stream::<Convert<Frames<LiveFragments>, EncodedFrame>>();
    stream::<LiveFragments>();
    stream::<LivePackets>();
    stream::<kinesis_video::PutAcks>();
    stream::<kinesis_video::Clip>();
    stream::<kinesis_video::ArchiveFragments>();
    stream::<kinesis_video::ClipStream>();
    stream::<kinesis_video::FragmentEntries>();
    stream::<kinesis_video::ImageStream>();
    stream::<kinesis_video::StreamEntries>();
    stream::<kinesis_video::fragment::Until<LiveFragments>>();
    stream::<kinesis_video::fragment::DetectGaps<FragmentStream<File>>>();
    stream::<PacketStream<File>>();
    stream::<Subscriber>();
    stream::<Packets<FragmentStream<File>>>();
    stream::<Keyframes<Packets<LiveFragments>>>();
    stream::<kinesis_video::mux::AudioPackets<Packets<LiveFragments>>>();
    stream::<Trim<Packets<LiveFragments>>>();
}

#[test]
fn errors_fragments_and_frames_are_one_pointer_wide() {
    assert_eq!(size_of::<Error>(), size_of::<usize>());
    assert_eq!(size_of::<Fragment>(), size_of::<usize>());
    assert_eq!(size_of::<Frame>(), size_of::<usize>());
}
