//! Errors name the problem and the place in one line, and lose nothing already received.

use std::error::Error as _;

use kinesis_video::{BodyItem, Error, ErrorKind, FragmentEnd};

use crate::support::bodies::{Chunking, bodies, items};

async fn read(name: &str) -> (Vec<BodyItem>, Option<Error>) {
    let body = bodies().into_iter().find(|(known, _)| *known == name).unwrap().1;
    items(&body, Chunking::Each(50)).await
}

#[tokio::test]
async fn error_messages_name_the_problem_and_the_place() {
    for (name, expected) in [
        ("no media at all", "malformed media: 0x7B22 where a document should begin (at byte 0, in 0x7B22)"),
        ("no header", "malformed media: a document begins with an EBML header (at byte 0, in Segment)"),
        ("damaged", "malformed media: 0x6E6F directly inside a Segment (at byte 2712, in Segment/0x6E6F)"),
        (
            "lying size",
            "malformed media: SimpleBlock of 16176 bytes goes past the end of its Cluster at byte 1773 (at byte 1466, in \
             Segment/Cluster/SimpleBlock, fragment 91343852333181432392682062607743920414327308288)",
        ),
    ] {
        let (_, error) = read(name).await;
        assert_eq!(error.unwrap().to_string(), expected, "{name}");
    }
}

#[tokio::test]
async fn whole_blocks_before_the_damage_are_yielded() {
    let (items, error) = read("lying size").await;
    let [BodyItem::Fragment(fragment)] = &items[..] else { panic!("{items:?}") };
    assert_eq!((fragment.end_reason(), fragment.blocks().len()), (FragmentEnd::Cut, 3));
    assert_eq!(error.unwrap().position().offset(), Some(fragment.raw().len() as u64));
}

#[test]
fn an_error_does_not_repeat_its_source() {
    let io = std::io::Error::other("the cable is out");
    let error = Error::new(ErrorKind::Io, "reading failed").caused_by(io).at(7);
    assert_eq!(error.to_string(), "I/O failed: reading failed (at byte 7)");
    assert_eq!(error.source().unwrap().to_string(), "the cable is out");
    assert_eq!(error.clone().to_string(), error.to_string());
}

#[test]
fn a_main_that_returns_an_error_prints_it_readably() {
    let io = std::io::Error::other("the cable is out");
    let error = Error::new(ErrorKind::Io, "reading failed").caused_by(io).at(7);
    assert_eq!(format!("{error:?}"), "I/O failed: reading failed (at byte 7), caused by: the cable is out");
    assert!(format!("{error:#?}").starts_with("Error {\n    kind: Io,"), "{error:#?}");
}

#[test]
fn an_error_survives_conversion_to_io_error() {
    let error = Error::new(ErrorKind::Limit, "too much").at(3);
    let back = Error::from(std::io::Error::from(error.clone()));
    assert_eq!((back.kind(), back.position()), (error.kind(), error.position()));
}
