//! A web page to watch streams: live, stored, and as sound.
//!
//! [`Viewer`] reads through [`KinesisVideo`], so streams in AWS and streams of a local endpoint look the same. The page
//! is in the library: it needs no files and makes no requests to other hosts.

mod answer;
mod call;
mod codecs;
mod details;
mod film;
mod live;
mod media;
mod range;
mod seats;
mod server;
mod state;
mod stored;
mod streams;
mod thumbnail;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::error::Result;
use crate::local::{Access, LocalEndpoint};
use crate::service::KinesisVideo;
use state::State;

/// A web page to watch streams, on this machine.
///
/// The page lists streams, plays them live, shows what is stored on a timeline with its gaps, plays from any moment, shows
/// the tags, tracks and discontinuities of each fragment, draws Amazon Connect calls and plays their sound, and downloads
/// ranges as MP4 or WAV.
///
/// | method | page |
/// |---|---|
/// | [`start`](Viewer::start) | on a port of its own, as `kvs watch` does |
/// | [`attach`](Viewer::attach) | at `/` of a local endpoint, as `kvs serve` does |
///
/// All viewers of a stream share one connection of GetMedia, which is open while somebody watches.
///
/// # Safety
/// Requests are refused if their Host or Origin is another site's, and without the token if [`Access`] has one. Pages have
/// a Content-Security-Policy that allows only their own files. Names and tags are shown as text.
///
/// # Memory
/// The sums are bounded: 16 live viewers with at most four fragments each, and four answers from the archive with at most
/// 16 MB of fragments each. A viewer that reads slowly skips to the newest fragment. A client that takes nothing for 30 s
/// is disconnected.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use kinesis_video::KinesisVideo;
/// use kinesis_video::local::LocalEndpoint;
/// use kinesis_video::viewer::Viewer;
///
/// let endpoint = LocalEndpoint::start().await?;
/// Viewer::new(KinesisVideo::new(&endpoint.sdk_config())).attach(&endpoint);
/// println!("open {}/ in a browser", endpoint.url());
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[derive(Clone)]
#[must_use = "nothing is shown before start() or attach() is called"]
pub struct Viewer {
    state: State,
}

/// A page that is being served, from [`Viewer::start`]. Dropping it closes all connections.
pub struct ViewerServer {
    address: SocketAddr,
    stop: CancellationToken,
}

impl Viewer {
    /// Creates a viewer of the streams that this client can list.
    pub fn new(kvs: KinesisVideo) -> Self {
        Self { state: State::new(kvs) }
    }

    /// Shows only this stream, by name or ARN. Call it again for more streams.
    ///
    /// Other streams are refused, and ListStreams is not called.
    pub fn stream(mut self, stream: impl Into<String>) -> Self {
        self.state.only.get_or_insert_default().push(stream.into());
        self
    }

    /// Shows the page at `/` of a local endpoint. The endpoint's [`Access`] applies.
    ///
    /// It replaces a viewer that was attached before.
    pub fn attach(self, endpoint: &LocalEndpoint) {
        endpoint.show_page(server::router(Arc::new(self.state)));
    }

    /// Starts the page on this port of 127.0.0.1. Port 0 takes a free one.
    ///
    /// # Errors
    /// If the port cannot be bound, usually because it is taken.
    pub async fn start(self, port: u16) -> Result<ViewerServer> {
        self.start_at((Ipv4Addr::LOCALHOST, port).into(), Access::default()).await
    }

    /// Starts the page at this address.
    ///
    /// # Errors
    /// - [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for an address that other machines can reach, if the access
    ///   needs no token.
    /// - If the address cannot be bound.
    pub async fn start_at(self, address: SocketAddr, access: Access) -> Result<ViewerServer> {
        let stop = CancellationToken::new();
        let router = server::router(Arc::new(self.state));
        let address = crate::local::serve(address, access, router, stop.clone()).await?;
        Ok(ViewerServer { address, stop })
    }
}

impl ViewerServer {
    /// Returns the URL of the page.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// # let endpoint = kinesis_video::local::LocalEndpoint::start().await?;
    /// # let kvs = kinesis_video::KinesisVideo::new(&endpoint.sdk_config());
    /// use kinesis_video::viewer::Viewer;
    ///
    /// let page = Viewer::new(kvs).stream("front-door").start(0).await?;
    /// assert!(page.url().starts_with("http://127.0.0.1:"));
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the address of the page.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for ViewerServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl fmt::Debug for Viewer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Viewer").field("only", &self.state.only).finish_non_exhaustive()
    }
}

impl fmt::Debug for ViewerServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewerServer").field("address", &self.address).finish_non_exhaustive()
    }
}
