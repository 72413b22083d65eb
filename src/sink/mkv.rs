//! [`MkvSink`]: fragments to MKV files.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Sink;

use super::MediaSink;
use super::files::{Files, is_gap};
use super::pattern::Pattern;
use crate::error::{Error, Result};
use crate::fragment::{Fragment, FragmentEnd};
use crate::summary::Summary;

/// A sink that writes each fragment to an MKV file of its own.
///
/// Each file contains [`to_mkv`](Fragment::to_mkv), so it is playable. A fragment without media, which has only tags,
/// gets a file too.
///
/// The folder is created if it does not exist. An existing file of the same name is replaced. Each file is
/// written as `NAME.part` and renamed when it is complete, so a program that watches the folder sees only
/// whole files.
///
/// A fragment that is [cut](FragmentEnd::Cut) is written as `NAME.cut.mkv`, so it never replaces a whole fragment. A
/// name without `.mkv` at the end gets `.cut` appended. If a pattern gives two fragments the same name, the later
/// file replaces the earlier one. `{number}` and `{index}` prevent this.
///
/// A fragment counts as a gap in the summary if it is cut, or if one of its discontinuities
/// [is a loss](crate::Discontinuity::is_loss).
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
    files: Files,
    pattern: Pattern<Placeholder>,
    index: u64,
}

#[derive(Clone, Copy, Debug)]
enum Placeholder {
    Index,
    Number,
    ProducerMillis,
    ServerMillis,
}

const PLACEHOLDERS: [(&str, Placeholder); 4] = [
    ("number", Placeholder::Number),
    ("index", Placeholder::Index),
    ("producer_ms", Placeholder::ProducerMillis),
    ("server_ms", Placeholder::ServerMillis),
];

impl MkvSink {
    /// Creates a sink that writes into the folder `dir`.
    ///
    /// Default file names: `{number}.mkv`. Nothing is written before the first fragment.
    pub fn to_dir(dir: impl Into<PathBuf>) -> Self {
        let pattern = Pattern::of(&[(Placeholder::Number, ".mkv")]);
        Self { files: Files::in_dir(dir.into()), pattern, index: 0 }
    }

    /// Sets the pattern of the file names: text with placeholders in braces.
    ///
    /// | placeholder | value |
    /// |---|---|
    /// | `{number}` | the fragment number |
    /// | `{index}` | number of earlier fragments of this sink |
    /// | `{producer_ms}` | producer time in milliseconds since 1970 |
    /// | `{server_ms}` | server time in milliseconds since 1970 |
    ///
    /// If a fragment does not have the value, the placeholder has the value of `{index}`.
    ///
    /// # Errors
    /// If the pattern has an unknown placeholder, a `{` without a `}`, a folder separator, or no placeholder.
    pub fn pattern(mut self, pattern: &str) -> Result<Self> {
        self.pattern = Pattern::parse(pattern, &PLACEHOLDERS)?;
        Ok(self)
    }

    /// Returns the path of the file that the sink will write for `fragment`, if it is sent next.
    pub fn path_of(&self, fragment: &Fragment) -> PathBuf {
        self.files.dir().join(self.name(fragment))
    }

    fn name(&self, fragment: &Fragment) -> String {
        let mut name = self.pattern.fill(|placeholder| {
            let value = match placeholder {
                Placeholder::Index => None,
                Placeholder::Number => fragment.number().map(ToString::to_string),
                Placeholder::ProducerMillis => fragment.producer_time().map(|time| time.as_millis().to_string()),
                Placeholder::ServerMillis => fragment.server_time().map(|time| time.as_millis().to_string()),
            };
            value.unwrap_or_else(|| self.index.to_string())
        });
        if fragment.end_reason() == FragmentEnd::Cut {
            let stem = name.len() - name.strip_suffix(".mkv").map_or(0, |_| ".mkv".len());
            name.insert_str(stem, ".cut");
        }
        name
    }
}

impl Sink<Fragment> for MkvSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.files.poll_written(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, fragment: Fragment) -> Result<()> {
        let name = self.name(&fragment);
        self.index += 1;
        let gaps = u64::from(is_gap(&fragment));
        self.files.write(name, fragment.to_mkv(), gaps);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.files.poll_written(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.files.poll_written(cx)
    }
}

impl MediaSink<Fragment> for MkvSink {
    fn summary(&self) -> Summary {
        self.files.summary()
    }
}

impl fmt::Debug for MkvSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MkvSink").field("files", &self.files).field("pattern", &self.pattern).finish_non_exhaustive()
    }
}
