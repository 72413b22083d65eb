//! Layouts of documents that the captures lack.

use futures::{StreamExt, TryStreamExt, stream};
use kinesis_video::local::{Document, Shape, Stamp};
use kinesis_video::{BodyItem, Fragment, FragmentEnd, FragmentStream, TagValue, Timestamp, Track, TrackKind};

use crate::support::bodies::{
    CAMERA, Chunking, archive_body, connect_document, fragments, items, live_body, merged_body, odd_body,
    producer_document, stamp,
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn documents_of_the_aws_c_producer_are_read() {
    let title = "Kinesis Video SDK\0";
    let document = Document::new(Shape::Producer)
        .titled(title, title)
        .codec_private(&[1; 40])
        .video_track(1)
        .block(1, 0, true, &[0xAB; 100])
        .block(1, 33, false, &[0xCD; 20])
        .tag("a", "1")
        .tag("a", "2");
    let stamp = Stamp { producer_time: Timestamp::from_millis(5000), ..stamp(1) };
    let body = document.to_bytes(&stamp, 7);
    // Layout and sizes of a captured document of that producer.
    for (at, expected) in [
        (0, "1a45dfa3a442868101 42f78101 42f28104 42f38108 4282896d6174726f736b6100 42878102 42858102"),
        (41, "1853806701ffffffffffffff"),
        (53, "1549a966de73a490"),
        (77, "2ad7b188"),
        (152, "1654ae6b10000093ae1000008ed7810173c588"),
        (
            307,
            "1254c367100000e27373100000dc67c81000005b45a3100000204157535f4b494e45534953564944454f5f465241474d454e545f4e554d4245524487",
        ),
        (541, "1f43b675ffe788"),
        (556, "a78100a30100000000000068 81000080 abab"),
    ] {
        let expected = expected.replace(' ', "");
        assert_eq!(hex(&body[at..at + expected.len() / 2]), expected, "at {at}");
    }
    let fragment = fragments(&body).await.remove(0);
    assert_eq!(fragment.blocks().next().unwrap().payload(), [0xAB; 100]);
    let trailing = body.len() - fragment.elements().find("Segment/Tags").last().unwrap().unwrap().offset() as usize;
    assert!((161..=173).contains(&trailing), "closing tags of {trailing} bytes with their header");
    let track = fragment.track(1).unwrap();
    assert_eq!((track.name(), track.codec_id()), (Some("kinesis_video"), "V_MPEG4/ISO/AVC"));
    let values: Vec<_> = fragment.tags().get_all("a").map(|tag| tag.value().to_string()).collect();
    assert_eq!(values, ["1", "2"]);
    assert!(fragment.tags().iter().all(|tag| tag.is_after_media()));
    assert!(fragment.header().tags().is_empty());
}

#[tokio::test]
async fn documents_of_amazon_connect_are_read() {
    let body = live_body((1..=2).map(connect_document));
    for fragment in fragments(&body).await {
        assert_eq!(fragment.end_reason(), FragmentEnd::Trailer);
        let names: Vec<_> = fragment.tracks().iter().map(Track::name).collect();
        assert_eq!(names, [Some("AUDIO_FROM_CUSTOMER"), Some("AUDIO_TO_CUSTOMER")]);
        for track in fragment.tracks().iter() {
            assert_eq!((track.kind(), track.codec_id(), track.sampling_frequency()), (TrackKind::Audio, "A_AAC", None));
            assert_eq!(track.codec_private().unwrap()[..], [0x11, 0x90]);
        }
        assert_eq!(fragment.blocks().len(), 34);
        let names: Vec<_> = fragment.tags().iter().map(|tag| tag.name().into_owned()).collect();
        assert_eq!(
            names,
            ["ContactId", "InstanceId", "MimeType", "AUDIO_FROM_CUSTOMER", "AUDIO_TO_CUSTOMER", "Events"]
        );
        assert_eq!(fragment.tags().get("MimeType").as_deref(), Some("audio/L16;rate=8000;channels=1;"));
        let last = fragment.packets().filter(|packet| packet.track_number() == 1).last().unwrap();
        assert_eq!((last.payload().len(), last.timecode_ns() - fragment.header().timecode_ns()), (192, 1_024_000_000));
    }
}

#[tokio::test]
async fn error_documents_of_both_apis_are_faults() {
    let number = stamp(1).number;
    let documented = |error_name: &str| {
        Document::of_tags(&[
            ("AWS_KINESISVIDEO_FRAGMENT_NUMBER", number.as_str()),
            (error_name, "4000"),
            ("AWS_KINESISVIDEO_EXCEPTION_MESSAGE", "Fragment not found"),
        ])
    };
    let cases = [
        (Document::fault(3000, "FRAGMENT_NOT_FOUND", Some(&number)), Some(3000), "FRAGMENT_NOT_FOUND"),
        (documented("AWS_KINESISVIDEO_EXCEPTION_ERROR_CODE"), Some(4000), "Fragment not found"),
        (Document::of_tags(&[("AWS_KINESISVIDEO_ERROR_CODE", "4500")]), Some(4500), ""),
        (Document::of_tags(&[("AWS_KINESISVIDEO_ERROR_ID", "what?")]), None, "what?"),
        (Document::fault(9999, "from the future", None), Some(9999), "from the future"),
    ];
    for (body, id, message) in cases {
        let (found, error) = items(&body, Chunking::Whole).await;
        assert!(error.is_none());
        let [BodyItem::Fault(fault)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((fault.id(), fault.message().unwrap_or("")), (id, message));
        assert_eq!(fault.raw(), &body);
    }
    // Only the leading tags of GetMedia, then the end of the body: a fragment without media.
    let (found, _) = items(&Document::of_tags(&[("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "17")]), Chunking::Whole).await;
    let [BodyItem::Fragment(fragment)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((fragment.end_reason(), fragment.blocks().len()), (FragmentEnd::EndOfBody, 0));
    assert_eq!(fragment.number().unwrap().as_str(), "17");
}

#[tokio::test]
async fn fragments_after_a_fault_are_read() {
    let (found, error) = items(&archive_body(), Chunking::Each(100)).await;
    assert!(error.is_none());
    let [BodyItem::Fragment(first), BodyItem::Fault(fault), BodyItem::Fragment(third)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(first.number(), Some(&stamp(1).number));
    assert_eq!(fault.fragment_number(), Some(&stamp(2).number));
    assert_eq!(third.number(), Some(&stamp(3).number));
    assert_eq!((first.behind_now(), first.continuation_token()), (None, None));
}

#[tokio::test]
async fn both_names_of_the_time_tags_are_read() {
    let tags = |server: &str, producer: &str| {
        Document::of_tags(&[("AWS_KINESISVIDEO_FRAGMENT_NUMBER", "1"), (server, "5.070"), (producer, "0.000")])
    };
    for body in [
        tags("AWS_KINESISVIDEO_SERVER_TIMESTAMP", "AWS_KINESISVIDEO_PRODUCER_TIMESTAMP"),
        tags("AWS_KINESISVIDEO_SERVER_SIDE_TIMESTAMP", "AWS_KINESISVIDEO_PRODUCER_SIDE_TIMESTAMP"),
    ] {
        let fragment = fragments(&body).await.remove(0);
        assert_eq!(fragment.server_time().unwrap().as_millis(), 5_070);
        assert_eq!(fragment.producer_time().unwrap().as_millis(), 0);
        assert!(fragment.tags().is_empty());
    }
    let reserved = Document::of_tags(&[("AWS_KINESISVIDEO_IMAGE_PREFIX", "a/b"), ("mine", "c")]);
    let fragment = fragments(&reserved).await.remove(0);
    assert_eq!(fragment.tags().len(), 1);
    assert_eq!(fragment.tags().reserved().next().unwrap().value().to_string(), "a/b");
}

#[tokio::test]
async fn several_fragments_in_one_document_are_split() {
    for known_size in [false, true] {
        let body = merged_body(known_size);
        let fragments = fragments(&body).await;
        let numbers: Vec<_> = fragments.iter().map(|fragment| fragment.number().cloned()).collect();
        assert_eq!(numbers, [1, 2, 3].map(|ordinal| Some(stamp(ordinal).number)));
        for (fragment, ordinal) in fragments.iter().zip(1..) {
            assert_eq!((fragment.end_reason(), fragment.blocks().len()), (FragmentEnd::Trailer, 5));
            assert_eq!(fragment.tags().get("ordinal").as_deref(), Some(&*ordinal.to_string()));
            assert_eq!(fragment.elements().find("Segment/Cluster").count(), usize::from(ordinal == 1));
            assert_eq!(fragment.elements().find("Cluster/SimpleBlock").count(), if ordinal == 1 { 0 } else { 5 });
            // Each fragment's file is a document with the same content.
            let file = self::fragments(&fragment.to_mkv()).await;
            assert_eq!(file.len(), 1);
            assert_eq!((file[0].number(), file[0].end_reason()), (fragment.number(), FragmentEnd::Trailer));
            assert_eq!(file[0].tracks(), fragment.tracks());
            let payloads = |fragment: &Fragment| fragment.packets().map(|p| p.payload().clone()).collect::<Vec<_>>();
            assert_eq!(payloads(&file[0]), payloads(fragment));
        }
    }
}

#[tokio::test]
async fn merged_fragments_without_closing_tags_are_split() {
    // Each fragment ends where the tags of the next begin.
    let body = merged_body(false);
    let fragments = fragments(&body).await;
    let without_trailer: Vec<u8> = fragments
        .iter()
        .flat_map(|fragment| {
            let last_tags = fragment.elements().filter_map(Result::ok).flat_map(|element| {
                let own = (element.id() == kinesis_video::ebml::id::TAGS).then_some(element.offset());
                element
                    .children()
                    .filter_map(Result::ok)
                    .filter(|child| child.id() == kinesis_video::ebml::id::TAGS)
                    .map(|child| child.offset())
                    .chain(own)
                    .collect::<Vec<_>>()
            });
            let end = (last_tags.max().unwrap() - fragment.offset()) as usize;
            fragment.raw()[..end].to_vec()
        })
        .collect();
    let split = self::fragments(&without_trailer.into()).await;
    let ends: Vec<_> = split
        .iter()
        .map(|fragment| (fragment.number().cloned(), fragment.end_reason(), fragment.blocks().len()))
        .collect();
    assert_eq!(
        ends,
        [(1, FragmentEnd::NextDocument), (2, FragmentEnd::NextDocument), (3, FragmentEnd::EndOfBody)]
            .map(|(n, end)| (Some(stamp(n).number), end, 5))
    );
    assert_eq!(split[1].tags().get("ordinal").as_deref(), Some("2"));
}

#[tokio::test]
async fn a_fault_inside_a_fragment_cuts_it() {
    let body = crate::support::bodies::bodies().into_iter().find(|(name, _)| *name == "fault inside").unwrap().1;
    let (found, _) = items(&body, Chunking::Each(1)).await;
    let [BodyItem::Fragment(fragment), BodyItem::Fault(fault)] = &found[..] else { panic!("{found:?}") };
    assert_eq!((fragment.end_reason(), fragment.blocks().len()), (FragmentEnd::Cut, 5));
    assert_eq!(fault.id(), Some(5000));
}

#[tokio::test]
async fn bytes_between_fragments_are_reported() {
    let body = crate::support::bodies::bodies().into_iter().find(|(name, _)| *name == "behind the end").unwrap().1;
    let (found, _) = items(&body, Chunking::Whole).await;
    let [BodyItem::Fragment(_), BodyItem::Skipped(skipped), BodyItem::Fragment(_)] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!(skipped.raw()[..], [0xEC, 0x82, 0, 0]);
    let second = fragments(&body).await.remove(1);
    assert_eq!(second.discontinuities().len(), 1);
}

#[tokio::test]
async fn unusual_but_valid_elements_are_read() {
    let body = odd_body();
    let fragment = fragments(&body).await.remove(0);
    assert_eq!(fragment.end_reason(), FragmentEnd::EndOfBody);
    let packets: Vec<_> = fragment
        .packets()
        .map(|p| {
            (
                p.track_number(),
                p.timecode_ns(),
                p.is_key(),
                p.duration_ns(),
                String::from_utf8(p.payload().to_vec()).unwrap(),
            )
        })
        .collect();
    let packet = |ns: i64, key, duration: i64, text: &str| (300, ns, key, Some(duration), text.to_owned());
    assert_eq!(
        packets,
        [
            packet(50_000_000, true, 20_000_000, "early"),
            packet(101_000_000, false, 2_500_000, "refers"),
            packet(102_000_000, true, 20_000_000, "alone"),
            packet(103_000_000, false, 20_000_000, "a"),
            packet(123_000_000, false, 20_000_000, "bb"),
            packet(143_000_000, false, 20_000_000, "c"),
        ]
    );
    let tags: Vec<_> =
        fragment.tags().iter().map(|tag| (tag.name().into_owned(), tag.value(), tag.track_uid())).collect();
    assert_eq!(
        tags,
        [
            ("same".into(), TagValue::Text("value first ".into()), Some(7)),
            ("inner".into(), TagValue::Binary(&[0, 0xFF]), Some(7)),
            ("same".into(), TagValue::Text("again".into()), Some(7)),
        ]
    );
}

#[tokio::test]
async fn block_times_are_on_the_producers_clock() {
    let fragment = fragments(&live_body([producer_document(1)])).await.remove(0);
    let start = fragment.producer_time().unwrap().as_millis();
    let times: Vec<_> = fragment.packets().map(|packet| packet.producer_time().unwrap().as_millis() - start).collect();
    assert_eq!(times, [0, 200, 400, 600, 800]);
}

#[tokio::test]
async fn closing_tags_end_a_fragment_even_with_unreadable_values() {
    // MILLIS_BEHIND_NOW cannot be read. The fragment must still not wait for the next one.
    let mut body = producer_document(1).to_bytes_without_trailer(&stamp(1)).to_vec();
    let trailer = Document::of_tags(&[
        ("AWS_KINESISVIDEO_MILLIS_BEHIND_NOW", "5.0"),
        ("AWS_KINESISVIDEO_CONTINUATION_TOKEN", "token"),
    ]);
    let tags = trailer.windows(4).position(|four| four == kinesis_video::ebml::id::TAGS.0.to_be_bytes()).unwrap();
    body.extend_from_slice(&trailer[tags..]);
    let fragment = fragments(&body.clone().into()).await.remove(0);
    assert_eq!((fragment.end_reason(), fragment.behind_now()), (FragmentEnd::Trailer, None));
    assert_eq!(fragment.continuation_token(), Some("token"));
    assert_eq!(fragment.tags().reserved().next().unwrap().value().to_string(), "5.0");

    // Closing tags alone are no fragment, so nobody can resume there.
    body.extend_from_slice(&trailer[tags..]);
    let (found, error) = items(&body.into(), Chunking::Whole).await;
    assert!(error.is_none());
    assert!(matches!(&found[..], [BodyItem::Fragment(_), BodyItem::Skipped(_)]), "{found:?}");
}

#[tokio::test]
async fn a_body_cut_in_the_first_bytes_of_a_document_yields_a_cut_fragment() {
    let first = live_body([producer_document(1)]);
    let whole = live_body((1..=2).map(producer_document));
    for more in 1..40 {
        let (found, error) = items(&whole.slice(..first.len() + more), Chunking::Whole).await;
        assert!(error.is_none());
        let [BodyItem::Fragment(_), BodyItem::Fragment(cut)] = &found[..] else { panic!("{more}: {found:?}") };
        assert_eq!((cut.end_reason(), cut.raw().len()), (FragmentEnd::Cut, more));
    }
}

#[tokio::test]
async fn garbage_after_a_finished_file_does_not_cut_it() {
    let body = [crate::support::bodies::CAMERA, &[0; 8]].concat().into();
    let (found, error) = items(&body, Chunking::Each(1000)).await;
    let [BodyItem::Fragment(fragment)] = &found[..] else { panic!("{found:?}") };
    assert_eq!(
        (fragment.end_reason(), &fragment.to_mkv()[..]),
        (FragmentEnd::EndOfBody, crate::support::bodies::CAMERA)
    );
    assert_eq!(error.unwrap().position().offset(), Some(crate::support::bodies::CAMERA.len() as u64));
}

#[tokio::test]
async fn a_cut_block_group_is_no_key_frame() {
    use kinesis_video::ebml::id;
    use kinesis_video::internals::{Width, Writer};
    let mut out = Writer::new();
    out.master(id::EBML, Width::Minimal, |_| {});
    out.unknown(id::SEGMENT, 8);
    out.unknown(id::CLUSTER, 8);
    out.uint(id::TIMESTAMP, 0);
    out.master(id::BLOCK_GROUP, Width::Minimal, |group| {
        group.binary(id::BLOCK, b"\x81\0\0\0frame");
        group.int(id::REFERENCE_BLOCK, -40);
    });
    let body = out.into_bytes();
    let cut = fragments(&body[..body.len() - 3].to_vec().into()).await.remove(0);
    assert_eq!((cut.end_reason(), cut.blocks().len()), (FragmentEnd::Cut, 1));
    assert!(!cut.packets().next().unwrap().is_key());
}

#[tokio::test]
async fn repeated_headers_replace_earlier_ones() {
    // One EBML header and Segment, then Info, Tracks and media many times.
    let part = producer_document(1).to_bytes(&stamp(1), 0);
    let info = part.windows(4).position(|four| four == kinesis_video::ebml::id::INFO.0.to_be_bytes()).unwrap();
    let mut body = part[..info].to_vec();
    (1..=50).for_each(|n| body.extend_from_slice(&producer_document(n).to_bytes(&stamp(n), 0)[info..]));
    let fragments = fragments(&body.into()).await;
    assert_eq!(fragments.len(), 50);
    for fragment in &fragments[1..] {
        let file = fragment.to_mkv();
        assert!(file.len() < 2 * part.len(), "{} bytes", file.len());
        assert_eq!(self::fragments(&file).await[0].blocks().len(), 5);
    }
}

#[tokio::test]
async fn endless_segments_reach_the_limit() {
    let body = [&[0x1A, 0x45, 0xDF, 0xA3, 0x80][..], &[0x18, 0x53, 0x80, 0x67, 0x80].repeat(1000)].concat();
    let limits = kinesis_video::Limits::default().fragment_bytes(1000);
    let (_, error) = crate::support::bodies::items_within(&body.into(), Chunking::Each(10), limits).await;
    assert_eq!(error.unwrap().kind(), kinesis_video::ErrorKind::Limit);
}

#[tokio::test]
async fn an_info_after_the_media_does_not_apply_to_them() {
    // An Info with another TimestampScale after the Cluster, before the closing tags.
    use kinesis_video::ebml::id;
    use kinesis_video::internals::{Width, Writer};
    let whole = producer_document(1).to_bytes(&stamp(1), 0);
    let trailer = whole.windows(4).rposition(|four| four == id::TAGS.0.to_be_bytes()).unwrap();
    let mut info = Writer::new();
    info.master(id::INFO, Width::Minimal, |info| info.uint(id::TIMESTAMP_SCALE, 1));
    let body = [&whole[..trailer], info.as_bytes(), &whole[trailer..]].concat().into();
    let fragment = fragments(&body).await.remove(0);
    assert_eq!(fragment.packets().last().unwrap().timecode_ns(), 1_800_000_000);
}

#[tokio::test]
async fn each_cluster_is_a_fragment_where_asked() {
    let packets = |fragments: &[Fragment]| -> Vec<_> {
        let all = fragments.iter().flat_map(|fragment| fragment.packets().collect::<Vec<_>>());
        all.map(|packet| (packet.track_number(), packet.timecode_ns(), packet.payload().clone())).collect()
    };
    let whole = fragments(&CAMERA.into()).await;
    assert_eq!(whole.len(), 1);
    for chunk in [1, 1000, 1 << 20] {
        let chunks = stream::iter(CAMERA.chunks(chunk)).map(Ok::<_, std::io::Error>);
        let clusters: Vec<_> = FragmentStream::from_stream(chunks).per_cluster(true).try_collect().await.unwrap();
        assert_eq!(clusters.len(), whole[0].elements().find("Segment/Cluster").count());
        assert!(clusters.len() > 1);
        assert_eq!(packets(&clusters), packets(&whole));
        assert!(clusters.windows(2).all(|two| two[0].header().timecode_ns() < two[1].header().timecode_ns()));
        assert!(clusters.iter().all(|cluster| cluster.tracks() == whole[0].tracks()));
        assert_eq!(clusters.iter().map(|cluster| cluster.raw().len()).sum::<usize>(), CAMERA.len());
        for cluster in clusters {
            assert_eq!(packets(&fragments(&cluster.to_mkv()).await), packets(&[cluster]));
        }
    }
    // What the service sends is cut in the same way with it and without it.
    let body = live_body((1..=3).map(producer_document));
    let cut: Vec<Fragment> = FragmentStream::new(&body[..]).per_cluster(true).try_collect().await.unwrap();
    let raw = |fragments: &[Fragment]| fragments.iter().map(|fragment| fragment.raw().clone()).collect::<Vec<_>>();
    assert_eq!(raw(&cut), raw(&fragments(&body).await));
}
