//! `kvs frame`.

use std::path::PathBuf;

use clap::Args;
use kinesis_video::{ImageFormat, Timestamp};

use crate::begin::ClockName;
use crate::source::Source;
use crate::{picture_options, time};

/// Save the picture that a SOURCE shows at a time.
///
/// It is the last picture at or before the time. Of a stream, only the fragment of the picture is fetched from what is
/// stored. If the stream retains nothing, what the service still has in memory is read. No picture is found if media is
/// missing at the time. This needs the feature "ffmpeg".
#[derive(Args)]
#[command(after_long_help = "\
With --json, one object per picture that is on disk:
  path, at_time, fragment_number, picture_index, producer_time, timecode_ns, width, height, key, bytes

Examples:
  kvs frame front-door --at \"10m ago\" -o still.jpg
  kvs frame front-door --at \"yesterday 14:03:07\" --clock producer -o visitor.png
  kvs frame recordings/ --at 2026-11-20T10:00:00Z --size 640x360 -o still.jpg")]
#[cfg_attr(
    not(feature = "ffmpeg"),
    command(about = "Save the picture that a SOURCE shows at a time (this build lacks the feature ffmpeg)")
)]
pub(crate) struct Frame {
    /// The stream or file to read.
    source: Source,
    /// The time of the picture, such as "10m ago" or "2026-11-21 10:00".
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    at: Timestamp,
    /// The clock of --at.
    ///
    /// On the clock of the service, a fragment starts when the service began to receive it.
    #[arg(long, value_enum, default_value_t)]
    clock: ClockName,
    /// The file, which ends in .jpg, .jpeg or .png. An existing one is replaced.
    #[arg(short, long, value_name = "FILE", value_parser = picture_options::file)]
    output: (PathBuf, ImageFormat),
    /// Scale a larger picture down to fit: 640x360, or 640 for a width alone.
    #[arg(long, value_name = "WxH", value_parser = picture_options::size)]
    size: Option<(u32, u32)>,
    /// The quality of JPEG, from 1 to 100. Default: 80.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=100))]
    quality: Option<u8>,
}

#[cfg(not(feature = "ffmpeg"))]
impl Frame {
    pub(crate) async fn run(self, _: &crate::context::Context) -> crate::failure::Result<()> {
        let what = "this kvs was built without the feature \"ffmpeg\", which decodes pictures";
        Err(crate::failure::Failure::usage(what).hint("cargo install kinesis-video --features cli,ffmpeg"))
    }
}

#[cfg(feature = "ffmpeg")]
mod run {
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::time::Duration;

    use futures::{StreamExt, TryStreamExt};
    use kinesis_video::frame::{Frame as Picture, FrameInfo};
    use kinesis_video::{
        EncodedFrame, Error, ErrorKind, Fragment, FragmentStreamExt, FrameStreamExt, ImageFormat, StreamId, Timestamp,
        TrackKind,
    };
    use serde_json::{Value, json};

    use super::Frame;
    use crate::begin::ClockName;
    use crate::context::Context;
    use crate::failure::{Failure, Result};
    use crate::source::{Selection, Source};
    use crate::{files, time, words};

    const DEFAULT_QUALITY: u8 = 80;

    /// The time before --at from which a stream is read that retains nothing: the maximum duration of a fragment.
    const LEAD: Duration = Duration::from_secs(20);

    /// The time without a fragment after which such a stream has no more.
    const IDLE: Duration = Duration::from_secs(10);

    /// A picture that is older than this is remarked on.
    const OLD: Duration = Duration::from_secs(1);

    impl Frame {
        pub(crate) async fn run(self, cx: &Context) -> Result<()> {
            let (path, format) = &self.output;
            if self.quality.is_some() && *format == ImageFormat::Png {
                return Err(Failure::usage("--quality is for JPEG").hint("-o FILE.jpg"));
            }
            let name = self.source.to_string();
            let seen = Arc::<Mutex<Seen>>::default();
            // A picture that is found is saved; the search for one ends at once.
            let found = tokio::select! {
                found = self.find(&seen, cx) => found.map_err(|failure| failure.about(&name))?,
                () = cx.signals.interrupted() => return Ok(()),
            };
            let Some(frame) = found else {
                return if cx.signals.is_interrupted() { Ok(()) } else { Err(self.nothing(&lock(&seen))) };
            };
            let picture = self.encode(frame).await.map_err(|error| Failure::from(error).about(&name))?;
            let info = picture.info();
            let bytes = files::save(path, picture.bytes().to_vec()).await?;
            if let Some(age) = self.age(info).filter(|age| *age >= OLD) {
                cx.screen.note(&format!("the picture is {} older than --at", time::duration(age)));
            }
            let path = path.display().to_string();
            match cx.screen.is_json() {
                true => cx.screen.object(&object(&path, self.at, info, bytes)),
                false => {
                    let shown = info.producer_time().map_or_else(|| time::in_media(info.timecode_ns()), time::local);
                    cx.screen.line(&format!("{path}  {shown}  {}x{}", info.width(), info.height()))
                }
            }
        }

        async fn find(&self, seen: &Arc<Mutex<Seen>>, cx: &Context) -> Result<Option<Picture>> {
            let selection = match &self.source {
                Source::Stream(stream) => {
                    let spinner = cx.screen.spinner();
                    spinner.set_message("fetching the fragment");
                    let archive = cx.aws.kvs().await?.archive(stream).clock(self.clock.into());
                    let found = archive.frame_at(self.at).await;
                    spinner.finish_and_clear();
                    match found {
                        Err(error) if error.kind() == ErrorKind::Retention && retains_nothing(stream, cx).await => {
                            lock(seen).is_live = true;
                            let lead = i64::try_from(LEAD.as_millis()).unwrap_or(0);
                            let start = Timestamp::from_millis(self.at.as_millis().saturating_sub(lead));
                            Selection::live_from(start, IDLE, self.clock)
                        }
                        found => return Ok(found?),
                    }
                }
                Source::File(_) | Source::Stdin => Selection::of_range(None, None, self.clock),
            };
            let input = selection.open(&self.source, cx).await?;
            let (seen, clock, at) = (Arc::clone(seen), self.clock, self.at);
            let fragments = input.items.map(move |item| {
                let fragment = item?;
                lock(&seen).add(&fragment, clock, at)?;
                Ok(fragment)
            });
            let found = fragments.frame_at(self.at).clock(self.clock.into()).await;
            input.bar.finish_and_clear();
            Ok(found?)
        }

        async fn encode(&self, frame: Picture) -> kinesis_video::Result<EncodedFrame> {
            let (width, height) = self.size.unwrap_or((u32::MAX, u32::MAX));
            let format = self.output.1;
            let quality = self.quality.unwrap_or(DEFAULT_QUALITY);
            let frames = futures::stream::iter([Ok(frame)]).scale_within(width, height);
            let encoded = match format {
                ImageFormat::Png => frames.png().try_next().await?,
                _ => frames.jpeg(quality).try_next().await?,
            };
            let lost = || Error::new(ErrorKind::Unsupported, "the picture was not encoded");
            encoded.ok_or_else(lost)
        }

        /// Returns how much older than --at the picture is.
        fn age(&self, info: &FrameInfo) -> Option<Duration> {
            let fragment = info.fragment();
            let start = match self.clock {
                ClockName::Producer => fragment.producer_time()?,
                ClockName::Server => fragment.server_time()?,
            };
            let shown = start.as_nanos().saturating_add(info.timecode_ns().saturating_sub(fragment.timecode_ns()));
            u64::try_from(self.at.as_nanos().saturating_sub(shown)).ok().map(Duration::from_nanos)
        }

        /// The failure to find a picture.
        fn nothing(&self, seen: &Seen) -> Failure {
            let (source, at) = (&self.source, time::local(self.at));
            match (source, seen.range) {
                (Source::Stream(_), None) if seen.is_live => {
                    Failure::nothing(format!("no picture in {source} at {at}: the stream retains nothing"))
                        .hint("set a data retention for the stream, to have pictures of the past")
                }
                (Source::Stream(stream), None) => {
                    let hint = format!("`kvs list {} --start TIME` lists what is stored", stream.name());
                    Failure::nothing(format!("no picture in {source} at {at}")).hint(hint)
                }
                (Source::File(_) | Source::Stdin, None) => Failure::nothing(format!("no fragment in {source}")),
                (_, Some(_)) if !seen.has_video => {
                    let codecs = seen.codecs.join(", ");
                    let only = if codecs.is_empty() { "it has no tracks".into() } else { format!("only {codecs}") };
                    Failure::nothing(format!("no picture in {source}: it has no video, {only}"))
                }
                (_, Some((first, _))) if first > self.at => {
                    Failure::nothing(format!("no picture in {source} at {at}: it begins at {}", time::local(first)))
                }
                (_, Some((_, last))) if last < self.at => {
                    let what = format!("no picture in {source} at {at}: media is missing since {}", time::local(last));
                    Failure::nothing(what)
                }
                (_, Some(_)) => Failure::nothing(format!("no picture in {source} at {at}: none can be decoded")),
            }
        }
    }

    async fn retains_nothing(stream: &StreamId, cx: &Context) -> bool {
        let Ok(kvs) = cx.aws.kvs().await else { return false };
        kvs.describe(stream).await.is_ok_and(|info| info.retention() == Some(Duration::ZERO))
    }

    fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
        shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object(path: &str, at: Timestamp, info: &FrameInfo, bytes: u64) -> Value {
        json!({
            "path": path,
            "at_time": at.to_string(),
            "fragment_number": info.fragment().number().map(ToString::to_string),
            "picture_index": info.index(),
            "producer_time": info.producer_time().map(|time| time.to_string()),
            "timecode_ns": info.timecode_ns(),
            "width": info.width(),
            "height": info.height(),
            "key": info.is_key(),
            "bytes": bytes,
        })
    }

    /// Notes what was read of a SOURCE. The failure without a picture says it.
    #[derive(Default)]
    struct Seen {
        /// The start of the first fragment, and the end of the last one that starts at or before --at.
        range: Option<(Timestamp, Timestamp)>,
        has_video: bool,
        codecs: Vec<String>,
        /// The stream retains nothing, and is read live.
        is_live: bool,
    }

    impl Seen {
        /// Fails if the fragment has no time.
        fn add(&mut self, fragment: &Fragment, clock: ClockName, at: Timestamp) -> kinesis_video::Result<()> {
            for track in fragment.tracks().iter() {
                self.has_video |= track.kind() == TrackKind::Video;
                let codec = format!("{} {}", track.kind().name(), words::codec(track.codec_id()));
                if !self.codecs.contains(&codec) {
                    self.codecs.push(codec);
                }
            }
            let (producer, server) = (fragment.producer_time(), fragment.server_time());
            let (start, other, name) = match clock {
                ClockName::Producer => (producer, server, "server"),
                ClockName::Server => (server, producer, "producer"),
            };
            let start = start.ok_or_else(|| {
                let message = match other {
                    Some(_) => format!("its fragments have no time on the chosen clock; choose --clock {name}"),
                    None => "its fragments have no time of day, so nothing can be selected by time".into(),
                };
                Error::new(ErrorKind::Unsupported, message)
            })?;
            let millis = i64::try_from(fragment.duration().as_millis()).unwrap_or(i64::MAX);
            let end = Timestamp::from_millis(start.as_millis().saturating_add(millis));
            self.range = Some(match self.range {
                Some(range) if start > at => range,
                Some((first, _)) => (first, end),
                None => (start, end),
            });
            Ok(())
        }
    }
}
