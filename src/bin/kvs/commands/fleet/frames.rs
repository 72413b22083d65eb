//! `kvs fleet frames`.

use std::path::PathBuf;

use clap::Args;
use kinesis_video::fleet::Lease;

use super::outcome::Outcome;
use super::reading::NewStreams;
use super::settings::Settings;
use crate::context::Context;
use crate::failure::Result;
use crate::picture_options::PictureOptions;

/// Save pictures of all streams: DIR/STREAM/FRAGMENT-I.jpg.
///
/// FRAGMENT is the fragment's number, and I counts its saved pictures. With --ratio and --keyframes, a picture that is
/// repeated after a takeover replaces its own file. With --every, the intervals begin anew. This needs the feature "ffmpeg".
#[derive(Args)]
#[command(after_long_help = "\
With --json, the objects of `kvs frames`: one per picture that is on disk.")]
pub(super) struct Frames {
    /// The folder, with a folder for each stream in it.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    options: PictureOptions,
    #[command(flatten)]
    new_streams: NewStreams,
}

impl Frames {
    /// Fails in a build that cannot decode.
    pub(super) fn check(&self) -> Result<()> {
        #[cfg(not(feature = "ffmpeg"))]
        return Err(crate::picture_options::needs_ffmpeg());
        #[cfg(feature = "ffmpeg")]
        Ok(())
    }

    #[cfg(feature = "ffmpeg")]
    pub(super) async fn read(&self, lease: Lease, settings: &Settings, cx: &Context) -> Result<Outcome> {
        use futures::StreamExt;
        use kinesis_video::ImageSink;

        use super::reading::close;
        use crate::failure::Failure;
        use crate::pictures::Saver;
        use crate::source::Input;

        let sink = ImageSink::to_dir(self.output.join(lease.stream().name()));
        let (fragments, acks) = self.new_streams.open(lease, settings);
        let mut input = Input::of_live(fragments);
        let items = std::mem::replace(&mut input.items, futures::stream::empty().boxed());
        let mut saver = Saver::new(Some(sink), Some(acks.clone()), cx);
        let read = saver.save(items, &self.options, None).await;
        drop(saver);
        let saved: Result<(), Failure> = close(acks).await;
        read.and(saved)?;
        Ok(Outcome { fragments: None, reason: input.end_reason() })
    }

    #[cfg(not(feature = "ffmpeg"))]
    #[expect(clippy::unused_async, reason = "the other one awaits")]
    pub(super) async fn read(&self, _: Lease, _: &Settings, _: &Context) -> Result<Outcome> {
        Err(crate::picture_options::needs_ffmpeg())
    }
}
