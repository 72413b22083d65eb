//! The element tree.

use kinesis_video::ebml::{Elements, Value, id};

use crate::support::bodies::{CAMERA, CAPTURES, capture, fragments, live_body, producer_document};

#[tokio::test]
async fn find_returns_elements_with_offsets_in_the_body() {
    let body = live_body((1..=2).map(producer_document));
    let fragments = fragments(&body).await;
    for fragment in &fragments {
        let name = fragment.elements().find("Segment/Tracks/TrackEntry/Name").next().unwrap().unwrap();
        assert_eq!(name.value(), Value::Text("kinesis_video".into()));
        let at = name.offset() as usize;
        assert_eq!(body[at..at + 2], [0x53, 0x6E]);
        assert_eq!(fragment.elements().find("Segment/Cluster/SimpleBlock").count(), 5);
        assert_eq!(fragment.elements().find("Segment/Tags/Tag/SimpleTag/TagName").count(), 6);
        assert_eq!(fragment.elements().find("Cluster").count(), 0);
        assert_eq!(fragment.elements().find("").count(), 0);
    }
}

#[tokio::test]
async fn display_draws_a_tree() {
    let body = live_body([producer_document(1)]);
    let tree = fragments(&body).await[0].elements().to_string();
    let lines: Vec<_> = tree.lines().take(4).collect();
    assert_eq!(
        lines,
        [
            "EBML 0x1a45dfa3 @0 5+36",
            "  EBMLVersion 0x4286 @5 3+1 = 1",
            "  EBMLReadVersion 0x42f7 @9 3+1 = 1",
            "  EBMLMaxIDLength 0x42f2 @13 3+1 = 4",
        ]
    );
    assert!(tree.contains("\n  Cluster 0x1f43b675 @"));
    assert!(tree.contains("1+? (") || tree.contains("5+? ("), "{tree}");
    assert!(tree.contains(" TagName 0x45a3 @"));
    assert!(tree.contains("= \"AWS_KINESISVIDEO_CONTINUATION_TOKEN\""));
}

#[tokio::test]
async fn the_tree_has_the_same_blocks_as_the_index() {
    let mut media = vec![CAMERA.into()];
    media.extend(CAPTURES.into_iter().filter_map(capture));
    for body in media {
        for fragment in fragments(&body).await {
            let from_tree: Vec<_> = fragment
                .elements()
                .find("Segment/Cluster/SimpleBlock")
                .map(|block| block.unwrap())
                .filter(|block| block.header().size == Some(block.payload().len() as u64))
                .map(|block| block.payload()[4..].to_vec())
                .collect();
            let indexed: Vec<_> = fragment.blocks().map(|block| block.payload().to_vec()).collect();
            assert!(from_tree == indexed);
        }
    }
}

#[test]
fn unknown_sizes_do_not_nest_without_end() {
    let bytes = [0x1F, 0x43, 0xB6, 0x75, 0xFF].repeat(200_000);
    assert_eq!(Elements::new(&bytes).count(), 200_000);
    let bytes = [0x18, 0x53, 0x80, 0x67, 0xFF, 0x1F, 0x43, 0xB6, 0x75, 0xFF].repeat(1000);
    assert_eq!(Elements::new(&bytes).find("Segment/Cluster").count(), 1000);
}

#[test]
fn damage_ends_the_walk_with_an_error() {
    // A Tag that declares more bytes than its Tags element has.
    let bytes = [0x12, 0x54, 0xC3, 0x67, 0x84, 0x73, 0x73, 0x88, 0x00];
    let mut tags = Elements::new(&bytes);
    let tags = tags.next().unwrap().unwrap();
    assert_eq!(tags.id(), id::TAGS);
    let mut children = tags.children();
    assert_eq!(children.next().unwrap().unwrap_err().position().offset(), Some(5));
    assert!(children.next().is_none());
    let lenient = tags.children().lenient().next().unwrap().unwrap();
    assert_eq!((lenient.payload().len(), lenient.header().size), (1, Some(8)));
    assert!(Elements::new(&bytes).to_string().contains("! malformed media"));
}
