//! A fleet: several workers that share the streams to read, so that each stream is read once, by someone, always.
//!
//! The workers share a table, a [`LeaseStore`], with a row for each stream. A worker [claims](Lease) streams, renews one
//! heartbeat for all of them, and saves their checkpoints in their rows. If a worker dies, others claim its streams
//! and continue at the checkpoints. [`Fleet`] has the settings. The guide `docs/fleet.md` has the costs, the permissions
//! and what to watch.
//!
//! `DynamoLeases` (feature `dynamodb`) keeps the table in DynamoDB. [`MemoryLeases`] keeps it in memory.

mod clock;
mod driver;
#[cfg(feature = "dynamodb")]
mod dynamo;
mod lease;
mod member;
mod memory;
#[cfg(test)]
mod model;
mod shares;
mod status;
mod store;
#[cfg(test)]
mod table_load;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::Stream;
use futures::stream::FusedStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use driver::{Command, Driver, Settings};
use member::{PATIENCE, Rules};

use crate::error::{Error, ErrorKind, Result};

#[cfg(feature = "dynamodb")]
pub use dynamo::{DynamoCheckpoint, DynamoLeases};
pub use lease::Lease;
pub use memory::MemoryLeases;
pub use status::FleetStatus;
pub use store::{LeaseRow, LeaseStore, LeaseVersion, Swap, WorkerRow};

const MIN_LEASE: Duration = Duration::from_millis(100);
const MAX_LEASE: Duration = Duration::from_secs(3600);

/// A builder for one worker of a fleet, from [`KinesisVideo::fleet`](crate::KinesisVideo::fleet).
///
/// ```
/// # #[cfg(feature = "local")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// # use kinesis_video::local::{Document, LocalEndpoint, Shape};
/// # let endpoint = LocalEndpoint::start().await?;
/// # let door = endpoint.create_stream("front-door");
/// # for n in 0..3 { door.push(&Document::new(Shape::Producer).video_track(1).block(1, n, true, b"coded")); }
/// # door.finish();
/// # let kvs = kinesis_video::KinesisVideo::new(&endpoint.sdk_config());
/// use futures::TryStreamExt;
/// use kinesis_video::fleet::{Lease, LeaseStore, MemoryLeases};
/// use kinesis_video::{KinesisVideo, Start};
///
/// async fn work(kvs: KinesisVideo, lease: Lease) -> kinesis_video::Result<()> {
///     let live = kvs.live(lease.stream()).start(Start::Earliest);
///     # let live = live.reconnect(false);
///     let (mut fragments, acks) = live.checkpointed(lease);
///     while let Some(fragment) = fragments.try_next().await? {
///         acks.done(&fragment.position());
///     }
///     acks.close().await?;
///     Ok(())
/// }
///
/// let table = MemoryLeases::default(); // or DynamoLeases, for several machines
/// table.add(&"front-door".into()).await?;
/// let mut leases = kvs.fleet(table).max_streams(500).leases();
/// let lease = leases.try_next().await?.expect("the fleet has a stream");
/// let worker = tokio::spawn(work(kvs.clone(), lease));
/// # worker.await.unwrap()?;
/// leases.leave().await?; // gives all leases up
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
///
/// # Settings
///
/// | setting | default |
/// |---|---|
/// | [`lease_duration`](Self::lease_duration) | 10 s |
/// | [`max_streams`](Self::max_streams) | no limit |
/// | [`save_interval`](Self::save_interval) | 10 s |
/// | [`name`](Self::name) | the host's name |
///
/// # What the fleet does
///
/// | event | effect | time |
/// |---|---|---|
/// | a worker joins | the others give up what exceeds their share, between two fragments; the new worker claims it | 1 lease duration |
/// | a worker [leaves](FleetLeases::leave) | its streams end, their last positions are saved, others claim them | 0.5 lease durations |
/// | a worker dies | others claim its streams, and repeat what it had not saved | 1.25 to 1.5 lease durations |
/// | a worker is paused for long, or cut off from the table | it yields nothing after its lease duration; then as if it had died | 1.25 to 1.5 lease durations |
/// | the table fails for longer than a lease duration | all workers pause, and continue when it is back | |
/// | a stream is added or removed | it is claimed or given up | 3 lease durations |
///
/// Shares differ by at most one stream, unless a worker's maximum is smaller. The lease of a live worker is never taken,
/// so a change of the shares repeats nothing. A worker claims at most 30 leases per second, after the first 30.
///
/// All workers may have different settings. Their clocks need not agree.
#[derive(Clone)]
#[must_use = "nothing happens before leases() is called and polled"]
pub struct Fleet {
    store: Arc<dyn LeaseStore>,
    lease_duration: Duration,
    max_streams: usize,
    save_interval: Duration,
    name: Option<String>,
}

impl Fleet {
    pub(super) fn new(store: impl LeaseStore) -> Self {
        Self {
            store: Arc::new(store),
            lease_duration: Duration::from_secs(10),
            max_streams: usize::MAX,
            save_interval: Duration::from_secs(10),
            name: None,
        }
    }

    /// Sets how long a heartbeat is valid. Default: 10 s.
    ///
    /// A shorter duration means faster takeovers, and more calls to the table. Between 100 ms and 1 h.
    pub fn lease_duration(mut self, duration: Duration) -> Self {
        self.lease_duration = duration;
        self
    }

    /// Sets the maximum number of streams that this worker reads. Default: no limit.
    ///
    /// Streams beyond the limits of all workers are not read. [`FleetStatus::free`] counts them.
    pub fn max_streams(mut self, max: usize) -> Self {
        self.max_streams = max;
        self
    }

    /// Sets the minimum time between two saves of one stream's position. Default: 10 s.
    ///
    /// A takeover repeats what was acknowledged since the last save. Each save is a write to the table. The last
    /// position is saved at once when the stream's [`Acks`](crate::Acks) are closed.
    pub fn save_interval(mut self, interval: Duration) -> Self {
        self.save_interval = interval;
        self
    }

    /// Sets the name with which the worker's id begins. Default: the host's name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Returns a stream of the leases that this worker claims. It joins the fleet at the first poll.
    pub fn leases(self) -> FleetLeases {
        let status = watch::Sender::default();
        FleetLeases { status: status.subscribe(), state: State::New(self, status) }
    }
}

impl fmt::Debug for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet")
            .field("lease_duration", &self.lease_duration)
            .field("max_streams", &self.max_streams)
            .field("save_interval", &self.save_interval)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A stream of the leases that a worker claims, from [`Fleet::leases`].
///
/// The stream goes on until [`leave`](Self::leave). A lease that was given up may be claimed again later. At most
/// 64 leases wait to be taken; no more are claimed meanwhile.
///
/// A task in the background keeps the leases alive, whether or not the stream is polled. If the stream is dropped,
/// the task claims no more leases, and leaves the fleet after the last [`Lease`] is dropped.
///
/// # Errors
/// The stream ends with an error if the worker cannot join: the table does not exist, the permission is missing, or a
/// setting is invalid. After that, failed calls to the table are logged and retried. [`FleetStatus::error`] has the last.
///
/// # Cancel safety
/// Dropping a `next()` future loses no lease.
///
/// # Memory
/// About 500 bytes for each stream in the table.
#[must_use = "streams do nothing unless polled"]
pub struct FleetLeases {
    state: State,
    status: watch::Receiver<FleetStatus>,
}

enum State {
    New(Fleet, watch::Sender<FleetStatus>),
    Running { leases: UnboundedReceiver<Result<Lease>>, commands: UnboundedSender<Command>, task: JoinHandle<()> },
    Ended,
}

impl FleetLeases {
    /// Returns a receiver of the worker's status, to read or to wait for changes.
    pub fn status(&self) -> watch::Receiver<FleetStatus> {
        self.status.clone()
    }

    /// Leaves the fleet: ends the streams of all leases, and waits until their leases are dropped and given up.
    ///
    /// The streams end at once, with [`StreamEnd::LeaseReleased`](crate::StreamEnd::LeaseReleased). Consumers should
    /// then close their [`Acks`](crate::Acks), so that the next worker repeats nothing.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if the task in the background panicked or the runtime shut down.
    ///
    /// # Cancel safety
    /// If the future is dropped after its first poll, the worker still leaves.
    pub async fn leave(mut self) -> Result<()> {
        let State::Running { leases, commands, task } = std::mem::replace(&mut self.state, State::Ended) else {
            return Ok(());
        };
        // Fails if the task has ended already.
        let _ = commands.send(Command::Leave);
        drop((leases, commands));
        task.await.map_err(|error| {
            Error::new(ErrorKind::Io, "the task of the fleet did not finish").retryable(false).caused_by(error)
        })
    }

    fn start(fleet: Fleet, status: watch::Sender<FleetStatus>) -> Result<State> {
        let Fleet { store, lease_duration, max_streams, save_interval, name } = fleet;
        if !(MIN_LEASE..=MAX_LEASE).contains(&lease_duration) {
            return Err(Error::invalid_argument("the lease duration is not between 100 ms and 1 h"));
        }
        let runtime = Handle::try_current()
            .map_err(|error| Error::new(ErrorKind::Unsupported, "a fleet needs a tokio runtime").caused_by(error))?;
        let rules = Rules { lease_duration, max_streams, patience: PATIENCE };
        let settings = Settings { rules, save_interval, name: name.unwrap_or_else(host_name) };
        let (sender, leases) = unbounded_channel();
        let (commands, receiver) = unbounded_channel();
        let task = runtime.spawn(Driver::new(store, settings, sender, status).run(receiver));
        Ok(State::Running { leases, commands, task })
    }
}

/// Returns the name of this host.
#[cfg(unix)]
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Returns the name of this host.
#[cfg(not(unix))]
fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "worker".into())
}

impl Stream for FleetLeases {
    type Item = Result<Lease>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if matches!(self.state, State::New(..))
            && let State::New(fleet, status) = std::mem::replace(&mut self.state, State::Ended)
        {
            match Self::start(fleet, status) {
                Ok(state) => self.state = state,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
        let State::Running { leases, commands, .. } = &mut self.state else { return Poll::Ready(None) };
        let item = std::task::ready!(leases.poll_recv(cx));
        match &item {
            Some(Ok(_)) => {
                // Fails if the task has ended: the lease is lost soon.
                let _ = commands.send(Command::Taken);
            }
            Some(Err(_)) | None => self.state = State::Ended,
        }
        Poll::Ready(item)
    }
}

impl FusedStream for FleetLeases {
    fn is_terminated(&self) -> bool {
        matches!(self.state, State::Ended)
    }
}

impl fmt::Debug for FleetLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FleetLeases").field("status", &*self.status.borrow()).finish_non_exhaustive()
    }
}
