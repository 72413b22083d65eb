//! Writes a line of CSV per coded frame with a sink of its own: `own_sink [FILE] >frames.csv`.
#![allow(clippy::print_stderr, reason = "a program")]

use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use futures::Sink;
use kinesis_video::{Error, FragmentStream, FragmentStreamExt, MediaSink, Packet, RecordExt, Result, Summary};
use tokio::fs::File;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_write_buf;

/// A sink that writes a line per coded frame. It holds at most one line.
struct CsvSink<W> {
    out: W,
    line: BytesMut,
    summary: Summary,
}

impl<W: AsyncWrite + Unpin> Sink<Packet> for CsvSink<W> {
    type Error = Error;

    /// Backpressure: no item is taken before the last line is written.
    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Self { out, line, .. } = &mut *self;
        while line.has_remaining() {
            ready!(poll_write_buf(Pin::new(out), cx, line))?;
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, packet: Packet) -> Result<()> {
        let (track, time, bytes) = (packet.track_number(), packet.timecode_ns(), packet.payload().len());
        let line = format!("{track},{time},{bytes},{}\n", packet.is_key());
        self.line.extend_from_slice(line.as_bytes());
        self.summary = self.summary.plus_items(1).plus_bytes(line.len() as u64);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.as_mut().poll_ready(cx))?;
        Pin::new(&mut self.out).poll_flush(cx).map_err(Error::from)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_flush(cx)
    }
}

/// With this, `record` returns the totals, also after an error.
impl<W: AsyncWrite + Unpin> MediaSink<Packet> for CsvSink<W> {
    fn summary(&self) -> Summary {
        self.summary
    }
}

const CAMERA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/camera.mkv");

#[tokio::main]
async fn main() -> Result<()> {
    let file = std::env::args_os().nth(1).map_or_else(|| CAMERA.into(), PathBuf::from);
    let sink = CsvSink { out: tokio::io::stdout(), line: BytesMut::new(), summary: Summary::default() };
    let summary = FragmentStream::new(File::open(file).await?).packets().record(sink).await?;
    eprintln!("{summary}");
    Ok(())
}
