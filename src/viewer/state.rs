//! What all requests share: the client, the live streams, the bounds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;
use futures::StreamExt;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::answer::{Answer, Failure};
use super::seats::Seats;
use crate::fragment::{Fragment, Share, Subscriber};
use crate::service::{KinesisVideo, Start};

/// The longest name or ARN of a stream, in bytes.
const LONGEST_NAME: usize = 1024;

/// The fragments that a slow viewer has waiting.
const WAITING: usize = 2;

/// What all requests share. Cheap to clone.
#[derive(Clone)]
pub(super) struct State {
    pub(super) kvs: KinesisVideo,
    /// The only streams that are shown, if not all.
    pub(super) only: Option<Vec<String>>,
    pub(super) seats: Seats,
    watched: Arc<Mutex<HashMap<String, Watched>>>,
}

/// A stream that is read live, for all of its viewers.
struct Watched {
    share: Share,
    newest: watch::Receiver<Option<Fragment>>,
    viewers: usize,
    /// Ends reading when the last viewer leaves.
    _reading: DropGuard,
}

/// A viewer of a live stream.
pub(super) struct LiveViewer {
    pub(super) fragments: Subscriber,
    /// The newest fragment at the time when the viewer came.
    pub(super) newest: Option<Fragment>,
    stream: String,
    state: State,
}

impl State {
    pub(super) fn new(kvs: KinesisVideo) -> Self {
        Self { kvs, only: None, seats: Seats::new(), watched: Arc::default() }
    }

    /// Checks the name of a stream in a request.
    pub(super) fn check(&self, stream: &str) -> Answer<()> {
        if stream.is_empty() || stream.len() > LONGEST_NAME {
            return Err(Failure::invalid(format!("the name of a stream has 1 to {LONGEST_NAME} bytes")));
        }
        if self.only.as_ref().is_some_and(|only| !only.iter().any(|name| name == stream)) {
            let message = "this page does not show that stream";
            return Err(Failure::new(StatusCode::NOT_FOUND, message).hint("start `kvs watch` with its name"));
        }
        Ok(())
    }

    fn watched(&self) -> MutexGuard<'_, HashMap<String, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Joins the viewers of a stream. The first one opens the connection.
    pub(super) fn join(&self, stream: &str) -> LiveViewer {
        let mut all = self.watched();
        let watched = all.entry(stream.to_owned()).or_insert_with(|| self.read(stream));
        watched.viewers += 1;
        // Subscribing comes first, so that nothing is lost in between.
        let fragments = watched.share.subscribe_lossy(WAITING);
        let newest = watched.newest.borrow().clone();
        LiveViewer { fragments, newest, stream: stream.to_owned(), state: self.clone() }
    }

    /// Reads a stream at its own speed, whatever the viewers do.
    fn read(&self, stream: &str) -> Watched {
        use crate::ext::FragmentStreamExt as _;

        let share = self.kvs.live(stream).start(Start::Now).fragments().share();
        let mut fragments = share.subscribe_lossy(1);
        let (sender, newest) = watch::channel(None);
        let stop = CancellationToken::new();
        let (state, name) = (Arc::clone(&self.watched), stream.to_owned());
        tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
            while let Some(Ok(fragment)) = fragments.next().await {
                sender.send_replace(Some(fragment));
            }
            // Whoever comes next begins anew.
            state.lock().unwrap_or_else(PoisonError::into_inner).remove(&name);
        }));
        Watched { share, newest, viewers: 0, _reading: stop.drop_guard() }
    }

    /// Returns the newest fragment of a stream that somebody watches.
    pub(super) fn newest(&self, stream: &str) -> Option<Fragment> {
        self.watched().get(stream)?.newest.borrow().clone()
    }
}

impl Drop for LiveViewer {
    fn drop(&mut self) {
        let mut all = self.state.watched();
        if let Some(watched) = all.get_mut(&self.stream) {
            watched.viewers = watched.viewers.saturating_sub(1);
            if watched.viewers == 0 {
                all.remove(&self.stream);
            }
        }
    }
}
