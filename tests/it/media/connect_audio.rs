//! Conversations of Amazon Connect, against the expectation that a short script computes from their description.

use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use kinesis_video::audio::{AudioDiscontinuity, ContactEnd};
use kinesis_video::local::{Document, Shape};
use kinesis_video::{AudioChunk, AudioStreamExt, ErrorKind, FragmentStream, FragmentStreamExt, Party};

use crate::support::bodies::{Chunking, pieces, stamp};
use crate::support::conversation::{
    AudioFragment, Block, START, audio_body, block_samples, judged_audio, read_audio, scenarios, steady, summarize,
};

#[tokio::test]
async fn scenarios_yield_the_expected_audio() {
    let (names, calls): (Vec<_>, Vec<_>) = scenarios().into_iter().unzip();
    for ((name, call), judged) in names.iter().zip(&calls).zip(judged_audio(&calls)) {
        let body = audio_body(call);
        for chunking in [Chunking::Whole, Chunking::Each(1000), Chunking::Random(3000, 5), Chunking::Each(77)] {
            assert_eq!(summarize(&read_audio(&body, chunking).await), judged, "{name}, {chunking:?}");
        }
    }
}

#[tokio::test]
async fn random_conversations_yield_the_expected_audio() {
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = move |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) % below
    };
    let mut calls = Vec::new();
    for _ in 0..150 {
        let (mut time, mut call) = (START, Vec::new());
        let mut id = "a";
        for _ in 0..=random(6) {
            if random(6) == 0 {
                id = if id == "a" { "b" } else { "a" };
            }
            let mut blocks = Vec::new();
            for _ in 0..random(12) {
                for party in 0..2 {
                    if random(5) > 0 {
                        let (millis, samples) = (time + random(20) * random(2), 400 + random(220) as usize);
                        blocks.push(Block { party, millis, samples, salt: random(1000) });
                    }
                }
                time += 50 + random(30) + if random(9) == 0 { random(900) } else { 0 };
            }
            let tracks = [[1, 2], [2, 1], [200, 3]][random(3) as usize];
            call.push(AudioFragment { contact: (random(4) > 0).then_some(id), tracks, blocks });
        }
        calls.push(call);
    }
    for (at, (call, judged)) in calls.iter().zip(judged_audio(&calls)).enumerate() {
        assert_eq!(summarize(&read_audio(&audio_body(call), Chunking::Each(4000)).await), judged, "{at}: {call:?}");
    }
}

#[tokio::test]
async fn samples_are_at_most_8_ms_off() {
    for (name, call) in scenarios() {
        let mut ids: Vec<_> = call.iter().map(|described| described.contact).collect();
        ids.dedup();
        if ids.len() > 1 {
            continue;
        }
        let blocks: Vec<&Block> = call.iter().flat_map(|described| &described.blocks).collect();
        let origin = blocks.iter().map(|block| block.millis).min().unwrap();
        for chunk in read_audio(&audio_body(&call), Chunking::Whole).await.iter().filter(|chunk| !chunk.is_filled()) {
            // The chunk is the end of this block, whose beginning may have been trimmed.
            let is_right = |block: &&&Block| {
                let trimmed = block.samples.saturating_sub(chunk.samples().len()) as u64;
                let place = (block.millis - origin) * 8 + trimmed;
                block.party == usize::from(chunk.party() == Party::ToCustomer)
                    && block_samples(block).ends_with(chunk.samples())
                    && place.abs_diff(chunk.position()) <= 64
            };
            assert!(blocks.iter().any(|block| is_right(&block)), "{name}: {chunk:?}");
        }
    }
}

#[tokio::test]
async fn repeated_fragments_yield_no_audio_twice() {
    let call = steady(Some("a"), 0, 40);
    let once = audio_body(&call);
    let twice: Bytes = [&once[..], &once[..]].concat().into();
    assert_eq!(
        summarize(&read_audio(&twice, Chunking::Each(5000)).await),
        summarize(&read_audio(&once, Chunking::Whole).await)
    );
}

#[tokio::test]
async fn the_interleaving_of_tracks_does_not_matter() {
    let call = steady(Some("a"), 0, 3);
    let mut apart = call.clone();
    for described in &mut apart {
        described.blocks.sort_by_key(|block| (1 - block.party, block.millis ^ 64));
    }
    let expected = read_audio(&audio_body(&call), Chunking::Whole).await;
    let audio = |call: &[AudioFragment]| {
        FragmentStream::from_stream(pieces(&audio_body(call), Chunking::Whole)).connect_audio()
    };
    let chunks: Vec<_> = audio(&apart).max_silence(Duration::from_millis(500)).try_collect().await.unwrap();
    assert_eq!(summarize(&chunks), summarize(&expected));
    let stereo = async |call: &[AudioFragment]| -> Vec<i16> {
        let mut audio = audio(call).stereo();
        let mut samples = Vec::new();
        while let Some(chunk) = audio.try_next().await.unwrap() {
            samples.extend_from_slice(chunk.samples());
        }
        assert_eq!(audio.late(), 0);
        samples
    };
    assert_eq!(stereo(&apart).await, stereo(&call).await);
}

#[tokio::test]
async fn a_cut_fragment_is_not_attributed_to_the_previous_contact() {
    let mut call = steady(Some("a"), 0, 2);
    call.extend(steady(Some("b"), 30, 2));
    let whole = audio_body(&call);
    let (first, second, rest) = (audio_body(&call[..2]).len(), audio_body(&call[..3]).len(), whole.len());
    let cut = [&whole[..first], &whole[first..second - 20_000]].concat();
    // The cut fragment is repeated in full, with its own number, or lost.
    let again: Bytes = [&cut[..], &whole[first..rest]].concat().into();
    let lost: Bytes = [&cut[..], &whole[second..rest]].concat().into();
    for (name, body) in [("again", again), ("lost", lost), ("end", cut.into())] {
        let chunks: Vec<AudioChunk> =
            FragmentStream::new(&body[..]).resync(true).connect_audio().try_collect().await.unwrap();
        let of_a = chunks.iter().filter(|chunk| chunk.contact_id() == Some("a"));
        assert_eq!(of_a.map(|chunk| chunk.samples().len()).sum::<usize>(), 2 * 2 * 8192, "{name}");
        let all: usize = chunks.iter().map(|chunk| chunk.samples().len()).sum();
        match name {
            "again" => assert_eq!(all, 4 * 2 * 8192),
            _ => assert!(all > 4 * 8192, "the audio of the cut fragment is not lost"),
        }
    }
}

#[tokio::test]
async fn impossible_times_are_not_filled_with_silence() {
    let block = |millis: u64| Block { party: 0, millis, samples: 512, salt: millis % 1000 };
    let far = [START, START + 64, 9_000_000_000_000, 9_000_000_000_064];
    let call = far.map(|millis| AudioFragment { contact: Some("a"), tracks: [1, 2], blocks: vec![block(millis)] });
    let chunks = read_audio(&audio_body(&call), Chunking::Whole).await;
    assert_eq!(chunks.iter().map(|chunk| chunk.samples().len()).sum::<usize>(), 4 * 512);
    assert_eq!(chunks[2].discontinuities(), [AudioDiscontinuity::TimelineReset]);
}

#[tokio::test]
async fn a_cut_last_fragment_is_heard_up_to_the_cut() {
    let call = steady(Some("a"), 0, 3);
    let whole = audio_body(&call);
    let two = audio_body(&call[..2]).len();
    let chunks = read_audio(&whole.slice(..two + (whole.len() - two) / 2), Chunking::Whole).await;
    let expected = read_audio(&whole, Chunking::Whole).await;
    let count = chunks.len();
    assert!(count > 64 && count < 96);
    assert_eq!(summarize(&chunks), summarize(&expected[..count]));
}

#[tokio::test]
async fn holes_and_overlaps_are_reported() {
    let block = |millis: u64, samples: usize| Block { party: 0, millis: START + millis, samples, salt: millis };
    let one = |blocks: Vec<Block>| vec![AudioFragment { contact: Some("a"), tracks: [1, 0], blocks }];
    let call = one(vec![block(0, 512), block(100, 512), block(128, 512), block(250, 512)]);
    let chunks = read_audio(&audio_body(&call), Chunking::Whole).await;
    let told: Vec<_> = chunks
        .iter()
        .map(|chunk| (chunk.position(), chunk.samples().len(), chunk.is_filled(), chunk.discontinuities().to_vec()))
        .collect();
    use AudioDiscontinuity::{Filled, Trimmed};
    let expected = [
        (0, 512, false, vec![]),
        (512, 288, true, vec![Filled(288)]),
        (800, 512, false, vec![]),
        (1312, 224, false, vec![Trimmed(288)]),
        (1536, 464, true, vec![Filled(464)]),
        (2000, 512, false, vec![]),
    ];
    assert_eq!(told, expected);
    let late = chunks[3].producer_time().unwrap().as_millis() - chunks[0].producer_time().unwrap().as_millis();
    assert_eq!(late, 164);

    // Silence of both parties is limited.
    let mut call = steady(Some("a"), 0, 1);
    call.extend(steady(Some("a"), 60, 1));
    let body = audio_body(&call);
    let audio = FragmentStream::new(&body[..]).connect_audio().max_silence(Duration::from_millis(500));
    let chunks: Vec<AudioChunk> = audio.map(Result::unwrap).collect().await;
    let of = |party: Party| chunks.iter().filter(move |chunk| chunk.party() == party);
    for party in Party::ALL {
        assert_eq!(of(party).map(|chunk| chunk.samples().len()).sum::<usize>(), 2 * 16 * 512 + 4000);
        let hole = of(party).find(|chunk| chunk.is_filled()).unwrap();
        let left_out = AudioDiscontinuity::LeftOut(59 * 16 * 512 - 4000);
        assert_eq!(hole.discontinuities(), [left_out, Filled(4000)]);
    }
}

#[tokio::test]
async fn a_restarted_timeline_is_appended() {
    let mut call = steady(Some("a"), 0, 2);
    let mut again = steady(Some("a"), 0, 2);
    again.iter_mut().flat_map(|described| &mut described.blocks).for_each(|block| block.millis -= START);
    call.extend(again);
    let chunks = read_audio(&audio_body(&call), Chunking::Whole).await;
    // By the producer's clock, 1 s passes from fragment to fragment. Each has a little more audio.
    let of = chunks.iter().filter(|chunk| chunk.party() == Party::FromCustomer);
    assert_eq!(of.map(|chunk| chunk.samples().len()).sum::<usize>(), 4 * 16 * 512);
    let reset = chunks.iter().filter(|chunk| chunk.discontinuities() == [AudioDiscontinuity::TimelineReset]);
    assert_eq!(reset.count(), 2);
}

#[tokio::test]
async fn one_contact_can_be_selected() {
    let (_, call) = scenarios().into_iter().find(|(name, _)| *name == "contacts").unwrap();
    let body = audio_body(&call);
    let all = read_audio(&body, Chunking::Whole).await;
    let mut audio = FragmentStream::new(&body[..]).connect_audio().contact("b");
    let mut of_b = Vec::new();
    while let Some(chunk) = audio.try_next().await.unwrap() {
        of_b.push(chunk);
    }
    assert_eq!(audio.end_reason(), Some(&ContactEnd::NextContact("a".into())));
    assert!(audio.try_next().await.unwrap().is_none());
    let expected: Vec<_> = all.iter().filter(|chunk| chunk.contact_id() == Some("b")).cloned().collect();
    assert_eq!(summarize(&of_b), summarize(&expected));

    let mut audio = FragmentStream::new(&body[..]).connect_audio().contact("a").party(Party::ToCustomer);
    while let Some(chunk) = audio.try_next().await.unwrap() {
        assert_eq!((chunk.party(), chunk.contact_id()), (Party::ToCustomer, Some("a")));
    }
    assert_eq!(audio.end_reason(), Some(&ContactEnd::NextContact("b".into())));

    let mut audio = FragmentStream::new(&body[..]).connect_audio().contact("c");
    let error = audio.try_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains(r#"the contact "c" never appeared; the stream names "a", "b""#), "{error}");
    assert_eq!(audio.end_reason(), Some(&ContactEnd::Failed));
    let mut audio = FragmentStream::new(&body[..]).connect_audio();
    while audio.try_next().await.unwrap().is_some() {}
    assert_eq!(audio.end_reason(), Some(&ContactEnd::EndOfMedia));
}

#[tokio::test]
async fn only_tracks_of_connect_are_accepted() {
    let track =
        |name: &str| Document::new(Shape::Producer).audio_track(5, name, "A_AAC").block(5, 0, true, &[1, 0, 2, 0]);
    for name in ["", "Track_audio/L16", "AUDIO_FROM_CUSTOMER"] {
        let chunks = read_audio(&track(name).to_bytes(&stamp(1), 0), Chunking::Whole).await;
        assert_eq!((chunks[0].party(), chunks[0].samples()), (Party::FromCustomer, &[1, 2][..]), "{name:?}");
        assert_eq!(chunks[0].to_bytes()[..], [1, 0, 2, 0]);
    }
    for document in [track("music"), track("").audio_track(6, "", "A_AAC"), Document::new(Shape::Ffmpeg).video_track(1)]
    {
        let body = document.to_bytes(&stamp(1), 0);
        let error = FragmentStream::new(&body[..]).connect_audio().try_next().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        assert_eq!(error.position().fragment(), Some(stamp(1).number.as_str()));
    }
    // A document of tags has no audio, and is no error.
    let chunks = read_audio(&Document::new(Shape::Producer).to_bytes(&stamp(1), 0), Chunking::Whole).await;
    assert!(chunks.is_empty());
}

#[tokio::test]
async fn rechunked_audio_has_chunks_of_one_length() {
    for (name, call) in scenarios() {
        let body = audio_body(&call);
        let all = read_audio(&body, Chunking::Whole).await;
        let audio = || FragmentStream::new(&body[..]).connect_audio();
        for (rechunked, length) in
            [(audio().chunk_duration(Duration::from_millis(20)), 160), (audio().chunk_bytes(2001), 1000)]
        {
            let chunks: Vec<AudioChunk> = rechunked.try_collect().await.unwrap();
            let joined = |chunks: &[AudioChunk], party| -> Vec<(Option<String>, u64, i16)> {
                let of = chunks.iter().filter(|chunk| chunk.party() == party);
                of.flat_map(|chunk| {
                    let samples = (chunk.position()..).zip(chunk.samples());
                    samples
                        .map(|(at, sample)| (chunk.contact_id().map(ToOwned::to_owned), at, *sample))
                        .collect::<Vec<_>>()
                })
                .collect()
            };
            for party in Party::ALL {
                assert!(joined(&chunks, party) == joined(&all, party), "{name}");
                let of: Vec<_> = chunks.iter().filter(|chunk| chunk.party() == party).collect();
                for pair in of.windows(2) {
                    let is_last = pair[0].contact_id() != pair[1].contact_id();
                    assert!(pair[0].samples().len() == length || is_last, "{name}");
                }
                assert!(of.iter().all(|chunk| chunk.samples().len() <= length));
            }
        }
    }
}

#[tokio::test]
async fn the_local_endpoint_produces_conversations() {
    use kinesis_video::local::{ConnectCall, LocalEndpoint};
    use kinesis_video::{KinesisVideo, Start};

    let endpoint = LocalEndpoint::start().await.unwrap();
    let voice = |party: usize, position: u64| position as i16 ^ (party as i16) << 14;
    let call = ConnectCall::new("ring").duration(Duration::from_millis(1_500)).voice(voice);
    endpoint.play_call("once", &call);
    endpoint.loop_call("ringing", &call);
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let once = kvs.live("once").start(Start::Earliest).reconnect(false).fragments().connect_audio();
    let ringing =
        kvs.live("ringing").start(Start::Earliest).reconnect(false).fragments().connect_audio().contact("ring-2");
    let (once, ringing): (Vec<AudioChunk>, Vec<AudioChunk>) =
        futures::try_join!(once.try_collect(), ringing.try_collect()).unwrap();
    for (chunks, id) in [(once, "ring"), (ringing, "ring-2")] {
        for (party, number) in Party::ALL.into_iter().zip(0..) {
            let of = chunks.iter().filter(|chunk| chunk.party() == party && chunk.contact_id() == Some(id));
            let samples: Vec<i16> = of.flat_map(|chunk| chunk.samples().to_vec()).collect();
            assert!(samples == (0..12_000).map(|at| voice(number, at)).collect::<Vec<_>>(), "{id} {party}");
        }
    }
}
