//! The whole fluent vocabulary.

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

/// What can be done with a stream of fragments, wherever it comes from.
pub trait FragmentStreamExt: Stream<Item = Result<Fragment>> {
    /// The coded frames of all fragments, in the order they stand.
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing.
    ///
    /// # Memory
    /// Holds the fragment whose packets it is giving out; each packet keeps its fragment's buffer.
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

    /// The fragments up to a bound: a time, a fragment, a count, or a deadline. Say it again for a
    /// second bound.
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

    /// The same fragments, each of which waits until it is said to be done with; how far everything
    /// is done is saved in the store, from where the next process can go on.
    ///
    /// See [`Acks`] for what exactly is saved, what may come again, and an example. A fragment that
    /// does not say where it is (a file's, not the service's) waits for nothing.
    ///
    /// # Errors
    /// Besides the stream's, [`ErrorKind::Limit`](crate::ErrorKind::Limit) if 65,536 fragments wait.
    /// What the store fails with is tried again in the background, and told by [`Acks::close`].
    ///
    /// # Cancel safety
    /// Dropping a `next()` future loses nothing.
    ///
    /// # Memory
    /// No fragment; some 300 bytes for each that waits.
    fn acknowledged(self, store: impl CheckpointStore) -> (Acknowledged<Self>, Acks)
    where
        Self: Sized,
    {
        let (fragments, acks) = Acknowledged::new(self, store);
        (assert_stream::<Fragment, _>(fragments), acks)
    }

    /// The same fragments for several consumers in this process: each gets a stream of its own from
    /// [`Share::subscribe`], or from [`Share::subscribe_lossy`] if it must not hold up the others.
    ///
    /// See [`Share`] for what each of them gets, and an example; [`Subscriber`](crate::Subscriber)
    /// for errors, cancel safety and memory.
    fn share(self) -> Share
    where
        Self: Sized + Send + 'static,
    {
        Share::new(self)
    }

    /// The audio of Amazon Connect: each party's, placed by time, without holes, contact by contact.
    ///
    /// See [`ConnectAudio`] for what can be asked of it, its errors, cancel safety and memory.
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

    /// The decoded pictures of all fragments, in the order in which they are shown.
    ///
    /// See [`Frames`] for what can be asked of it, its errors, cancel safety and memory.
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

/// What can be done with a stream of packets.
pub trait PacketStreamExt: Stream<Item = Result<Packet>> {
    /// Only the key frames of video tracks, by the flags of their blocks: no decoder is involved.
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

/// What can be done with the audio of calls.
pub trait AudioStreamExt: Stream<Item = Result<AudioChunk>> {
    /// Both parties side by side, the customer left, the agent right, in chunks of 100 ms or what is asked for.
    ///
    /// See [`Stereo`] for errors, cancel safety and memory.
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

    /// The audio of each party in chunks of this length; at least one sample, at most an hour.
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

    /// The audio of each party in chunks of so many bytes, two a sample; at least one sample, at most an hour.
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

/// What can be done with a stream of decoded pictures. All of it away from the threads of the executor.
#[cfg(feature = "ffmpeg")]
pub trait FrameStreamExt: Stream<Item = Result<Frame>> {
    /// The pictures made smaller, so that they are at most so wide and so high, in the same proportions.
    /// Those that are small enough stay as they are. 0 is an error, which the stream gives as its first
    /// item.
    ///
    /// See [`Convert`] for errors, cancel safety and memory, and [`FrameStreamExt::jpeg`] for an example.
    fn scale_within(self, width: u32, height: u32) -> Convert<Self, Frame>
    where
        Self: Sized,
    {
        let valid = if width > 0 && height > 0 {
            Ok(())
        } else {
            Err(Error::invalid_argument("a picture of no width or height"))
        };
        convert(self, valid, move |frame| frame.scale_within(width, height))
    }

    /// The pictures in red, green and blue.
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

    /// The pictures as JPEG files of a quality from 1 to 100; from 90 on, chroma is kept as fine as luma.
    /// Another quality is an error, which the stream gives as its first item.
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
            _ => Err(Error::invalid_argument(format!("a JPEG quality of {quality}: it goes from 1 to 100"))),
        };
        convert(self, valid, move |frame| EncodedFrame::jpeg(&frame, quality))
    }

    /// The pictures as PNG files.
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

/// What ends a chain of adapters: media of any kind goes to a sink.
pub trait RecordExt: Stream {
    /// Sends every item to a sink, closes it whatever happens, and tells what was recorded.
    ///
    /// # Errors
    /// The stream's error, or the sink's. Both carry what had been recorded in
    /// [`Error::summary`](crate::Error::summary).
    ///
    /// # Cancel safety
    /// Dropping the future leaves the sink as it is: files that are not finished stay under their
    /// temporary names.
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

/// Fails to compile where an adapter yields something else, and not at its user.
fn assert_stream<T, S: Stream<Item = Result<T>>>(stream: S) -> S {
    stream
}
