//! The acknowledgements that PutMedia sends.

use bytes::Bytes;
use serde::Serialize;

use crate::fragment::FragmentNumber;

/// The EventType of an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum EventType {
    Buffering,
    Received,
    Persisted,
    Idle,
    Error,
}

/// The fragment that an acknowledgement is about.
#[derive(Clone, Debug)]
pub(crate) struct AckedFragment {
    /// The timecode of the Cluster, in milliseconds.
    pub(crate) timecode: i64,
    pub(crate) number: FragmentNumber,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Ack<'a> {
    event_type: EventType,
    #[serde(skip_serializing_if = "Option::is_none")]
    fragment_timecode: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fragment_number: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_code: Option<&'a str>,
}

/// The most bytes of ErrorCode, so that a line has at most 1,024 bytes.
const MAX_CODE: usize = 128;

/// Encodes an acknowledgement as one line of JSON. `error` is its id and code.
pub(crate) fn line(event_type: EventType, fragment: Option<&AckedFragment>, error: Option<(u32, &str)>) -> Bytes {
    let code = error.map(|(_, code)| code.get(..code.floor_char_boundary(MAX_CODE)).unwrap_or_default());
    let ack = Ack {
        event_type,
        fragment_timecode: fragment.map(|fragment| fragment.timecode),
        fragment_number: fragment.map(|fragment| fragment.number.as_str()),
        error_id: error.map(|(id, _)| id),
        error_code: code,
    };
    // Strings and numbers always have a JSON form.
    let mut line = serde_json::to_vec(&ack).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::operations::put_media::error::PutError;

    #[test]
    fn lines_are_flat_and_short() {
        let fragment = AckedFragment { timecode: 1_597_730_826_769, number: "9134".parse().unwrap() };
        assert_eq!(
            line(EventType::Persisted, Some(&fragment), None),
            "{\"EventType\":\"PERSISTED\",\"FragmentTimecode\":1597730826769,\"FragmentNumber\":\"9134\"}\n"
        );
        assert_eq!(line(EventType::Idle, None, None), "{\"EventType\":\"IDLE\"}\n");
        let error = PutError::FragmentTimecodeLesserThanPrevious;
        assert_eq!(
            line(EventType::Error, None, Some((error.id(), error.code()))),
            "{\"EventType\":\"ERROR\",\"ErrorId\":4004,\"ErrorCode\":\"FRAGMENT_TIMECODE_LESSER_THAN_PREVIOUS\"}\n"
        );
        // Each character of the code takes six bytes.
        let long = "\u{1}".repeat(5_000);
        assert!(line(EventType::Error, Some(&fragment), Some((5000, &long))).len() <= 1024);
    }
}
