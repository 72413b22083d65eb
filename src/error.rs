//! The error type of the crate.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::summary::Summary;

/// A result with the crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error of every operation in this crate.
///
/// A program acts on [`kind`](Error::kind) and [`is_retryable`](Error::is_retryable). The text is for
/// people. It is one line: kind, message, [hint](Error::hint), and these as far as they are known: code, byte offset,
/// element path, fragment, track, stream, endpoint and request id. The text does not include the cause,
/// which [`source`](StdError::source) returns.
///
/// The error is one pointer wide and cheap to clone.
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
    hint: Option<Box<str>>,
    position: ErrorPosition,
    context: ErrorContext,
    code: Option<Box<str>>,
    retryable: bool,
    summary: Option<Summary>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The category of an [`Error`], by which a program can react.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The service rejected the credentials, or they do not permit the operation.
    ///
    /// Check the credentials, the IAM policy, and the policy of the stream's KMS key.
    AccessDenied,
    /// All connections that the service allows a stream are in use: 3 for GetMedia, 5 for the archive.
    ///
    /// Close other connections, or retry later.
    ConnectionLimit,
    /// An argument is invalid.
    ///
    /// The crate or the service rejected the argument. Correct the argument.
    InvalidArgument,
    /// Reading from or writing to a file or the network failed.
    ///
    /// [`Error::source`](StdError::source) has the cause. Retry if [`Error::is_retryable`] returns true.
    Io,
    /// Another worker of the fleet has claimed the stream, or another process has loaded its checkpoint.
    ///
    /// Stop working on it. The other worker continues at the last position that was saved.
    LeaseLost,
    /// The input exceeds a limit of this crate, such as those in [`Limits`](crate::Limits).
    ///
    /// The text names an exceeded limit of `Limits`. Raise that limit if the input can be trusted.
    Limit,
    /// The bytes are not valid EBML or Matroska, or the coded media is damaged.
    ///
    /// Reading with `resync(true)` skips damaged bytes in a body.
    Malformed,
    /// The stream does not exist, or has no media at the requested place.
    ///
    /// Check the name of the stream, its region, and the requested range.
    NotFound,
    /// The stream retains no data, or no longer retains the requested data.
    ///
    /// Check the data retention period of the stream, or start at a later position.
    Retention,
    /// The service answered with an error of no other kind, or reported one inside the media.
    ///
    /// [`Error::code`] returns the service's name or number for it.
    Service,
    /// The service rejected the call because there were too many.
    ///
    /// Retry later, and less often.
    Throttled,
    /// The input is valid, but this crate does not support it.
    Unsupported,
    /// The request was sent to a host that does not serve the stream.
    ///
    /// Data endpoints can change. Request the endpoint again, then retry.
    WrongEndpoint,
}

impl ErrorKind {
    fn text(self) -> &'static str {
        match self {
            Self::AccessDenied => "access denied",
            Self::ConnectionLimit => "too many connections",
            Self::InvalidArgument => "invalid argument",
            Self::Io => "I/O failed",
            Self::LeaseLost => "lease lost",
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

/// The position in a body at which an error was found.
///
/// Every part is `None` if it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorPosition {
    offset: Option<u64>,
    path: Option<Box<str>>,
    fragment: Option<Box<str>>,
    track: Option<u64>,
}

impl ErrorPosition {
    /// Returns the offset in the body of the invalid element, from 0.
    ///
    /// For [`Elements::new`](crate::ebml::Elements::new), the offset counts from the start of the slice. For
    /// [`ParameterSets`](crate::packet::ParameterSets), it counts from the start of the packet.
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// Returns the path to the invalid element, for example `Segment/Cluster/SimpleBlock`.
    pub fn path(&self) -> Option<&str> {
        self.path.as_deref()
    }

    /// Returns the number of the fragment that was being read.
    pub fn fragment(&self) -> Option<&str> {
        self.fragment.as_deref()
    }

    /// Returns the number of the track.
    pub fn track(&self) -> Option<u64> {
        self.track
    }
}

/// The stream, endpoint and request that an error belongs to, as far as known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErrorContext {
    stream: Option<Box<str>>,
    endpoint: Option<Box<str>>,
    request_id: Option<Box<str>>,
}

impl ErrorContext {
    /// Returns the name or ARN of the stream, as the program passed it.
    ///
    /// Returns `None` if the error belongs to no stream of the service.
    pub fn stream(&self) -> Option<&str> {
        self.stream.as_deref()
    }

    /// Returns the data endpoint of the call, or `None` if no endpoint was used.
    pub fn endpoint(&self) -> Option<&str> {
        self.endpoint.as_deref()
    }

    /// Returns the request id that the service assigned, or `None` without an answer.
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_deref()
    }
}

impl Error {
    /// Creates an error, for sinks and adapters outside of this crate.
    ///
    /// The error is retryable if the kind is `ConnectionLimit`, `Io`, `Throttled` or `WrongEndpoint`.
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
            hint: None,
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

    /// Returns the category of the error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the message: the text without kind, hint and place.
    ///
    /// ```
    /// use kinesis_video::{Error, ErrorKind};
    ///
    /// let error = Error::new(ErrorKind::Io, "the disk is full").at(1200);
    /// assert_eq!(error.message(), "the disk is full");
    /// ```
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns advice about what to do, or `None` if the crate has none. The text includes it.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// Returns the position in the body at which the error was found, as far as known.
    pub fn position(&self) -> &ErrorPosition {
        &self.0.position
    }

    /// Returns the stream, endpoint and request id of the error, as far as known.
    pub fn context(&self) -> &ErrorContext {
        &self.0.context
    }

    /// Returns the service's name or number for the error.
    ///
    /// Examples are `ResourceNotFoundException`, and `4000` for an error inside the media. Returns `None` if the
    /// service reported no code.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// Returns true if the same operation may succeed later.
    pub fn is_retryable(&self) -> bool {
        self.0.retryable
    }

    /// Returns the totals of the sink, if [`record`](crate::RecordExt::record) failed.
    ///
    /// Returns `None` for every other error.
    pub fn summary(&self) -> Option<&Summary> {
        self.0.summary.as_ref()
    }

    /// Sets the byte offset in the body, which [`ErrorPosition::offset`] returns.
    #[must_use]
    pub fn at(self, offset: u64) -> Self {
        self.map(|e| e.position.offset = Some(offset))
    }

    /// Sets the cause, which [`source`](StdError::source) returns.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.map(|e| e.source = Some(Arc::from(source.into())))
    }

    /// Creates an error for a failed operation on a file, which is not retryable.
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
    pub(crate) fn with_hint(self, hint: impl Into<Box<str>>) -> Self {
        self.map(|e| e.hint = Some(hint.into()))
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
        let Inner { kind, message, hint, position, context, code, .. } = &*self.0;
        write!(f, "{kind}: {message}")?;
        if let Some(hint) = hint {
            write!(f, "; {hint}")?;
        }
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

/// Writes the text and the causes, for a `main` that returns the error. `{:#?}` writes the fields.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !f.alternate() {
            write!(f, "{self}")?;
            let mut causes = std::iter::successors(self.source(), |&cause| cause.source());
            return causes.try_for_each(|cause| write!(f, ", caused by: {cause}"));
        }
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

/// Converts to an [`ErrorKind::Io`] with the error as its source.
///
/// The error is retryable if it is usual for a network, or is an [`io::ErrorKind::Other`]. An `Error` that was
/// wrapped with [`io::Error::other`] is unwrapped.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        if let Some(inner) = error.get_ref().and_then(|e| e.downcast_ref::<Self>()) {
            return inner.clone();
        }
        use io::ErrorKind as Io;
        // Network failures are often temporary. Failures of a file system seldom are.
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
