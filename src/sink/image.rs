//! [`ImageSink`]: pictures to files.

use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::Sink;

use super::MediaSink;
use super::files::Files;
use super::pattern::Pattern;
use crate::error::{Error, Result};
use crate::fragment::FragmentNumber;
use crate::frame::{EncodedFrame, FrameInfo};
use crate::summary::Summary;

/// Writes each picture as a file of its own, JPEG or PNG as it is.
///
/// The folder is made if it is not there; a file of the same name is replaced. Each file is written
/// as `NAME.part` and renamed when it is whole, so whoever watches the folder sees only whole files. A
/// picture that is damaged, or before which blocks gave none, counts as a gap in the summary.
///
/// # Memory
/// One picture: the sink takes the next when the last is on its way to the disk.
///
/// ```
/// use kinesis_video::{FragmentStream, FragmentStreamExt, FrameStreamExt, ImageSink, RecordExt};
///
/// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
/// let sink = ImageSink::to_dir("pictures").pattern("door-{producer_ms}.{ext}")?;
/// let summary = FragmentStream::new(body).frames().sample_ratio(5).jpeg(80).record(sink).await?;
/// println!("{summary}");
/// # Ok(())
/// # }
/// ```
#[must_use = "sinks do nothing unless something is sent to them"]
pub struct ImageSink {
    files: Files,
    pattern: Pattern<Placeholder>,
    /// The fragments that pictures were in last, and how many there were of each. Pictures of several may come in turn.
    recent: VecDeque<((u64, Option<FragmentNumber>), u64)>,
    index: u64,
}

/// So many fragments may give their pictures in turn.
const MOST_RECENT: usize = 256;

#[derive(Clone, Copy, Debug)]
enum Placeholder {
    Extension,
    Fragment,
    I,
    Index,
    Picture,
    ProducerMillis,
}

const PLACEHOLDERS: [(&str, Placeholder); 6] = [
    ("fragment", Placeholder::Fragment),
    ("i", Placeholder::I),
    ("picture", Placeholder::Picture),
    ("index", Placeholder::Index),
    ("producer_ms", Placeholder::ProducerMillis),
    ("ext", Placeholder::Extension),
];

impl ImageSink {
    /// Writes into this folder, to files named `{fragment}-{i}.{ext}`.
    pub fn to_dir(dir: impl Into<PathBuf>) -> Self {
        let pattern = Pattern::of(&[(Placeholder::Fragment, "-"), (Placeholder::I, "."), (Placeholder::Extension, "")]);
        Self { files: Files::in_dir(dir.into()), pattern, recent: VecDeque::new(), index: 0 }
    }

    /// Sets how files are named: any text with `{fragment}` (the fragment's number, or which of the
    /// stream it is if it has none), `{i}` (how many pictures of the same fragment came before, also if those of up to 256
    /// come in turn),
    /// `{picture}` (its place among all of the fragment's pictures: [`FrameInfo::index`]), `{index}` (how
    /// many pictures this sink had before), `{producer_ms}` (its time in milliseconds since the epoch, or
    /// its index if it has none), `{ext}` (`jpg` or `png`).
    ///
    /// # Errors
    /// If the pattern has another placeholder, a folder separator, or no placeholder at all.
    pub fn pattern(mut self, pattern: &str) -> Result<Self> {
        self.pattern = Pattern::parse(pattern, &PLACEHOLDERS)?;
        if self.pattern.has_only(|placeholder| matches!(placeholder, Placeholder::Extension)) {
            return Err(Error::invalid_argument("a name pattern in which nothing differs from picture to picture"));
        }
        Ok(self)
    }

    fn name(&self, picture: &EncodedFrame) -> String {
        let info = picture.info();
        self.pattern.fill(|placeholder| match placeholder {
            Placeholder::Extension => picture.format().extension().into(),
            Placeholder::Fragment => {
                info.fragment().number().map_or_else(|| info.fragment_index().to_string(), ToString::to_string)
            }
            Placeholder::I => self.before(info).to_string(),
            Placeholder::Index => self.index.to_string(),
            Placeholder::Picture => info.index().to_string(),
            Placeholder::ProducerMillis => {
                info.producer_time().map_or_else(|| self.index.to_string(), |time| time.as_millis().to_string())
            }
        })
    }

    /// Where a picture is written if it is the next.
    pub fn path_of(&self, picture: &EncodedFrame) -> PathBuf {
        self.files.dir().join(self.name(picture))
    }

    /// How many pictures of the same fragment came before.
    fn before(&self, info: &FrameInfo) -> u64 {
        let fragment = fragment_of(info);
        self.recent.iter().find(|(recent, _)| *recent == fragment).map_or(0, |(_, count)| *count)
    }
}

fn fragment_of(info: &FrameInfo) -> (u64, Option<FragmentNumber>) {
    (info.fragment_index(), info.fragment().number().cloned())
}

impl Sink<EncodedFrame> for ImageSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.files.poll_written(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, picture: EncodedFrame) -> Result<()> {
        let (info, name) = (picture.info(), self.name(&picture));
        let gaps = u64::from(info.is_damaged() || info.missing_before() > 0);
        let fragment = fragment_of(info);
        match self.recent.iter_mut().find(|(recent, _)| *recent == fragment) {
            Some((_, count)) => *count += 1,
            None => {
                self.recent.truncate(MOST_RECENT - 1);
                self.recent.push_front((fragment, 1));
            }
        }
        self.index += 1;
        self.files.write(name, picture.bytes().clone(), gaps);
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.files.poll_written(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.files.poll_written(cx)
    }
}

impl MediaSink<EncodedFrame> for ImageSink {
    fn summary(&self) -> Summary {
        self.files.summary()
    }
}

impl fmt::Debug for ImageSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageSink").field("files", &self.files).field("pattern", &self.pattern).finish_non_exhaustive()
    }
}
