//! The actions that read all streams in this process.

use std::path::PathBuf;

use clap::Args;
use futures::TryStreamExt;
use kinesis_video::fleet::Lease;
use kinesis_video::{Acks, ErrorKind, LiveFragments, MediaSink, MkvSink, Start};

use super::work::{Done, Settings};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::recording::record;
use crate::screen::{BOLD, WARNING};
use crate::source::{Begin, ClockName, Input, Source};
use crate::{fragment_line, saved_file, words};

/// Where to begin with a stream whose position was never saved.
#[derive(Args, Clone, Debug)]
struct NewStreams {
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
    fn open(&self, lease: Lease, settings: &Settings) -> (LiveFragments, Acks) {
        let start = self.start.as_ref().map_or(Start::Now, |start| start.of_live(self.clock));
        settings.kvs.live(lease.stream()).start(start).checkpointed(lease)
    }
}

/// Saves the last position. That the lease was lost is told already.
async fn close(acks: Acks) -> Result<()> {
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
    pub(super) async fn read(&self, lease: Lease, settings: &Settings, cx: &Context) -> Result<Done> {
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
        read.and(saved).map(|()| Done { fragments: Some(count), reason })
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
    pub(super) async fn read(&self, lease: Lease, settings: &Settings, cx: &Context) -> Result<Done> {
        let source = Source::Stream(lease.stream().clone());
        let mut sink = MkvSink::to_dir(self.output.join(lease.stream().name()));
        let (fragments, acks) = self.new_streams.open(lease, settings);
        let written = |_: &MkvSink, fragment: &kinesis_video::Fragment, path: PathBuf| {
            acks.done(&fragment.position());
            match cx.screen.is_json() {
                true => cx.screen.object(&saved_file::object(&path, fragment)),
                false => cx.screen.line(&saved_file::text(&path, fragment)),
            }
        };
        let path_of = |sink: &MkvSink, fragment: &kinesis_video::Fragment| sink.path_of(fragment);
        let recorded = record(Input::of_live(fragments), &mut sink, &source, path_of, written, cx).await;
        let reason = recorded.reason;
        let saved = close(acks.clone()).await;
        recorded.result().and(saved)?;
        Ok(Done { fragments: Some(MediaSink::<kinesis_video::Fragment>::summary(&sink).items()), reason })
    }
}
