//! HLS, DASH and clips of the local endpoint: argument rules and covered fragments.

mod browser;
mod manifests;
mod players;

use std::fmt::Debug;
use std::time::Duration;

use aws_sdk_kinesisvideoarchivedmedia::Client;
use aws_sdk_kinesisvideoarchivedmedia::primitives::AggregatedBytes;
use aws_sdk_kinesisvideoarchivedmedia::types::{
    ClipFragmentSelector, ClipTimestampRange, DashFragmentSelector, DashTimestampRange, HlsFragmentSelector,
    HlsTimestampRange,
};
use kinesis_video::local::{
    Document, InjectedFault, LocalEndpoint, LocalStream, Operation, Quotas, Shape, Stamp, fragment_number,
};

use crate::support::bodies::{AVCC, FRAME, frame_of, numbers_in, stamp_at};
use crate::support::endpoint::{http, now_millis, refusal, sdk_time, unlimited};

/// An avcC record with another SPS than [`AVCC`].
const OTHER_AVCC: &[u8] = &[1, 0x64, 0, 12, 0xFF, 0xE1, 0, 3, 0x67, 0x64, 2, 1, 0, 2, 0x68, 0xEE];

/// An hvcC record with one VPS.
const HVCC: &[u8] =
    &[1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 1, 0x20, 0, 1, 0, 2, 0x40, 1];
const AAC: &[u8] = &[0x11, 0x90];
const ALAW: &[u8] = &[6, 0, 1, 0, 0x40, 0x1F, 0, 0, 0x40, 0x1F, 0, 0, 1, 0, 8, 0, 0, 0];
const MULAW: &[u8] = &[7, 0, 1, 0, 0x40, 0x1F, 0, 0, 0x40, 0x1F, 0, 0, 1, 0, 8, 0, 0, 0];

const H264_ID: &str = "V_MPEG4/ISO/AVC";
const H265_ID: &str = "V_MPEGH/ISO/HEVC";
const AAC_ID: &str = "A_AAC";
const G711_ID: &str = "A_MS/ACM";

const SECOND: i64 = 1000;
const HOUR: i64 = 3600 * SECOND;
const NOTHING_FOUND: &str = "No fragments found in the stream for the streaming request.";

pub async fn start(quotas: Quotas) -> (LocalEndpoint, Client) {
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let client = Client::new(&endpoint.sdk_config());
    (endpoint, client)
}

/// A track: its codec id and private data.
type Declared = (&'static str, &'static [u8]);

/// A fragment of two seconds.
fn two_seconds_of(tracks: &[Declared]) -> Document {
    let mut document = Document::new(Shape::Producer);
    for (number, (codec, private)) in (1..).zip(tracks) {
        document = document.codec_private(private);
        document = match codec.starts_with('V') {
            true => document.picture_track(number, codec, 640, 480),
            false => document.audio_track(number, "sound", codec),
        };
    }
    (1..=tracks.len() as u64)
        .fold(document, |document, track| document.block(track, 0, true, FRAME).block(track, 1000, true, FRAME))
}

fn h264() -> Document {
    two_seconds_of(&[(H264_ID, AVCC)])
}

/// Pushes a fragment of H.264 with its number in its first frame.
fn push_h264(stream: &LocalStream, stamp: Stamp) {
    let document = Document::new(Shape::Producer).codec_private(AVCC).picture_track(1, H264_ID, 64, 48);
    let document = document.block(1, 0, true, &frame_of(&stamp.number)).block(1, 1000, true, FRAME);
    stream.push_stamped(&document, stamp);
}

/// The options of a request, for all three operations. Times are in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Ask {
    mode: Option<&'static str>,
    by: Option<&'static str>,
    range: Option<(Option<i64>, Option<i64>)>,
    expires: Option<i32>,
    most: Option<i64>,
}

const SERVER: Option<&str> = Some("SERVER_TIMESTAMP");
const PRODUCER: Option<&str> = Some("PRODUCER_TIMESTAMP");

fn ask(mode: &'static str) -> Ask {
    Ask { mode: Some(mode), ..Ask::default() }
}

fn ranged(mode: &'static str, by: Option<&'static str>, start: i64, end: i64) -> Ask {
    Ask { by, range: Some((Some(start), Some(end))), ..ask(mode) }
}

/// The outcome of a request: a URL, or name, status and message of a refusal.
type Outcome = Result<String, (String, u16, String)>;

async fn hls(client: &Client, stream: &str, ask: Ask) -> Outcome {
    let mut call = client.get_hls_streaming_session_url().stream_name(stream);
    call = call.set_playback_mode(ask.mode.map(Into::into)).set_expires(ask.expires);
    call = call.set_max_media_playlist_fragment_results(ask.most);
    if ask.by.is_some() || ask.range.is_some() {
        let range = ask.range.map(|(start, end)| {
            let range = HlsTimestampRange::builder().set_start_timestamp(start.map(sdk_time));
            range.set_end_timestamp(end.map(sdk_time)).build()
        });
        let selector = HlsFragmentSelector::builder().set_fragment_selector_type(ask.by.map(Into::into));
        call = call.hls_fragment_selector(selector.set_timestamp_range(range).build());
    }
    match call.send().await {
        Ok(answer) => Ok(answer.hls_streaming_session_url().unwrap().to_owned()),
        refused => Err(refusal(refused)),
    }
}

async fn dash(client: &Client, stream: &str, ask: Ask) -> Outcome {
    let mut call = client.get_dash_streaming_session_url().stream_name(stream);
    call = call.set_playback_mode(ask.mode.map(Into::into)).set_expires(ask.expires);
    call = call.set_max_manifest_fragment_results(ask.most);
    if ask.by.is_some() || ask.range.is_some() {
        let range = ask.range.map(|(start, end)| {
            let range = DashTimestampRange::builder().set_start_timestamp(start.map(sdk_time));
            range.set_end_timestamp(end.map(sdk_time)).build()
        });
        let selector = DashFragmentSelector::builder().set_fragment_selector_type(ask.by.map(Into::into));
        call = call.dash_fragment_selector(selector.set_timestamp_range(range).build());
    }
    match call.send().await {
        Ok(answer) => Ok(answer.dash_streaming_session_url().unwrap().to_owned()),
        refused => Err(refusal(refused)),
    }
}

/// The ordinals of the fragments that a clip of the local endpoint covers.
async fn clip(
    client: &Client,
    stream: &str,
    by: &str,
    start: i64,
    end: i64,
) -> Result<Vec<u32>, (String, u16, String)> {
    let range =
        ClipTimestampRange::builder().start_timestamp(sdk_time(start)).end_timestamp(sdk_time(end)).build().unwrap();
    let selector = ClipFragmentSelector::builder().fragment_selector_type(by.into()).timestamp_range(range).build();
    let call = client.get_clip().stream_name(stream).clip_fragment_selector(selector.unwrap());
    let answer = match call.send().await {
        Ok(answer) => answer,
        refused => return Err(refusal(refused)),
    };
    assert_eq!(answer.content_type(), Some("video/mp4"));
    let body = answer.payload.collect().await.unwrap().into_bytes();
    assert_eq!(boxes(&body), ["ftyp", "mdat", "moov"]);
    Ok(numbers_in(&body).iter().map(|number| ordinal(number)).collect())
}

/// The ordinal in a fragment number: after 2^156, in units of 2^92.
fn ordinal(number: &str) -> u32 {
    (0..1000).rfind(|n| fragment_number(*n, 0).as_str() <= number).unwrap()
}

/// The kinds of the boxes of an MP4 file. Their sizes must add up.
fn boxes(mut file: &[u8]) -> Vec<&str> {
    let mut boxes = Vec::new();
    while !file.is_empty() {
        let size = match u32::from_be_bytes(file[..4].try_into().unwrap()) {
            1 => u64::from_be_bytes(file[8..16].try_into().unwrap()) as usize,
            size => size as usize,
        };
        boxes.push(std::str::from_utf8(&file[4..8]).unwrap());
        file = &file[size..];
    }
    boxes
}

/// Creates a stream of ten fragments of 2 s. The first is received at `base`, and the producer's clock is an hour
/// slow.
fn ten(endpoint: &LocalEndpoint, base: i64) -> LocalStream {
    let door = endpoint.create_stream("door");
    for ordinal in 0..10u32 {
        let server = base + i64::from(ordinal) * 2 * SECOND;
        push_h264(&door, stamp_at(ordinal + 1, server, server - HOUR));
    }
    door
}

#[tokio::test]
async fn every_argument_rule_of_sessions_is_enforced() {
    let (endpoint, client) = start(unlimited()).await;
    let base = now_millis() - 600 * SECOND;
    let door = ten(&endpoint, base);
    door.set_retention(Duration::from_secs(3600));
    push_h264(&endpoint.create_stream("now"), stamp_at(1, now_millis(), now_millis()));
    let (first, last) = (base, base + 20 * SECOND);
    let day = 24 * HOUR;
    let produced = base - HOUR;
    let bad = [
        (ask("FOREVER"), "PlaybackMode must be one of LIVE, LIVE_REPLAY, ON_DEMAND"),
        // In LIVE mode, TimestampRange must be absent.
        (ranged("LIVE", SERVER, first, last), "TimestampRange must not be given if PlaybackMode is LIVE"),
        (Ask { mode: None, ..ranged("LIVE", SERVER, first, last) }, "TimestampRange must not be given"),
        // ON_DEMAND and LIVE_REPLAY require a selector, a type and a range.
        (ask("ON_DEMAND"), "A fragment selector must be given if PlaybackMode is ON_DEMAND"),
        (ask("LIVE_REPLAY"), "A fragment selector must be given if PlaybackMode is LIVE_REPLAY"),
        (ranged("ON_DEMAND", None, first, last), "FragmentSelectorType is missing"),
        (ranged("LIVE_REPLAY", None, first, last), "FragmentSelectorType is missing"),
        (ranged("ON_DEMAND", Some("MOON"), first, last), "FragmentSelectorType must be PRODUCER_TIMESTAMP or SERVER_"),
        (Ask { by: Some("MOON"), ..ask("LIVE") }, "FragmentSelectorType must be PRODUCER_TIMESTAMP or SERVER_"),
        (Ask { by: SERVER, ..ask("ON_DEMAND") }, "TimestampRange is missing"),
        (Ask { by: SERVER, ..ask("LIVE_REPLAY") }, "TimestampRange is missing"),
        // Start is always required, End only for ON_DEMAND.
        (Ask { by: SERVER, range: Some((None, Some(last))), ..ask("ON_DEMAND") }, "StartTimestamp is missing"),
        (Ask { by: SERVER, range: Some((None, Some(last))), ..ask("LIVE_REPLAY") }, "StartTimestamp is missing"),
        (Ask { by: SERVER, range: Some((Some(first), None)), ..ask("ON_DEMAND") }, "EndTimestamp is missing"),
        // End is after Start, by at most 24 h.
        (ranged("ON_DEMAND", PRODUCER, first, first), "EndTimestamp must be later than StartTimestamp"),
        (ranged("LIVE_REPLAY", PRODUCER, first, first - 1), "EndTimestamp must be later than StartTimestamp"),
        (ranged("ON_DEMAND", PRODUCER, first, first + day + 1), "within 24 hours of StartTimestamp"),
        (ranged("LIVE_REPLAY", PRODUCER, first, first + day + 1), "within 24 hours of StartTimestamp"),
        // With SERVER_TIMESTAMP, End must be in the past, and Start after the oldest fragment.
        (ranged("ON_DEMAND", SERVER, first, now_millis() + 60 * SECOND), "EndTimestamp must be in the past"),
        (ranged("LIVE_REPLAY", SERVER, first, now_millis() + 60 * SECOND), "EndTimestamp must be in the past"),
        (
            ranged("ON_DEMAND", SERVER, now_millis() - HOUR - SECOND, last),
            "StartTimestamp must be later than the stream head",
        ),
        (
            ranged("LIVE_REPLAY", SERVER, now_millis() - HOUR - SECOND, last),
            "StartTimestamp must be later than the stream",
        ),
        (Ask { expires: Some(299), ..ask("LIVE") }, "Expires must be 300 to 43200"),
        (Ask { expires: Some(43_201), ..ask("LIVE") }, "Expires must be 300 to 43200"),
        (Ask { most: Some(0), ..ask("LIVE") }, "FragmentResults must be 1 to 5000"),
        (Ask { most: Some(5001), ..ranged("ON_DEMAND", SERVER, first, last) }, "FragmentResults must be 1 to 5000"),
    ];
    for (ask, expected) in bad {
        for (name, status, message) in
            [hls(&client, "door", ask).await, dash(&client, "door", ask).await].map(Result::unwrap_err)
        {
            assert_eq!((&name[..], status), ("InvalidArgumentException", 400), "{ask:?}: {message}");
            assert!(message.contains(expected), "{ask:?}: {message}");
        }
    }
    let good = [
        ("now", Ask::default()),
        ("now", ask("LIVE")),
        ("now", Ask { by: PRODUCER, ..ask("LIVE") }),
        ("now", Ask { expires: Some(300), most: Some(1), ..ask("LIVE") }),
        ("now", Ask { expires: Some(43_200), most: Some(5000), ..ask("LIVE") }),
        ("door", ranged("ON_DEMAND", SERVER, first, last)),
        ("door", ranged("LIVE_REPLAY", SERVER, first, last)),
        ("door", Ask { by: SERVER, range: Some((Some(first), None)), ..ask("LIVE_REPLAY") }),
        ("door", ranged("ON_DEMAND", SERVER, now_millis() - HOUR + 60 * SECOND, last)),
        ("door", ranged("ON_DEMAND", PRODUCER, produced, produced + day)),
        // Any time of the producer's clock is accepted.
        ("door", ranged("ON_DEMAND", PRODUCER, produced - day / 2, produced + day / 2)),
    ];
    for (stream, ask) in good {
        let url = hls(&client, stream, ask).await.unwrap();
        assert!(
            url.starts_with(&format!("{}/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=", endpoint.url())),
            "{url}"
        );
        let url = dash(&client, stream, ask).await.unwrap();
        assert!(url.starts_with(&format!("{}/dash/v1/getDASHManifest.mpd?SessionToken=", endpoint.url())), "{url}");
    }
}

#[tokio::test]
async fn hls_and_dash_refuse_each_others_arguments() {
    let (endpoint, client) = start(unlimited()).await;
    let live = endpoint.create_stream("now");
    push_h264(&live, stamp_at(1, now_millis(), now_millis()));
    let hls = || client.get_hls_streaming_session_url().stream_name("now");
    let dash = || client.get_dash_streaming_session_url().stream_arn(live.arn());
    for container in ["FRAGMENTED_MP4", "MPEG_TS"] {
        hls().container_format(container.into()).send().await.unwrap();
    }
    for mode in ["ALWAYS", "NEVER", "ON_DISCONTINUITY"] {
        hls().discontinuity_mode(mode.into()).send().await.unwrap();
    }
    for display in ["ALWAYS", "NEVER"] {
        hls().display_fragment_timestamp(display.into()).send().await.unwrap();
        let both = dash().display_fragment_timestamp(display.into()).display_fragment_number(display.into());
        both.send().await.unwrap();
    }
    for ((name, status, message), expected) in [
        (refusal(hls().container_format("WEBM".into()).send().await), "ContainerFormat must be one of"),
        (refusal(hls().discontinuity_mode("OFTEN".into()).send().await), "DiscontinuityMode must be one of"),
        (refusal(hls().display_fragment_timestamp("OFTEN".into()).send().await), "DisplayFragmentTimestamp must be"),
        (refusal(dash().display_fragment_timestamp("OFTEN".into()).send().await), "DisplayFragmentTimestamp must be"),
        (refusal(dash().display_fragment_number("OFTEN".into()).send().await), "DisplayFragmentNumber must be one of"),
    ] {
        assert_eq!((&name[..], status), ("InvalidArgumentException", 400), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn every_argument_rule_of_clips_is_enforced() {
    let (endpoint, client) = start(unlimited()).await;
    let base = now_millis() - 600 * SECOND;
    ten(&endpoint, base).set_retention(Duration::from_secs(3600));
    let last = base + 20 * SECOND;
    let day = 24 * HOUR;
    for (by, start, end, expected) in [
        ("MOON", base, last, "FragmentSelectorType must be PRODUCER_TIMESTAMP or SERVER_TIMESTAMP"),
        ("PRODUCER_TIMESTAMP", base, base, "EndTimestamp must be later than StartTimestamp"),
        ("PRODUCER_TIMESTAMP", base, base - 1, "EndTimestamp must be later than StartTimestamp"),
        ("PRODUCER_TIMESTAMP", base, base + day + 1, "EndTimestamp must be within 24 hours of StartTimestamp"),
        ("SERVER_TIMESTAMP", base, now_millis() + 60 * SECOND, "EndTimestamp must be in the past"),
        ("SERVER_TIMESTAMP", now_millis() - HOUR - SECOND, last, "StartTimestamp must be later than the stream head"),
    ] {
        let (name, status, message) = clip(&client, "door", by, start, end).await.unwrap_err();
        assert_eq!((&name[..], status), ("InvalidArgumentException", 400), "{message}");
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(clip(&client, "door", "PRODUCER_TIMESTAMP", base - HOUR, base - HOUR + day).await.unwrap().len(), 10);
    // Requests that the SDK cannot send.
    for (body, expected) in [
        (r#"{"StreamName":"door"}"#, "ClipFragmentSelector is missing"),
        (r#"{"StreamName":"door","ClipFragmentSelector":{}}"#, "FragmentSelectorType is missing"),
        (
            r#"{"StreamName":"door","ClipFragmentSelector":{"FragmentSelectorType":"SERVER_TIMESTAMP"}}"#,
            "TimestampRange is missing",
        ),
        (
            r#"{"StreamName":"door","ClipFragmentSelector":{"FragmentSelectorType":"SERVER_TIMESTAMP","TimestampRange":{"EndTimestamp":1}}}"#,
            "StartTimestamp is missing",
        ),
        (
            r#"{"StreamName":"door","ClipFragmentSelector":{"FragmentSelectorType":"SERVER_TIMESTAMP","TimestampRange":{"StartTimestamp":1}}}"#,
            "EndTimestamp is missing",
        ),
    ] {
        let (status, answer) = http(&endpoint, "POST", "/getClip", body).await;
        assert!(status == 400 && answer.contains("InvalidArgumentException:") && answer.contains(expected), "{answer}");
    }
}

/// The covered fragments, each case with the sentence of the documentation. Fragments begin at these seconds by the
/// producer's clock. One is received per second.
#[tokio::test]
async fn a_clip_covers_the_fragments_of_its_range() {
    const BY_PRODUCER: &str = "PRODUCER_TIMESTAMP";
    const BY_SERVER: &str = "SERVER_TIMESTAMP";
    let (endpoint, client) = start(unlimited()).await;
    let base = now_millis() - 600 * SECOND;
    for (producer, by, start, end, expected) in [
        // "Only fragments that start exactly at or after StartTimestamp are included in the session. Fragments
        // that start before StartTimestamp and continue past it aren't included": the first lasts until 2.
        (&[0, 2, 4, 6][..], BY_PRODUCER, 1, 5, &[2, 3][..]),
        (&[0, 2, 4, 6], BY_PRODUCER, 2, 5, &[2, 3]),
        // "This value is inclusive. The EndTimestamp is compared to the (starting) timestamp of the fragment.
        // Fragments that start before the EndTimestamp value and continue past it are included".
        (&[0, 2, 4, 6], BY_PRODUCER, 0, 4, &[1, 2, 3]),
        (&[0, 2, 4, 6], BY_PRODUCER, 0, 5, &[1, 2, 3]),
        (&[0, 2, 4, 6], BY_SERVER, 1, 2, &[2, 3]),
        // "If there are multiple fragments with the same start timestamp, the fragment that has the largest
        // fragment number (that is, the newest fragment) is included": sent again at once.
        (&[0, 2, 2, 4], BY_PRODUCER, 0, 9, &[1, 3, 4]),
        // This applies only to PRODUCER_TIMESTAMP.
        (&[0, 2, 2, 4], BY_SERVER, 0, 9, &[1, 2, 3, 4]),
        // "Fragments that have different timestamps but have overlapping durations are still included".
        (&[0, 1, 2, 3], BY_PRODUCER, 0, 9, &[1, 2, 3, 4]),
        // "The first fragment ingested with a producer timestamp within the specified TimestampRange is
        // included. In addition, the fragments with producer timestamps within the TimestampRange ingested
        // immediately following the first fragment".
        (&[50, 2, 4, 60, 6], BY_PRODUCER, 0, 9, &[2, 3]),
        // "If some fragments are ingested within the same time range and very different points in time, only
        // the oldest ingested collection of fragments are returned."
        (&[0, 2, 4, 90, 92, 0, 2, 4, 6], BY_PRODUCER, 0, 9, &[1, 2, 3]),
        (&[0, 2, 4, 90, 92, 0, 2, 4, 6], BY_PRODUCER, 5, 9, &[9]),
        // A fragment that is ingested late is covered in its place.
        (&[0, 4, 2, 6], BY_PRODUCER, 0, 9, &[1, 3, 2, 4]),
    ] {
        let stream = endpoint.create_stream("door");
        for (ordinal, seconds) in (1u32..).zip(producer) {
            let server = base + i64::from(ordinal - 1) * SECOND;
            push_h264(&stream, stamp_at(ordinal, server, base + seconds * SECOND));
        }
        let covered = clip(&client, "door", by, base + start * SECOND, base + end * SECOND).await.unwrap();
        assert_eq!(covered, expected, "{producer:?} {by} {start}..={end}");
    }
}

#[tokio::test]
async fn a_clip_has_at_most_200_fragments_and_costs_a_point_each() {
    tokio::time::pause();
    let endpoint = LocalEndpoint::start().await.unwrap();
    let client = Client::new(&endpoint.in_process_config());
    let base = now_millis() - 900 * SECOND;
    let door = endpoint.create_stream("door");
    for ordinal in 1..=250 {
        let server = base + i64::from(ordinal) * 2 * SECOND;
        push_h264(&door, stamp_at(ordinal, server, server));
    }
    let whole = || clip(&client, "door", "SERVER_TIMESTAMP", base, base + 600 * SECOND);
    assert_eq!(whole().await.unwrap(), (1..=200).collect::<Vec<_>>());
    assert!(whole().await.is_ok());
    // 400 of the 500 media points of this second are spent.
    let (name, status, message) = whole().await.unwrap_err();
    assert_eq!((&name[..], status), ("ClientLimitExceededException", 400), "{message}");
    assert!(message.contains("media points"), "{message}");
}

#[tokio::test]
async fn a_range_without_fragments_is_refused() {
    let (endpoint, client) = start(unlimited()).await;
    let base = now_millis() - 600 * SECOND;
    ten(&endpoint, base);
    endpoint.create_stream("empty");
    let old = endpoint.create_stream("old");
    push_h264(&old, stamp_at(1, now_millis() - 31 * SECOND, now_millis()));
    let range = |mode| ranged(mode, SERVER, base + 30 * SECOND, base + 60 * SECOND);
    for (stream, ask) in [
        ("door", range("ON_DEMAND")),
        ("door", range("LIVE_REPLAY")),
        ("door", Ask { by: SERVER, range: Some((Some(base + 30 * SECOND), None)), ..ask("LIVE_REPLAY") }),
        // A fragment that contains Start is left out.
        ("door", ranged("ON_DEMAND", SERVER, base + 18 * SECOND + 1, base + 60 * SECOND)),
        // No fragment in the last 30 s.
        ("old", ask("LIVE")),
        ("door", Ask::default()),
        ("empty", ask("LIVE")),
    ] {
        for refused in [hls(&client, stream, ask).await, dash(&client, stream, ask).await].map(Result::unwrap_err) {
            assert_eq!(refused, ("ResourceNotFoundException".into(), 404, NOTHING_FOUND.into()), "{stream} {ask:?}");
        }
    }
    let none = clip(&client, "door", "SERVER_TIMESTAMP", base + 30 * SECOND, base + 60 * SECOND).await.unwrap_err();
    assert_eq!((&none.0[..], none.1), ("ResourceNotFoundException", 404));
    // An unknown stream has another message.
    for (name, status, message) in [
        hls(&client, "nobody", ask("LIVE")).await.unwrap_err(),
        dash(&client, "nobody", ask("LIVE")).await.unwrap_err(),
        clip(&client, "nobody", "SERVER_TIMESTAMP", base, base + 1).await.unwrap_err(),
    ] {
        assert_eq!((&name[..], status), ("ResourceNotFoundException", 404));
        assert!(message.contains("nobody"), "{message}");
    }
}

#[tokio::test]
async fn streams_need_a_name_or_arn_and_retention() {
    let (endpoint, client) = start(unlimited()).await;
    let door = ten(&endpoint, now_millis() - 20 * SECOND);
    for path in ["/getHLSStreamingSessionURL", "/getDASHStreamingSessionURL", "/getClip", "/getImages"] {
        let both = format!(r#"{{"StreamName":"door","StreamARN":"{}"}}"#, door.arn());
        for body in ["{}", &both] {
            let (status, answer) = http(&endpoint, "POST", path, body).await;
            assert!(status == 400 && answer.contains("Either StreamName or StreamARN must be given"), "{answer}");
        }
        for body in [
            r#"{"StreamName":7}"#,
            r#"{"StreamName":"door","Expires":"long","MaxResults":"many","ClipFragmentSelector":7}"#,
        ] {
            let (status, answer) = http(&endpoint, "POST", path, body).await;
            assert!(status == 400 && answer.contains("InvalidArgumentException:"), "{path} {answer}");
        }
    }
    let by_arn = client.get_hls_streaming_session_url().stream_arn(door.arn()).send().await;
    assert!(by_arn.is_ok(), "{by_arn:?}");
    door.set_retention(Duration::ZERO);
    let base = now_millis() - 20 * SECOND;
    for (name, status, message) in [
        hls(&client, "door", ask("LIVE")).await.unwrap_err(),
        dash(&client, "door", ask("LIVE")).await.unwrap_err(),
        clip(&client, "door", "SERVER_TIMESTAMP", base, base + 10).await.unwrap_err(),
    ] {
        assert_eq!((&name[..], status), ("NoDataRetentionException", 400), "{message}");
    }
}

/// The ways to play tracks.
const WAYS: [&str; 4] = ["HLS", "TS", "DASH", "clip"];

/// The refusal for these tracks in each way to play them, or `None`.
async fn judged(endpoint: &LocalEndpoint, client: &Client, tracks: &[Declared]) -> [Option<String>; 4] {
    let stream = endpoint.create_stream("judged");
    let start = now_millis() - 5 * SECOND;
    stream.push_stamped(&two_seconds_of(tracks), stamp_at(1, start, start));
    let ts = client.get_hls_streaming_session_url().stream_name("judged").container_format("MPEG_TS".into());
    let outcomes = [
        hls(client, "judged", Ask::default()).await.err(),
        ts.send().await.map_err(|error| refusal::<(), _>(Err(error))).err(),
        dash(client, "judged", Ask::default()).await.err(),
        clip(client, "judged", "SERVER_TIMESTAMP", start, start + SECOND).await.err(),
    ];
    outcomes.map(|outcome| {
        outcome.map(|(name, status, message)| {
            assert_eq!(status, 400, "{message}");
            name
        })
    })
}

/// The table of codec requirements, then invalid private data.
#[tokio::test]
async fn only_playable_codecs_with_private_data_are_accepted() {
    const UNSUPPORTED: Option<&str> = Some("UnsupportedStreamMediaTypeException");
    const MISSING: Option<&str> = Some("MissingCodecPrivateDataException");
    const INVALID: Option<&str> = Some("InvalidCodecPrivateDataException");
    let (endpoint, client) = start(unlimited()).await;
    let (h264, h265, aac) = ((H264_ID, AVCC), (H265_ID, HVCC), (AAC_ID, AAC));
    let (alaw, mulaw) = ((G711_ID, ALAW), (G711_ID, MULAW));
    let cases: &[(&[Declared], [Option<&str>; 4])] = &[
        (&[h264], [None, None, None, None]),
        (&[h264, aac], [None, None, None, None]),
        (&[h265], [None, UNSUPPORTED, None, None]),
        (&[h265, aac], [None, UNSUPPORTED, None, None]),
        (&[aac], [None, None, None, UNSUPPORTED]),
        (&[aac, aac], [UNSUPPORTED; 4]),
        (&[aac, h264], [UNSUPPORTED; 4]),
        (&[h264, alaw], [UNSUPPORTED, UNSUPPORTED, None, None]),
        (&[h264, mulaw], [UNSUPPORTED, UNSUPPORTED, None, UNSUPPORTED]),
        (&[h265, alaw], [UNSUPPORTED; 4]),
        (&[alaw], [UNSUPPORTED; 4]),
        (&[], [UNSUPPORTED; 4]),
        (&[("V_MJPEG", AVCC)], [UNSUPPORTED; 4]),
        (&[h264, ("A_OPUS", AAC)], [UNSUPPORTED; 4]),
        // The service's message has this spelling mistake.
        (&[("V_MPEG/ISO/AVC", AVCC)], [UNSUPPORTED; 4]),
        (&[(H264_ID, &[])], [MISSING; 4]),
        (&[h264, (AAC_ID, &[])], [MISSING; 4]),
        (&[(H265_ID, &[])], [MISSING, UNSUPPORTED, MISSING, MISSING]),
        (&[h264, (G711_ID, &[])], [UNSUPPORTED, UNSUPPORTED, MISSING, MISSING]),
        (&[(H264_ID, &[1; 40])], [INVALID; 4]),
        (&[(H264_ID, &AVCC[..12])], [INVALID; 4]),
        // A byte stream, and a record without parameter sets.
        (&[(H264_ID, &[0, 0, 0, 1, 0x67, 0x64])], [INVALID; 4]),
        (&[(H264_ID, &[1, 0x64, 0, 12, 0xFF, 0xE0, 0])], [INVALID; 4]),
        (&[(H265_ID, &HVCC[..22])], [INVALID, UNSUPPORTED, INVALID, INVALID]),
        (&[h264, (AAC_ID, &[0x01, 0x90])], [INVALID; 4]),
        (&[h264, (G711_ID, &ALAW[..15])], [UNSUPPORTED, UNSUPPORTED, INVALID, INVALID]),
    ];
    for (tracks, expected) in cases {
        let outcomes = judged(&endpoint, &client, tracks).await;
        for ((way, outcome), expected) in WAYS.iter().zip(&outcomes).zip(expected) {
            assert_eq!(outcome.as_deref(), *expected, "{tracks:x?} as {way}");
        }
    }
}

#[tokio::test]
async fn the_first_fragment_of_a_session_is_checked() {
    let (endpoint, client) = start(unlimited()).await;
    let base = now_millis() - 20 * SECOND;
    let door = endpoint.create_stream("door");
    let bad = two_seconds_of(&[("V_MJPEG", &[])]);
    // Bad, good, bad, good fragments of 2 s each. The last ones have the same producer time.
    for (ordinal, document, producer) in [(0, &bad, 0), (1, &h264(), 2), (2, &bad, 6), (3, &h264(), 6)] {
        let server = base + i64::from(ordinal) * 2 * SECOND;
        door.push_stamped(document, stamp_at(ordinal + 1, server, base + producer * SECOND));
    }
    let at = |seconds: i64| base + seconds * SECOND;
    for (ask, is_good) in [
        // ON_DEMAND begins with the oldest, LIVE_REPLAY at Start. A fragment that contains Start is not included.
        (ranged("ON_DEMAND", SERVER, at(0), at(9)), false),
        (ranged("ON_DEMAND", SERVER, at(1), at(9)), true),
        (ranged("LIVE_REPLAY", SERVER, at(3), at(9)), false),
        (Ask { by: SERVER, range: Some((Some(at(5)), None)), ..ask("LIVE_REPLAY") }, true),
        // By the producer's clock, only the newest fragment of one time counts.
        (ranged("ON_DEMAND", PRODUCER, at(5), at(9)), true),
        // LIVE begins with the newest, up to the maximum.
        (Ask { most: Some(1), ..ask("LIVE") }, true),
        (Ask { most: Some(2), ..ask("LIVE") }, false),
        (Ask { most: Some(2), by: PRODUCER, ..ask("LIVE") }, true),
        (Ask { most: Some(3), by: PRODUCER, ..ask("LIVE") }, false),
        (ask("LIVE"), false),
    ] {
        for outcome in [hls(&client, "door", ask).await, dash(&client, "door", ask).await] {
            let name = outcome.as_ref().err().map(|(name, ..)| &name[..]);
            assert_eq!(name, (!is_good).then_some("UnsupportedStreamMediaTypeException"), "{ask:?}");
        }
    }
}

#[tokio::test]
async fn clips_refuse_changed_tracks_and_unparsable_frames() {
    let (endpoint, client) = start(unlimited()).await;
    let base = now_millis() - 60 * SECOND;
    let frame = |payload: &[u8]| h264().block(1, 1500, false, payload);
    for (second, expected) in [
        (Some(h264()), None),
        // Changes of codec private data and tracks are not allowed.
        (Some(two_seconds_of(&[(H264_ID, OTHER_AVCC)])), Some("InvalidCodecPrivateDataException")),
        (Some(two_seconds_of(&[(H264_ID, &[])])), Some("MissingCodecPrivateDataException")),
        (Some(two_seconds_of(&[(H265_ID, HVCC)])), Some("UnsupportedStreamMediaTypeException")),
        (Some(two_seconds_of(&[(H264_ID, AVCC), (AAC_ID, AAC)])), Some("UnsupportedStreamMediaTypeException")),
        // Lengths that do not add up, a byte stream, an empty frame, and bytes that are no fragment.
        (Some(frame(&[0, 0, 0, 9, 1, 2])), Some("InvalidMediaFrameException")),
        (Some(frame(&[0, 0, 0, 1, 0x41, 7, 7, 7])), Some("InvalidMediaFrameException")),
        (Some(frame(&[])), Some("InvalidMediaFrameException")),
        (None, Some("InvalidMediaFrameException")),
    ] {
        let door = endpoint.create_stream("door");
        push_h264(&door, stamp_at(1, base, base));
        let stamp = stamp_at(2, base + SECOND, base + SECOND);
        match &second {
            Some(document) => door.push_stamped(document, stamp),
            None => door.push_bytes(&b"no document"[..], stamp),
        }
        let outcome = clip(&client, "door", "SERVER_TIMESTAMP", base, base + SECOND).await;
        let refused = outcome.as_ref().err().map(|(name, status, _)| (&name[..], *status));
        assert_eq!(refused, expected.map(|name| (name, 400)), "{second:?}: {outcome:?}");
        // A session checks its first fragment only.
        assert!(hls(&client, "door", ranged("ON_DEMAND", SERVER, base, base + SECOND)).await.is_ok());
    }
}

#[tokio::test]
async fn session_urls_answer_and_expire() {
    let (endpoint, client) = start(unlimited()).await;
    let door = endpoint.create_stream("door");
    push_h264(&door, stamp_at(1, now_millis(), now_millis()));
    let get = async |url: &str| http(&endpoint, "GET", url.strip_prefix(endpoint.url()).unwrap(), "").await;
    let default = hls(&client, "door", ask("LIVE")).await.unwrap();
    let longer = dash(&client, "door", Ask { expires: Some(600), ..ask("LIVE") }).await.unwrap();
    for url in [&default, &longer] {
        let (status, answer) = get(url).await;
        assert_eq!(status, 200, "{answer}");
        assert!(answer.contains("avc1.64000c"), "{answer}");
    }
    // Every session has its own token, for its own protocol.
    let token = |url: &str| url.split_once("SessionToken=").unwrap().1.to_owned();
    assert!(token(&default).len() >= 32);
    assert_ne!(token(&default), token(&hls(&client, "door", ask("LIVE")).await.unwrap()));
    for url in [
        format!("{}/hls/v1/getHLSMasterPlaylist.m3u8", endpoint.url()),
        format!("{}/hls/v1/getHLSMasterPlaylist.m3u8?SessionToken=", endpoint.url()),
        format!("{}/hls/v1/getMP4MediaFragment.mp4?FragmentNumber=1&SessionToken=made-up", endpoint.url()),
        format!("{}/dash/v1/getDASHManifest.mpd?SessionToken={}", endpoint.url(), token(&default)),
    ] {
        let (status, answer) = get(&url).await;
        assert!(status == 403 && answer.contains("Streaming session token is expired"), "{answer}");
    }
    // Sessions expire by the endpoint's clock, after 300 s by default.
    endpoint.set_clock_offset(290_000);
    // A live session stops serving when the newest fragment is too old.
    assert_eq!(get(&default).await.0, 404);
    endpoint.set_clock_offset(301_000);
    let (status, answer) = get(&default).await;
    assert!(status == 403 && answer.contains("Streaming session token is expired"), "{answer}");
    assert_eq!(get(&longer).await.0, 404);
    endpoint.set_clock_offset(601_000);
    assert_eq!(get(&longer).await.0, 403);
}

#[tokio::test]
async fn sessions_are_limited_to_25_per_second() {
    tokio::time::pause();
    let endpoint = LocalEndpoint::start().await.unwrap();
    let client = Client::new(&endpoint.in_process_config());
    for name in ["door", "window"] {
        endpoint.create_stream(name).push(&h264());
    }
    for _ in 0..25 {
        hls(&client, "door", ask("LIVE")).await.unwrap();
    }
    let (name, status, message) = hls(&client, "door", ask("LIVE")).await.unwrap_err();
    assert_eq!((&name[..], status), ("ClientLimitExceededException", 400), "{message}");
    assert_eq!(endpoint.fault_counts().throttled, 1);
    assert!(hls(&client, "window", ask("LIVE")).await.is_ok());
    assert!(dash(&client, "door", ask("LIVE")).await.is_ok());
    tokio::time::advance(Duration::from_millis(41)).await;
    assert!(hls(&client, "door", ask("LIVE")).await.is_ok());
    assert!(hls(&client, "door", ask("LIVE")).await.is_err());
}

/// The SDK maps each exception of these operations to its own type.
#[tokio::test]
async fn exceptions_are_typed_and_body_faults_apply() {
    let (endpoint, client) = start(unlimited()).await;
    let base = now_millis() - 20 * SECOND;
    ten(&endpoint, base);
    for (name, status) in [
        ("ClientLimitExceededException", 400),
        ("InvalidArgumentException", 400),
        ("InvalidCodecPrivateDataException", 400),
        ("MissingCodecPrivateDataException", 400),
        ("NoDataRetentionException", 400),
        ("NotAuthorizedException", 401),
        ("ResourceNotFoundException", 404),
        ("UnsupportedStreamMediaTypeException", 400),
        ("InvalidMediaFrameException", 400),
    ] {
        let script = |operation| endpoint.inject(operation, None, InjectedFault::Refuse(name.into()));
        script(Operation::GetClip);
        let refused = clip(&client, "door", "SERVER_TIMESTAMP", base, base + 9 * SECOND).await.unwrap_err();
        assert_eq!((&refused.0[..], refused.1), (name, status));
        if name == "InvalidMediaFrameException" {
            continue;
        }
        script(Operation::GetHlsStreamingSessionUrl);
        let error = client.get_hls_streaming_session_url().stream_name("door").send().await.unwrap_err();
        let typed = format!("{:?}", error.as_service_error().unwrap());
        assert!(typed.starts_with(name), "{typed}");
        script(Operation::GetDashStreamingSessionUrl);
        let refused = dash(&client, "door", ask("LIVE")).await.unwrap_err();
        assert_eq!((&refused.0[..], refused.1), (name, status));
    }
    assert_eq!(endpoint.pending_faults(), 0);

    let range = ClipTimestampRange::builder()
        .start_timestamp(sdk_time(base))
        .end_timestamp(sdk_time(base + 9 * SECOND))
        .build();
    let selector = ClipFragmentSelector::builder()
        .fragment_selector_type("SERVER_TIMESTAMP".into())
        .timestamp_range(range.unwrap())
        .build()
        .unwrap();
    let payload = async || {
        let call = client.get_clip().stream_name("door").clip_fragment_selector(selector.clone());
        call.send().await.unwrap().payload.collect().await.map(AggregatedBytes::to_vec)
    };
    assert_eq!(numbers_in(&payload().await.unwrap()).len(), 5);
    endpoint.inject(Operation::GetClip, Some("door"), InjectedFault::BreakOff(50));
    assert_eq!(payload().await.unwrap().len(), 50);
    endpoint.inject(Operation::GetClip, Some("door"), InjectedFault::CutAfter(50));
    assert!(payload().await.is_err());
    endpoint.inject(Operation::GetClip, Some("door"), InjectedFault::EndAfter(4));
    let four = payload().await.unwrap();
    assert_eq!(numbers_in(&four).len(), 4);
}
