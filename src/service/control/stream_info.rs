//! [`StreamInfo`]: a stream as the control plane describes it.

use std::fmt;
use std::time::Duration;

use aws_sdk_kinesisvideo::types::{Status, StreamInfo as ListedStream};

use crate::error::{Error, ErrorKind, Result};
use crate::fragment::Timestamp;
use crate::service::call::timestamp;

/// A stream as ListStreams and DescribeStream describe it.
///
/// It comes from [`KinesisVideo::list_streams`](crate::KinesisVideo::list_streams) and
/// [`KinesisVideo::describe`](crate::KinesisVideo::describe).
///
/// ```
/// # #[cfg(feature = "local")]
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::time::Duration;
/// use kinesis_video::local::LocalEndpoint;
/// use kinesis_video::service::StreamStatus;
/// use kinesis_video::KinesisVideo;
///
/// let endpoint = LocalEndpoint::start().await?;
/// let door = endpoint.create_stream("door");
/// door.set_retention(Duration::from_secs(7200));
///
/// let info = KinesisVideo::new(&endpoint.sdk_config()).describe("door").await?;
/// assert_eq!(info.arn(), door.arn());
/// assert_eq!(info.status(), &StreamStatus::Active);
/// assert_eq!(info.retention(), Some(Duration::from_secs(7200)));
/// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    name: String,
    arn: String,
    status: StreamStatus,
    retention: Option<Duration>,
    media_type: Option<String>,
    created: Option<Timestamp>,
    version: Option<String>,
    kms_key_id: Option<String>,
    device_name: Option<String>,
}

/// The state of a stream.
///
/// Its text is the service's, such as `ACTIVE`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StreamStatus {
    /// `ACTIVE`: the stream can be used.
    Active,
    /// `CREATING`: the stream is being created.
    Creating,
    /// `DELETING`: the stream is being deleted.
    Deleting,
    /// `UPDATING`: a setting of the stream is being changed. The stream can be used.
    Updating,
    /// A status that this crate does not know, or an empty text if the service reports none.
    Other(String),
}

impl StreamStatus {
    /// Returns the service's text.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Active => "ACTIVE",
            Self::Creating => "CREATING",
            Self::Deleting => "DELETING",
            Self::Updating => "UPDATING",
            Self::Other(text) => text,
        }
    }

    fn read(status: Option<Status>) -> Self {
        match status {
            Some(Status::Active) => Self::Active,
            Some(Status::Creating) => Self::Creating,
            Some(Status::Deleting) => Self::Deleting,
            Some(Status::Updating) => Self::Updating,
            Some(other) => Self::Other(other.as_str().to_owned()),
            None => Self::Other(String::new()),
        }
    }
}

impl fmt::Display for StreamStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl StreamInfo {
    /// Returns the name of the stream.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the ARN of the stream.
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Returns the state of the stream.
    pub fn status(&self) -> &StreamStatus {
        &self.status
    }

    /// Returns how long the service keeps fragments, in whole hours.
    ///
    /// With zero, the stream can only be read live. `None` if the service does not say.
    pub fn retention(&self) -> Option<Duration> {
        self.retention
    }

    /// Returns the media type that the producer declared, such as `video/h264`.
    ///
    /// The service does not check it. Amazon Connect declares none.
    pub fn media_type(&self) -> Option<&str> {
        self.media_type.as_deref()
    }

    /// Returns the time at which the stream was created.
    pub fn created(&self) -> Option<Timestamp> {
        self.created
    }

    /// Returns the version of the stream's settings, which a request to change them must name.
    pub fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }

    /// Returns the KMS key with which the service encrypts fragments.
    pub fn kms_key_id(&self) -> Option<&str> {
        self.kms_key_id.as_deref()
    }

    /// Returns the name of the device that the stream was created for.
    pub fn device_name(&self) -> Option<&str> {
        self.device_name.as_deref()
    }

    pub(super) fn read(listed: ListedStream, operation: &str) -> Result<Self> {
        let missing = |what: &str| {
            Error::new(ErrorKind::Service, format!("{operation}: a stream has no {what}")).retryable(false)
        };
        Ok(Self {
            name: listed.stream_name.ok_or_else(|| missing("name"))?,
            arn: listed.stream_arn.ok_or_else(|| missing("ARN"))?,
            status: StreamStatus::read(listed.status),
            retention: listed.data_retention_in_hours.map(|hours| {
                let hours = u64::try_from(hours).unwrap_or(0);
                Duration::from_secs(hours * 3600)
            }),
            media_type: listed.media_type,
            created: listed.creation_time.as_ref().and_then(timestamp),
            version: listed.version,
            kms_key_id: listed.kms_key_id,
            device_name: listed.device_name,
        })
    }
}

#[cfg(test)]
mod tests {
    use aws_smithy_types::date_time::DateTime;

    use super::*;

    #[test]
    fn what_the_service_leaves_out_is_none() {
        let listed = ListedStream::builder().stream_name("door").stream_arn("arn:door");
        let info = StreamInfo::read(listed.clone().build(), "ListStreams").unwrap();
        assert_eq!((info.name(), info.arn(), info.retention(), info.created()), ("door", "arn:door", None, None));
        assert_eq!(info.status().as_str(), "");
        assert_eq!(
            (info.media_type(), info.version(), info.kms_key_id(), info.device_name()),
            (None, None, None, None)
        );
        let listed = listed.status(Status::from("PAUSED")).data_retention_in_hours(48).device_name("cam").version("v");
        let listed = listed.creation_time(DateTime::from_secs_f64(1_511_852_109.126)).kms_key_id("k").media_type("m");
        let info = StreamInfo::read(listed.build(), "ListStreams").unwrap();
        assert_eq!(info.status(), &StreamStatus::Other("PAUSED".into()));
        assert_eq!(info.retention(), Some(Duration::from_secs(48 * 3600)));
        assert_eq!(info.created(), Some(Timestamp::from_millis(1_511_852_109_126)));
        let texts = (info.media_type(), info.version(), info.kms_key_id(), info.device_name());
        assert_eq!(texts, (Some("m"), Some("v"), Some("k"), Some("cam")));
    }

    #[test]
    fn a_stream_has_a_name_and_an_arn() {
        for listed in [ListedStream::builder().stream_name("door"), ListedStream::builder().stream_arn("arn:door")] {
            let error = StreamInfo::read(listed.build(), "ListStreams").unwrap_err();
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Service, false));
        }
    }
}
