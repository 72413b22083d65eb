//! The whole fluent vocabulary.

use futures::Stream;

use crate::error::Result;
use crate::fragment::{Bound, Fragment, Until};
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
    /// use kinesis_video::{Bound, EndReason, FragmentStream, FragmentStreamExt};
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// let body: &[u8] = &[];
    /// let mut fragments = FragmentStream::new(body).until(Bound::Count(10));
    /// while let Some(fragment) = fragments.try_next().await? {
    ///     println!("{fragment:?}");
    /// }
    /// assert_eq!(fragments.reason(), Some(EndReason::EndOfMedia));
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    fn until(self, bound: impl Into<Bound>) -> Until<Self>
    where
        Self: Sized,
    {
        assert_stream::<Fragment, _>(Until::new(self, bound.into()))
    }

    /// Sends every fragment to a sink, closes it whatever happens, and tells what was recorded.
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
    /// One fragment.
    ///
    /// ```
    /// use kinesis_video::{FragmentStream, FragmentStreamExt, MkvSink};
    ///
    /// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
    /// let summary = FragmentStream::new(body).record(MkvSink::to_dir("recordings")).await?;
    /// println!("{summary}");
    /// # Ok(())
    /// # }
    /// ```
    fn record<Si>(self, sink: Si) -> Record<Self, Si>
    where
        Self: Sized,
        Si: MediaSink<Fragment>,
    {
        Record::new(self, sink)
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

/// Fails to compile where an adapter yields something else, and not at its user.
fn assert_stream<T, S: Stream<Item = Result<T>>>(stream: S) -> S {
    stream
}
