//! `kvs put`.

use std::time::Duration;

use clap::Args;
use futures::TryStreamExt;
use kinesis_video::{Fragment, StreamId, Timestamp};
use tokio::time::{Instant, sleep_until};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::sending::{Creation, Sending};
use crate::source::{Source, open_clusters};
use crate::time;

/// Send an MKV file to a stream, with PutMedia.
///
/// Each Cluster becomes a fragment: of a payload that `kvs save` wrote, of a file of ffmpeg, or of standard input as it
/// comes. A line is printed for each fragment that the service has persisted. When a connection breaks, what was not
/// persisted is sent again.
///
/// The fragments keep their producer times. Fragments without them, and all with --start, --real-time or --loop, are moved
/// in time, so that the first begins now or at --start.
#[derive(Args)]
#[command(after_long_help = "\
With --json, one object per persisted fragment:
  fragment_number, producer_time
and one at the end:
  stream, fragments, persisted, bytes, connections, repeated

Examples:
  kvs put door.mkv front-door --create
  kvs put door.mkv front-door --loop
  kvs put recordings/ front-door --start \"1h ago\"
  ffmpeg -re -i door.mp4 -c copy -f matroska -cluster_time_limit 2000 - | kvs put - front-door")]
pub(crate) struct Put {
    /// The MKV file, a folder/ of them, or - for standard input.
    #[arg(value_name = "FILE")]
    file: Source,
    /// The name or ARN of the stream.
    #[arg(value_name = "STREAM")]
    stream: String,
    /// Begin again at the end of the file, in real time, until Ctrl-C.
    #[arg(long = "loop")]
    looped: bool,
    /// Send each fragment when it would be complete, as a camera does.
    #[arg(long)]
    real_time: bool,
    /// The producer time of the first fragment, such as "1h ago".
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    start: Option<Timestamp>,
    #[command(flatten)]
    creation: Creation,
}

impl Put {
    pub(crate) async fn run(self, cx: &Context) -> Result<()> {
        if let Source::Stream(stream) = &self.file {
            let what = format!("{stream} is not a file: this command sends files");
            return Err(Failure::usage(what).hint(format!("kvs copy {stream} {}", self.stream)));
        }
        if self.looped && matches!(self.file, Source::Stdin) {
            return Err(Failure::usage("--loop cannot begin again with standard input").hint("save it to a file first"));
        }
        let stream = StreamId::from(&self.stream);
        // A file that cannot be opened creates no stream.
        let mut opened = Some(open_clusters(&self.file, cx).await?);
        let kvs = cx.aws.kvs().await?;
        self.creation.ensure(&kvs, &stream, cx).await?;
        let mut sending = Sending::new(&kvs, &stream, cx);
        let mut timeline = Timeline::new(self.start, self.start.is_some() || self.real_time || self.looped);
        let is_paced = self.real_time || self.looped;
        let name = self.file.to_string();
        let sent = loop {
            let (mut fragments, bar) = match opened.take() {
                Some(opened) => opened,
                None => match open_clusters(&self.file, cx).await {
                    Ok(opened) => opened,
                    Err(failure) => break Err(failure),
                },
            };
            let passed = timeline.passed;
            let sent = self.pass(&mut fragments, &mut timeline, &mut sending, is_paced, cx).await;
            bar.finish_and_clear();
            if let Err(failure) = sent {
                break Err(failure.about(&name));
            }
            let is_over = !self.looped || timeline.passed == passed;
            if is_over || cx.signals.is_interrupted() || sending.is_unwatched() {
                break Ok(());
            }
            timeline.begin_again();
        };
        let count = sending.finish(cx).await;
        sent?;
        match count? {
            0 if !cx.signals.is_interrupted() => Err(self.file.nothing("fragment")),
            _ => Ok(()),
        }
    }

    /// Sends the file once.
    async fn pass(
        &self,
        fragments: &mut crate::source::Clusters,
        timeline: &mut Timeline,
        sending: &mut Sending,
        is_paced: bool,
        cx: &Context,
    ) -> Result<()> {
        while let Some(fragment) = fragments.try_next().await? {
            if fragment.blocks().len() == 0 {
                continue;
            }
            let (fragment, complete) = timeline.place(fragment);
            if is_paced {
                tokio::select! {
                    () = sleep_until(complete) => {}
                    () = cx.signals.interrupted() => break,
                }
            }
            tokio::select! {
                sent = sending.send(fragment, false) => sent?,
                () = cx.signals.interrupted() => break,
            }
            if cx.signals.is_interrupted() || sending.is_unwatched() {
                break;
            }
        }
        Ok(())
    }
}

/// The producer times of what is sent, one pass of the file after another.
struct Timeline {
    /// The time at which the first fragment begins, if it is given.
    start: Option<Timestamp>,
    /// True if fragments with a producer time are moved too.
    moves_all: bool,
    began: Option<(Instant, i64)>,
    /// The shift of the fragments' own times, in nanoseconds. `None` at the beginning of a pass.
    shift: Option<i64>,
    /// The own time of the last fragment.
    last: i64,
    /// The end of the last fragment.
    end: Option<i64>,
    /// The last duration that was not zero.
    duration: i64,
    /// The number of fragments placed so far.
    passed: u64,
}

impl Timeline {
    fn new(start: Option<Timestamp>, moves_all: bool) -> Self {
        let duration = 1_000_000_000;
        Self { start, moves_all, began: None, shift: None, last: 0, end: None, duration, passed: 0 }
    }

    fn begin_again(&mut self) {
        self.shift = None;
    }

    /// Returns the fragment with its time, and the instant at which a camera would have completed it.
    fn place(&mut self, fragment: Fragment) -> (Fragment, Instant) {
        self.passed += 1;
        let producer = fragment.producer_time();
        let own = producer.map_or_else(|| fragment.header().timecode_ns(), Timestamp::as_nanos);
        let duration = i64::try_from(fragment.duration().as_nanos()).unwrap_or(i64::MAX);
        if duration > 0 {
            self.duration = duration;
        }
        let is_kept = producer.is_some() && !self.moves_all;
        let begins = if is_kept {
            own
        } else {
            // Documents whose times begin again follow what came before.
            let shift = self.shift.filter(|_| own > self.last).unwrap_or_else(|| {
                let start = self.end.unwrap_or_else(|| self.start.unwrap_or_else(now).as_nanos());
                start.saturating_sub(own)
            });
            self.shift = Some(shift);
            own.saturating_add(shift)
        };
        self.last = own;
        let end = begins.saturating_add(self.duration);
        self.end = Some(end);
        let (instant, first) = *self.began.get_or_insert_with(|| (Instant::now(), begins));
        let after = Duration::from_nanos(u64::try_from(end.saturating_sub(first)).unwrap_or(0));
        let complete = instant.checked_add(after).unwrap_or(instant);
        let time = Timestamp::from_millis(begins.div_euclid(1_000_000));
        (if is_kept { fragment } else { fragment.with_producer_time(time) }, complete)
    }
}

fn now() -> Timestamp {
    std::time::SystemTime::now().into()
}
