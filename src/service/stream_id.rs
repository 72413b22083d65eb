//! The identifier of a stream.

use std::fmt;
use std::sync::Arc;

/// The name or the ARN of a stream.
///
/// The text is not validated before the first call. Amazon Connect provides only the ARN.
///
/// ```
/// use kinesis_video::StreamId;
///
/// assert!(!StreamId::from("front-door").is_arn());
/// let arn = StreamId::from("arn:aws-cn:kinesisvideo:cn-north-1:1:stream/front-door/2");
/// assert!(arn.is_arn());
/// assert_eq!(arn.name(), "front-door");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(Arc<str>);

impl StreamId {
    /// Returns the name or the ARN, as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the text begins with `arn:`. Stream names cannot contain a colon.
    pub fn is_arn(&self) -> bool {
        self.0.starts_with("arn:")
    }

    /// Returns the stream's name, which an ARN contains.
    ///
    /// An ARN has the form `arn:aws:kinesisvideo:REGION:ACCOUNT:stream/NAME/CREATED`. An ARN without `:stream/` is
    /// returned whole.
    pub fn name(&self) -> &str {
        let name = self.is_arn().then(|| self.0.split_once(":stream/")).flatten().map(|(_, rest)| rest);
        name.map_or(&self.0, |rest| rest.split('/').next().unwrap_or(rest))
    }

    /// Returns the name and the ARN for a request, which takes exactly one of them.
    ///
    /// The SDK's requests of [`media_client`](crate::KinesisVideo::media_client) take both as options.
    ///
    /// ```
    /// use kinesis_video::StreamId;
    ///
    /// assert_eq!(StreamId::from("front-door").name_and_arn(), (Some("front-door".into()), None));
    /// ```
    pub fn name_and_arn(&self) -> (Option<String>, Option<String>) {
        let text = Some(self.0.to_string());
        if self.is_arn() { (None, text) } else { (text, None) }
    }
}

impl From<&str> for StreamId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for StreamId {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<&String> for StreamId {
    fn from(text: &String) -> Self {
        Self(text.as_str().into())
    }
}

impl From<&Self> for StreamId {
    fn from(id: &Self) -> Self {
        id.clone()
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
