//! [`Failure`]: why a command failed, in at most three lines, and its exit code.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use kinesis_video::{Error, ErrorKind};

/// The result of a command.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// The exit code after SIGINT or SIGTERM.
pub(crate) const INTERRUPTED: u8 = 130;

/// The reason a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The reader of standard output, such as `head`, has closed it. This is no error.
    ClosedPipe,
    /// An error of the library, and what the command was working on.
    Error { subject: Option<String>, error: Error },
    /// The command found nothing.
    Nothing { what: String, hint: Option<String> },
    /// Errors that were already printed.
    Printed,
    /// The arguments contradict each other, or what they name cannot be used.
    Usage { what: String, hint: Option<String> },
    /// Any other failure.
    Other { what: String, why: Option<String>, hint: Option<String> },
}

impl Failure {
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::Usage { what: what.into(), hint: None }
    }

    pub(crate) fn nothing(what: impl Into<String>) -> Self {
        Self::Nothing { what: what.into(), hint: None }
    }

    pub(crate) fn other(what: impl Into<String>) -> Self {
        Self::Other { what: what.into(), why: None, hint: None }
    }

    /// The failure of an argument that the library refuses.
    pub(crate) fn of_argument(error: &Error) -> Self {
        Self::usage(error.message())
    }

    /// The failure of a file operation, such as "open" or "write".
    pub(crate) fn of_file(verb: &str, path: &Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied if verb == "open" => Some("check who may read the file"),
            _ => io_hint(error),
        };
        let hint = hint.map(Into::into);
        Self::Other { what: format!("cannot {verb} {}", path.display()), why: Some(io_text(error)), hint }
    }

    #[must_use]
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        match &mut self {
            Self::Nothing { hint, .. } | Self::Usage { hint, .. } | Self::Other { hint, .. } => {
                *hint = Some(text.into());
            }
            Self::ClosedPipe | Self::Error { .. } | Self::Printed => {}
        }
        self
    }

    #[must_use]
    pub(crate) fn why(mut self, text: impl Into<String>) -> Self {
        if let Self::Other { why, .. } = &mut self {
            *why = Some(text.into());
        }
        self
    }

    /// Names the stream or file that an error of the library is about.
    #[must_use]
    pub(crate) fn about(self, name: impl Into<String>) -> Self {
        match self {
            Self::Error { subject: None, error } => Self::Error { subject: Some(name.into()), error },
            other => other,
        }
    }

    /// The exit code: see the table of `kvs --help`.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::ClosedPipe => ExitCode::SUCCESS,
            Self::Usage { .. } => ExitCode::from(2),
            Self::Nothing { .. } => ExitCode::from(3),
            Self::Error { error, .. } if error.kind() == ErrorKind::NotFound => ExitCode::from(3),
            Self::Error { .. } | Self::Other { .. } | Self::Printed => ExitCode::FAILURE,
        }
    }

    /// The text: what failed, why, and what to do, a line each. Empty if there is nothing to print.
    pub(crate) fn text(&self) -> String {
        let (what, why, hint) = match self {
            Self::ClosedPipe | Self::Printed => return String::new(),
            Self::Error { subject, error } => {
                let subject = subject.as_deref();
                (what_of(subject, error), why_of(error), hint_of(subject, error))
            }
            Self::Nothing { what, hint } | Self::Usage { what, hint } => (what.clone(), None, hint.clone()),
            Self::Other { what, why, hint } => (what.clone(), why.clone(), hint.clone()),
        };
        let mut text = format!("error: {}", one_line(&what));
        for (name, line) in [("why", why), ("try", hint)] {
            if let Some(line) = line {
                let _ = write!(text, "\n  {name}: {}", one_line(&line));
            }
        }
        text
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error { subject: None, error }
    }
}

/// Returns the causes of an error, the nearest first.
pub(crate) fn causes(error: &dyn StdError) -> impl Iterator<Item = &(dyn StdError + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// Returns the first line: the stream or file, the kind, the message and the place in the media.
fn what_of(subject: Option<&str>, error: &Error) -> String {
    let mut text = String::new();
    if let Some(subject) = error.context().stream().or(subject) {
        let _ = write!(text, "{subject}: ");
    }
    let _ = write!(text, "{}: {}", error.kind(), error.message());
    let position = error.position();
    let places = [
        position.offset().map(|offset| format!("at byte {offset}")),
        position.path().filter(|path| !path.is_empty()).map(|path| format!("in {path}")),
        position.fragment().map(|number| format!("fragment {number}")),
        position.track().map(|track| format!("track {track}")),
    ];
    let places: Vec<_> = places.into_iter().flatten().collect();
    if !places.is_empty() {
        let _ = write!(text, " ({})", places.join(", "));
    }
    text
}

/// Returns the second line: the causes in words, the service's code and the request id.
pub(crate) fn why_of(error: &Error) -> Option<String> {
    let mut texts = Vec::new();
    // The SDK's errors name their own layers before they come to the point.
    let is_layer = |text: &str| {
        ["dispatch failure", "io error", "service error", "response error", "request has timed out"].contains(&text)
            || text.starts_with("client error (")
            // A request printed for programmers.
            || text.contains(" { ")
            || text.starts_with("unhandled error")
    };
    for cause in causes(error) {
        let text = one_line(&match (cause.downcast_ref::<io::Error>(), cause.downcast_ref::<Error>()) {
            (Some(error), _) => io_text(error),
            (None, Some(error)) => error.message().to_owned(),
            (None, None) => cause.to_string(),
        });
        // The SDK's parser of JSON, before a web page.
        if text.starts_with("Error at offset") {
            return Some("the answer is not one of Kinesis Video Streams".into());
        }
        if is_about_credentials(&text) {
            return Some("no credentials were found where they are configured".into());
        }
        // The service's answer is in the message already.
        let is_known = error.message().contains(&text) || texts.iter().any(|known: &String| known.contains(&text));
        let is_answer = error.code().is_some_and(|code| text.starts_with(code));
        if !is_layer(&text) && !is_known && !is_answer {
            texts.push(text);
        }
    }
    let mut text = texts.join(": ");
    if let Some(code) = error.code() {
        let _ = write!(text, "{}code {code}", if text.is_empty() { "" } else { ", " });
    }
    if let Some(id) = error.context().request_id() {
        let _ = write!(text, "{}request {id}", if text.is_empty() { "" } else { ", " });
    }
    (!text.is_empty()).then_some(text)
}

/// Returns the third line: the library's advice, or what helps with this kind of error.
fn hint_of(subject: Option<&str>, error: &Error) -> Option<String> {
    if causes(error).any(|cause| is_about_credentials(&cause.to_string())) {
        return Some("--profile NAME, set AWS_PROFILE, or run `aws configure`".into());
    }
    if let (ErrorKind::NotFound, Some(name)) = (error.kind(), error.context().stream())
        && Path::new(name).is_dir()
    {
        return Some(format!("check the stream name and the region; for the folder, write {name}/"));
    }
    if let Some(hint) = error.hint() {
        return Some(hint.into());
    }
    let io_error = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>());
    let hint = match error.kind() {
        ErrorKind::AccessDenied if error.code().is_some_and(|code| code.starts_with("45")) => {
            "allow the caller kms:Decrypt on the stream's KMS key, and check that the key is enabled"
        }
        ErrorKind::AccessDenied => "`kvs doctor STREAM` checks the credentials and each permission",
        ErrorKind::ConnectionLimit => "close other readers of the stream, or wait a minute",
        // ListStreams is about no stream.
        ErrorKind::Io if error.context().stream().is_some() || error.message().starts_with("ListStreams: ") => {
            "check the network, the region and --endpoint-url"
        }
        ErrorKind::Io => io_error.and_then(io_hint)?,
        ErrorKind::Malformed if error.position().offset() == Some(0) => {
            "check that this is MKV; `ffmpeg -i FILE -c copy out.mkv` converts other media"
        }
        ErrorKind::Malformed => {
            let file = subject.unwrap_or("FILE");
            return Some(format!(
                "`kvs inspect --resync {file}` reads on after damage, and says which bytes it skipped"
            ));
        }
        ErrorKind::Retention => "set a data retention for the stream, or ask for a later time",
        ErrorKind::Throttled => "wait a moment; other readers of the stream share its quota",
        ErrorKind::Service if error.code().is_none() => "check --endpoint-url and the region, or try again",
        ErrorKind::WrongEndpoint => "check --endpoint-url and the region",
        _ => return None,
    };
    Some(hint.into())
}

/// Returns whether a cause says that there are no credentials, in the words of the SDK.
fn is_about_credentials(text: &str) -> bool {
    text.contains("no credentials found in chain") || text.contains("credential provider was not enabled")
}

/// Returns the text of an I/O error without the number of the operating system.
pub(crate) fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_lowercase(),
        None => text,
    }
}

fn io_hint(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::NotFound => "check the path",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "choose a folder that may be written to",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free some space, or choose another disk with -o",
        _ => return None,
    })
}

/// Replaces line breaks, and spaces in a row, by single spaces.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
