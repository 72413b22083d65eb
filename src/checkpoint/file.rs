//! [`FileCheckpoint`]: a checkpoint in a file of one line.

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

/// The number of bytes read from a checkpoint file. Every position is shorter.
const MAX_BYTES: u64 = 4096;

/// A checkpoint kept as one line of text in a file.
///
/// A save writes a temporary file (`.NAME.RANDOM.tmp`) in the same folder, flushes it to the disk and renames it. After
/// a crash of the process or the machine, the file holds either the old or the new position. A process that is killed
/// during a save leaves its temporary file, which may be deleted.
///
/// The first save creates the folder if it does not exist. A missing file means that there is no checkpoint.
///
/// # Errors
/// Errors of the file name the path.
///
/// - [`load`](CheckpointStore::load) fails if the file cannot be read or is not a checkpoint.
/// - [`save`](CheckpointStore::save) fails if the file cannot be written.
/// - Both fail outside a tokio runtime. They access the disk on its threads for blocking work.
///
/// # Cancel safety
/// A `save` whose future is dropped may still complete. It never overwrites a later save of the same `FileCheckpoint`
/// or its clones.
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
    temporary: PathBuf,
    /// The number of saves that have begun.
    begun: AtomicU64,
    /// The ordinal of the save that is on the disk. Locked while one is written.
    written: Mutex<u64>,
}

impl FileCheckpoint {
    /// Creates a checkpoint in a file. Nothing is read or written yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let file = path.into();
        // Two processes that use the same file must not write to the same temporary file.
        let random = RandomState::new().build_hasher().finish();
        let name = file.file_name().unwrap_or_default().display();
        let temporary = file.with_file_name(format!(".{name}.{random:016x}.tmp"));
        Self { paths: Arc::new(Paths { file, temporary, begun: AtomicU64::new(0), written: Mutex::new(0) }) }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.paths.file
    }

    async fn on_blocking_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Paths) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let runtime = Handle::try_current().map_err(|error| {
            Error::new(ErrorKind::Unsupported, "a checkpoint file needs a tokio runtime").caused_by(error)
        })?;
        let paths = Arc::clone(&self.paths);
        let work = runtime.spawn_blocking(move || work(&paths));
        work.await.map_err(|error| Error::of_file("using the checkpoint", self.path(), error.into()))?
    }
}

impl CheckpointStore for FileCheckpoint {
    fn load(&self) -> BoxFuture<'_, Result<Option<Position>>> {
        self.on_blocking_thread(Paths::read).boxed()
    }

    fn save<'a>(&'a self, position: &'a Position) -> BoxFuture<'a, Result<()>> {
        let line = format!("{position}\n");
        async move {
            let ordinal = self.paths.begun.fetch_add(1, Ordering::Relaxed) + 1;
            self.on_blocking_thread(move |paths| paths.write(ordinal, &line)).await
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
        file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|error| self.failed("reading", error))?;
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        String::from_utf8_lossy(line).parse().map(Some).map_err(|error: Error| {
            let message = format!("{} is not a checkpoint", self.file.display());
            Error::new(ErrorKind::InvalidArgument, message).caused_by(error)
        })
    }

    fn write(&self, ordinal: u64, line: &str) -> Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        // The future of this save may have been dropped, and threads start in any order.
        if *written > ordinal {
            return Ok(());
        }
        self.replace(line).map_err(|error| {
            // The file may not exist. The first error is the one to report.
            let _ = fs::remove_file(&self.temporary);
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
        let mut temporary = File::create(&self.temporary);
        if temporary.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            fs::create_dir_all(dir)?;
            temporary = File::create(&self.temporary);
        }
        let mut temporary = temporary?;
        temporary.write_all(line.as_bytes())?;
        temporary.sync_all()?;
        drop(temporary);
        fs::rename(&self.temporary, &self.file)?;
        if cfg!(not(unix)) {
            return Ok(()); // A folder cannot be opened there.
        }
        // The rename is durable once the folder is flushed. Some network file systems do not support that.
        match File::open(dir)?.sync_all() {
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(()),
            synced => synced,
        }
    }

    fn failed(&self, what: &str, error: io::Error) -> Error {
        Error::of_file(&format!("{what} the checkpoint"), &self.file, error)
    }
}
