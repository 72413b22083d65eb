//! [`FileCheckpoint`]: a file of one line.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::runtime::Handle;

use super::CheckpointStore;
use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Position;

/// Longer than any position.
const MOST_BYTES: u64 = 4096;

/// Keeps a checkpoint as one line of text in a file.
///
/// The line is written to a file beside it (`.NAME.RANDOM.tmp`), flushed to the disk and renamed, so
/// that whatever happens, to the process or the machine, the old position is there or the new one. A
/// process that is killed in between leaves that other file, which disturbs nobody and may be
/// deleted. The folder is made if it is not there. No file is no checkpoint.
///
/// # Errors
/// [`load`](CheckpointStore::load) fails if the file cannot be read or is not a checkpoint,
/// [`save`](CheckpointStore::save) if it cannot be written; the error names the path. Both need a
/// tokio runtime, on whose threads for blocking work they touch the disk.
///
/// # Cancel safety
/// A `save` whose future is dropped may still be carried out, but never over a later one.
///
/// ```
/// use kinesis_video::{CheckpointStore, FileCheckpoint, Position};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let dir = tempfile::tempdir()?;
/// let checkpoint = FileCheckpoint::new(dir.path().join("front-door.position"));
/// assert_eq!(checkpoint.load().await?, None);
/// let position: Position = "kvs1:91343852333181432392682062607743920146:1511852109126:5000:=".parse()?;
/// checkpoint.save(&position).await?;
/// assert_eq!(checkpoint.load().await?, Some(position));
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct FileCheckpoint {
    paths: Arc<Paths>,
}

#[derive(Debug)]
struct Paths {
    file: PathBuf,
    part: PathBuf,
    /// How many saves have begun.
    begun: AtomicU64,
    /// Which of them is on the disk. Locked while one is written.
    written: Mutex<u64>,
}

impl FileCheckpoint {
    /// In this file.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let file = path.into();
        // Two processes that use one file by mistake, or for a moment, must not write into each other's.
        let random = RandomState::new().build_hasher().finish();
        let name = file.file_name().unwrap_or_default().display();
        let part = file.with_file_name(format!(".{name}.{random:016x}.tmp"));
        Self { paths: Arc::new(Paths { file, part, begun: AtomicU64::new(0), written: Mutex::new(0) }) }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.paths.file
    }

    async fn off_the_executor<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Paths) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let executor = Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::Unsupported, "a checkpoint file needs a tokio runtime").caused_by(error)
        })?;
        let paths = Arc::clone(&self.paths);
        let work = executor.spawn_blocking(move || work(&paths));
        work.await.map_err(|error| Error::of_file("using the checkpoint", self.path(), error.into()))?
    }
}

impl CheckpointStore for FileCheckpoint {
    fn load(&self) -> BoxFuture<'_, Result<Option<Position>>> {
        self.off_the_executor(Paths::read).boxed()
    }

    fn save<'a>(&'a self, position: &'a Position) -> BoxFuture<'a, Result<()>> {
        let line = format!("{position}\n");
        async move {
            let ordinal = self.paths.begun.fetch_add(1, Ordering::Relaxed) + 1;
            self.off_the_executor(move |paths| paths.write(ordinal, &line)).await
        }
        .boxed()
    }
}

impl Paths {
    fn read(&self) -> Result<Option<Position>> {
        let file = match File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.failed("reading", error)),
        };
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(|error| self.failed("reading", error))?;
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        String::from_utf8_lossy(line).parse().map(Some).map_err(|error: Error| {
            let message = format!("{} is not a checkpoint", self.file.display());
            Error::new(ErrorKind::InvalidArgument, message).caused_by(error)
        })
    }

    fn write(&self, ordinal: u64, line: &str) -> Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        // Nobody may have waited for this one, and threads start in any order.
        if *written > ordinal {
            return Ok(());
        }
        self.replace(line).map_err(|error| {
            // Whether or not there is one: what counts is why it was not written.
            let _ = fs::remove_file(&self.part);
            self.failed("writing", error)
        })?;
        *written = ordinal;
        Ok(())
    }

    fn replace(&self, line: &str) -> io::Result<()> {
        let dir = match self.file.parent() {
            Some(dir) if !dir.as_os_str().is_empty() => dir,
            _ => Path::new("."),
        };
        let mut part = File::create(&self.part);
        if part.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            fs::create_dir_all(dir)?;
            part = File::create(&self.part);
        }
        let mut part = part?;
        part.write_all(line.as_bytes())?;
        part.sync_all()?;
        drop(part);
        fs::rename(&self.part, &self.file)?;
        if cfg!(not(unix)) {
            return Ok(()); // where a folder cannot be opened
        }
        // The new name is on the disk when the folder is; some file systems of a network do not do that.
        match File::open(dir)?.sync_all() {
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
            synced => synced,
        }
    }

    fn failed(&self, what: &str, error: io::Error) -> Error {
        Error::of_file(&format!("{what} the checkpoint"), &self.file, error)
    }
}
