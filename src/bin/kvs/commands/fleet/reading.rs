//! The actions that read all streams in this process.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use futures::TryStreamExt;
use kinesis_video::fleet::Lease;
use kinesis_video::sink::Format;
use kinesis_video::{
    Acks, AudioSink, ErrorKind, Fragment, LiveFragments, MediaSink, MkvFileSink, MkvSink, Mp4Sink, RecordingSink, Start,
};

use super::outcome::Outcome;
use super::settings::Settings;
use crate::begin::{Begin, ClockName};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::recording::record;
use crate::recording_options::{self, RecordingOptions};
use crate::screen::{BOLD, WARNING};
use crate::source::{Input, Source};
use crate::{fragment_line, saved_file, words};

/// Where to begin with a stream whose position was never saved.
#[derive(Args, Clone, Debug)]
pub(super) struct NewStreams {
    /// Where to begin with a new stream: now, earliest, a time, or a fragment number. Default: now.
    ///
    /// A stream whose position was saved continues there.
    #[arg(long, value_name = "WHERE")]
    start: Option<Begin>,
    /// The clock of --start.
    #[arg(long, value_enum, default_value_t)]
    clock: ClockName,
}

impl NewStreams {
    pub(super) fn open(&self, lease: Lease, settings: &Settings) -> (LiveFragments, Acks) {
        let start = self.start.as_ref().map_or(Start::Now, |start| start.of_live(self.clock));
        settings.kvs.live(lease.stream()).start(start).checkpointed(lease)
    }
}

/// Saves the last position. That the lease was lost is told already.
pub(super) async fn close(acks: Acks) -> Result<()> {
    match acks.close().await {
        Err(error) if error.kind() != ErrorKind::LeaseLost => Err(error.into()),
        _ => Ok(()),
    }
}

/// Print a line per fragment of all streams, each with the stream's name.
#[derive(Args)]
#[command(after_long_help = "\
With --json, the objects of `kvs tail`, and the member \"epoch\": a number that is larger for each later reader of the stream.")]
pub(super) struct Tail {
    #[command(flatten)]
    new_streams: NewStreams,
}

impl Tail {
    pub(super) async fn read(&self, lease: Lease, settings: &Settings, cx: &Context) -> Result<Outcome> {
        let (name, epoch) = (lease.stream().name().to_owned(), lease.epoch());
        let (mut fragments, acks) = self.new_streams.open(lease, settings);
        let mut count = 0;
        let read = loop {
            let fragment = match fragments.try_next().await {
                Ok(Some(fragment)) => fragment,
                Ok(None) => break Ok(()),
                Err(error) => break Err(Failure::from(error)),
            };
            let printed = if cx.screen.is_json() {
                let mut object = fragment_line::object(&name, &fragment);
                if let Some(members) = object.as_object_mut() {
                    members.insert("epoch".into(), epoch.into());
                }
                cx.screen.object(&object)
            } else {
                let found = fragment.discontinuities().iter();
                let lines = found.map(|found| format!("{WARNING}-- {}{WARNING:#}", words::discontinuity(found)));
                let mut lines = lines.chain([fragment_line::text(&fragment)]);
                lines.try_for_each(|line| cx.screen.line(&format!("{BOLD}{name}{BOLD:#}  {line}")))
            };
            if let Err(failure) = printed {
                break Err(failure);
            }
            count += 1;
            acks.done(&fragment.position());
        };
        let reason = fragments.end_reason();
        drop(fragments);
        let saved = close(acks).await;
        read.and(saved).map(|()| Outcome { fragments: Some(count), reason })
    }
}

/// Save each fragment of all streams as an MKV file that players open: DIR/STREAM/NUMBER.mkv.
///
/// A fragment that is repeated after a takeover replaces its own file, so nothing is there twice.
#[derive(Args)]
pub(super) struct Save {
    /// The folder, with a folder for each stream in it.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    new_streams: NewStreams,
}

impl Save {
    pub(super) async fn read(&self, lease: Lease, settings: &Settings, cx: &Context) -> Result<Outcome> {
        let source = Source::Stream(lease.stream().clone());
        let mut sink = MkvSink::to_dir(self.output.join(lease.stream().name()));
        let (fragments, acks) = self.new_streams.open(lease, settings);
        let written = |_: &MkvSink, fragment: &Fragment, path: PathBuf| {
            acks.done(&fragment.position());
            match cx.screen.is_json() {
                true => cx.screen.object(&saved_file::object(&path, fragment)),
                false => cx.screen.line(&saved_file::text(&path, fragment)),
            }
        };
        let path_of = |sink: &MkvSink, fragment: &Fragment| sink.path_of(fragment);
        let recorded = record(Input::of_live(fragments), &mut sink, &source, path_of, written, cx).await;
        let reason = recorded.reason;
        let saved = close(acks.clone()).await;
        recorded.result().and(saved)?;
        Ok(Outcome { fragments: Some(MediaSink::<Fragment>::summary(&sink).items()), reason })
    }
}

/// Record all streams as files that players open, without re-encoding: DIR/STREAM/EPOCH.mp4, EPOCH-2.mp4, ...
///
/// EPOCH is larger for each later reader of the stream, so files of two machines never have the same name. The file of a
/// worker that died stays EPOCH.mp4.part, and plays. The next file repeats what came after the last saved position.
#[derive(Args)]
#[command(after_long_help = "\
With --json, the objects of `kvs record`: one per file that is complete.")]
pub(super) struct Record {
    /// The folder, with a folder for each stream in it.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// The kind of the files.
    #[arg(long, value_enum, default_value_t, value_name = "KIND")]
    format: Kind,
    #[command(flatten)]
    options: RecordingOptions,
    #[command(flatten)]
    new_streams: NewStreams,
}

/// The kind of a recorded file.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Kind {
    Aac,
    Mkv,
    Mov,
    #[default]
    Mp4,
    Wav,
}

impl Kind {
    fn extension(self) -> &'static str {
        match self {
            Self::Aac => "aac",
            Self::Mkv => "mkv",
            Self::Mov => "mov",
            Self::Mp4 => "mp4",
            Self::Wav => "wav",
        }
    }
}

impl Record {
    /// Refuses options that do not go together.
    pub(super) fn check(&self) -> Result<()> {
        self.options.check(self.format.extension())
    }

    pub(super) async fn read(&self, lease: Lease, settings: &Settings, cx: &Context) -> Result<Outcome> {
        let name = format!("{:06}.{}", lease.epoch(), self.format.extension());
        let path = self.output.join(lease.stream().name()).join(name);
        let RecordingOptions { tags, fragmented, .. } = self.options;
        match self.format {
            Kind::Mkv => self.read_to(MkvFileSink::create(path).keep_tags(tags), lease, settings, cx).await,
            Kind::Mov | Kind::Mp4 => {
                self.read_to(Mp4Sink::create(path).fragmented(fragmented), lease, settings, cx).await
            }
            Kind::Aac | Kind::Wav => self.read_to(AudioSink::create(path), lease, settings, cx).await,
        }
    }

    async fn read_to<F: Format>(
        &self,
        sink: RecordingSink<F>,
        lease: Lease,
        settings: &Settings,
        cx: &Context,
    ) -> Result<Outcome> {
        let source = Source::Stream(lease.stream().clone());
        let mut sink = self.options.apply(sink);
        let (fragments, acks) = self.new_streams.open(lease, settings);
        let mut shown = 0;
        let mut show = |sink: &RecordingSink<F>| {
            let new = sink.files().iter().skip(shown);
            shown = sink.files().len();
            new.into_iter().try_for_each(|file| recording_options::show(file, cx))
        };
        let written = |sink: &RecordingSink<F>, fragment: &Fragment, ()| {
            acks.done(&fragment.position());
            show(sink)
        };
        let recorded = record(Input::of_live(fragments), &mut sink, &source, |_, _| (), written, cx).await;
        let printed = show(&sink);
        let reason = recorded.reason;
        let saved = close(acks.clone()).await;
        recorded.result().and(printed).and(saved)?;
        Ok(Outcome { fragments: Some(sink.summary().items()), reason })
    }
}
