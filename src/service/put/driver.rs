//! The task that sends: one connection after another, until everything is persisted.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::ack::{AckReader, PutAck, PutAckKind};
use super::call::put_media;
use super::shared::Shared;
use super::{Options, PutMedia};
use crate::error::{Error, ErrorKind, Result};
use crate::service::call::{Backoff, Reply, at, log_retry};

/// How long the end of a body is awaited that brings nothing new.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Sends until the sink is closed and everything is persisted, or until an error that retrying does not help.
pub(super) async fn run(put: PutMedia, shared: Arc<Shared>) {
    let mut backoff = Backoff::new(put.options.retry);
    let mut failures = 0;
    while shared.has_work().await {
        let before = shared.counts().persisted;
        let ended = connection(&put, &shared).await;
        shared.disconnect();
        let has_progress = shared.counts().persisted > before;
        let error = match ended {
            Err(error) => error,
            // Other tracks begin a connection, and so does the next fragment after a pause.
            Ok(()) if has_progress || !shared.is_waiting() => continue,
            Ok(()) => Error::new(ErrorKind::Io, "PutMedia: the service ended the connection before it took a fragment"),
        };
        if has_progress {
            failures = 0;
            backoff.reset();
        } else {
            failures += 1;
        }
        let error = error.of_stream(put.options.stream.as_str());
        if failures >= put.options.retry.attempts().max(1) || !error.is_retryable() {
            shared.fail(error);
            return;
        }
        shared.failed_once(&error);
        let pause = backoff.pause(Some(&error));
        log_retry(&put.options.stream, &error, pause, failures + 1);
        sleep(pause).await;
    }
    shared.finish();
}

/// Sends over one connection, until it ends.
async fn connection(put: &PutMedia, shared: &Arc<Shared>) -> Result<()> {
    let Reply { output, origin, .. } = put_media(&put.client, &put.options, shared).await?;
    tracing::debug!(endpoint = origin.endpoint(), request_id = origin.request_id(), "connected");
    let mut acks = AckReader::new(output);
    let received = receive(&mut acks, &put.options, shared).await;
    received.map_err(|error| origin.name_in(error))
}

async fn receive(acks: &mut AckReader, options: &Options, shared: &Shared) -> Result<()> {
    loop {
        let deadline = shared.stalls_at(options.ack_timeout);
        tokio::select! {
            ack = acks.next() => match ack? {
                Some(ack) => if let Err(error) = handle(&ack, shared) {
                    // What is acknowledged after the error need not be sent again.
                    rest(acks, shared).await;
                    return Err(error);
                },
                None => break,
            },
            () = at(deadline) => {
                // Progress moves the deadline.
                if shared.stalls_at(options.ack_timeout).is_some_and(|deadline| deadline <= Instant::now()) {
                    let limit = options.ack_timeout;
                    return Err(Error::new(ErrorKind::Io, format!("PutMedia: no progress within {limit:?}")));
                }
            }
            // The deadline begins with the first fragment that waits.
            () = shared.changed() => {}
        }
        if shared.is_complete() {
            // The end of the request body follows. What comes after it does not matter.
            rest(acks, shared).await;
            return Ok(());
        }
    }
    if shared.has_sent() {
        let message = "PutMedia: the service ended the connection before all fragments were persisted";
        return Err(Error::new(ErrorKind::Io, message));
    }
    Ok(())
}

/// Reads the acknowledgements up to the end of the body, at most for a second.
async fn rest(acks: &mut AckReader, shared: &Shared) {
    let rest = async {
        while let Ok(Some(ack)) = acks.next().await {
            shared.acknowledged(&ack);
        }
    };
    let _ = timeout(LAST_WORD, rest).await;
}

fn handle(ack: &PutAck, shared: &Shared) -> Result<()> {
    shared.acknowledged(ack);
    match ack.kind() {
        PutAckKind::Error => {
            let error = ack.to_error();
            // The number that the fragment had where it came from, if the service gave it none.
            let number = ack.timecode_millis().filter(|_| ack.number().is_none());
            Err(number
                .and_then(|timecode| shared.number_of(timecode))
                .map_or(error.clone(), |number| error.in_fragment(Some(&number))))
        }
        _ => Ok(()),
    }
}
