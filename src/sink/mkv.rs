//! [`MkvSink`]: fragments to files.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::Sink;
use futures::future::BoxFuture;

use super::MediaSink;
use crate::error::{Error, Result};
use crate::fragment::{End, Fragment};
use crate::summary::Summary;

/// Writes each fragment as an MKV file of its own.
///
/// The files are [`to_mkv`](Fragment::to_mkv): playable, and byte for byte what the service sent.
/// The folder is made if it is not there; a file of the same name is replaced. Each file is written
/// as `NAME.part` and renamed when it is whole, so whoever watches the folder sees only whole files.
/// A fragment without media (a document of tags) is a file all the same.
///
/// A fragment that is [cut](End::Cut) is written too, as `NAME.cut.mkv`, so that it never replaces a
/// whole one, and counted as a gap. A pattern without `{number}` or `{index}` may give two fragments
/// the same name; then the later replaces the earlier.
///
/// # Memory
/// One fragment: the sink takes the next when the last is on its way to the disk.
///
/// ```
/// use futures::SinkExt;
/// use kinesis_video::{Fragment, MediaSink, MkvSink};
///
/// # async fn f(fragment: Fragment) -> kinesis_video::Result<()> {
/// let mut sink = MkvSink::to_dir("recordings").pattern("door-{number}.mkv")?;
/// sink.send(fragment).await?;
/// sink.close().await?;
/// assert_eq!(MediaSink::<Fragment>::summary(&sink).files(), 1);
/// # Ok(())
/// # }
/// ```
#[must_use = "sinks do nothing unless something is sent to them"]
pub struct MkvSink {
    dir: PathBuf,
    pattern: Vec<Piece>,
    index: u64,
    writing: Option<BoxFuture<'static, Result<Summary>>>,
    summary: Summary,
}

/// A piece of a name pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Index,
    Number,
    ProducerMillis,
    ServerMillis,
}

impl MkvSink {
    /// Writes into this folder, to files named `{number}.mkv`.
    pub fn to_dir(dir: impl Into<PathBuf>) -> Self {
        let pattern = vec![Piece::Number, Piece::Literal(".mkv".into())];
        Self { dir: dir.into(), pattern, index: 0, writing: None, summary: Summary::default() }
    }

    /// Sets how files are named: any text with `{number}` (the fragment's number), `{index}` (how
    /// many this sink had before), `{producer_ms}`, `{server_ms}` (its times in milliseconds since
    /// the epoch). Where a fragment has no number or time, its index stands instead.
    ///
    /// # Errors
    /// If the pattern has another placeholder, a folder separator, or nothing that differs from
    /// fragment to fragment.
    pub fn pattern(mut self, pattern: &str) -> Result<Self> {
        self.pattern = parse(pattern)?;
        Ok(self)
    }

    fn name(&self, fragment: &Fragment) -> String {
        let or_index = |text: Option<String>| text.unwrap_or_else(|| self.index.to_string());
        let mut name = String::new();
        for piece in &self.pattern {
            match piece {
                Piece::Literal(text) => name.push_str(text),
                Piece::Index => name.push_str(&self.index.to_string()),
                Piece::Number => name.push_str(&or_index(fragment.number().map(ToString::to_string))),
                Piece::ProducerMillis => {
                    name.push_str(&or_index(fragment.producer_time().map(|time| time.as_millis().to_string())));
                }
                Piece::ServerMillis => {
                    name.push_str(&or_index(fragment.server_time().map(|time| time.as_millis().to_string())));
                }
            }
        }
        if fragment.end() == End::Cut {
            let stem = name.len() - name.strip_suffix(".mkv").map_or(0, |_| ".mkv".len());
            name.insert_str(stem, ".cut");
        }
        name
    }

    fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if let Some(writing) = &mut self.writing {
            let written = ready!(writing.as_mut().poll(cx));
            self.writing = None;
            self.summary = self.summary.plus(written?);
        }
        Poll::Ready(Ok(()))
    }
}

fn parse(pattern: &str) -> Result<Vec<Piece>> {
    let refuse = |why: &str| Err(Error::invalid_argument(format!("the name pattern {pattern:?} {why}")));
    if pattern.contains(['/', '\\']) {
        return refuse("names a folder: give that to MkvSink::to_dir");
    }
    let mut pieces = Vec::new();
    let mut rest = pattern;
    while let Some((literal, behind)) = rest.split_once('{') {
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        let Some((placeholder, behind)) = behind.split_once('}') else { return refuse("has a { without }") };
        pieces.push(match placeholder {
            "index" => Piece::Index,
            "number" => Piece::Number,
            "producer_ms" => Piece::ProducerMillis,
            "server_ms" => Piece::ServerMillis,
            _ => return refuse("has a placeholder other than {number}, {index}, {producer_ms} and {server_ms}"),
        });
        rest = behind;
    }
    if pieces.iter().all(|piece| matches!(piece, Piece::Literal(_))) {
        return refuse("has no placeholder, so that every fragment would replace the one before");
    }
    if !rest.is_empty() {
        pieces.push(Piece::Literal(rest.into()));
    }
    Ok(pieces)
}

async fn write(dir: PathBuf, name: String, fragment: Fragment) -> Result<Summary> {
    let bytes = fragment.to_mkv();
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
    let gaps = u64::from(fragment.end() == End::Cut);
    Ok(Summary { items: 1, bytes: bytes.len() as u64, files: 1, gaps })
}

impl Sink<Fragment> for MkvSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_written(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, fragment: Fragment) -> Result<()> {
        let name = self.name(&fragment);
        self.index += 1;
        self.writing = Some(Box::pin(write(self.dir.clone(), name, fragment)));
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_written(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_written(cx)
    }
}

impl MediaSink<Fragment> for MkvSink {
    fn summary(&self) -> Summary {
        self.summary
    }
}

impl fmt::Debug for MkvSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MkvSink")
            .field("dir", &self.dir)
            .field("pattern", &self.pattern)
            .field("summary", &self.summary)
            .finish_non_exhaustive()
    }
}
