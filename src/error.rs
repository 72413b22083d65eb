//! The crate's one public error.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::summary::Summary;

/// A result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and where.
///
/// One pointer wide and cheap to clone, so it fits into every item of every stream and into
/// combinators that need a clonable error. A program acts on [`kind`](Error::kind) and
/// [`is_retryable`](Error::is_retryable); a person reads the text, which is always one line and
/// names the place: byte offset in the body, element path, fragment, stream and connection, as far
/// as they are known. What caused it is not repeated in the text but reachable through
/// [`source`](StdError::source).
///
/// ```
/// use futures::TryStreamExt;
/// use kinesis_video::{ErrorKind, FragmentStream};
///
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let body: &[u8] = br#"{"Output":{},"Version":"1.0"}"#;
/// let error = FragmentStream::new(body).try_next().await.unwrap_err();
/// assert_eq!(error.kind(), ErrorKind::Malformed);
/// assert_eq!(error.position().offset(), Some(0));
/// # });
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: Cow<'static, str>,
    position: ErrorPosition,
    context: ErrorContext,
    code: Option<Box<str>>,
    retryable: bool,
    summary: Option<Summary>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// What sort of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The caller may not do this, or not with these credentials.
    AccessDenied,
    /// The stream has as many open GetMedia connections as the service allows.
    ConnectionLimit,
    /// An argument that cannot be right, found before anything was sent or written, or refused by
    /// the service.
    InvalidArgument,
    /// Reading from or writing to the operating system or the network failed.
    Io,
    /// More than [`Limits`](crate::Limits) allows.
    Limit,
    /// The bytes are not EBML, not Matroska, or contradict themselves.
    Malformed,
    /// No such stream, or nothing in it where it was asked for.
    NotFound,
    /// The stream keeps nothing, or does not keep what was asked for any more.
    Retention,
    /// The service answered with an error that has no kind of its own, or reported one inside the
    /// media. [`Error::code`] tells which.
    Service,
    /// The service asks for fewer calls.
    Throttled,
    /// Well-formed, but more than this crate can do.
    Unsupported,
    /// The request went to a host that does not serve it.
    WrongEndpoint,
}

impl ErrorKind {
    fn text(self) -> &'static str {
        match self {
            Self::AccessDenied => "access denied",
            Self::ConnectionLimit => "too many connections",
            Self::InvalidArgument => "invalid argument",
            Self::Io => "I/O failed",
            Self::Limit => "limit exceeded",
            Self::Malformed => "malformed media",
            Self::NotFound => "not found",
            Self::Retention => "not retained",
            Self::Service => "service error",
            Self::Throttled => "throttled",
            Self::Unsupported => "unsupported",
            Self::WrongEndpoint => "wrong endpoint",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Where in a body an error was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPosition {
    offset: Option<u64>,
    path: Option<Box<str>>,
    fragment: Option<Box<str>>,
    track: Option<u64>,
}

impl ErrorPosition {
    /// The byte in the body, counted from 0 at its start, at which the offending element begins.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// The names of the elements that enclose the place, and of the offending one itself, such as
    /// `Segment/Cluster/SimpleBlock`.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// The number of the fragment, as the service gave it.
    pub fn fragment(&self) -> Option<&str> {
        self.fragment.as_deref()
    }

    /// The number of the track.
    pub fn track(&self) -> Option<u64> {
        self.track
    }
}

/// Which stream, over which connection, an error came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorContext {
    stream: Option<Box<str>>,
    endpoint: Option<Box<str>>,
    request_id: Option<Box<str>>,
}

impl ErrorContext {
    /// The name or ARN of the stream, as the caller gave it.
    pub fn stream(&self) -> Option<&str> {
        self.stream.as_deref()
    }

    /// The data endpoint of the connection.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// The service's id of the request.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

impl Error {
    /// An error of one's own sink or adapter, to travel with the crate's.
    ///
    /// ```
    /// use kinesis_video::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::Io, "the disk is full").at(1200);
    /// assert_eq!(error.to_string(), "I/O failed: the disk is full (at byte 1200)");
    /// ```
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            position: ErrorPosition::default(),
            context: ErrorContext::default(),
            code: None,
            retryable: matches!(
                kind,
                ErrorKind::ConnectionLimit | ErrorKind::Io | ErrorKind::Throttled | ErrorKind::WrongEndpoint
            ),
            summary: None,
            source: None,
        }))
    }

    /// What sort of thing went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Where in the body it was found.
    pub fn position(&self) -> &ErrorPosition {
        &self.0.position
    }

    /// Which stream and connection it came from.
    pub fn context(&self) -> &ErrorContext {
        &self.0.context
    }

    /// The service's own name or number for it: `ResourceNotFoundException`, or `4000` when it was
    /// reported inside the media.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// Whether the same thing may well succeed a little later.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// What a sink had recorded when it failed (see [`record`](crate::RecordExt::record)).
    pub fn summary(&self) -> Option<&Summary> {
        self.0.summary.as_ref()
    }

    /// Sets the byte offset in the body.
    #[must_use]
    pub fn at(self, offset: u64) -> Self {
        self.map(|e| e.position.offset = Some(offset))
    }

    /// Sets what caused it.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.map(|e| e.source = Some(Arc::from(source.into())))
    }

    /// What went wrong with a file: not something that goes away by itself.
    pub(crate) fn of_file(what: &str, path: &Path, error: io::Error) -> Self {
        let message = format!("{what} {} failed", path.display());
        Self::new(ErrorKind::Io, message).retryable(false).caused_by(error)
    }

    pub(crate) fn malformed(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Malformed, message)
    }

    pub(crate) fn limit(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Limit, message)
    }

    pub(crate) fn invalid_argument(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn in_path(self, path: impl Into<Box<str>>) -> Self {
        self.map(|e| e.position.path = Some(path.into()))
    }

    pub(crate) fn in_fragment(self, fragment: Option<&str>) -> Self {
        match fragment {
            Some(number) => self.map(|e| e.position.fragment = Some(number.into())),
            None => self,
        }
    }

    pub(crate) fn on_track(self, track: u64) -> Self {
        self.map(|e| e.position.track = Some(track))
    }

    pub(crate) fn with_code(self, code: impl Into<Box<str>>) -> Self {
        self.map(|e| e.code = Some(code.into()))
    }

    pub(crate) fn retryable(self, retryable: bool) -> Self {
        self.map(|e| e.retryable = retryable)
    }

    pub(crate) fn with_summary(self, summary: Summary) -> Self {
        self.map(|e| e.summary = Some(summary))
    }

    #[cfg(feature = "aws")]
    pub(crate) fn of_stream(self, stream: &str) -> Self {
        self.map(|e| e.context.stream = Some(stream.into()))
    }

    #[cfg(feature = "aws")]
    pub(crate) fn at_endpoint(self, endpoint: &str) -> Self {
        self.map(|e| e.context.endpoint = Some(endpoint.into()))
    }

    #[cfg(feature = "aws")]
    pub(crate) fn with_request_id(self, id: Option<&str>) -> Self {
        self.map(|e| e.context.request_id = id.map(Into::into))
    }

    fn map(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, message, position, context, code, .. } = &*self.0;
        write!(f, "{kind}: {message}")?;
        let mut separator = " (";
        let mut place = |f: &mut fmt::Formatter<'_>, args: fmt::Arguments<'_>| {
            f.write_str(std::mem::replace(&mut separator, ", "))?;
            f.write_fmt(args)
        };
        if let Some(code) = code {
            place(f, format_args!("code {code}"))?;
        }
        if let Some(offset) = position.offset {
            place(f, format_args!("at byte {offset}"))?;
        }
        if let Some(path) = &position.path {
            place(f, format_args!("in {path}"))?;
        }
        if let Some(fragment) = &position.fragment {
            place(f, format_args!("fragment {fragment}"))?;
        }
        if let Some(track) = position.track {
            place(f, format_args!("track {track}"))?;
        }
        if let Some(stream) = &context.stream {
            place(f, format_args!("stream {stream}"))?;
        }
        if let Some(endpoint) = &context.endpoint {
            place(f, format_args!("endpoint {endpoint}"))?;
        }
        if let Some(id) = &context.request_id {
            place(f, format_args!("request {id}"))?;
        }
        f.write_str(if separator == ", " { ")" } else { "" })
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("code", &self.0.code)
            .field("position", &self.0.position)
            .field("context", &self.0.context)
            .field("source", &self.0.source)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}

/// An [`ErrorKind::Io`] with the error as its source; an `Error` that went through
/// [`io::Error::other`] comes out as it was.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if let Some(inner) = error.get_ref().and_then(|e| e.downcast_ref::<Self>()) {
            return inner.clone();
        }
        use io::ErrorKind as Io;
        // What the network does may go away by itself, what a file system says seldom does.
        let retryable = matches!(
            error.kind(),
            Io::BrokenPipe
                | Io::ConnectionAborted
                | Io::ConnectionRefused
                | Io::ConnectionReset
                | Io::HostUnreachable
                | Io::Interrupted
                | Io::NetworkDown
                | Io::NetworkUnreachable
                | Io::Other
                | Io::TimedOut
                | Io::UnexpectedEof
                | Io::WouldBlock
        );
        Self::new(ErrorKind::Io, "reading or writing failed").retryable(retryable).caused_by(error)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}
