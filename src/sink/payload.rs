//! [`PayloadSink`]: fragments to one file, as the service sends them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::Sink;
use futures::future::BoxFuture;
use tokio::fs::File;
use tokio::io::AsyncWriteExt;

use super::MediaSink;
use super::files::{is_gap, part_of};
use crate::error::{Error, Result};
use crate::fragment::Fragment;
use crate::summary::Summary;

/// A sink that writes all fragments to one file, one document after the other.
///
/// The file is a payload: the HTTP body of a GetMedia call. [`FragmentStream`](crate::FragmentStream) reads it again.
/// Fragments that had their own document in the source are written byte for byte. Most players open only the first
/// fragment of such a file. [`MkvSink`](crate::MkvSink) writes files that they play.
///
/// The folder is created if it does not exist. The file is written as `NAME.part` and renamed on close. Without a
/// fragment, no file is written. If the sink is dropped before it is closed, the fragments so far are in `NAME.part`,
/// of which the last may be cut.
///
/// A fragment counts as a gap in the summary as for [`MkvSink`](crate::MkvSink).
///
/// # Errors
/// Errors of writing, which name the path. An error is returned at the next item, flush or close.
///
/// # Panics
/// Polling panics outside a tokio runtime, as tokio's file functions do.
///
/// # Memory
/// One fragment. The sink accepts a fragment after the previous one is written.
///
/// ```no_run
/// use kinesis_video::{Bound, KinesisVideo, PayloadSink, RecordExt};
///
/// # async fn f(kvs: KinesisVideo) -> kinesis_video::Result<()> {
/// let fragments = kvs.live("front-door").until(Bound::Count(30)).fragments();
/// let summary = fragments.record(PayloadSink::create("front-door.mkv")).await?;
/// assert_eq!(summary.files(), 1);
/// # Ok(())
/// # }
/// ```
#[must_use = "sinks do nothing unless something is sent to them"]
pub struct PayloadSink {
    path: PathBuf,
    state: State,
    summary: Summary,
}

enum State {
    /// No fragment has been sent, or the file is complete.
    Empty,
    Open(File),
    Writing(BoxFuture<'static, Result<File>>),
    Closing(BoxFuture<'static, Result<()>>),
}

impl PayloadSink {
    /// Creates a sink that writes the file `path`. An existing file is replaced on close.
    pub fn create(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), state: State::Empty, summary: Summary::default() }
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let State::Writing(writing) = &mut self.state {
            let written = ready!(writing.as_mut().poll(cx));
            self.state = State::Empty;
            self.state = State::Open(written?);
        }
        Poll::Ready(Ok(()))
    }
}

async fn append(file: Option<File>, part: PathBuf, bytes: Bytes) -> Result<File> {
    let mut file = match file {
        Some(file) => file,
        None => create(&part).await?,
    };
    let written = async {
        file.write_all(&bytes).await?;
        file.flush().await
    };
    written.await.map_err(|error| Error::of_file("writing", &part, error))?;
    Ok(file)
}

async fn create(part: &Path) -> Result<File> {
    if let Some(dir) = part.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        tokio::fs::create_dir_all(dir).await.map_err(|error| Error::of_file("creating the folder", dir, error))?;
    }
    File::create(part).await.map_err(|error| Error::of_file("creating", part, error))
}

impl Sink<Fragment> for PayloadSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_written(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, fragment: Fragment) -> Result<()> {
        let file = match std::mem::replace(&mut self.state, State::Empty) {
            State::Open(file) => Some(file),
            State::Empty | State::Writing(_) | State::Closing(_) => None,
        };
        let bytes = fragment.to_mkv();
        self.summary.items += 1;
        self.summary.bytes += bytes.len() as u64;
        self.summary.gaps += u64::from(is_gap(&fragment));
        self.state = State::Writing(Box::pin(append(file, part_of(&self.path), bytes)));
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_written(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_written(cx))?;
        if let State::Open(_) = &self.state {
            let (part, path) = (part_of(&self.path), self.path.clone());
            // The file is flushed, so closing it needs no further write.
            self.state = State::Closing(Box::pin(async move {
                tokio::fs::rename(&part, &path).await.map_err(|error| Error::of_file("renaming to", &path, error))
            }));
        }
        if let State::Closing(closing) = &mut self.state {
            let closed = ready!(closing.as_mut().poll(cx));
            self.state = State::Empty;
            closed?;
            self.summary.files += 1;
        }
        Poll::Ready(Ok(()))
    }
}

impl MediaSink<Fragment> for PayloadSink {
    fn summary(&self) -> Summary {
        self.summary
    }
}

impl fmt::Debug for PayloadSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PayloadSink").field("path", &self.path).field("summary", &self.summary).finish_non_exhaustive()
    }
}
