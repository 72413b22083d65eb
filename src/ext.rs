//! The extension traits: every adapter of a stream of media.

#[cfg(feature = "ffmpeg")]
use std::sync::Arc;

use std::ops::RangeBounds;
use std::time::Duration;

use futures::Stream;
#[cfg(all(feature = "aws", feature = "ffmpeg"))]
use futures::TryStreamExt;

use crate::audio::{AudioChunk, ConnectAudio, Rechunk, Stereo, StereoChunk};
use crate::checkpoint::{Acknowledged, Acks, CheckpointStore};
#[cfg(feature = "ffmpeg")]
use crate::error::Error;
use crate::error::Result;
use crate::fragment::{Bound, DetectGaps, Fragment, Share, Timestamp, Until};
#[cfg(feature = "ffmpeg")]
use crate::frame::{Convert, EncodedFrame, Frame, FrameAt, Frames, RgbFrame};
use crate::mux::{AudioPacket, AudioPackets};
use crate::packet::{Keyframes, Packet, Packets, Trim};
#[cfg(all(feature = "aws", feature = "ffmpeg"))]
use crate::service::Archive;
use crate::sink::{MediaSink, Record};

/// Adapters for streams of fragments, from any source.
pub trait FragmentStreamExt: Stream<Item = Result<Fragment>> {
    /// Yields the packets (coded frames) of all fragments, in stored order.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing.
    ///
    /// # Memory
    /// The stream holds the fragment whose packets it yields. Each packet keeps its fragment's buffer alive.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::{FragmentStream, FragmentStreamExt};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let mut packets = FragmentStream::new(body).packets();
    /// while let Some(packet) = packets.try_next().await? {
    ///     println!("{:?} {} {} bytes", packet.producer_time(), packet.track_number(), packet.payload().len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn packets(self) -> Packets<Self>
    where
        Self: Sized,
    {
        assert_stream::<Packet, _>(Packets::new(self))
    }

    /// Reports gaps, timelines that go back and changed tracks as discontinuities of the fragments after them.
    ///
    /// A gap is a longer time than `tolerance` from the end of one fragment to the start of the next, on the
    /// producer's clock. Fragments without a producer time report no gap. Use this for a file, a socket or one body.
    /// Live and archive streams of [`KinesisVideo`](crate::KinesisVideo) report gaps already.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing.
    ///
    /// ```
    /// use std::time::Duration;
    /// use futures::TryStreamExt;
    /// use kinesis_video::{FragmentStream, FragmentStreamExt};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let mut fragments = FragmentStream::new(body).detect_gaps(Duration::from_millis(500));
    /// while let Some(fragment) = fragments.try_next().await? {
    ///     fragment.discontinuities().iter().for_each(|found| println!("{found}"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn detect_gaps(self, tolerance: Duration) -> DetectGaps<Self>
    where
        Self: Sized,
    {
        assert_stream::<Fragment, _>(DetectGaps::new(self, tolerance))
    }

    /// Yields fragments up to a [`Bound`]: a time, a fragment number, a count or a deadline.
    ///
    /// Call `until` again for a second bound. [`Until::end_reason`] returns why the stream has ended.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::{Bound, StreamEnd, FragmentStream, FragmentStreamExt};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let body: &[u8] = &[];
    /// let mut fragments = FragmentStream::new(body).until(Bound::Count(10));
    /// while let Some(fragment) = fragments.try_next().await? {
    ///     println!("{fragment:?}");
    /// }
    /// assert_eq!(fragments.end_reason(), Some(StreamEnd::EndOfMedia));
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    fn until(self, bound: impl Into<Bound>) -> Until<Self>
    where
        Self: Sized,
    {
        assert_stream::<Fragment, _>(Until::new(self, bound.into()))
    }

    /// Returns a stream of the same fragments, and the [`Acks`] to acknowledge fragments.
    ///
    /// The position up to which every fragment is acknowledged is saved in `store`. The store is not read: to resume,
    /// the caller [loads](CheckpointStore::load) the position and starts the source there. `Live::checkpointed` does
    /// both. Fragments with an [empty](crate::Position::is_empty) position need no acknowledgement.
    ///
    /// See [`Acks`] for an example. [`checkpoint`](crate::checkpoint#repeats) lists the fragments that are yielded
    /// again after a crash.
    ///
    /// # Errors
    /// - Errors of the fragment stream.
    /// - [`ErrorKind::Limit`](crate::ErrorKind::Limit), instead of the next fragment, if the first unacknowledged
    ///   fragment and the fragments after it number 65,536. Acknowledged ones among them count too.
    ///
    /// After an error the stream ends. Errors of the store are not yielded: a background task retries the save.
    /// [`Acks::close`] returns the error of its own save.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing.
    ///
    /// # Memory
    /// No fragment is held. About 300 bytes for each of the fragments that count towards the limit.
    fn acknowledged(self, store: impl CheckpointStore) -> (Acknowledged<Self>, Acks)
    where
        Self: Sized,
    {
        let (fragments, acks) = Acknowledged::new(self, store);
        (assert_stream::<Fragment, _>(fragments), acks)
    }

    /// Shares one stream of fragments among several consumers in this process.
    ///
    /// Each consumer calls one of these methods for its stream:
    ///
    /// | method | if the consumer is slow |
    /// |---|---|
    /// | [`Share::subscribe`] | the source waits for the consumer |
    /// | [`Share::subscribe_lossy`] | the source does not wait; fragments queued for this consumer are dropped |
    ///
    /// See [`Share`] for an example, and [`Subscriber`](crate::Subscriber) for errors, cancel safety and memory.
    fn share(self) -> Share
    where
        Self: Sized + Send + 'static,
    {
        Share::new(self)
    }

    /// Yields the audio of Amazon Connect conversations as chunks of each party, ordered by time.
    ///
    /// Holes are filled with silence. Contacts follow each other, and each starts at position 0.
    ///
    /// See [`ConnectAudio`] for options, errors, cancel safety and memory, and [`audio`](crate::audio) for the
    /// placement of samples.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::{FragmentStream, FragmentStreamExt};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let mut audio = FragmentStream::new(body).connect_audio();
    /// while let Some(chunk) = audio.try_next().await? {
    ///     let samples = chunk.samples().len();
    ///     println!("{:?} {} {}: {samples} samples", chunk.contact_id(), chunk.party(), chunk.position());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn connect_audio(self) -> ConnectAudio<Self>
    where
        Self: Sized,
    {
        assert_stream::<AudioChunk, _>(ConnectAudio::new(self))
    }

    /// Yields the decoded pictures of all fragments, in presentation order within each fragment.
    ///
    /// Default: every undamaged picture of the first video track of each fragment. One fragment is decoded at a time.
    ///
    /// See [`Frames`] for options, errors, cancel safety and memory.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::{FragmentStream, FragmentStreamExt};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let mut frames = FragmentStream::new(body).frames().sample_ratio(5);
    /// while let Some(frame) = frames.try_next().await? {
    ///     println!("{:?} {}", frame.info().producer_time(), frame.to_rgb()?.get_pixel(0, 0)[0]);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "ffmpeg")]
    fn frames(self) -> Frames<Self>
    where
        Self: Sized,
    {
        assert_stream::<Frame, _>(Frames::new(self))
    }

    /// Decodes the picture that is shown at a time on the producer's clock.
    ///
    /// It is the last picture at or before the time, in presentation order. `None` if there is none, or media is
    /// missing at the time: [`FrameAt`](crate::frame::FrameAt#none) has the exact rule.
    ///
    /// The fragments must be in the order of their times. They are read until the picture is known: up to the fragment
    /// that has a later picture too, or else starts after the time. A live stream is read until then. Put
    /// [`until`](FragmentStreamExt::until) before it for a limit.
    ///
    /// See [`FrameAt`](crate::frame::FrameAt) for options, errors, cancel safety and memory.
    ///
    /// ```
    /// use kinesis_video::{FragmentStream, FragmentStreamExt, Timestamp};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let time = Timestamp::from_millis(1_511_852_109_500);
    /// match FragmentStream::new(body).frame_at(time).await? {
    ///     Some(frame) => println!("{:?} {:?}", frame.info().producer_time(), frame.to_rgb()?.dimensions()),
    ///     None => println!("no picture at {time}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "ffmpeg")]
    fn frame_at(self, time: Timestamp) -> FrameAt<Self>
    where
        Self: Sized,
    {
        FrameAt::new(self, time)
    }
}

impl<S: Stream<Item = Result<Fragment>> + ?Sized> FragmentStreamExt for S {}

#[cfg(all(feature = "aws", feature = "ffmpeg"))]
impl Archive {
    /// Reads and decodes the picture that is shown at a time.
    ///
    /// It is the last picture at or before the time, in presentation order, of the fragment that
    /// [`fragment_at`](Archive::fragment_at) finds. The time is on the [clock](Archive::clock) of the builder. On the
    /// service's clock, a picture has the server time of its fragment, plus its distance from the start of the fragment.
    ///
    /// `None` if no fragment starts in the 20 s up to the time, or none of those has a picture at or before it. In a
    /// shorter gap the result is the last picture before the gap.
    ///
    /// The first video track is decoded, from the last key frame that the picture needs. For other options, call
    /// [`Fragment::frame_at`] on the result of `fragment_at`.
    ///
    /// # Calls
    /// As [`fragment_at`](Archive::fragment_at): one of ListFragments, and one of GetMediaForFragmentList. If the fragment
    /// has no picture up to the time, such as one that begins with audio, the fragment before it is requested too.
    ///
    /// # Errors
    /// As [`fragment_at`](Archive::fragment_at), and those of decoding: see [`FrameAt`](crate::frame::FrameAt).
    ///
    /// # Cancel safety
    /// Dropping the future closes its connections and stops decoding. Nothing is sent before it is polled.
    ///
    /// # Memory
    /// The fragment, and what decoding it [takes](crate::frame::Frames#memory).
    ///
    /// ```no_run
    /// use kinesis_video::{Clock, KinesisVideo, Timestamp};
    ///
    /// # async fn f(kvs: KinesisVideo, time: Timestamp) -> kinesis_video::Result<()> {
    /// match kvs.archive("front-door").clock(Clock::Producer).frame_at(time).await? {
    ///     Some(frame) => frame.to_rgb()?.save("still.png").expect("the file can be written"),
    ///     None => println!("no picture at {time}"),
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn frame_at(self, time: Timestamp) -> Result<Option<Frame>> {
        let clock = self.clock_of_times();
        let mut fragments = std::pin::pin!(self.newest_first(time));
        while let Some(fragment) = fragments.try_next().await? {
            if let Some(frame) = fragment.frame_at(time).clock(clock).await? {
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}

/// Adapters for streams of packets.
pub trait PacketStreamExt: Stream<Item = Result<Packet>> {
    /// Yields only the key frames of video tracks. Other packets, audio included, are dropped.
    ///
    /// A packet is a key frame if [`Packet::is_key`] is true: its SimpleBlock has the key flag, or its BlockGroup has no
    /// references. Nothing is decoded.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::{FragmentStream, FragmentStreamExt, PacketStreamExt};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let stills: Vec<_> = FragmentStream::new(body).packets().keyframes().try_collect().await?;
    /// # Ok(())
    /// # }
    /// ```
    fn keyframes(self) -> Keyframes<Self>
    where
        Self: Sized,
    {
        assert_stream::<Packet, _>(Keyframes::new(self))
    }

    /// Yields the packets of audio tracks with the configuration of their codec. Other packets are dropped.
    ///
    /// Nothing is decoded. [`AudioPacket::to_adts`] makes AAC playable, and [`AudioPacket::to_pcm16`] converts G.711.
    /// Default: the packets of all audio tracks. [`AudioPackets::track`] selects one.
    ///
    /// See [`AudioPackets`] for errors and memory. For Amazon Connect,
    /// [`connect_audio`](FragmentStreamExt::connect_audio) yields audio without holes, for both parties.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::{FragmentStream, FragmentStreamExt, PacketStreamExt};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let mut audio = FragmentStream::new(body).packets().audio();
    /// while let Some(audio) = audio.try_next().await? {
    ///     let config = audio.config()?;
    ///     println!("{} at {} Hz: {} bytes", config.codec_string(), config.sample_rate(), audio.to_adts()?.len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn audio(self) -> AudioPackets<Self>
    where
        Self: Sized,
    {
        assert_stream::<AudioPacket, _>(AudioPackets::new(self))
    }

    /// Yields the packets of a range of time on the producer's clock, rounded outward to key frames.
    ///
    /// | | packet |
    /// |---|---|
    /// | first | the last video key frame at or before the start, or else the first one after it |
    /// | last | the packet before the first video key frame at or after the end |
    ///
    /// So the first picture can be decoded, and the range is covered as far as the stream goes. Other packets, audio
    /// included, are yielded if they are stored between these two. After the last one the stream ends, and the source
    /// is not polled again. [`Trim::range`] returns the range that was yielded.
    ///
    /// | case | rule |
    /// |---|---|
    /// | no start, as in `..end` | nothing is left out at the start |
    /// | no end, as in `start..` | nothing is left out at the end |
    /// | the stream ends before the start, or media is missing there | the last group before the start is yielded |
    /// | an included end, as in `start..=end` | a key frame at exactly `end` is yielded with its group |
    /// | several video tracks | the first packet is the earliest of their last key frames; the first key frame of any of them ends the range |
    /// | a fragment that declares no video track | every packet counts as a key frame |
    /// | an open group of pictures at the end | pictures that are shown before the end, but stored after the key frame, are left out |
    ///
    /// The start is found when the first video packet after it arrives.
    ///
    /// See [`Trim`] for errors, cancel safety and memory.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::{FragmentStream, FragmentStreamExt, PacketStreamExt, Timestamp};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let (start, end) = (Timestamp::from_millis(1_511_852_109_000), Timestamp::from_millis(1_511_852_112_000));
    /// let mut packets = FragmentStream::new(body).packets().trim(start..end);
    /// while let Some(packet) = packets.try_next().await? {
    ///     println!("{:?} {} bytes", packet.producer_time(), packet.payload().len());
    /// }
    /// if let Some((start, end)) = packets.range() {
    ///     println!("from {start} to {end}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn trim(self, range: impl RangeBounds<Timestamp>) -> Trim<Self>
    where
        Self: Sized,
    {
        assert_stream::<Packet, _>(Trim::new(self, &range))
    }
}

impl<S: Stream<Item = Result<Packet>> + ?Sized> PacketStreamExt for S {}

/// Adapters for the audio of Amazon Connect conversations.
pub trait AudioStreamExt: Stream<Item = Result<AudioChunk>> {
    /// Yields both parties as stereo audio.
    ///
    /// The left channel is the customer. The right channel is everything that the customer hears
    /// ([`Party::ToCustomer`](crate::Party::ToCustomer)): agents, prompts, bots and others in a conference.
    ///
    /// A chunk lasts 100 ms by default. A chunk is yielded when both parties' audio has arrived up to the end of the
    /// chunk. If one party's audio ends more than 2 s before the other's, the missing part becomes
    /// silence.
    ///
    /// See [`Stereo`] for chunk sizes, real time, errors, cancel safety and memory.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::{AudioStreamExt, FragmentStream, FragmentStreamExt};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let mut stereo = FragmentStream::new(body).connect_audio().stereo();
    /// while let Some(chunk) = stereo.try_next().await? {
    ///     println!("{} bytes for a transcription service", chunk.to_bytes().len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn stereo(self) -> Stereo<Self>
    where
        Self: Sized,
    {
        assert_stream::<StereoChunk, _>(Stereo::new(self))
    }

    /// Yields the audio of each party in chunks of a given duration.
    ///
    /// The last chunk of a party in a contact may be shorter. A duration below one sample (125 µs) counts as one
    /// sample, and a duration above one hour as one hour.
    ///
    /// See [`Rechunk`] for errors, cancel safety and memory.
    ///
    /// ```
    /// use kinesis_video::audio::Party;
    /// use kinesis_video::{AudioStreamExt, FragmentStream, FragmentStreamExt};
    /// use std::time::Duration;
    ///
    /// # fn f(body: &'static [u8]) {
    /// let agent = FragmentStream::new(body).connect_audio().party(Party::ToCustomer);
    /// let chunks = agent.chunk_duration(Duration::from_millis(20));
    /// # }
    /// ```
    fn chunk_duration(self, duration: Duration) -> Rechunk<Self>
    where
        Self: Sized,
    {
        assert_stream::<AudioChunk, _>(Rechunk::new(self, crate::audio::samples_in(duration)))
    }

    /// Yields the audio of each party in chunks of a given size in bytes.
    ///
    /// A sample has two bytes, and an odd size is rounded down. The last chunk of a party in a contact may be smaller.
    /// A size below one sample counts as one sample, and a size above one hour of audio as one hour.
    ///
    /// See [`Rechunk`] for errors, cancel safety and memory, and
    /// [`chunk_duration`](AudioStreamExt::chunk_duration) for an example.
    fn chunk_bytes(self, bytes: usize) -> Rechunk<Self>
    where
        Self: Sized,
    {
        assert_stream::<AudioChunk, _>(Rechunk::new(self, bytes as u64 / 2))
    }
}

impl<S: Stream<Item = Result<AudioChunk>> + ?Sized> AudioStreamExt for S {}

/// Adapters for streams of decoded pictures.
///
/// The adapters convert pictures on tokio's threads for blocking work. Default: as many at once as there are
/// processors.
#[cfg(feature = "ffmpeg")]
pub trait FrameStreamExt: Stream<Item = Result<Frame>> {
    /// Yields the pictures scaled down to fit into a width and a height, in pixels.
    ///
    /// Proportions are kept. Pictures that fit already stay as they are. If the width or height is 0, the first item
    /// of the stream is an error.
    ///
    /// See [`Convert`] for errors, cancel safety and memory, and [`FrameStreamExt::jpeg`] for an example.
    fn scale_within(self, width: u32, height: u32) -> Convert<Self, Frame>
    where
        Self: Sized,
    {
        let valid = if width > 0 && height > 0 {
            Ok(())
        } else {
            Err(Error::invalid_argument("cannot scale a picture to a width or height of 0"))
        };
        convert(self, valid, move |frame| frame.scale_within(width, height))
    }

    /// Yields the pictures converted to 8-bit RGB.
    ///
    /// See [`Convert`] for errors, cancel safety and memory.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::{FragmentStream, FragmentStreamExt, FrameStreamExt};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let mut pictures = FragmentStream::new(body).frames().rgb();
    /// while let Some(picture) = pictures.try_next().await? {
    ///     println!("{:?} {:?}", picture.info().producer_time(), picture.image().get_pixel(0, 0));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn rgb(self) -> Convert<Self, RgbFrame>
    where
        Self: Sized,
    {
        convert(self, Ok(()), |frame| RgbFrame::of(&frame))
    }

    /// Yields the pictures encoded as JPEG, with a quality from 1 to 100.
    ///
    /// From quality 90 on, chroma is not subsampled. If the quality is out of range, the first item of the stream is an
    /// error.
    ///
    /// See [`Convert`] for errors, cancel safety and memory.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::{FragmentStream, FragmentStreamExt, FrameStreamExt};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let mut thumbnails = FragmentStream::new(body).frames().keyframes().scale_within(160, 160).jpeg(80);
    /// while let Some(jpeg) = thumbnails.try_next().await? {
    ///     println!("{:?} {} bytes", jpeg.info().producer_time(), jpeg.bytes().len());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    fn jpeg(self, quality: u8) -> Convert<Self, EncodedFrame>
    where
        Self: Sized,
    {
        let valid = match quality {
            1..=100 => Ok(()),
            _ => Err(Error::invalid_argument(format!(
                "a JPEG quality of {quality} is out of range: it must be from 1 to 100"
            ))),
        };
        convert(self, valid, move |frame| EncodedFrame::jpeg(&frame, quality))
    }

    /// Yields the pictures encoded as PNG.
    ///
    /// See [`Convert`] for errors, cancel safety and memory.
    ///
    /// ```
    /// use kinesis_video::{FragmentStream, FragmentStreamExt, FrameStreamExt, ImageSink, RecordExt};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let frames = FragmentStream::new(body).frames().sample_ratio(30);
    /// frames.png().record(ImageSink::to_dir("pictures")).await?;
    /// # Ok(())
    /// # }
    /// ```
    fn png(self) -> Convert<Self, EncodedFrame>
    where
        Self: Sized,
    {
        convert(self, Ok(()), |frame| EncodedFrame::png(&frame))
    }
}

#[cfg(feature = "ffmpeg")]
impl<S: Stream<Item = Result<Frame>> + ?Sized> FrameStreamExt for S {}

#[cfg(feature = "ffmpeg")]
fn convert<S, T>(
    frames: S,
    valid: Result<()>,
    conversion: impl Fn(Frame) -> Result<T> + Send + Sync + 'static,
) -> Convert<S, T>
where
    S: Stream<Item = Result<Frame>>,
    T: Send + 'static,
{
    assert_stream::<T, _>(Convert::new(frames, valid.map(|()| Arc::new(conversion) as _)))
}

/// The end of a chain of adapters: sends a stream of any kind of media to a sink.
pub trait RecordExt: Stream {
    /// Sends every item to a sink, closes the sink and returns a [`Summary`](crate::Summary).
    ///
    /// The sink is closed even if the stream or the sink fails. The recording also ends when the sink
    /// [is done](MediaSink::is_done). The item that was read last is then dropped.
    ///
    /// # Errors
    /// The first error of the stream or of the sink. [`Error::summary`](crate::Error::summary) then returns the totals
    /// of the sink.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the sink unclosed: unfinished files keep their temporary names.
    ///
    /// # Memory
    /// One item, and the buffer of the sink.
    ///
    /// ```
    /// use kinesis_video::{FragmentStream, MkvSink, RecordExt};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let summary = FragmentStream::new(body).record(MkvSink::to_dir("recordings")).await?;
    /// println!("{summary}");
    /// # Ok(())
    /// # }
    /// ```
    fn record<T, Si>(self, sink: Si) -> Record<Self, Si>
    where
        Self: Stream<Item = Result<T>> + Sized,
        Si: MediaSink<T>,
    {
        Record::new(self, sink)
    }
}

impl<S: Stream + ?Sized> RecordExt for S {}

/// Makes a wrong item type of an adapter a compile error here, and not where it is used.
fn assert_stream<T, S: Stream<Item = Result<T>>>(stream: S) -> S {
    stream
}
