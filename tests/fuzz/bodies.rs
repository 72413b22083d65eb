//! The bodies of the fuzz targets, as functions that tests can run too.

use bytes::BytesMut;
use kinesis_video::demux::{PacketDecoder, PacketItem};
use kinesis_video::ebml::{Element, Elements, Value};
use kinesis_video::internals::{Cut, Event, FragmentCutter, Reader, Width, Writer};
use kinesis_video::{BodyDecoder, BodyItem, FragmentEnd, Limits};
use tokio_util::codec::Decoder;

/// Returns limits under which a fuzzer cannot exhaust the memory.
pub fn limits() -> Limits {
    Limits::default().fragment_bytes(1 << 20).metadata_bytes(1 << 16).blocks(4096).tags(256).tracks(16)
}

/// Checks the events of the reader.
///
/// Elements are well nested, offsets increase, and the events do not depend on the sizes of the input chunks.
pub fn ebml_events(input: &[u8]) {
    let read = |step: usize| {
        let mut reader = Reader::new(16, |_| true);
        let (mut events, mut open, mut last) = (Vec::new(), Vec::new(), 0);
        let mut end = 0;
        loop {
            match reader.next(&input[..end], 0) {
                Ok(Some(event)) => {
                    match event {
                        Event::Start(header) => {
                            assert!(header.offset >= last);
                            last = header.payload();
                            if header.id.name() == Some("EBML") {
                                open.clear();
                            }
                            open.push(header);
                        }
                        Event::Element(header) => {
                            assert!(header.offset >= last);
                            last = header.end().unwrap();
                        }
                        Event::End(header) => assert_eq!(open.pop(), Some(header)),
                    }
                    assert!(last <= end as u64);
                    events.push(event);
                }
                Ok(None) if end == input.len() => break None,
                Ok(None) => end = (end + step).min(input.len()),
                Err(error) => break Some((events.len(), error.to_string())),
            }
        }
        .map_or_else(|| (events.clone(), String::new()), |(_, error)| (events.clone(), error))
    };
    assert_eq!(read(input.len().max(1)), read(3));
}

/// Decodes an input in chunks of `step` bytes, and returns a description of every item and the error.
fn decoded(input: &[u8], step: usize, resync: bool) -> Vec<String> {
    let mut decoder = BodyDecoder::new().limits(limits()).resync(resync);
    let (mut received, mut seen, mut bytes) = (BytesMut::new(), Vec::new(), 0);
    let mut describe = |item: BodyItem| {
        assert_eq!(&input[bytes..bytes + item.raw().len()], item.raw());
        bytes += item.raw().len();
        if let BodyItem::Fragment(fragment) = &item {
            let packets = fragment.packets().map(|packet| format!("{packet:?}")).collect::<Vec<_>>();
            let tags = format!("{:?} {:?}", fragment.tags(), fragment.tracks());
            let _ = fragment.to_mkv();
            seen.push(format!("{fragment:?} {packets:?} {tags}"));
        } else {
            seen.push(format!("{item:?}"));
        }
    };
    let mut failed = None;
    let mut pieces = input.chunks(step.max(1));
    'body: loop {
        let piece = pieces.next();
        received.extend_from_slice(piece.unwrap_or_default());
        loop {
            let item = if piece.is_some() { decoder.decode(&mut received) } else { decoder.decode_eof(&mut received) };
            match item {
                Ok(Some(item)) => describe(item),
                Ok(None) if piece.is_some() => break,
                Ok(None) => break 'body,
                Err(error) => {
                    failed = Some(error);
                    break 'body;
                }
            }
        }
    }
    if let Some(error) = failed {
        seen.push(format!("{error:?}"));
    } else {
        assert_eq!(bytes, input.len(), "bytes in no item");
    }
    seen
}

/// Checks the decoders.
///
/// The items do not depend on the sizes of the input chunks. Every byte is in one item. Packets that are read one by
/// one equal the packets of the fragments.
pub fn fragment_chunks(input: &[u8]) {
    let step = input.first().map_or(1, |&byte| usize::from(byte) % 64 + 1);
    for resync in [false, true] {
        assert_eq!(decoded(input, input.len(), resync), decoded(input, step, resync));
    }
    let mut fragments = BodyDecoder::new().limits(limits());
    let (mut received, mut whole) = (BytesMut::from(input), Vec::new());
    while let Ok(Some(item)) = fragments.decode_eof(&mut received) {
        if let BodyItem::Fragment(fragment) = item {
            whole.extend(
                fragment
                    .packets()
                    .map(|packet| (packet.track_number(), packet.timecode_ns(), packet.payload().clone())),
            );
        }
    }
    let mut packets = PacketDecoder::new().limits(limits());
    let (mut received, mut single) = (BytesMut::from(input), Vec::new());
    while let Ok(Some(item)) = packets.decode_eof(&mut received) {
        if let PacketItem::Packet(packet) = item {
            single.push((packet.track_number(), packet.timecode_ns(), packet.payload().clone()));
        }
    }
    assert_eq!(whole, single);
}

/// Checks that the frames of a block with any content lie inside the block, one after another.
pub fn block_lacing(input: &[u8]) {
    let mut out = Writer::new();
    use kinesis_video::ebml::id;
    out.master(id::EBML, Width::Minimal, |_| {});
    out.unknown(id::SEGMENT, 1);
    out.unknown(id::CLUSTER, 1);
    out.uint(id::TIMESTAMP, 1);
    out.binary(id::SIMPLE_BLOCK, input);
    let mut received = BytesMut::from(out.as_bytes());
    if let Ok(Some(BodyItem::Fragment(fragment))) = BodyDecoder::new().limits(limits()).decode_eof(&mut received)
        && fragment.end_reason() == FragmentEnd::EndOfBody
    {
        let laced: usize = fragment.packets().map(|packet| packet.payload().len()).sum();
        assert!(laced <= input.len());
        let block = fragment.blocks().next().unwrap();
        assert!(fragment.packets().count() > 1 || laced <= block.payload().len());
    }
}

/// An element tree that can be written.
enum Node {
    Master(kinesis_video::ebml::ElementId, u8, Vec<Self>),
    Unknown(kinesis_video::ebml::ElementId, u8, Vec<Self>),
    Leaf(kinesis_video::ebml::ElementId, u8, Vec<u8>),
}

fn tree(element: &Element<'_>) -> Node {
    let header = element.header();
    let width = header.length - header.id.width();
    let children = || element.children().map_while(Result::ok).map(|child| tree(&child)).collect();
    match (element.value(), header.size) {
        (Value::Master, None) => Node::Unknown(header.id, width, children()),
        (Value::Master, Some(_)) => Node::Master(header.id, width, children()),
        _ => Node::Leaf(header.id, width, element.payload().to_vec()),
    }
}

/// Mutates a tree, with one of the bytes in `choices` for each node.
///
/// Leaves grow and shrink, and children are repeated and removed. Unlike mutations of bytes, all sizes stay consistent.
fn mutate(nodes: &mut Vec<Node>, choices: &mut impl Iterator<Item = u8>) {
    let mut index = 0;
    while index < nodes.len() {
        match choices.next().unwrap_or(255) {
            0 => {
                nodes.remove(index);
                continue;
            }
            1 if nodes.len() < 64 => {
                let again = copy(&nodes[index]);
                nodes.insert(index, again);
            }
            2 => {
                if let Node::Leaf(_, _, payload) = &mut nodes[index] {
                    payload.truncate(payload.len() / 2);
                }
            }
            3 => {
                if let Node::Leaf(_, _, payload) = &mut nodes[index] {
                    payload.extend(choices.take(40));
                }
            }
            4 => {
                if let (Node::Leaf(_, _, payload), Some(byte)) = (&mut nodes[index], choices.next()) {
                    payload.iter_mut().take(8).for_each(|old| *old ^= byte);
                }
            }
            _ => {}
        }
        if let Node::Master(_, _, children) | Node::Unknown(_, _, children) = &mut nodes[index] {
            mutate(children, choices);
        }
        index += 1;
    }
}

fn copy(node: &Node) -> Node {
    match node {
        Node::Master(id, width, children) => Node::Master(*id, *width, children.iter().map(copy).collect()),
        Node::Unknown(id, width, children) => Node::Unknown(*id, *width, children.iter().map(copy).collect()),
        Node::Leaf(id, width, payload) => Node::Leaf(*id, *width, payload.clone()),
    }
}

fn write(node: &Node, out: &mut Writer) {
    match node {
        Node::Master(id, width, children) => {
            out.master(*id, Width::Octets(*width), |out| children.iter().for_each(|child| write(child, out)));
        }
        Node::Unknown(id, width, children) => {
            out.unknown(*id, *width);
            children.iter().for_each(|child| write(child, out));
        }
        Node::Leaf(id, width, payload) => out.element(*id, Width::Octets(*width), payload),
    }
}

fn same(node: &Node, element: &Element<'_>) -> bool {
    match node {
        Node::Master(id, _, nodes) | Node::Unknown(id, _, nodes) => {
            let children: Vec<_> = element.children().map(Result::unwrap).collect();
            element.id() == *id && nodes.len() == children.len() && nodes.iter().zip(&children).all(|(n, e)| same(n, e))
        }
        Node::Leaf(id, _, payload) => element.id() == *id && element.payload() == payload,
    }
}

/// Checks that the reader reads what the writer writes.
///
/// A body is parsed into a tree, mutated by the first 64 bytes of the input, written with consistent sizes, and read
/// again.
pub fn round_trip(input: &[u8]) {
    let (choices, body) = input.split_at(input.len().min(64));
    let mut nodes: Vec<Node> =
        Elements::new(body).lenient().map_while(Result::ok).map(|element| tree(&element)).collect();
    mutate(&mut nodes, &mut choices.iter().copied());
    let mut out = Writer::new();
    nodes.iter().for_each(|node| write(node, &mut out));
    let written = out.into_bytes();
    let read: Vec<_> = Elements::new(&written).map(Result::unwrap).collect();
    // After a mutation, an element of unknown size may end earlier, so its tree may differ.
    if !nodes.iter().any(has_unknown) {
        assert_eq!(read.len(), nodes.len());
        assert!(nodes.iter().zip(&read).all(|(node, element)| same(node, element)));
    }
    fragment_chunks(&written);
}

fn has_unknown(node: &Node) -> bool {
    match node {
        Node::Unknown(..) => true,
        Node::Master(_, _, children) => children.iter().any(has_unknown),
        Node::Leaf(..) => false,
    }
}

/// Checks the cutting of a body of PutMedia.
///
/// The cuts do not depend on the sizes of the input chunks. A fragment begins after its Cluster has opened, has media only
/// between its beginning and its end, and nothing follows a failure. All media together are no larger than the input,
/// apart from the headers that each fragment repeats.
pub fn put_media_cuts(input: &[u8]) {
    let cuts = |step: usize| {
        let mut cutter = FragmentCutter::new();
        let mut all: Vec<Cut> = input.chunks(step.max(1)).flat_map(|chunk| cutter.push(chunk)).collect();
        all.extend(cutter.finish());
        let mut joined: Vec<Cut> = Vec::new();
        for cut in all {
            match (joined.last_mut(), cut) {
                (Some(Cut::Media(bytes)), Cut::Media(more)) => bytes.extend(more),
                (_, cut) => joined.push(cut),
            }
        }
        joined
    };
    let whole = cuts(input.len());
    assert_eq!(whole, cuts(input.first().map_or(1, |&byte| usize::from(byte) % 64 + 1)));
    let (mut is_open, mut is_begun, mut has_failed, mut media) = (false, false, false, 0);
    for cut in &whole {
        assert!(!has_failed);
        match cut {
            Cut::Opened => {
                assert!(!is_open && !is_begun);
                is_open = true;
            }
            Cut::Begun { before, timecode } => {
                assert!(is_open && !is_begun && before.len() <= input.len() + 12 && *timecode >= 0);
                (is_open, is_begun) = (false, true);
            }
            Cut::Media(bytes) => {
                assert!(is_begun && !bytes.is_empty());
                media += bytes.len();
            }
            Cut::Complete { .. } => {
                assert!(is_begun);
                is_begun = false;
            }
            Cut::Failed { reason, .. } => {
                assert!(!reason.is_empty());
                has_failed = true;
            }
        }
    }
    assert!(media <= input.len() && (has_failed || !(is_open || is_begun)));
}
