//! Items to files of their own.

use std::fmt;
use std::path::PathBuf;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::error::{Error, Result};
use crate::summary::Summary;

/// A folder, and the file in it that is being written.
pub(super) struct Files {
    dir: PathBuf,
    writing: Option<BoxFuture<'static, Result<Summary>>>,
    summary: Summary,
}

impl Files {
    pub(super) fn in_dir(dir: PathBuf) -> Self {
        Self { dir, writing: None, summary: Summary::default() }
    }

    /// Begins to write a file; the one before must be finished.
    pub(super) fn write(&mut self, name: String, bytes: Bytes, gaps: u64) {
        self.writing = Some(Box::pin(write(self.dir.clone(), name, bytes, gaps)));
    }

    pub(super) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(writing) = &mut self.writing {
            let written = ready!(writing.as_mut().poll(cx));
            self.writing = None;
            self.summary = self.summary.plus(written?);
        }
        Poll::Ready(Ok(()))
    }

    #[cfg(feature = "ffmpeg")]
    pub(super) fn dir(&self) -> &std::path::Path {
        &self.dir
    }

    pub(super) fn summary(&self) -> Summary {
        self.summary
    }
}

async fn write(dir: PathBuf, name: String, bytes: Bytes, gaps: u64) -> Result<Summary> {
    let path = dir.join(&name);
    let part = dir.join(name + ".part");
    // By value: what is borrowed would be copied for the thread that writes.
    let mut written = tokio::fs::write(&part, bytes.clone()).await;
    if written.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        tokio::fs::create_dir_all(&dir).await.map_err(|error| Error::of_file("making the folder", &dir, error))?;
        written = tokio::fs::write(&part, bytes.clone()).await;
    }
    written.map_err(|error| Error::of_file("writing", &part, error))?;
    tokio::fs::rename(&part, &path).await.map_err(|error| Error::of_file("renaming to", &path, error))?;
    Ok(Summary { items: 1, bytes: bytes.len() as u64, files: 1, gaps })
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("dir", &self.dir).field("summary", &self.summary).finish_non_exhaustive()
    }
}
