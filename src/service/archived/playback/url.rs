//! [`PlaybackUrl`]: what a player is given.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::request::Request;
use crate::error::Result;
use crate::fragment::Timestamp;
use crate::service::call::Reply;

/// The URL of a session, for one player. Whoever has it can play what it is for, without credentials, until
/// it [expires](PlaybackUrl::expires): it is as secret as they are, so `Debug` shows only its host, and
/// there is no `Display`.
///
/// ```no_run
/// # async fn f(kvs: kinesis_video::KinesisVideo) -> kinesis_video::Result<()> {
/// use std::time::Duration;
///
/// let mut url = kvs.hls("front-door").url().await?;
/// loop {
///     println!("{}", url.as_str()); // to the player, that is
///     tokio::time::sleep(url.remaining().saturating_sub(Duration::from_secs(30))).await;
///     url = url.renew().await?;
/// }
/// # }
/// ```
#[derive(Clone)]
pub struct PlaybackUrl {
    url: Arc<str>,
    expires: Timestamp,
    until: Instant,
    request: Arc<Request>,
}

impl PlaybackUrl {
    pub(super) async fn ask(request: impl Into<Arc<Request>>) -> Result<Self> {
        let request = request.into();
        // The session is younger than this; how much depends on how long the answer took.
        let asked = Instant::now();
        let Reply { output: url, date, .. } = request.send().await?;
        let date = date.unwrap_or_else(|| {
            let clock = request.client.archived.config().time_source().unwrap_or_default();
            clock.now().into()
        });
        let lasts = request.lasts();
        let expires = date.plus_nanos(i64::try_from(lasts.as_nanos()).unwrap_or(i64::MAX));
        Ok(Self { url: url.into(), expires, until: asked + lasts, request })
    }

    /// The URL, token included: of the master playlist of HLS, of the manifest of DASH.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// When the service stops serving it, by the service's clock, to the second. From then on it answers
    /// 403, "Streaming session token is expired". A live session ends before if no fragment comes for 30 seconds.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// How long it is until then, whatever the clock of this machine says; zero once it has expired.
    pub fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Begins another session with the same options. This one goes on until it expires. A
    /// [replay](super::LiveReplayMode) begins with its start again.
    ///
    /// # Errors
    /// Those of [`url`](super::Session::url).
    ///
    /// # Cancel safety
    /// As of [`url`](super::Session::url).
    pub async fn renew(&self) -> Result<Self> {
        Self::ask(Arc::clone(&self.request)).await
    }
}

impl fmt::Debug for PlaybackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", ""));
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // Who puts what into the user's part of a URL is nobody's business either.
        let host = host.rsplit('@').next().unwrap_or_default();
        f.debug_struct("PlaybackUrl")
            .field("url", &format_args!("{scheme}://{host}/..."))
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}
