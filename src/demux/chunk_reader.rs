//! An `AsyncRead` over a stream of byte chunks.

use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use futures::Stream;
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, ReadBuf};

pin_project! {
    /// An `AsyncRead` over a stream of byte chunks.
    ///
    /// [`FragmentStream::from_stream`](crate::FragmentStream::from_stream) reads from it.
    #[derive(Debug)]
    pub struct ChunkReader<S, B> {
        #[pin]
        chunks: S,
        current: Option<B>,
    }
}

impl<S, B> ChunkReader<S, B> {
    /// Creates a reader over `chunks`.
    ///
    /// An error of the stream becomes an `io::Error`. Empty chunks are skipped.
    pub fn new(chunks: S) -> Self {
        Self { chunks, current: None }
    }

    /// Returns a reference to the stream of chunks.
    pub fn get_ref(&self) -> &S {
        &self.chunks
    }

    /// Consumes the reader and returns the stream of chunks.
    ///
    /// The unread part of the current chunk is lost.
    pub fn into_inner(self) -> S {
        self.chunks
    }
}

impl<S, B, E> AsyncRead for ChunkReader<S, B>
where
    S: Stream<Item = Result<B, E>>,
    B: Buf,
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut this = self.project();
        loop {
            if let Some(chunk) = this.current.as_mut().filter(bytes::Buf::has_remaining) {
                let part = chunk.chunk();
                let length = part.len().min(out.remaining());
                out.put_slice(part.get(..length).unwrap_or_default());
                chunk.advance(length);
                return Poll::Ready(Ok(()));
            }
            *this.current = None;
            match ready!(this.chunks.as_mut().poll_next(cx)) {
                Some(Ok(chunk)) => *this.current = Some(chunk),
                Some(Err(error)) => {
                    let error = error.into();
                    return Poll::Ready(Err(match error.downcast::<io::Error>() {
                        Ok(error) => *error,
                        Err(error) => io::Error::other(error),
                    }));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
    }
}
