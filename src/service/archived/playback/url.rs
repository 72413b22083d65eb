//! [`PlaybackUrl`]: the URL of a playback session.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::request::Request;
use crate::error::Result;
use crate::fragment::Timestamp;
use crate::service::call::Reply;

/// The URL of a playback session, for one player.
///
/// The URL is a secret: it plays the media without credentials until it [expires](PlaybackUrl::expires). So `Debug`
/// shows only its host, and `Display` is not implemented.
///
/// ```no_run
/// # async fn f(kvs: kinesis_video::KinesisVideo) -> kinesis_video::Result<()> {
/// use std::time::Duration;
///
/// let mut url = kvs.hls("front-door").url().await?;
/// loop {
///     println!("{}", url.as_str()); // hand it to the player
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
    pub(super) async fn request(request: impl Into<Arc<Request>>) -> Result<Self> {
        let request = request.into();
        // The session begins later, during the call. So it never ends before `until`.
        let sent = Instant::now();
        let Reply { output: url, date, .. } = request.send().await?;
        let date = date.unwrap_or_else(|| {
            let clock = request.client.archived.config().time_source().unwrap_or_default();
            clock.now().into()
        });
        let lasts = request.lifetime();
        let expires = date.plus_nanos(i64::try_from(lasts.as_nanos()).unwrap_or(i64::MAX));
        Ok(Self { url: url.into(), expires, until: sent + lasts, request })
    }

    /// Returns the URL of the HLS master playlist or the DASH manifest, with its token.
    pub fn as_str(&self) -> &str {
        &self.url
    }

    /// Returns the time at which the URL expires, on the service's clock, to the second.
    ///
    /// If the response has no date, this machine's clock is used.
    /// Later requests are answered with status 403 and "Streaming session token is expired". A live session ends
    /// earlier if no fragment arrives for 30 s.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }

    /// Returns the time until the URL expires, or zero after that.
    ///
    /// Changes of this machine's clock do not matter.
    pub fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Begins another session with the same options and returns its URL.
    ///
    /// The current session continues until it expires.
    ///
    /// A [replay](super::LiveReplayMode) starts at the beginning of its range again.
    ///
    /// # Errors
    /// The errors of [`url`](super::Session::url).
    ///
    /// # Cancel safety
    /// The same as for [`url`](super::Session::url).
    pub async fn renew(&self) -> Result<Self> {
        Self::request(Arc::clone(&self.request)).await
    }
}

impl fmt::Debug for PlaybackUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, rest) = self.url.split_once("://").unwrap_or(("", ""));
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        // The user part of a URL may have credentials.
        let host = host.rsplit('@').next().unwrap_or_default();
        f.debug_struct("PlaybackUrl")
            .field("url", &format_args!("{scheme}://{host}/..."))
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}
