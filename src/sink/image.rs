//! [`ImageSink`]: encoded images to files.

#[cfg(feature = "ffmpeg")]
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
#[cfg(feature = "ffmpeg")]
use crate::fragment::FragmentNumber;
#[cfg(feature = "ffmpeg")]
use crate::frame::{EncodedFrame, FrameInfo};
#[cfg(feature = "aws")]
use crate::service::ArchivedImage;
use crate::summary::Summary;

/// A sink that writes each image to a JPEG or PNG file of its own.
///
/// | takes | from | feature | counts as a gap in the summary |
/// |---|---|---|---|
/// | [`EncodedFrame`] | [`jpeg`], [`png`] | `ffmpeg` | a damaged picture, or one with missing blocks before it |
/// | [`ArchivedImage`] | [`KinesisVideo::images`] | `aws` | an image without a picture, which gets no file |
///
/// [`EncodedFrame`]: crate::EncodedFrame
/// [`jpeg`]: crate::FrameStreamExt::jpeg
/// [`png`]: crate::FrameStreamExt::png
/// [`ArchivedImage`]: crate::ArchivedImage
/// [`KinesisVideo::images`]: crate::KinesisVideo::images
///
/// The folder is created if it does not exist. An existing file of the same name is replaced. Each file is
/// written as `NAME.part` and renamed when it is complete, so a program that watches the folder sees only
/// whole files.
///
/// # Errors
/// Errors of writing, which name the path. An error is returned at the next item, flush or close.
///
/// # Panics
/// Polling panics outside a tokio runtime, as tokio's file functions do.
///
/// # Memory
/// One picture. The sink accepts a picture after the previous one is written.
///
/// ```
/// # #[cfg(feature = "ffmpeg")]
/// # async fn f(body: &[u8]) -> kinesis_video::Result<()> {
/// use kinesis_video::{FragmentStream, FragmentStreamExt, FrameStreamExt, ImageSink, RecordExt};
///
/// let sink = ImageSink::to_dir("pictures").pattern("door-{time_ms}.{ext}")?;
/// let summary = FragmentStream::new(body).frames().sample_ratio(5).jpeg(80).record(sink).await?;
/// println!("{summary}");
/// # Ok(())
/// # }
/// ```
#[must_use = "sinks do nothing unless something is sent to them"]
pub struct ImageSink {
    files: Files,
    /// `None` until one is set: the default depends on the kind of image.
    pattern: Option<Pattern<Placeholder>>,
    /// The most recent fragments and their picture counts. Pictures of several fragments may be interleaved.
    #[cfg(feature = "ffmpeg")]
    recent: VecDeque<((u64, Option<FragmentNumber>), u64)>,
    /// The number of pictures so far.
    index: u64,
}

/// The number of fragments whose pictures may be interleaved.
#[cfg(feature = "ffmpeg")]
const MAX_RECENT: usize = 256;

#[derive(Clone, Copy, Debug)]
enum Placeholder {
    Extension,
    Fragment,
    I,
    Index,
    Picture,
    ProducerMillis,
    TimeMillis,
}

const PLACEHOLDERS: [(&str, Placeholder); 7] = [
    ("fragment", Placeholder::Fragment),
    ("i", Placeholder::I),
    ("picture", Placeholder::Picture),
    ("index", Placeholder::Index),
    ("time_ms", Placeholder::TimeMillis),
    ("producer_ms", Placeholder::ProducerMillis),
    ("ext", Placeholder::Extension),
];

impl ImageSink {
    /// Creates a sink that writes into the folder `dir`.
    ///
    /// Default file names: `{fragment}-{i}.{ext}` for decoded frames, `{time_ms}.{ext}` for archived images. See
    /// [`pattern`](ImageSink::pattern) for the placeholders.
    pub fn to_dir(dir: impl Into<PathBuf>) -> Self {
        Self {
            files: Files::in_dir(dir.into()),
            pattern: None,
            #[cfg(feature = "ffmpeg")]
            recent: VecDeque::new(),
            index: 0,
        }
    }

    /// Sets the pattern of the file names: text with placeholders in braces.
    ///
    /// | placeholder | decoded frame | archived image |
    /// |---|---|---|
    /// | `{fragment}` | fragment number, or the fragment's index in the stream | as `{index}` |
    /// | `{i}` | number of earlier pictures of the same fragment in this sink | as `{index}` |
    /// | `{picture}` | [`FrameInfo::index`]: index among all pictures of the fragment | as `{index}` |
    /// | `{index}` | number of earlier pictures of this sink | the same |
    /// | `{time_ms}` | producer time in milliseconds since 1970 | [`ArchivedImage::time`] in the same unit |
    /// | `{producer_ms}` | as `{time_ms}` | as `{index}` |
    /// | `{ext}` | `jpg` or `png` | the same |
    ///
    /// Without a producer time, `{time_ms}` of a decoded frame has the value of `{index}`. `{i}` also counts correctly
    /// while the pictures of up to 256 fragments arrive interleaved.
    ///
    /// [`FrameInfo::index`]: crate::frame::FrameInfo::index
    /// [`ArchivedImage::time`]: crate::ArchivedImage::time
    ///
    /// # Errors
    /// If the pattern has an unknown placeholder, a `{` without a `}`, a folder separator, or no placeholder other than
    /// `{ext}`.
    pub fn pattern(mut self, pattern: &str) -> Result<Self> {
        let parsed = Pattern::parse(pattern, &PLACEHOLDERS)?;
        if parsed.has_only(|placeholder| matches!(placeholder, Placeholder::Extension)) {
            let message =
                format!("the name pattern {pattern:?} gives every picture the same name: add {{index}}, for example");
            return Err(Error::invalid_argument(message));
        }
        self.pattern = Some(parsed);
        Ok(self)
    }

    /// Fills in the pattern. A placeholder without a value gets the index.
    fn fill(&self, default: &[(Placeholder, &str)], value: impl Fn(Placeholder) -> Option<String>) -> String {
        let value = |placeholder| value(placeholder).unwrap_or_else(|| self.index.to_string());
        match &self.pattern {
            Some(pattern) => pattern.fill(value),
            None => Pattern::of(default).fill(value),
        }
    }
}

#[cfg(feature = "ffmpeg")]
impl ImageSink {
    /// Returns the path that this frame's file gets if it is sent next.
    ///
    /// Names can depend on earlier frames.
    pub fn path_of(&self, frame: &EncodedFrame) -> PathBuf {
        self.files.dir().join(self.frame_name(frame))
    }

    fn frame_name(&self, frame: &EncodedFrame) -> String {
        const DEFAULT: [(Placeholder, &str); 3] =
            [(Placeholder::Fragment, "-"), (Placeholder::I, "."), (Placeholder::Extension, "")];
        let info = frame.info();
        self.fill(&DEFAULT, |placeholder| match placeholder {
            Placeholder::Extension => Some(frame.format().extension().into()),
            Placeholder::Fragment => {
                let number = info.fragment().number();
                Some(number.map_or_else(|| info.fragment_index().to_string(), ToString::to_string))
            }
            Placeholder::I => Some(self.earlier_of_fragment(info).to_string()),
            Placeholder::Index => None,
            Placeholder::Picture => Some(info.index().to_string()),
            Placeholder::ProducerMillis | Placeholder::TimeMillis => {
                info.producer_time().map(|time| time.as_millis().to_string())
            }
        })
    }

    /// Returns the number of earlier pictures of the same fragment.
    fn earlier_of_fragment(&self, info: &FrameInfo) -> u64 {
        let fragment = fragment_of(info);
        self.recent.iter().find(|(recent, _)| *recent == fragment).map_or(0, |(_, count)| *count)
    }

    fn count_in_fragment(&mut self, info: &FrameInfo) {
        let fragment = fragment_of(info);
        match self.recent.iter_mut().find(|(recent, _)| *recent == fragment) {
            Some((_, count)) => *count += 1,
            None => {
                self.recent.truncate(MAX_RECENT - 1);
                self.recent.push_front((fragment, 1));
            }
        }
    }
}

#[cfg(feature = "aws")]
impl ImageSink {
    /// Returns the path that this image's file gets if it is sent next.
    ///
    /// An image without a picture gets no file.
    pub fn path_of_archived(&self, image: &ArchivedImage) -> PathBuf {
        self.files.dir().join(self.archived_name(image))
    }

    fn archived_name(&self, image: &ArchivedImage) -> String {
        const DEFAULT: [(Placeholder, &str); 2] = [(Placeholder::TimeMillis, "."), (Placeholder::Extension, "")];
        self.fill(&DEFAULT, |placeholder| match placeholder {
            Placeholder::Extension => Some(image.format().extension().into()),
            Placeholder::TimeMillis => Some(image.time().as_millis().to_string()),
            _ => None,
        })
    }
}

#[cfg(feature = "ffmpeg")]
fn fragment_of(info: &FrameInfo) -> (u64, Option<FragmentNumber>) {
    (info.fragment_index(), info.fragment().number().cloned())
}

#[cfg(feature = "ffmpeg")]
impl Sink<EncodedFrame> for ImageSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.files.poll_written(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, frame: EncodedFrame) -> Result<()> {
        let (info, name) = (frame.info(), self.frame_name(&frame));
        let has_gap = info.is_damaged() || info.missing_before() > 0;
        self.count_in_fragment(info);
        self.index += 1;
        self.files.write(name, frame.bytes().clone(), u64::from(has_gap));
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.files.poll_written(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.files.poll_written(cx)
    }
}

#[cfg(feature = "aws")]
impl Sink<ArchivedImage> for ImageSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.files.poll_written(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, image: ArchivedImage) -> Result<()> {
        let name = self.archived_name(&image);
        match image.into_content() {
            Ok(bytes) => {
                self.index += 1;
                self.files.write(name, bytes, 0);
            }
            Err(_) => self.files.count_gap(),
        }
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.files.poll_written(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.files.poll_written(cx)
    }
}

#[cfg(feature = "ffmpeg")]
impl MediaSink<EncodedFrame> for ImageSink {
    fn summary(&self) -> Summary {
        self.files.summary()
    }
}

#[cfg(feature = "aws")]
impl MediaSink<ArchivedImage> for ImageSink {
    fn summary(&self) -> Summary {
        self.files.summary()
    }
}

impl fmt::Debug for ImageSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ImageSink").field("files", &self.files).field("pattern", &self.pattern).finish_non_exhaustive()
    }
}
