//! Writes each item to a file of its own.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::error::{Error, Result};
use crate::fragment::{Discontinuity, Fragment, FragmentEnd};
use crate::summary::Summary;

/// The largest buffer of media that is kept from fragment to fragment.
pub(super) const KEPT_BUFFER: usize = 4 << 20;

/// Returns the temporary name of a file that is not complete.
pub(super) fn part_of(path: &Path) -> PathBuf {
    let mut part = path.file_name().unwrap_or_default().to_owned();
    part.push(".part");
    path.with_file_name(part)
}

/// Creates the temporary file for a path, and the folder if it is missing. Blocks the thread.
pub(super) fn create_part(path: &Path) -> Result<(File, PathBuf)> {
    let part = part_of(path);
    let mut file = File::create(&part);
    if file.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
        && let Some(folder) = path.parent()
    {
        std::fs::create_dir_all(folder).map_err(|error| Error::of_file("creating the folder", folder, error))?;
        file = File::create(&part);
    }
    let file = file.map_err(|error| Error::of_file("writing", &part, error))?;
    Ok((file, part))
}

/// Returns whether a fragment is incomplete, or media before it is missing.
pub(super) fn is_gap(fragment: &Fragment) -> bool {
    fragment.end_reason() == FragmentEnd::Cut || fragment.discontinuities().iter().any(Discontinuity::is_loss)
}

/// A folder, with the file that is being written into it.
pub(super) struct Files {
    dir: PathBuf,
    writing: Option<BoxFuture<'static, Result<Summary>>>,
    summary: Summary,
}

impl Files {
    pub(super) fn in_dir(dir: PathBuf) -> Self {
        Self { dir, writing: None, summary: Summary::default() }
    }

    /// Starts to write a file. The previous file must be finished.
    pub(super) fn write(&mut self, name: String, bytes: Bytes, gaps: u64) {
        self.writing = Some(Box::pin(write(self.dir.clone(), name, bytes, gaps)));
    }

    /// Counts an item for which no file is written.
    #[cfg(feature = "aws")]
    pub(super) fn count_gap(&mut self) {
        self.summary.gaps += 1;
    }

    /// Is ready when no file is being written.
    pub(super) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(writing) = &mut self.writing {
            let written = ready!(writing.as_mut().poll(cx));
            self.writing = None;
            self.summary = self.summary.plus(written?);
        }
        Poll::Ready(Ok(()))
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn summary(&self) -> Summary {
        self.summary
    }
}

async fn write(dir: PathBuf, name: String, bytes: Bytes, gaps: u64) -> Result<Summary> {
    let path = dir.join(name);
    let part = part_of(&path);
    // `fs::write` copies borrowed data for the thread that writes. Cloned `Bytes` are not copied.
    let mut written = tokio::fs::write(&part, bytes.clone()).await;
    if written.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
        tokio::fs::create_dir_all(&dir).await.map_err(|error| Error::of_file("creating the folder", &dir, error))?;
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
