//! Files that are complete under their name, or not there.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::fs::{self, File};
use tokio::io::AsyncWriteExt;

use crate::failure::{Failure, Result};

/// Returns the path whose file name has `-TEXT` before its extension.
pub(crate) fn with_suffix(path: &Path, text: &str) -> PathBuf {
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{text}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    path.with_file_name(name)
}

/// Writes a file and returns its size.
///
/// It is written as `NAME.part` and then renamed. A missing folder is created, an existing file replaced.
pub(crate) async fn save(path: &Path, content: Vec<u8>) -> Result<u64> {
    save_chunks(path, futures::stream::iter([Ok(content.into())])).await
}

/// Writes a file of chunks as they arrive, as [`save`] does. After an error it is not there.
pub(crate) async fn save_chunks(path: &Path, chunks: impl Stream<Item = Result<Bytes>>) -> Result<u64> {
    let Some(name) = path.file_name() else {
        return Err(Failure::usage(format!("{} is not the name of a file", path.display())));
    };
    let mut part = name.to_owned();
    part.push(".part");
    let part = path.with_file_name(part);
    let saved = match write(&part, chunks).await {
        Ok(bytes) => match fs::rename(&part, path).await {
            Ok(()) => Ok(bytes),
            Err(error) => Err(Failure::of_file("write", path, &error)),
        },
        Err(failure) => Err(failure),
    };
    if saved.is_err() {
        // The first failure is told, whether or not this succeeds.
        let _ = fs::remove_file(&part).await;
    }
    saved
}

async fn write(path: &Path, chunks: impl Stream<Item = Result<Bytes>>) -> Result<u64> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        fs::create_dir_all(dir).await.map_err(|error| Failure::of_file("create the folder", dir, &error))?;
    }
    let failed = |error| Failure::of_file("write", path, &error);
    let (mut file, mut bytes) = (File::create(path).await.map_err(failed)?, 0);
    let mut chunks = std::pin::pin!(chunks);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk?;
        file.write_all(&chunk).await.map_err(failed)?;
        bytes += chunk.len() as u64;
    }
    file.flush().await.map_err(failed)?;
    Ok(bytes)
}
