//! Recording of a SOURCE to a sink of the library.

use std::future::poll_fn;

use futures::{SinkExt, TryStreamExt};
use kinesis_video::{Discontinuity, Fragment, MediaSink, StreamEnd};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::source::{Input, Source, save_position};
use crate::{time, words};

/// The outcome of a recording, after the sink was closed and the position was saved.
pub(crate) struct Recorded {
    /// True if the source had no fragment.
    pub(crate) is_empty: bool,
    /// The reason for the end of a live stream.
    pub(crate) reason: Option<StreamEnd>,
    /// The result of completing the last file.
    pub(crate) closed: Result<()>,
    read: Result<()>,
    saved: Result<()>,
}

impl Recorded {
    /// Returns the first failure.
    pub(crate) fn result(self) -> Result<()> {
        self.read.and(self.closed).and(self.saved)
    }
}

/// Sends all fragments to a sink, and acknowledges those that are on disk.
///
/// `before` looks at a fragment that is sent next, and `written` at one that is on disk.
pub(crate) async fn record<S: MediaSink<Fragment> + Unpin, T>(
    mut input: Input,
    sink: &mut S,
    source: &Source,
    before: impl Fn(&S, &Fragment) -> T,
    mut written: impl FnMut(&S, &Fragment, T) -> Result<()>,
    cx: &Context,
) -> Recorded {
    let name = source.to_string();
    let mut is_empty = true;
    let read = loop {
        let fragment = match input.items.try_next().await {
            Ok(Some(fragment)) => fragment,
            Ok(None) => break Ok(()),
            Err(error) => break Err(Failure::from(error).about(&name)),
        };
        is_empty = false;
        for discontinuity in fragment.discontinuities().iter().filter(|found| is_worth_telling(found)) {
            let begins = time::local_or_dash(fragment.producer_time().or(fragment.server_time()));
            cx.screen.note(&format!("{name}: {begins}: {}", words::discontinuity(discontinuity)));
        }
        let noted = before(sink, &fragment);
        match send(sink, &fragment).await {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error.into()),
        }
        if let Err(failure) = written(sink, &fragment, noted) {
            break Err(failure);
        }
        if let Some(acks) = &input.acks {
            acks.done(&fragment.position());
        }
    };
    let closed = sink.close().await.map_err(Failure::from);
    input.bar.finish_and_clear();
    let reason = input.end_reason();
    let saved = save_position(input.acks, cx).await;
    Recorded { is_empty, reason, closed, read, saved }
}

/// Sends a fragment, so that it is on disk. Returns false if the sink takes no more.
async fn send<S: MediaSink<Fragment> + Unpin>(sink: &mut S, fragment: &Fragment) -> kinesis_video::Result<bool> {
    poll_fn(|cx| sink.poll_ready_unpin(cx)).await?;
    if sink.is_done() {
        return Ok(false);
    }
    sink.start_send_unpin(fragment.clone())?;
    sink.flush().await?;
    Ok(!sink.is_done())
}

fn is_worth_telling(found: &Discontinuity) -> bool {
    found.is_loss() || matches!(found, Discontinuity::TimelineReset { .. } | Discontinuity::TracksChanged { .. })
}
