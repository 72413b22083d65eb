//! Sending to a stream: what `kvs put` and `kvs copy` share.

use std::time::Duration;

use clap::Args;
use futures::{SinkExt, StreamExt};
use indicatif::HumanBytes;
use kinesis_video::{
    Error, ErrorKind, Fragment, KinesisVideo, PutAck, PutAckKind, PutAcks, PutSink, StreamId, StreamStatus, Timestamp,
};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::screen::{DIM, Screen};
use crate::{time, words};

/// The options about a stream that may not exist.
#[derive(Args, Clone, Debug)]
pub(crate) struct Creation {
    /// Create the stream if it does not exist.
    #[arg(long)]
    create: bool,
    /// The retention of a stream that is created, in hours.
    #[arg(long, value_name = "HOURS", requires = "create", default_value_t = 24,
        value_parser = clap::value_parser!(u32).range(0..=87_600))]
    retention: u32,
}

/// The pause between two checks of a new stream's status, and the most checks.
const POLL: Duration = Duration::from_millis(500);
const POLLS: u32 = 120;

impl Creation {
    /// Makes sure that the stream exists.
    pub(crate) async fn ensure(&self, kvs: &KinesisVideo, stream: &StreamId, cx: &Context) -> Result<()> {
        let about = |error: Error| Failure::from(error).about(stream.name());
        match kvs.describe(stream).await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound && !self.create => {
                return Err(Failure::nothing(format!("{stream}: no such stream")).hint("--create creates it"));
            }
            // Not every producer may describe its stream.
            Err(error) if error.kind() == ErrorKind::AccessDenied && !self.create => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(about(error)),
        }
        if stream.is_arn() {
            return Err(Failure::usage("--create takes the name of a stream, not an ARN").hint(stream.name()));
        }
        let hours = i32::try_from(self.retention).unwrap_or(i32::MAX);
        let create = kvs.control().create_stream().stream_name(stream.name()).data_retention_in_hours(hours);
        let created = create.send().await;
        created.map_err(|error| about(Error::from_sdk(error, "CreateStream")))?;
        for _ in 0..POLLS {
            if kvs.describe(stream).await.is_ok_and(|info| info.status() == &StreamStatus::Active) {
                cx.screen.note(&format!(
                    "{stream}: created, with a retention of {}",
                    words::count(self.retention.into(), "hour")
                ));
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
        Err(Failure::other(format!("{stream}: the new stream is not active after a minute")).hint("try again"))
    }
}

/// A stream that is sent to.
pub(crate) struct Sending {
    sink: PutSink,
    stream: StreamId,
    /// Prints a line for each fragment that is persisted.
    printer: JoinHandle<Result<()>>,
}

impl Sending {
    pub(crate) fn new(kvs: &KinesisVideo, stream: &StreamId, cx: &Context) -> Self {
        let sink = kvs.put_media(stream).sink();
        let printer = tokio::spawn(print(sink.acks(), cx.screen.clone()));
        Self { sink, stream: stream.clone(), printer }
    }

    /// Hands a fragment on. With `is_persisted`, waits until the service has persisted it.
    pub(crate) async fn send(&mut self, fragment: Fragment, is_persisted: bool) -> Result<()> {
        let sent = match is_persisted {
            true => self.sink.send(fragment).await,
            false => self.sink.feed(fragment).await,
        };
        sent.map_err(|error| Failure::from(error).about(self.stream.name()))
    }

    /// Returns whether standard output is closed, so that nobody looks any more.
    pub(crate) fn is_unwatched(&self) -> bool {
        self.printer.is_finished() && self.sink.status().error.is_none()
    }

    /// Waits until everything is persisted, and prints the summary.
    pub(crate) async fn finish(mut self, cx: &Context) -> Result<u64> {
        let closed = self.sink.close().await.map_err(|error| Failure::from(error).about(self.stream.name()));
        let status = self.sink.status();
        let printed = self.printer.await.unwrap_or(Ok(()));
        if cx.screen.is_json() && printed.is_ok() {
            cx.screen.object(&json!({
                "stream": self.stream.name(),
                "fragments": status.fragments,
                "persisted": status.persisted,
                "bytes": status.persisted_bytes,
                "connections": status.connections,
                "repeated": status.repeated,
            }))?;
        }
        if status.fragments > 0 {
            let repeated = match status.repeated {
                0 => String::new(),
                repeated => format!(", {repeated} sent again"),
            };
            cx.screen.note(&format!(
                "{} to {}, {} persisted, {}{repeated}",
                words::count(status.fragments, "fragment"),
                self.stream.name(),
                status.persisted,
                HumanBytes(status.persisted_bytes),
            ));
        }
        closed?;
        printed?;
        Ok(status.fragments)
    }
}

async fn print(mut acks: PutAcks, screen: Screen) -> Result<()> {
    while let Some(ack) = acks.next().await {
        if ack.kind() == PutAckKind::Persisted {
            print_one(&ack, &screen)?;
        }
    }
    Ok(())
}

fn print_one(ack: &PutAck, screen: &Screen) -> Result<()> {
    let time = ack.timecode_millis().map(Timestamp::from_millis);
    if screen.is_json() {
        return screen.object(&json!({
            "fragment_number": ack.number().map(ToString::to_string),
            "producer_time": time.map(|time| time.to_string()),
        }));
    }
    let number = ack.number().map(|number| format!("  {DIM}{number}{DIM:#}")).unwrap_or_default();
    screen.line(&format!("{}  persisted{number}", time::local_or_dash(time)))
}
