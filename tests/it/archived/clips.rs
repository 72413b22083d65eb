//! Clips: where a range is cut, which fragments a clip covers, and its bytes.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use aws_sdk_kinesisvideoarchivedmedia::Client;
use aws_sdk_kinesisvideoarchivedmedia::primitives::DateTime;
use aws_sdk_kinesisvideoarchivedmedia::types::{ClipFragmentSelector, ClipTimestampRange};
use aws_smithy_types::body::SdkBody;
use futures::{StreamExt, TryStreamExt};
use kinesis_video::local::{Document, InjectedFault, LocalEndpoint, LocalStream, Operation, Shape, Stamp};
use kinesis_video::{Clip, Clock, ErrorKind, KinesisVideo};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use crate::support::bodies::{AVCC, FRAME, frame_of, numbers_in, stamp_at};
use crate::support::endpoint::{attempts, now_millis, refusal, time, unlimited};
use crate::support::stand_in::{Answer, Asked, described, stand_in};

const T: i64 = 1_700_000_000_126;
const DAY: i64 = 24 * 3600 * 1000;

fn push(stream: &LocalStream, ordinal: u32, server: i64, producer: i64) {
    push_with(stream, AVCC, stamp_at(ordinal, server, producer));
}

/// Pushes a fragment with its number in its frame.
fn push_with(stream: &LocalStream, private: &[u8], stamp: Stamp) {
    let document = Document::new(Shape::Ffmpeg).codec_private(private).video_track(1);
    stream.push_stamped(&document.block(1, 0, true, &frame_of(&stamp.number)), stamp);
}

/// The numbers of the fragments that a clip of the local endpoint covers.
fn covered(file: &[u8]) -> Vec<String> {
    assert_eq!(&file[4..8], b"ftyp");
    numbers_in(file)
}

fn numbers(clip: &Clip) -> Vec<String> {
    clip.fragments().iter().map(|info| info.number().to_string()).collect()
}

async fn bytes(clip: Clip) -> kinesis_video::Result<Vec<u8>> {
    clip.try_fold(Vec::new(), async |mut all, chunk| {
        all.extend(chunk);
        Ok(all)
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn each_fragment_of_a_long_range_is_in_one_clip() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let door = endpoint.create_stream("door");
    let base = now_millis() - 3_600_000;
    for ordinal in 0..450 {
        push(&door, ordinal + 1, base + i64::from(ordinal) * 2000, base);
    }
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    // The first fragment begins before the range. The last begins at its end.
    let mut clips = kvs.clips("door").range(time(base + 1)..=time(base + 449 * 2000)).clips();
    let (mut all, mut counts, mut behind) = (Vec::new(), Vec::new(), base);
    for index in 1.. {
        let Some(clip) = clips.try_next().await.unwrap() else { break };
        // A clip is requested only when it is polled for.
        assert_eq!(endpoint.calls(Operation::GetClip, "door").len(), index);
        let range = clip.range();
        assert!(range.start().as_millis() > behind && range.end() > range.start());
        behind = range.end().as_millis();
        assert_eq!((clip.content_type(), clip.left_out().len()), (Some("video/mp4"), 0));
        let numbers = numbers(&clip);
        assert_eq!(covered(&bytes(clip).await.unwrap()), numbers);
        counts.push(numbers.len());
        all.extend(numbers);
    }
    assert_eq!(counts, [200, 200, 49]);
    let list =
        kvs.list_fragments("door").range(time(base + 1)..=time(base + DAY)).order(kinesis_video::Order::Time).entries();
    let listed: Vec<String> = list.map_ok(|info| info.number().to_string()).try_collect().await.unwrap();
    assert_eq!(all, listed);
    assert!(kvs.clips("door").range(time(1)..=time(2)).clips().try_next().await.unwrap().is_none());
}

/// Compares the fragments that a clip lists with those that the endpoint's own selection covers. Fragments are sent
/// again at once or much later, and none is in two clips.
#[tokio::test(start_paused = true)]
async fn clips_cover_exactly_the_fragments_they_list() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    let mut random = fastrand::Rng::with_seed(11);
    let base = now_millis() - 7_200_000;
    let (mut left_out, mut clips_of_round) = (0, 0);
    for round in 0..30 {
        let door = endpoint.create_stream("door");
        let mut starts: Vec<i64> = Vec::new();
        let mut next = base;
        for _ in 0..random.usize(1..500) {
            next += random.i64(1..4000);
            starts.push(next);
            // A broken connection: the producer sends the last few again.
            if random.u32(0..40) == 0 {
                let from = starts.len() - random.usize(0..starts.len().min(5));
                starts.extend_from_within(from..);
            }
        }
        if round % 3 == 0 {
            // The producer uploads everything again, much later.
            starts.extend_from_within(..);
        }
        for (ordinal, start) in (1..).zip(&starts) {
            push(&door, ordinal, base + i64::from(ordinal), *start);
        }
        let range = time(base)..=time(*starts.iter().max().unwrap());
        let clips = kvs.clips("door").range(range).clock(Clock::Producer).clips();
        let clips: Vec<Clip> = clips.try_collect().await.unwrap();
        let mut times: HashMap<i64, usize> = HashMap::new();
        let mut listed = 0;
        for clip in clips {
            clips_of_round += 1;
            assert!((1..=200).contains(&clip.fragments().len()));
            left_out += clip.left_out().len();
            listed += clip.fragments().len() + clip.left_out().len();
            for info in clip.fragments() {
                *times.entry(info.producer_time().unwrap().as_millis()).or_default() += 1;
            }
            let numbers = numbers(&clip);
            assert_eq!(covered(&bytes(clip).await.unwrap()), numbers, "round {round}");
        }
        assert_eq!(listed, starts.len());
        let distinct: std::collections::HashSet<i64> = starts.iter().copied().collect();
        if round % 3 != 0 {
            // Fragments sent again at once leave no hole, wherever clips are cut.
            assert_eq!(times.len(), distinct.len(), "round {round}");
        }
        assert!(times.values().all(|times| *times == 1), "round {round}");
    }
    assert!(left_out > 1000 && clips_of_round > 60, "{left_out} {clips_of_round}");
}

/// A listed fragment, from its ordinal, start and size.
fn listed((ordinal, start, bytes): (u32, i64, u64)) -> Value {
    let time = start as f64 / 1000.0;
    json!({
        "FragmentNumber": ordinal.to_string(), "FragmentSizeInBytes": bytes, "FragmentLengthInMilliseconds": 2000,
        "ProducerTimestamp": time, "ServerTimestamp": time,
    })
}

async fn archive(mut fragments: Vec<(u32, i64, u64)>) -> (KinesisVideo, Asked) {
    // The service lists fragments in no order.
    fastrand::Rng::with_seed(5).shuffle(&mut fragments);
    stand_in(move |path, _| match path {
        "listFragments" => {
            Answer::json(json!({ "Fragments": fragments.iter().copied().map(listed).collect::<Vec<_>>() }))
        }
        "getClip" => {
            Answer { body: SdkBody::from("a clip"), ..Answer::json(Value::Null) }.with("content-type", "video/mp4")
        }
        // The client asks whether an empty list is due to missing retention.
        "describeStream" => Answer::json(described(24)),
        other => panic!("{other}"),
    })
    .await
}

/// The range of a clip, in milliseconds after T, and the ordinals of its fragments.
type Cut = (i64, i64, Vec<u32>);

async fn cuts(fragments: Vec<(u32, i64, u64)>, clock: Clock, start: i64, end: i64) -> Vec<Cut> {
    let (kvs, asked) = archive(fragments).await;
    let clips: Vec<Clip> =
        kvs.clips("door").range(time(start)..=time(end)).clock(clock).clips().try_collect().await.unwrap();
    let sent = asked.take();
    let sent: Vec<Value> = sent.into_iter().filter(|(path, _)| path == "getClip").map(|(_, body)| body).collect();
    assert_eq!(sent.len(), clips.len());
    for (clip, sent) in clips.iter().zip(&sent) {
        let range = &sent["ClipFragmentSelector"]["TimestampRange"];
        let millis = |member: &str| (range[member].as_f64().unwrap() * 1000.0).round() as i64;
        assert_eq!(time(millis("StartTimestamp"))..=time(millis("EndTimestamp")), clip.range());
    }
    let ordinal = |info: &kinesis_video::FragmentInfo| info.number().as_str().parse().unwrap();
    clips
        .iter()
        .map(|clip| {
            let (start, end) = clip.range().into_inner();
            (start.as_millis() - T, end.as_millis() - T, clip.fragments().iter().map(ordinal).collect())
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn cuts_follow_size_count_and_duration_limits() {
    const MB: u64 = 1_000_000;
    let fragments = |starts: &[i64], bytes: u64| -> Vec<(u32, i64, u64)> {
        (1..).zip(starts).map(|(ordinal, start)| (ordinal, T + start, bytes)).collect()
    };
    for (given, end, expected) in [
        (fragments(&[], 1), 1000, vec![]),
        // One fragment. A range must not be empty, so it extends after the fragment or, at the end, before it.
        (fragments(&[0], 1), 1000, vec![(0, 1, vec![1])]),
        (fragments(&[1000], 1), 1000, vec![(999, 1000, vec![1])]),
        // By size: 95 MB of listed bytes, which leaves room for the overhead of MP4.
        (fragments(&[0, 2, 4, 6, 8], 47 * MB), 9, vec![(0, 2, vec![1, 2]), (4, 6, vec![3, 4]), (8, 9, vec![5])]),
        (fragments(&[0, 2, 4], 48 * MB), 5, vec![(0, 1, vec![1]), (2, 3, vec![2]), (4, 5, vec![3])]),
        // A fragment that is too large alone still gets its own clip.
        (fragments(&[0, 2], 200 * MB), 5, vec![(0, 1, vec![1]), (2, 3, vec![2])]),
        // Fragments 1 ms apart leave no room after a fragment, but before it.
        (fragments(&[0, 2, 3], 60 * MB), 5, vec![(0, 1, vec![1]), (1, 2, vec![2]), (3, 4, vec![3])]),
        // A clip covers at most one day.
        (
            fragments(&[0, DAY, 2 * DAY + 1], 1),
            9 * DAY,
            vec![(0, DAY, vec![1, 2]), (2 * DAY + 1, 2 * DAY + 2, vec![3])],
        ),
    ] {
        for clock in [Clock::Producer, Clock::Server] {
            assert_eq!(cuts(given.clone(), clock, T, T + end).await, expected, "{given:?}");
        }
    }
    // Fragments of the same start stay in one clip.
    let twins = fragments(&[0, 2, 2, 4], 40 * MB);
    let by_server = vec![(0, 1, vec![1]), (2, 3, vec![2, 3]), (4, 5, vec![4])];
    assert_eq!(cuts(twins.clone(), Clock::Server, T, T + 9).await, by_server);
    // By the producer's clock, the newest fragment of the same start replaces the others.
    let by_producer = vec![(0, 2, vec![1, 3]), (4, 5, vec![4])];
    assert_eq!(cuts(twins, Clock::Producer, T, T + 9).await, by_producer);
    // A range is not cut between a fragment and its repetition.
    let again = fragments(&[0, 2, 4, 6, 4, 6, 8], 24 * MB);
    assert_eq!(cuts(again.clone(), Clock::Producer, T, T + 9).await, [(0, 2, vec![1, 2]), (4, 8, vec![5, 6, 7])]);
    // A clip has at most 200 fragments.
    let starts: Vec<i64> = (0..401).map(|n| n * 2000).collect();
    let counts: Vec<usize> =
        cuts(fragments(&starts, 1), Clock::Server, T, T + DAY).await.iter().map(|cut| cut.2.len()).collect();
    assert_eq!(counts, [200, 200, 1]);
}

#[tokio::test(start_paused = true)]
async fn a_range_that_cannot_be_cut_is_an_error_after_earlier_clips() {
    // More fragments begin in one millisecond than a clip can have.
    let mut crowd: Vec<_> = (2..=202).map(|ordinal| (ordinal, T + 5, 1)).collect();
    crowd.push((1, T, 1));
    let (kvs, _) = archive(crowd.clone()).await;
    let mut clips = kvs.clips("door").range(time(T)..=time(T + 9)).clock(Clock::Server).clips();
    assert_eq!(clips.try_next().await.unwrap().unwrap().fragments().len(), 1);
    let error = clips.try_next().await.unwrap_err();
    assert_eq!((error.kind(), error.context().stream()), (ErrorKind::Limit, Some("door")), "{error}");
    assert!(clips.next().await.is_none());
    // By the producer's clock, the newest of them replaces the 200 others.
    assert_eq!(cuts(crowd, Clock::Producer, T, T + 9).await, [(0, 5, vec![1, 202])]);
    let tight: Vec<_> = (1..).zip([T, T + 1, T + 2]).map(|(ordinal, start)| (ordinal, start, 60_000_000)).collect();
    let (kvs, _) = archive(tight).await;
    let mut clips = kvs.clips("door").range(time(T - 1)..=time(T + 9)).clips();
    assert!(clips.try_next().await.unwrap().is_some());
    assert_eq!(clips.try_next().await.unwrap_err().kind(), ErrorKind::Unsupported);
}

#[tokio::test(start_paused = true)]
async fn requests_carry_the_chosen_options() {
    let arn = "arn:aws:kinesisvideo:eu-west-1:1:stream/door/2";
    for (clock, name) in [(Clock::Producer, "PRODUCER_TIMESTAMP"), (Clock::Server, "SERVER_TIMESTAMP")] {
        let (kvs, asked) = archive(vec![(1, T, 10), (2, T + 1000, 20)]).await;
        let clips = kvs.clips(arn).range(time(T - 5)..=time(T + 5000)).clock(clock).clips();
        let clips: Vec<Clip> = clips.try_collect().await.unwrap();
        assert_eq!(clips[0].listed_bytes(), 30);
        let (path, body) = asked.take().pop().unwrap();
        assert_eq!(path, "getClip");
        let range = json!({ "StartTimestamp": 1_700_000_000.126, "EndTimestamp": 1_700_000_001.126 });
        let selector = json!({ "FragmentSelectorType": name, "TimestampRange": range });
        assert_eq!(body, json!({ "StreamARN": arn, "ClipFragmentSelector": selector }));
    }
}

#[tokio::test]
async fn client_and_endpoint_refuse_the_same_arguments() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let base = now_millis() - 60_000;
    push(&endpoint.create_stream("door"), 1, base, base);
    let (kvs, raw) = (KinesisVideo::new(&endpoint.sdk_config()), Client::new(&endpoint.sdk_config()));
    let before = endpoint.requests();
    for (clips, rule) in [
        (kvs.clips("door"), "the range must be given"),
        (kvs.clips("door").range(time(base)..=time(base)), "EndTimestamp must be later than StartTimestamp"),
        (kvs.clips("door").range(time(base)..=time(base - 1)), "EndTimestamp must be later than StartTimestamp"),
    ] {
        let mut clips = clips.clips();
        let error = clips.try_next().await.unwrap_err();
        assert_eq!((error.kind(), error.context().stream()), (ErrorKind::InvalidArgument, Some("door")));
        assert!(error.to_string().contains(rule), "{error} does not say {rule}");
        assert!(clips.next().await.is_none());
    }
    assert_eq!(endpoint.requests(), before, "nothing was sent");
    // The endpoint accepts at most a day. The client cuts there, so only the endpoint refuses it.
    for end in [base, base - 1, base + DAY + 1] {
        let range = ClipTimestampRange::builder().start_timestamp(DateTime::from_millis(base));
        let range = range.end_timestamp(DateTime::from_millis(end)).build().unwrap();
        let selector = ClipFragmentSelector::builder().fragment_selector_type("PRODUCER_TIMESTAMP".into());
        let selector = selector.timestamp_range(range).build().unwrap();
        let call = raw.get_clip().stream_name("door").clip_fragment_selector(selector);
        let (name, status, said) = refusal(call.send().await);
        assert_eq!((&*name, status), ("InvalidArgumentException", 400));
        assert!(said.contains("EndTimestamp"), "{said}");
    }
}

#[tokio::test]
async fn exceptions_have_a_kind_and_advice() {
    for (name, status, kind, advice) in [
        ("ResourceNotFoundException", 404, ErrorKind::NotFound, "the region and the range"),
        ("NoDataRetentionException", 400, ErrorKind::Retention, "retains nothing (0 hours)"),
        ("UnsupportedStreamMediaTypeException", 400, ErrorKind::Unsupported, "a clip supports"),
        ("MissingCodecPrivateDataException", 400, ErrorKind::Unsupported, "a clip supports"),
        ("InvalidCodecPrivateDataException", 400, ErrorKind::Unsupported, "a clip supports"),
        ("InvalidMediaFrameException", 400, ErrorKind::Unsupported, "length-prefixed"),
        ("InvalidArgumentException", 400, ErrorKind::InvalidArgument, "as it said"),
        ("NotAuthorizedException", 401, ErrorKind::AccessDenied, "kinesisvideo:GetClip"),
    ] {
        let (kvs, _) = stand_in(move |path, _| match path {
            "listFragments" => Answer::json(json!({ "Fragments": [listed((1, T, 1))] })),
            _ => Answer::refusal(status, name, "as it said"),
        })
        .await;
        let error = kvs.clips("door").range(time(T)..=time(T + 1)).clips().try_next().await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (kind, Some(name)));
        assert!(error.to_string().contains(advice), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clip_can_be_read_saved_or_dropped() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let door = endpoint.create_stream("door");
    let base = now_millis() - 3_600_000;
    for ordinal in 0..300 {
        push(&door, ordinal + 1, base + i64::from(ordinal) * 2000, base);
    }
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    let clips = || kvs.clips("door").range(time(base)..=time(base + 3_500_000));
    let mut whole = clips().clips();
    let expected = bytes(whole.try_next().await.unwrap().unwrap()).await.unwrap();
    // The second clip is requested although the first was dropped unread.
    let mut unread = clips().clips();
    drop(unread.try_next().await.unwrap().unwrap());
    assert_eq!(unread.try_next().await.unwrap().unwrap().fragments().len(), 100);
    let first = async || clips().clips().try_next().await.unwrap().unwrap();

    let mut read = Vec::new();
    first().await.into_async_read().read_to_end(&mut read).await.unwrap();
    assert!(read == expected);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("new/door.mp4");
    assert_eq!(first().await.write_to(&file).await.unwrap(), expected.len() as u64);
    assert!(std::fs::read(&file).unwrap() == expected);

    // A broken connection leaves the existing file unchanged, and no temporary file.
    endpoint.inject(Operation::GetClip, None, InjectedFault::CutAfter(3000));
    let error = first().await.write_to(&file).await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Io, true), "{error}");
    assert_eq!((error.context().stream(), error.context().endpoint()), (Some("door"), Some(endpoint.url())));
    assert!(std::fs::read(&file).unwrap() == expected);
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1);
    // So does an empty body.
    endpoint.inject(Operation::GetClip, None, InjectedFault::Stall { after: 3000, pause: Duration::from_secs(20) });
    let mut clip = clips().read_timeout(Duration::from_millis(200)).clips().try_next().await.unwrap().unwrap();
    let error = loop {
        if let Err(error) = clip.try_next().await {
            break error;
        }
    };
    assert_eq!(error.kind(), ErrorKind::Io);
    assert!(clip.next().await.is_none());
    // The same clip, requested again by its range.
    let again = kvs.clips("door").range(clip.range()).clips().try_next().await.unwrap().unwrap();
    assert!(bytes(again).await.unwrap() == expected);

    // The error is the same after conversion to `io::Error`.
    endpoint.inject(Operation::GetClip, None, InjectedFault::ResetAfter(3000));
    let error: io::Error = first().await.into_async_read().read_to_end(&mut read).await.unwrap_err();
    assert_eq!(kinesis_video::Error::from(error).context().stream(), Some("door"));
    let error = first().await.write_to("/").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn transient_errors_are_retried() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    let door = endpoint.create_stream("door");
    let base = now_millis() - 3_600_000;
    for ordinal in 0..1000 {
        push(&door, ordinal + 1, base + i64::from(ordinal) * 2000, base);
    }
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    for (operation, fault) in [
        (Operation::ListFragments, InjectedFault::EmptyPage),
        (Operation::ListFragments, InjectedFault::Refuse("ClientLimitExceededException".into())),
        (Operation::GetClip, InjectedFault::Refuse("ClientLimitExceededException".into())),
        (Operation::GetClip, InjectedFault::StaleEndpoint),
        (Operation::GetClip, InjectedFault::Refuse("InternalFailure".into())),
    ] {
        endpoint.inject(operation, None, fault);
    }
    // Six clips of 200 cost more points than one second allows. The client waits for them.
    let clips = kvs.clips("door").range(time(base)..=time(base + 3_500_000)).clips();
    let counts: Vec<usize> = clips.map_ok(|clip| clip.fragments().len()).try_collect().await.unwrap();
    assert_eq!(counts, [200; 5]);
    assert_eq!(endpoint.pending_faults(), 0);
    // The answer of a host that does not know the operation is no clip. The retry may reach another host.
    endpoint.inject(Operation::GetClip, None, InjectedFault::UnknownOperation);
    assert!(kvs.clips("door").range(time(base)..=time(base + 1)).clips().try_next().await.unwrap().is_some());
    (0..3).for_each(|_| endpoint.inject(Operation::GetClip, None, InjectedFault::UnknownOperation));
    let error =
        kvs.clips("door").range(time(base)..=time(base + 1)).retry(attempts(3)).clips().try_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongEndpoint, "{error}");
}

/// A clip ends where the codec private data change. Each fragment is still in one clip.
#[tokio::test(start_paused = true)]
async fn a_range_is_cut_where_the_media_change() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let door = endpoint.create_stream("door");
    let base = now_millis() - 3_600_000;
    let mut other = AVCC.to_vec();
    let last = other.len() - 1;
    other[last] ^= 1;
    for ordinal in 0..300u32 {
        let private = if (70..90).contains(&ordinal) { &other } else { AVCC };
        let time = base + i64::from(ordinal) * 2000;
        push_with(&door, private, stamp_at(ordinal + 1, time, time));
    }
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    for clock in [Clock::Server, Clock::Producer] {
        let mut clips = kvs.clips("door").range(time(base)..=time(base + 600_000)).clock(clock).clips();
        let (mut all, mut before) = (0, time(0));
        while let Some(clip) = clips.try_next().await.unwrap() {
            assert!(*clip.range().start() > before, "{clip:?}");
            before = *clip.range().end();
            let listed = numbers(&clip);
            assert_eq!(covered(&bytes(clip).await.unwrap()), listed, "{clock:?}");
            all += listed.len();
        }
        assert_eq!(all, 300, "{clock:?}");
    }
}

/// The error for unplayable media names the part of the range.
#[tokio::test(start_paused = true)]
async fn errors_of_unplayable_media_name_their_range() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let door = endpoint.create_stream("door");
    let base = now_millis() - 3_600_000;
    for ordinal in 0..10u32 {
        let document = Document::new(Shape::Ffmpeg);
        let document = match ordinal {
            6 => document.audio_track(1, "sound", "A_PCM/INT/LIT"),
            _ => document.codec_private(AVCC).video_track(1),
        };
        let time = base + i64::from(ordinal) * 2000;
        door.push_stamped(&document.block(1, 0, true, FRAME), stamp_at(ordinal + 1, time, time));
    }
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    let mut clips = kvs.clips("door").range(time(base)..=time(base + 600_000)).clips();
    let error = loop {
        match clips.try_next().await {
            Ok(clip) => drop(clip.unwrap()),
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), error.position().fragment().is_some()), (ErrorKind::Unsupported, true));
    let place = error.position().path().unwrap();
    assert!(place.contains(&time(base + 12_000).to_string()), "{error}");
    // The stream continues after it.
    let mut clips = kvs.clips("door").range(time(base + 12_001)..=time(base + 600_000)).clips();
    let mut all = 0;
    while let Some(clip) = clips.try_next().await.unwrap() {
        all += clip.fragments().len();
    }
    assert_eq!(all, 3);
}

/// Retention drops the beginning of a long range while it is listed and read.
#[tokio::test(start_paused = true)]
async fn expired_fragments_are_a_retention_error() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let door = endpoint.create_stream("door");
    door.set_retention(Duration::from_secs(3600));
    let base = now_millis() - 3_550_000;
    for ordinal in 0..600 {
        let time = base + i64::from(ordinal) * 2000;
        push(&door, ordinal + 1, time, time);
    }
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    let mut clips = kvs.clips("door").range(time(base)..=time(base + 1_199_000)).clips();
    assert_eq!(clips.try_next().await.unwrap().unwrap().fragments().len(), 200);
    // 250 of them have expired by then.
    tokio::time::sleep(Duration::from_secs(48 + 500)).await;
    let clip = clips.try_next().await.unwrap().unwrap();
    assert!((145..=151).contains(&clip.fragments().len()), "{clip:?}");
    let listed = numbers(&clip);
    assert_eq!(covered(&bytes(clip).await.unwrap()), listed);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let error = clips.try_next().await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::InvalidArgument | ErrorKind::Retention | ErrorKind::NotFound), "{error}");
}

/// An empty clip is an error, and does not replace a file.
#[tokio::test(start_paused = true)]
async fn an_empty_clip_is_an_error() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let door = endpoint.create_stream("door");
    let base = now_millis() - 3_600_000;
    (0..2).for_each(|ordinal| push(&door, ordinal + 1, base + i64::from(ordinal) * 2000, base));
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("clip.mp4");
    std::fs::write(&path, b"what was there").unwrap();
    endpoint.inject(Operation::GetClip, None, InjectedFault::BreakOff(0));
    let clip = kvs.clips("door").range(time(base)..=time(base + 4000)).clips().try_next().await.unwrap().unwrap();
    let error = clip.write_to(&path).await.unwrap_err();
    assert!(error.to_string().contains("the clip has no bytes"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"what was there");
    // A folder cannot be replaced. The attempt leaves no temporary file.
    let clip = kvs.clips("door").range(time(base)..=time(base + 4000)).clips().try_next().await.unwrap().unwrap();
    clip.write_to(dir.path()).await.unwrap_err();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let beside = dir.path().with_extension("part");
    assert!(!beside.exists());
}
