//! Each limit on a body, once.

use kinesis_video::ebml::id;
use kinesis_video::internals::{Cut, FragmentCutter, PutError, Width, Writer};

use super::producer::{block, cluster, declarations, head, segment, tag, two_blocks};

/// The error of a body, given at once. `None` if there is none.
fn refused(body: &[u8], ends: bool) -> Option<PutError> {
    let mut cutter = FragmentCutter::new();
    let mut cuts = cutter.push(body);
    if ends {
        cuts.extend(cutter.finish());
    }
    let failed = cuts.iter().filter(|cut| matches!(cut, Cut::Failed { .. })).count();
    assert!(failed <= 1 && cutter.push(body).is_empty() | (failed == 0), "nothing follows a failure");
    match cuts.pop() {
        Some(Cut::Failed { error, reason }) => {
            assert!(!reason.is_empty());
            Some(error)
        }
        _ => None,
    }
}

/// The header of an element that declares this size, without its payload.
fn declared(id: [u8; 4], size: u64) -> Vec<u8> {
    let id = id.into_iter().skip_while(|byte| *byte == 0);
    id.chain((size | 1 << 56).to_be_bytes()).collect()
}

fn simple_block_of(size: u64) -> Vec<u8> {
    declared([0, 0, 0, 0xA3], size)
}

#[test]
fn bodies_within_the_limits_are_taken() {
    for body in [
        Vec::new(),
        head(&[1]),
        [head(&[1]), two_blocks(0), two_blocks(1)].concat(),
        [head(&[1, 2, 3]), cluster(5), block(1, 0, b"a"), block(2, -1, b"b"), block(3, 0, b"c")].concat(),
        [head(&[1]), cluster(0), block(1, 0, b"a"), block(1, 20_000, b"b")].concat(),
        [head(&[1]), two_blocks(0), (0..10).flat_map(|_| tag(&"n".repeat(128), &"v".repeat(256))).collect()].concat(),
        [head(&[1]), two_blocks(0), tag("AWS_KINESISVIDEO_NOTIFICATION", "on")].concat(),
    ] {
        assert_eq!(refused(&body, true), None);
    }
    let waiting = [head(&[1]), cluster(0), simple_block_of(49_000_000)].concat();
    assert_eq!(refused(&waiting, false), None);
}

#[test]
fn each_limit_is_an_error() {
    use PutError::*;
    let begun = |rest: &[Vec<u8>]| [head(&[1]), cluster(1_000), rest.concat()].concat();
    let tags = |name: &str, value: &str, count: usize| {
        [head(&[1]), two_blocks(0), (0..count).flat_map(|_| tag(name, value)).collect()].concat()
    };
    let scaled = |nanos: u64| {
        let mut out = Writer::new();
        out.master(id::INFO, Width::Minimal, |info| info.uint(id::TIMESTAMP_SCALE, nanos));
        [segment(), out.into_bytes()].concat()
    };
    let mut webm = Writer::new();
    webm.master(id::EBML, Width::Minimal, |ebml| ebml.text(id::DOC_TYPE, "mp4"));
    let many: Vec<u64> = (1..=40).collect();
    let mut untimed = Writer::new();
    untimed.unknown(id::CLUSTER, 1);
    let untimed = untimed.into_bytes();
    for (what, body, error) in [
        ("a block that is too large", begun(&[simple_block_of(50_000_000)]), MaxFragmentSizeReached),
        (
            "a Cluster that is too large",
            [head(&[1]), declared([0x1F, 0x43, 0xB6, 0x75], 50_000_001)].concat(),
            MaxFragmentSizeReached,
        ),
        ("a size without end", begun(&[simple_block_of((1 << 56) - 2)]), MaxFragmentSizeReached),
        ("a fragment of 20.001 s", begun(&[block(1, 0, b"a"), block(1, 20_001, b"b")]), MaxFragmentDurationReached),
        ("an earlier Cluster", begun(&[block(1, 0, b"a"), two_blocks(999)]), FragmentTimecodeLesserThanPrevious),
        (
            "a Cluster of the same time",
            begun(&[block(1, 0, b"a"), two_blocks(1_000)]),
            FragmentTimecodeLesserThanPrevious,
        ),
        ("four tracks", head(&[1, 2, 3, 4]), MoreThanAllowedTracksFound),
        ("forty tracks", head(&many), MoreThanAllowedTracksFound),
        ("the year 2262", [head(&[1]), cluster(u64::MAX)].concat(), InvalidProducerTimestamp),
        ("eleven tags", tags("n", "v", 11), FragmentMetadataLimitReached),
        ("a long name", tags(&"n".repeat(129), "v", 1), FragmentMetadataLimitReached),
        ("a long value", tags("n", &"v".repeat(257), 1), FragmentMetadataLimitReached),
        ("a name of the service", tags("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "1", 1), FragmentMetadataLimitReached),
        (
            "large tags",
            [head(&[1]), two_blocks(0), declared([0x12, 0x54, 0xC3, 0x67], 70_000)].concat(),
            FragmentMetadataLimitReached,
        ),
        ("an unknown track", begun(&[block(2, 0, b"a")]), TrackNumberMismatch),
        ("a track without frames", [head(&[1, 2]), two_blocks(0), two_blocks(9)].concat(), FramesMissingForTrack),
        ("no frames", [head(&[1]), cluster(0), two_blocks(9)].concat(), FramesMissingForTrack),
        ("text", b"{\"StreamName\":\"door\"}".to_vec(), InvalidMkvData),
        ("another DocType", webm.into_bytes(), InvalidMkvData),
        ("two documents", [head(&[1]), two_blocks(0), head(&[1])].concat(), InvalidMkvData),
        ("no EBML header", segment()[segment().len() - 12..].to_vec(), InvalidMkvData),
        ("no tracks", head(&[]), InvalidMkvData),
        ("a Cluster before Tracks", [segment(), cluster(0)].concat(), InvalidMkvData),
        ("Tracks twice", [head(&[1]), declarations(&[1])].concat(), InvalidMkvData),
        ("Tracks after a Cluster", [head(&[1]), two_blocks(0), declarations(&[1])].concat(), InvalidMkvData),
        ("a block before the Timestamp", [head(&[1]), untimed.clone(), block(1, 0, b"a")].concat(), InvalidMkvData),
        ("no Timestamp", [head(&[1]), untimed.clone(), untimed].concat(), InvalidMkvData),
        ("a short block", begun(&[vec![0xA3, 0x82, 0x81, 0]]), InvalidMkvData),
        ("ticks of 99 ns", scaled(99), InvalidMkvData),
        ("ticks of 1.000000001 s", scaled(1_000_000_001), InvalidMkvData),
        ("large headers", [segment(), declared([0x19, 0x41, 0xA4, 0x69], 5 << 20)].concat(), InvalidMkvData),
        (
            "large headers in all",
            [segment(), [declarations(&[]), vec![0; 0]].concat(), declared([0, 0, 0, 0xEC], 5 << 20)].concat(),
            InvalidMkvData,
        ),
    ] {
        assert_eq!(refused(&body, false), Some(error), "{what}");
    }
    // These are errors only because the body ends.
    for body in [
        begun(&[vec![0xA3, 0x88, 0x81]]),
        [head(&[1]), vec![0x1F, 0x43]].concat(),
        [head(&[1]), vec![0x1F, 0x43, 0xB6, 0x75, 0xFF]].concat(),
    ] {
        assert_eq!(refused(&body, false), None);
        assert_eq!(refused(&body, true), Some(InvalidMkvData));
    }
    assert_eq!(refused(&[head(&[1, 2]), two_blocks(0)].concat(), true), Some(FramesMissingForTrack));
}
