//! [`Access`]: which requests a server answers.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::error::{Error, ErrorKind, Result};
use crate::local::server::wire::ErrorResponse;

/// The name of the cookie that holds the token.
const COOKIE: &str = "kvs_token";

/// The fewest characters of a token.
const SHORTEST_TOKEN: usize = 16;

/// Which requests a server answers: its names, and its token.
///
/// Every request is checked, whatever it is for:
///
/// | checked | refused | why |
/// |---|---|---|
/// | `Host` | a name that is neither an IP address, `localhost`, nor a [`host`](Access::host) | a page of another site whose name resolves to this machine |
/// | `Origin` | another site's, except for playback URLs | a page of another site that sends requests here |
/// | the token | a request without it, if there is one | other machines |
///
/// A token is needed to listen at an address that other machines can reach. Clients send it in one of these ways:
///
/// | client | token |
/// |---|---|
/// | AWS SDK | as access key: `AWS_ACCESS_KEY_ID` |
/// | browser | once as `/?token=TOKEN`; then it is a cookie |
/// | any | `Authorization: Bearer TOKEN` |
/// | player | none: the URL of a playback session is a secret itself |
///
/// The connection is not encrypted.
///
/// ```
/// use kinesis_video::local::Access;
///
/// let access = Access::default().random_token()?.host("kvs.example");
/// assert_eq!(access.token_text().map(str::len), Some(32));
/// # Ok::<(), kinesis_video::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct Access {
    token: Option<String>,
    hosts: Vec<String>,
}

impl Access {
    /// Asks every request for this token. Default: none, which allows loopback addresses only.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for fewer than 16 characters, and for others than letters, digits,
    /// `-` and `_`.
    pub fn token(mut self, token: impl Into<String>) -> Result<Self> {
        let token = token.into();
        let is_plain = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        if token.len() < SHORTEST_TOKEN || !is_plain {
            let message = format!("a token has at least {SHORTEST_TOKEN} letters, digits, '-' or '_'");
            return Err(Error::invalid_argument(message));
        }
        self.token = Some(token);
        Ok(self)
    }

    /// Asks every request for a new token of 128 random bits.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub fn random_token(self) -> Result<Self> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| Error::new(ErrorKind::Io, format!("the system has no random numbers: {error}")))?;
        self.token(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    /// Adds a name by which clients call the server, without a port. Names are needed behind a name server or in Docker.
    ///
    /// The first name is the one in the URLs that the server returns.
    #[must_use]
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into().to_ascii_lowercase());
        self
    }

    /// Returns the token.
    pub fn token_text(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// Refuses an address that other machines can reach, if there is no token.
    pub(crate) fn check(&self, address: SocketAddr) -> Result<()> {
        if address.ip().is_loopback() || self.token.is_some() {
            return Ok(());
        }
        let message = format!("{address} can be reached from other machines, so set a token, or listen at 127.0.0.1");
        Err(Error::invalid_argument(message))
    }

    /// Returns the URL of a server at this address.
    pub(crate) fn url(&self, address: SocketAddr) -> String {
        let port = address.port();
        match self.hosts.first() {
            Some(name) => format!("http://{name}:{port}"),
            None if address.ip().is_unspecified() => format!("http://127.0.0.1:{port}"),
            None => format!("http://{address}"),
        }
    }

    fn is_host(&self, host: &str) -> bool {
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let name = name.strip_suffix('.').unwrap_or(name);
        name.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self.hosts.iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    fn is_token(&self, given: &str) -> bool {
        self.token.as_ref().is_some_and(|token| bool::from(token.as_bytes().ct_eq(given.as_bytes())))
    }

    /// Returns true if a request has the token, or none is asked for.
    fn has_token(&self, headers: &HeaderMap) -> bool {
        if self.token.is_none() {
            return true;
        }
        let values = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        let in_authorization = values(header::AUTHORIZATION).any(|value| match value.split_once(' ') {
            Some(("Bearer", token)) => self.is_token(token.trim()),
            // A signature names the access key: Credential=KEY/20261125/us-west-2/…
            Some((_, signature)) => signature
                .split("Credential=")
                .nth(1)
                .and_then(|key| key.split('/').next())
                .is_some_and(|key| self.is_token(key)),
            None => false,
        });
        let mut cookies = values(header::COOKIE).flat_map(|value| value.split(';'));
        in_authorization
            || cookies.any(|cookie| {
                cookie.trim().split_once('=').is_some_and(|(name, token)| name == COOKIE && self.is_token(token))
            })
    }
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.token.as_ref().map(|_| "…");
        f.debug_struct("Access").field("token", &token).field("hosts", &self.hosts).finish()
    }
}

/// Returns true for the URLs of playback sessions, which pages of other sites may play.
fn is_playback(path: &str) -> bool {
    ["/hls/", "/dash/"].iter().any(|prefix| path.starts_with(prefix))
}

/// Passes on the requests that may be answered.
pub(crate) async fn admit(State(access): State<Arc<Access>>, request: Request<Body>, next: Next) -> Response {
    match check(&access, &request) {
        Ok(()) => next.run(request).await,
        Err(refused) => *refused,
    }
}

/// Checks a request. The error is the answer to one that is refused.
fn check(access: &Access, request: &Request<Body>) -> Result<(), Box<Response>> {
    let (headers, path) = (request.headers(), request.uri().path());
    let host = host(request).map_err(|what| refuse(request, StatusCode::BAD_REQUEST, what))?;
    if let Some(host) = host.as_ref().filter(|host| !access.is_host(host.host())) {
        let what = format!(
            "the request is for the host \"{}\", which is not a name of this server; add it with --host",
            host.host()
        );
        return Err(refuse(request, StatusCode::FORBIDDEN, &what));
    }
    let mut origins = headers.get_all(header::ORIGIN).iter();
    let own = host.as_ref().map(|host| [format!("http://{host}"), format!("https://{host}")]);
    let is_own = |origin: &HeaderValue| {
        own.as_ref().is_some_and(|own| own.iter().any(|own| origin.as_bytes().eq_ignore_ascii_case(own.as_bytes())))
    };
    let is_playback = is_playback(path) && [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
    if !is_playback && !origins.all(is_own) {
        return Err(refuse(request, StatusCode::FORBIDDEN, "the request comes from a page of another site"));
    }
    if is_playback || access.has_token(headers) {
        return Ok(());
    }
    if path == "/" && request.method() == Method::GET {
        let mut given = request.uri().query().unwrap_or_default().split('&');
        if let Some(token) = given.find_map(|pair| pair.strip_prefix("token=")).filter(|token| access.is_token(token)) {
            // The token leaves the address bar, so that it is not copied with it.
            let cookie = format!("{COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict");
            let headers = [(header::LOCATION, "/"), (header::SET_COOKIE, &cookie), (header::CACHE_CONTROL, "no-store")];
            return Err(Box::new((StatusCode::SEE_OTHER, headers).into_response()));
        }
    }
    let what = "the request lacks the token; browsers open /?token=TOKEN, AWS SDKs send it as access key";
    Err(refuse(request, StatusCode::UNAUTHORIZED, what))
}

/// Returns the host that a request is for. `None` if it names none, as no browser does.
fn host(request: &Request<Body>) -> Result<Option<Authority>, &'static str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err("the request has more than one Host");
    }
    let named = first.map(|host| Authority::try_from(host.as_bytes()).map_err(|_| "the request's Host is malformed"));
    let named = named.transpose()?;
    if named.as_ref().is_some_and(|host| host.as_str().contains('@')) {
        return Err("the request's Host is malformed");
    }
    // A request line with a whole URL says it again.
    match (named, request.uri().authority()) {
        (Some(named), Some(line)) if named != *line => Err("the request has two different hosts"),
        (named, line) => Ok(named.or_else(|| line.cloned())),
    }
}

fn refuse(request: &Request<Body>, status: StatusCode, what: &str) -> Box<Response> {
    tracing::debug!(%status, what, "a request was refused");
    let mut response = if request.method() == Method::GET {
        (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{what}\n")).into_response()
    } else {
        ErrorResponse::new("AccessDeniedException", what).into_response()
    };
    *response.status_mut() = status;
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Box::new(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "0123456789abcdef";

    fn status(access: &Access, method: &str, path: &str, headers: &[(&str, &str)]) -> u16 {
        let request = Request::builder().method(method).uri(path);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let checked = check(access, &request.body(Body::empty()).unwrap());
        checked.map_or_else(|refused| refused.status().as_u16(), |()| 200)
    }

    #[test]
    fn other_names_are_refused() {
        let access = Access::default().host("kvs");
        for host in
            ["127.0.0.1:8080", "localhost", "LOCALHOST:80", "[::1]:8080", "192.168.1.2", "kvs:8080", "localhost."]
        {
            assert_eq!(status(&access, "GET", "/", &[("host", host)]), 200, "{host}");
        }
        for host in
            ["evil.example", "127.0.0.1.evil.example:8080", "localhost.evil", "kvs.evil", "2130706433", "0x7f.1"]
        {
            assert_eq!(status(&access, "GET", "/", &[("host", host)]), 403, "{host}");
        }
        for host in ["", "a b", "127.0.0.1@evil", "/"] {
            assert!(status(&access, "GET", "/", &[("host", host)]) >= 400, "{host}");
        }
        assert_eq!(status(&access, "GET", "/", &[("host", "localhost"), ("host", "evil")]), 400);
        assert_eq!(status(&access, "GET", "http://evil/", &[("host", "localhost")]), 400);
        assert_eq!(status(&access, "GET", "http://evil/", &[]), 403);
    }

    #[test]
    fn other_origins_are_refused() {
        let access = Access::default();
        let with =
            |method, path, origin| status(&access, method, path, &[("host", "127.0.0.1:8080"), ("origin", origin)]);
        assert_eq!(with("POST", "/listStreams", "http://127.0.0.1:8080"), 200);
        for origin in ["http://127.0.0.1:8081", "http://localhost:8080", "https://evil.example", "null", "file://"] {
            assert_eq!(with("POST", "/listStreams", origin), 403, "{origin}");
            assert_eq!(with("GET", "/view/streams", origin), 403, "{origin}");
            assert_eq!(with("GET", "/hls/v1/x.m3u8", origin), 200, "{origin}");
            assert_eq!(with("POST", "/hls/v1/x.m3u8", origin), 403, "{origin}");
        }
    }

    #[test]
    fn the_token_is_asked_for() {
        let access = Access::default().token(TOKEN).unwrap();
        let with = |path, name, value| status(&access, "GET", path, &[("host", "127.0.0.1"), (name, value)]);
        let signature = "AWS4-HMAC-SHA256 Credential=0123456789abcdef/20261125/us-west-2/kinesisvideo/aws4_request, SignedHeaders=host";
        assert_eq!(with("/x", "authorization", signature), 200);
        assert_eq!(with("/x", "authorization", "Bearer 0123456789abcdef"), 200);
        assert_eq!(with("/x", "cookie", "a=b; kvs_token=0123456789abcdef"), 200);
        assert_eq!(with("/hls/v1/x", "x-no", "token"), 200);
        for (name, value) in [
            ("authorization", "Bearer 0123456789abcdeF"),
            ("authorization", "Bearer"),
            ("authorization", "AWS4-HMAC-SHA256 Credential=local/2026"),
            ("cookie", "kvs_token=; kvs_token=0123456789abcde"),
            ("cookie", "kvs=0123456789abcdef"),
            ("x-token", TOKEN),
        ] {
            assert_eq!(with("/x", name, value), 401, "{name}: {value}");
        }
        assert_eq!(with("/?token=0123456789abcdef", "x-no", "token"), 303);
        assert_eq!(with("/?token=0123456789abcdee", "x-no", "token"), 401);
        assert_eq!(with("/x?token=0123456789abcdef", "x-no", "token"), 401);
        for token in ["short", "0123456789abcde ", "0123456789abcdef;", "ä123456789abcdef"] {
            assert!(Access::default().token(token).is_err(), "{token}");
        }
        assert!(Access::default().check(([0, 0, 0, 0], 80).into()).is_err());
        assert!(access.check(([0, 0, 0, 0], 80).into()).is_ok());
    }
}
