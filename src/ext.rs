//! The extension traits: every adapter of a stream of media.

#[cfg(feature = "ffmpeg")]
use std::sync::Arc;

use std::time::Duration;

use futures::Stream;

use crate::audio::{AudioChunk, ConnectAudio, Rechunk, Stereo, StereoChunk};
use crate::checkpoint::{Acknowledged, Acks, CheckpointStore};
#[cfg(feature = "ffmpeg")]
use crate::error::Error;
use crate::error::Result;
use crate::fragment::{Bound, Fragment, Share, Until};
#[cfg(feature = "ffmpeg")]
use crate::frame::{Convert, EncodedFrame, Frame, Frames, RgbFrame};
use crate::packet::{Keyframes, Packet, Packets};
use crate::sink::{MediaSink, Record};

/// Adapters for streams of fragments, from any source.
pub trait FragmentStreamExt: Stream<Item = Result<Fragment>> {
    /// Yields the packets (coded frames) of all fragments, in the order in which they are stored.
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

    /// Yields fragments up to a [`Bound`]: a time, a fragment number, a count or a deadline.
    ///
    /// Call it again for a second bound. [`Until::end_reason`] returns why the stream has ended.
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

    /// Yields the same fragments and saves the consumer's position as it acknowledges them.
    ///
    /// The consumer acknowledges each fragment with the returned [`Acks`]. The position up to which every fragment is
    /// acknowledged is saved in `store`, so that the next process resumes there. Fragments without a position (from a file)
    /// need no acknowledgement.
    ///
    /// See [`Acks`] for an example, and [`checkpoint`](crate::checkpoint#repeats) for the fragments that are yielded again
    /// after a crash.
    ///
    /// # Errors
    /// - Errors of the fragment stream.
    /// - [`ErrorKind::Limit`](crate::ErrorKind::Limit) if 65,536 fragments wait for an acknowledgement.
    ///
    /// Errors of the store are not yielded. The background task retries them. [`Acks::close`] saves once more and returns the
    /// error of that save.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing.
    ///
    /// # Memory
    /// No fragment is held. Each fragment that waits takes about 300 bytes.
    fn acknowledged(self, store: impl CheckpointStore) -> (Acknowledged<Self>, Acks)
    where
        Self: Sized,
    {
        let (fragments, acks) = Acknowledged::new(self, store);
        (assert_stream::<Fragment, _>(fragments), acks)
    }

    /// Shares one stream of fragments among several consumers in this process.
    ///
    /// | each consumer gets its stream from | the source |
    /// |---|---|
    /// | [`Share::subscribe`] | waits for the consumer |
    /// | [`Share::subscribe_lossy`] | does not wait; fragments that the consumer is too slow for are dropped |
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
    /// Holes are filled with silence. One contact follows the other, each from position 0.
    ///
    /// See [`ConnectAudio`] for its options, errors, cancel safety and memory, and [`audio`](crate::audio) for the placement
    /// of samples.
    ///
    /// ```
    /// use futures::TryStreamExt;
    /// use kinesis_video::{FragmentStream, FragmentStreamExt};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let mut audio = FragmentStream::new(body).connect_audio();
    /// while let Some(chunk) = audio.try_next().await? {
    ///     println!("{:?} {} {}: {} samples", chunk.contact_id(), chunk.party(), chunk.position(), chunk.samples().len());
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

    /// Yields the decoded pictures of all fragments, in presentation order.
    ///
    /// Default: every picture of the first video track of each fragment, one fragment decoded at a time.
    ///
    /// See [`Frames`] for its options, errors, cancel safety and memory.
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
}

impl<S: Stream<Item = Result<Fragment>> + ?Sized> FragmentStreamExt for S {}

/// Adapters for streams of packets.
pub trait PacketStreamExt: Stream<Item = Result<Packet>> {
    /// Yields only the key frames of video tracks. Other packets, audio included, are dropped.
    ///
    /// A packet is a key frame if its block is flagged as one. Nothing is decoded.
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
}

impl<S: Stream<Item = Result<Packet>> + ?Sized> PacketStreamExt for S {}

/// Adapters for the audio of Amazon Connect conversations.
pub trait AudioStreamExt: Stream<Item = Result<AudioChunk>> {
    /// Yields both parties as stereo audio: the customer on the left channel, the agent on the right.
    ///
    /// Default: chunks of 100 ms, as the audio arrives.
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
    /// The duration is limited to at least one sample and at most one hour.
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

    /// Yields the audio of each party in chunks of a given size, at two bytes per sample.
    ///
    /// The size is limited to at least one sample and at most one hour.
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

/// Adapters for streams of decoded pictures. They convert pictures on tokio's threads for blocking work.
#[cfg(feature = "ffmpeg")]
pub trait FrameStreamExt: Stream<Item = Result<Frame>> {
    /// Yields the pictures scaled down to fit into a width and a height.
    ///
    /// Proportions are kept. Smaller pictures stay as they are. If a size is 0, the first item of the stream is an error.
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
    /// The sink is closed even if the stream or the sink fails.
    ///
    /// # Errors
    /// The first error of the stream or of the sink. [`Error::summary`](crate::Error::summary) then tells how much was
    /// recorded.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the sink unclosed: unfinished files keep their temporary names.
    ///
    /// # Memory
    /// One item.
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
