//! Acknowledgements: JSON objects in the response body of PutMedia.

use aws_smithy_types::byte_stream::ByteStream;
use bytes::{Buf, BytesMut};
use serde_json::Value;

use crate::error::{Error, ErrorKind, Result};
use crate::fragment::FragmentNumber;
use crate::service::call::not_media;

/// The most bytes of one acknowledgement. The service writes at most 1,024 at a time.
const MAX_ACK: usize = 16 << 10;

/// The type of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PutAckKind {
    /// The service has begun to receive the fragment.
    Buffering,
    /// The service has received the whole fragment.
    Received,
    /// The service has stored the fragment. Of a stream that retains nothing, it has only received it.
    Persisted,
    /// The service received nothing for a while.
    Idle,
    /// The service could not take the fragment, or ends the connection.
    Error,
}

/// An acknowledgement of the service, from [`PutSink::acks`](super::PutSink::acks).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutAck {
    pub(super) kind: PutAckKind,
    pub(super) timecode: Option<i64>,
    number: Option<FragmentNumber>,
    error_id: Option<u32>,
    error_code: Option<Box<str>>,
}

impl PutAck {
    /// Returns the type of the acknowledgement.
    pub fn kind(&self) -> PutAckKind {
        self.kind
    }

    /// Returns the time of the fragment as it was sent, in milliseconds.
    ///
    /// This is its producer time, or with [`relative`](super::PutMedia::relative) its distance from the start. Returns
    /// `None` if the acknowledgement is about no fragment.
    pub fn timecode_millis(&self) -> Option<i64> {
        self.timecode
    }

    /// Returns the number that the service gave the fragment.
    pub fn number(&self) -> Option<&FragmentNumber> {
        self.number.as_ref()
    }

    /// Returns the service's number of an error, such as 4004. Returns `None` if the kind is another one.
    pub fn error_id(&self) -> Option<u32> {
        self.error_id
    }

    /// Returns the service's name of an error, such as `FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS`.
    pub fn error_code(&self) -> Option<&str> {
        self.error_code.as_deref()
    }

    /// Reads an acknowledgement. Returns `None` for a type of event that this crate does not know.
    fn read(object: &Value) -> Result<Option<Self>> {
        // A host that does not know the operation reports success.
        if object.get("Output").is_some() {
            return Err(not_media("PutMedia"));
        }
        // The documentation wraps the members, the service does not.
        let object = object.get("Acknowledgement").unwrap_or(object);
        let text = |name: &str| object.get(name).and_then(Value::as_str);
        // Numbers come as texts and texts as numbers.
        let number = |name: &str| {
            object.get(name).and_then(|value| value.as_i64().or_else(|| value.as_str()?.trim().parse().ok()))
        };
        let kind = match text("EventType") {
            Some("BUFFERING") => PutAckKind::Buffering,
            Some("RECEIVED") => PutAckKind::Received,
            Some("PERSISTED") => PutAckKind::Persisted,
            Some("IDLE") => PutAckKind::Idle,
            Some("ERROR") => PutAckKind::Error,
            Some(event) => {
                tracing::debug!(event, "an acknowledgement of an unknown type");
                return Ok(None);
            }
            None => return Err(malformed("an acknowledgement has no EventType")),
        };
        let fragment = match object.get("FragmentNumber") {
            Some(Value::String(number)) => number.parse().ok(),
            Some(number @ Value::Number(_)) => number.to_string().parse().ok(),
            _ => None,
        };
        Ok(Some(Self {
            kind,
            timecode: number("FragmentTimecode"),
            number: fragment,
            error_id: number("ErrorId").and_then(|id| u32::try_from(id).ok()),
            error_code: text("ErrorCode").map(Into::into),
        }))
    }

    /// Returns the error that an acknowledgement of the kind `Error` reports.
    pub(super) fn to_error(&self) -> Error {
        let (kind, is_retryable, hint) = match self.error_id {
            Some(4000 | 4003) => (ErrorKind::Service, true, None),
            Some(4001) => (ErrorKind::InvalidArgument, false, Some("send smaller fragments; the service takes 50 MB")),
            Some(4002) => (ErrorKind::InvalidArgument, false, Some("send shorter fragments; the service takes 20 s")),
            Some(4004) => (ErrorKind::InvalidArgument, false, Some("send fragments in the order of their times")),
            Some(4005 | 4012) => (ErrorKind::InvalidArgument, false, Some("send fewer tracks; the service takes 3")),
            Some(4006) => (ErrorKind::Malformed, false, None),
            Some(4007) => (ErrorKind::InvalidArgument, false, Some("check the producer times")),
            Some(4008) => (ErrorKind::Service, true, Some("wait until the stream is active")),
            Some(4009) => {
                let hint = "send fewer or shorter tags; the service takes 10 per fragment, names of 128 and values of 256 bytes";
                (ErrorKind::InvalidArgument, false, Some(hint))
            }
            Some(4010) => (ErrorKind::InvalidArgument, false, Some("send only blocks of declared tracks")),
            Some(4011) => {
                (ErrorKind::InvalidArgument, false, Some("send a block of each declared track in each fragment"))
            }
            Some(4500..=4506) => {
                let hint = "allow the caller to use the stream's KMS key, and check that the key is enabled";
                (ErrorKind::AccessDenied, false, Some(hint))
            }
            Some(4507) => (ErrorKind::NotFound, false, None),
            Some(5000..) => (ErrorKind::Service, true, None),
            _ => (ErrorKind::Service, false, None),
        };
        let code = self.error_code.as_deref().unwrap_or("an error without a name");
        let message = match self.timecode {
            Some(millis) => format!("PutMedia: the service reports {code} for the fragment with the timecode {millis}"),
            None => format!("PutMedia: the service reports {code}"),
        };
        let error = Error::new(kind, message).retryable(is_retryable);
        let error = error.in_fragment(self.number.as_ref().map(FragmentNumber::as_str));
        let error = match self.error_id {
            Some(id) => error.with_code(id.to_string()),
            None => error,
        };
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    }
}

/// Reads acknowledgements from a response body. Cancel safe.
#[derive(Debug)]
pub(super) struct AckReader {
    body: ByteStream,
    received: BytesMut,
}

impl AckReader {
    pub(super) fn new(body: ByteStream) -> Self {
        Self { body, received: BytesMut::new() }
    }

    /// Returns the next acknowledgement, or `None` at the end of the body.
    pub(super) async fn next(&mut self) -> Result<Option<PutAck>> {
        loop {
            if let Some(ack) = parse(&mut self.received)? {
                return Ok(Some(ack));
            }
            match self.body.next().await {
                Some(Ok(bytes)) => self.received.extend_from_slice(&bytes),
                // A part of an acknowledgement says nothing.
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(Error::new(ErrorKind::Io, "PutMedia: the connection broke").caused_by(error));
                }
            }
        }
    }
}

/// Takes the first acknowledgement of a known type from the received bytes. `None` if more bytes are needed.
fn parse(received: &mut BytesMut) -> Result<Option<PutAck>> {
    loop {
        let mut objects = serde_json::Deserializer::from_slice(received).into_iter::<Value>();
        let object = match objects.next() {
            None => {
                received.clear();
                return Ok(None);
            }
            Some(Err(error)) if error.is_eof() && received.len() <= MAX_ACK => return Ok(None),
            Some(Err(error)) if error.is_eof() => {
                return Err(malformed("an acknowledgement is longer than 16 KiB"));
            }
            Some(Err(error)) => return Err(malformed("an acknowledgement is not JSON").caused_by(error)),
            Some(Ok(object)) => object,
        };
        let used = objects.byte_offset();
        received.advance(used.min(received.len()));
        if let Some(ack) = PutAck::read(&object)? {
            return Ok(Some(ack));
        }
    }
}

fn malformed(what: &'static str) -> Error {
    Error::new(ErrorKind::Service, format!("PutMedia: {what}; is this the service's data endpoint?")).retryable(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_read_however_they_are_cut() {
        let body = concat!(
            r#"{"EventType":"BUFFERING","FragmentTimecode":1597730826769,"FragmentNumber":"91343852333181432392682062"}"#,
            "\r\n",
            r#"{"EventType":"SOMETHING","New":true}{"Acknowledgement":{"EventType":"PERSISTED","#,
            r#""FragmentTimecode":"17","FragmentNumber":42}}"#,
            "\n{\"EventType\":\"IDLE\"}\n",
            r#"{"EventType":"ERROR","FragmentTimecode":7,"ErrorId":4004,"ErrorCode":"FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS"}"#,
        );
        for cut in 1..=body.len() {
            let (mut received, mut acks) = (BytesMut::new(), Vec::new());
            for chunk in body.as_bytes().chunks(cut) {
                received.extend_from_slice(chunk);
                while let Some(ack) = parse(&mut received).unwrap() {
                    acks.push(ack);
                }
            }
            let kinds: Vec<_> = acks.iter().map(PutAck::kind).collect();
            use PutAckKind::{Buffering, Error, Idle, Persisted};
            assert_eq!(kinds, [Buffering, Persisted, Idle, Error]);
            let times: Vec<_> = acks.iter().map(PutAck::timecode_millis).collect();
            assert_eq!(times, [Some(1_597_730_826_769), Some(17), None, Some(7)]);
            assert_eq!(acks[0].number().unwrap().as_str(), "91343852333181432392682062");
            assert_eq!(acks[1].number().unwrap().as_str(), "42");
            assert_eq!((acks[3].error_id(), acks[0].error_id()), (Some(4004), None));
            let error = acks[3].to_error();
            assert_eq!(
                (error.kind(), error.code(), error.is_retryable()),
                (ErrorKind::InvalidArgument, Some("4004"), false)
            );
            assert!(error.message().contains("LESSER_THAN_PREVIOUS for the fragment with the timecode 7"), "{error}");
        }
    }

    #[test]
    fn hostile_bodies_are_errors() {
        let unknown = r#"{"Output":{"__type":"com.amazon.coral.service#UnknownOperationException"},"Version":"1.0"}"#;
        assert_eq!(parse(&mut BytesMut::from(unknown)).unwrap_err().kind(), ErrorKind::WrongEndpoint);
        for body in ["<html>", "{\"EventType\":7}", "[]", "\"PERSISTED\"", &"[".repeat(1000)] {
            assert!(parse(&mut BytesMut::from(body)).is_err(), "{body}");
        }
        let endless = format!("{{\"EventType\":\"{}", "A".repeat(MAX_ACK));
        assert!(parse(&mut BytesMut::from(&endless[..])).is_err());
        assert!(parse(&mut BytesMut::from(&endless[..MAX_ACK])).unwrap().is_none());
    }
}
