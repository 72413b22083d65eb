//! URLs for players: requests, refusals by the client, and answers.

use std::time::Duration;

use aws_sdk_kinesisvideoarchivedmedia::Client;
use aws_sdk_kinesisvideoarchivedmedia::types::{
    DashFragmentSelector, DashPlaybackMode, DashTimestampRange, HlsFragmentSelector, HlsPlaybackMode, HlsTimestampRange,
};
use kinesis_video::local::{Document, InjectedFault, LocalEndpoint, LocalStream, Operation, Shape};
use kinesis_video::service::playback::{Container, Discontinuities, PlaybackUrl};
use kinesis_video::{Clock, ErrorKind, KinesisVideo, Result};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::support::bodies::{AVCC, FRAME, stamp_at};
use crate::support::endpoint::{attempts, now_millis, refusal, sdk_time, time, unlimited};
use crate::support::stand_in::{Answer, NOW, stand_in};

const T: i64 = 1_700_000_000_126;
const DAY: i64 = 24 * 3600 * 1000;
const TOKEN: &str = "CiAMO-secret-token";
const ARN: &str = "arn:aws-cn:kinesisvideo:cn-north-1:1:stream/door/2";

fn url(kind: &str) -> String {
    format!("https://b-1.example.com/{kind}/v1/get?SessionToken={TOKEN}")
}

fn answer(path: &str) -> Answer {
    match path {
        "getHLSStreamingSessionURL" => Answer::json(json!({ "HLSStreamingSessionURL": url("hls") })),
        "getDASHStreamingSessionURL" => Answer::json(json!({ "DASHStreamingSessionURL": url("dash") })),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn requests_carry_only_the_chosen_options() {
    let (kvs, asked) = stand_in(|path, _| answer(path)).await;
    let range = || time(T)..=time(T + DAY);
    let body = async |url: Result<PlaybackUrl>| -> Value {
        url.unwrap();
        let asked = asked.take();
        assert_eq!(asked.len(), 1);
        asked.into_iter().next().unwrap().1
    };

    let live = kvs.hls("door").url().await;
    assert_eq!(body(live).await, json!({ "StreamName": "door", "PlaybackMode": "LIVE" }));
    let live = kvs.dash(ARN).url().await;
    assert_eq!(body(live).await, json!({ "StreamARN": ARN, "PlaybackMode": "LIVE" }));
    // A live session may only choose its clock.
    let live = kvs.hls("door").clock(Clock::Producer).url().await;
    assert_eq!(
        body(live).await,
        json!({
            "StreamName": "door", "PlaybackMode": "LIVE",
            "HLSFragmentSelector": { "FragmentSelectorType": "PRODUCER_TIMESTAMP" },
        })
    );
    let live = kvs.dash("door").clock(Clock::Server).display_timestamps(false).display_numbers(false).url().await;
    assert_eq!(
        body(live).await,
        json!({
            "StreamName": "door", "PlaybackMode": "LIVE",
            "DASHFragmentSelector": { "FragmentSelectorType": "SERVER_TIMESTAMP" },
            "DisplayFragmentTimestamp": "NEVER", "DisplayFragmentNumber": "NEVER",
        })
    );
    // Sessions of stored media always name their clock.
    let stored = kvs.hls("door").on_demand(range()).url().await;
    assert_eq!(
        body(stored).await,
        json!({
            "StreamName": "door", "PlaybackMode": "ON_DEMAND",
            "HLSFragmentSelector": {
                "FragmentSelectorType": "SERVER_TIMESTAMP",
                "TimestampRange": { "StartTimestamp": 1_700_000_000.126, "EndTimestamp": 1_700_086_400.126 },
            },
        })
    );
    let replay = kvs.dash("door").live_replay(time(T)..).url().await;
    assert_eq!(
        body(replay).await,
        json!({
            "StreamName": "door", "PlaybackMode": "LIVE_REPLAY",
            "DASHFragmentSelector": {
                "FragmentSelectorType": "SERVER_TIMESTAMP",
                "TimestampRange": { "StartTimestamp": 1_700_000_000.126 },
            },
        })
    );
    // All options.
    let full = kvs
        .hls("door")
        .live_replay(time(T)..=time(T + 1))
        .clock(Clock::Producer)
        .expires(Duration::from_secs(43_200))
        .max_fragments(5000)
        .display_timestamps(true)
        .container(Container::MpegTs)
        .discontinuities(Discontinuities::OnDiscontinuity);
    assert_eq!(
        body(full.url().await).await,
        json!({
            "StreamName": "door", "PlaybackMode": "LIVE_REPLAY",
            "HLSFragmentSelector": {
                "FragmentSelectorType": "PRODUCER_TIMESTAMP",
                "TimestampRange": { "StartTimestamp": 1_700_000_000.126, "EndTimestamp": 1_700_000_000.127 },
            },
            "ContainerFormat": "MPEG_TS", "DiscontinuityMode": "ON_DISCONTINUITY",
            "DisplayFragmentTimestamp": "ALWAYS", "Expires": 43_200, "MaxMediaPlaylistFragmentResults": 5000,
        })
    );
    let full = kvs
        .dash("door")
        .on_demand(time(T)..=time(T + 1))
        .clock(Clock::Producer)
        .expires(Duration::from_secs(300))
        .max_fragments(1)
        .display_timestamps(true)
        .display_numbers(true);
    assert_eq!(
        body(full.url().await).await,
        json!({
            "StreamName": "door", "PlaybackMode": "ON_DEMAND",
            "DASHFragmentSelector": {
                "FragmentSelectorType": "PRODUCER_TIMESTAMP",
                "TimestampRange": { "StartTimestamp": 1_700_000_000.126, "EndTimestamp": 1_700_000_000.127 },
            },
            "DisplayFragmentTimestamp": "ALWAYS", "DisplayFragmentNumber": "ALWAYS",
            "Expires": 300, "MaxManifestFragmentResults": 1,
        })
    );
    for (container, discontinuities, names) in [
        (Container::FragmentedMp4, Discontinuities::Always, ("FRAGMENTED_MP4", "ALWAYS")),
        (Container::MpegTs, Discontinuities::Never, ("MPEG_TS", "NEVER")),
    ] {
        let session = kvs.hls("door").container(container).discontinuities(discontinuities);
        let sent = body(session.url().await).await;
        assert_eq!(
            (sent["ContainerFormat"].as_str(), sent["DiscontinuityMode"].as_str()),
            (Some(names.0), Some(names.1))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_url_has_an_expiry_and_hides_its_token() {
    let (kvs, asked) = stand_in(|path, _| answer(path).with("date", "Tue, 14 Nov 2023 22:13:21 GMT")).await;
    let session = kvs.hls("door").on_demand(time(T)..=time(T + 1)).expires(Duration::from_secs(600));
    let first = session.url().await.unwrap();
    assert_eq!(first.as_str(), url("hls"));
    // The expiry follows the service's clock.
    assert_eq!(first.expires(), time(1_700_000_001_000 + 600_000));
    sleep(Duration::from_secs(250)).await;
    assert_eq!(first.remaining(), Duration::from_secs(350));
    let second = first.renew().await.unwrap();
    assert_eq!(second.remaining(), Duration::from_secs(600));
    let bodies = asked.bodies();
    assert_eq!(bodies.len(), 2);
    assert_eq!(bodies[0], bodies[1], "the same options");
    sleep(Duration::from_secs(400)).await;
    assert_eq!(first.remaining(), Duration::ZERO);
    let shown = format!("{first:?} {first:#?}");
    assert!(shown.contains("https://b-1.example.com/...") && !shown.contains("secret"), "{shown}");

    // Without a Date header it follows the SDK's clock. The service's default is 5 minutes.
    let (kvs, _) = stand_in(|path, _| answer(path)).await;
    let live = kvs.dash("door").url().await.unwrap();
    assert_eq!(live.expires(), time(NOW.as_millis() as i64 + 300_000));
    assert_eq!(live.remaining(), Duration::from_secs(300));
}

#[tokio::test]
async fn debug_shows_only_the_host_of_a_url() {
    for (given, shown) in [
        ("https://host/path-secret", "https://host/..."),
        ("https://host?secret", "https://host/..."),
        ("https://user:secret@host/", "https://host/..."),
        ("secret", ":///..."),
    ] {
        let (kvs, _) = stand_in(move |_, _| Answer::json(json!({ "HLSStreamingSessionURL": given }))).await;
        let debug = format!("{:?}", kvs.hls("door").url().await.unwrap());
        assert!(debug.contains(shown) && !debug.contains("secret"), "{debug}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_url_is_a_wrong_endpoint() {
    for answer in [
        Answer::unknown_operation,
        || Answer::json(json!({})),
        || Answer::json(json!({ "HLSStreamingSessionURL": "", "DASHStreamingSessionURL": "" })),
    ] {
        let (kvs, _) = stand_in(move |_, _| answer()).await;
        for error in [kvs.hls("door").url().await.unwrap_err(), kvs.dash("door").url().await.unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::WrongEndpoint, "{error}");
            assert_eq!(error.context().stream(), Some("door"));
            assert_eq!(error.context().endpoint(), Some("https://b-1.example.com"));
        }
    }
}

#[tokio::test]
async fn errors_have_a_kind_and_advice() {
    for (name, status, kind, advice) in [
        ("ResourceNotFoundException", 404, ErrorKind::NotFound, "a fragment of the last 30 seconds"),
        ("NoDataRetentionException", 400, ErrorKind::Retention, "retains nothing (0 hours)"),
        ("UnsupportedStreamMediaTypeException", 400, ErrorKind::Unsupported, "supports H.264 or H.265"),
        ("MissingCodecPrivateDataException", 400, ErrorKind::Unsupported, "codec private data"),
        ("InvalidCodecPrivateDataException", 400, ErrorKind::Unsupported, "codec private data"),
        ("InvalidArgumentException", 400, ErrorKind::InvalidArgument, "as it said"),
        ("NotAuthorizedException", 401, ErrorKind::AccessDenied, "kinesisvideo:Get"),
        ("NotAuthorizedException", 403, ErrorKind::AccessDenied, "kinesisvideo:Get"),
    ] {
        let (kvs, asked) = stand_in(move |_, _| Answer::refusal(status, name, "as it said")).await;
        for error in [kvs.hls("door").url().await.unwrap_err(), kvs.dash("door").url().await.unwrap_err()] {
            assert_eq!((error.kind(), error.code()), (kind, Some(name)));
            assert!(error.to_string().contains("as it said") && error.to_string().contains(advice), "{error}");
        }
        assert_eq!(asked.take().len(), 2, "{name} is not transient");
    }
}

#[tokio::test(start_paused = true)]
async fn transient_errors_are_retried() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    let (_, _) = playable(&endpoint, "door", now_millis());
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    let hls = Operation::GetHlsStreamingSessionUrl;
    for fault in [
        InjectedFault::Refuse("ClientLimitExceededException".into()),
        InjectedFault::UnknownOperation,
        InjectedFault::StaleEndpoint,
        InjectedFault::Refuse("InternalFailure".into()),
    ] {
        endpoint.inject(hls, None, fault);
    }
    kvs.hls("door").url().await.unwrap();
    assert_eq!(endpoint.pending_faults(), 0);
    endpoint.inject(hls, None, InjectedFault::Refuse("ClientLimitExceededException".into()));
    assert_eq!(kvs.hls("door").retry(attempts(1)).url().await.unwrap_err().kind(), ErrorKind::Throttled);
    // The service allows 25 sessions per second, and the client does not exceed that.
    let urls = (0..100).map(|_| kvs.hls("door").retry(attempts(1)).url());
    futures::future::try_join_all(urls).await.unwrap();
}

/// A stream of two playable fragments. The second began at `last`, in milliseconds since the epoch.
fn playable(endpoint: &LocalEndpoint, name: &str, last: i64) -> (LocalStream, i64) {
    let door = endpoint.create_stream(name);
    let document = Document::new(Shape::Ffmpeg).codec_private(AVCC).video_track(1).block(1, 0, true, FRAME);
    for (ordinal, time) in [(1, last - 2000), (2, last)] {
        door.push_stamped(&document, stamp_at(ordinal, time, time));
    }
    (door, last)
}

/// Each rule that needs no clock. The client refuses it before any call, and so does the endpoint where the SDK can
/// send it.
#[tokio::test]
async fn client_and_endpoint_refuse_the_same_arguments() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let (_, last) = playable(&endpoint, "door", now_millis());
    let (kvs, raw) = (KinesisVideo::new(&endpoint.sdk_config()), Client::new(&endpoint.sdk_config()));
    let seconds = Duration::from_secs;
    let range = || time(last - 3000)..=time(last - 1);
    let before = endpoint.requests();
    let mut refused = Vec::new();
    for expires in [seconds(0), seconds(299), seconds(43_201), seconds(u64::MAX), Duration::from_millis(300_500)] {
        refused.push((kvs.hls("door").expires(expires).url().await, "Expires must be 300 to 43,200 whole seconds"));
        refused.push((kvs.dash("door").on_demand(range()).expires(expires).url().await, "Expires must be 300"));
    }
    for most in [0, 5001, u32::MAX] {
        refused.push((
            kvs.hls("door").max_fragments(most).url().await,
            "MaxMediaPlaylistFragmentResults must be 1 to 5000",
        ));
        refused
            .push((kvs.dash("door").max_fragments(most).url().await, "MaxManifestFragmentResults must be 1 to 5000"));
    }
    for (end, rule) in [
        (last, "EndTimestamp must be later than StartTimestamp"),
        (last - 1, "EndTimestamp must be later than StartTimestamp"),
        (last + DAY + 1, "EndTimestamp must be within 24 hours of StartTimestamp"),
        (i64::MAX / 1_000_000, "EndTimestamp must be within 24 hours of StartTimestamp"),
    ] {
        for clock in [Clock::Producer, Clock::Server] {
            refused.push((kvs.hls("door").on_demand(time(last)..=time(end)).clock(clock).url().await, rule));
            refused.push((kvs.hls("door").live_replay(time(last)..=time(end)).clock(clock).url().await, rule));
            refused.push((kvs.dash("door").on_demand(time(last)..=time(end)).clock(clock).url().await, rule));
            refused.push((kvs.dash("door").live_replay(time(last)..=time(end)).clock(clock).url().await, rule));
        }
    }
    for (url, rule) in refused {
        let error = url.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(rule), "{error} does not say {rule}");
        assert_eq!((error.context().stream(), error.is_retryable()), (Some("door"), false));
    }
    assert_eq!(endpoint.requests(), before, "nothing was sent");

    let (hls, dash) = (
        || raw.get_hls_streaming_session_url().stream_name("door"),
        || raw.get_dash_streaming_session_url().stream_name("door"),
    );
    let said = |(name, status, said): (String, u16, String)| {
        assert_eq!((&*name, status), ("InvalidArgumentException", 400), "{said}");
        said
    };
    for expires in [0, 299, 43_201] {
        assert!(said(refusal(hls().expires(expires).send().await)).contains("Expires"));
        assert!(said(refusal(dash().expires(expires).send().await)).contains("Expires"));
    }
    for most in [0, 5001] {
        let (hls, dash) = (hls().max_media_playlist_fragment_results(most), dash().max_manifest_fragment_results(most));
        assert!(said(refusal(hls.send().await)).contains("MaxMediaPlaylistFragmentResults"));
        assert!(said(refusal(dash.send().await)).contains("MaxManifestFragmentResults"));
    }
    // The client's types exclude a range in LIVE, a missing range elsewhere, and a missing end on demand.
    let ends = [Some(last), Some(last - 1), Some(last + DAY + 1)];
    let stored = [HlsPlaybackMode::OnDemand, HlsPlaybackMode::LiveReplay];
    let of_hls = |end: Option<i64>| {
        let range =
            HlsTimestampRange::builder().start_timestamp(sdk_time(last)).set_end_timestamp(end.map(sdk_time)).build();
        HlsFragmentSelector::builder()
            .fragment_selector_type("PRODUCER_TIMESTAMP".into())
            .timestamp_range(range)
            .build()
    };
    let of_dash = |end: Option<i64>| {
        let range =
            DashTimestampRange::builder().start_timestamp(sdk_time(last)).set_end_timestamp(end.map(sdk_time)).build();
        DashFragmentSelector::builder()
            .fragment_selector_type("PRODUCER_TIMESTAMP".into())
            .timestamp_range(range)
            .build()
    };
    for mode in stored {
        let dash_mode = DashPlaybackMode::from(mode.as_str());
        for end in ends {
            let call = hls().playback_mode(mode.clone()).hls_fragment_selector(of_hls(end));
            assert!(said(refusal(call.send().await)).contains("StartTimestamp"));
            let call = dash().playback_mode(dash_mode.clone()).dash_fragment_selector(of_dash(end));
            assert!(said(refusal(call.send().await)).contains("StartTimestamp"));
        }
        said(refusal(hls().playback_mode(mode.clone()).send().await));
        said(refusal(dash().playback_mode(dash_mode).send().await));
    }
    said(refusal(hls().playback_mode(HlsPlaybackMode::OnDemand).hls_fragment_selector(of_hls(None)).send().await));
    said(refusal(dash().playback_mode(DashPlaybackMode::OnDemand).dash_fragment_selector(of_dash(None)).send().await));
    said(refusal(hls().hls_fragment_selector(of_hls(Some(last + 1))).send().await));
    said(refusal(dash().dash_fragment_selector(of_dash(Some(last + 1))).send().await));

    // Both sides accept the limits themselves.
    for (expires, most) in [(300, 1), (43_200, 5000)] {
        let (hls, dash) = (kvs.hls("door").live_replay(range()), kvs.dash("door").clock(Clock::Producer));
        hls.expires(seconds(expires)).max_fragments(most).url().await.unwrap();
        dash.expires(seconds(expires)).max_fragments(most).url().await.unwrap();
    }
    let whole_day = kvs.hls("door").on_demand(time(last - 10)..=time(last - 10 + DAY)).clock(Clock::Producer);
    whole_day.url().await.unwrap();
}

/// Rules that need the service's clock are checked by the service alone.
#[tokio::test]
async fn refusals_by_the_service_are_passed_on() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let last = now_millis() - 60_000;
    let (door, _) = playable(&endpoint, "door", last);
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let error = kvs.hls("door").on_demand(time(last)..=time(now_millis() + 60_000)).url().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::InvalidArgument, Some("InvalidArgumentException")));
    // No fragment of the last 30 s; no fragment in the range; no such stream.
    let error = kvs.dash("door").url().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    let error = kvs.dash("door").on_demand(time(last + 1)..=time(last + 2)).url().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(kvs.hls("window").url().await.unwrap_err().kind(), ErrorKind::NotFound);
    // A range with fragments is accepted. Both ends are included.
    kvs.dash("door").on_demand(time(last - 2000)..=time(last - 1999)).url().await.unwrap();
    kvs.hls("door").live_replay(time(last)..).url().await.unwrap();
    door.set_retention(Duration::ZERO);
    assert_eq!(kvs.hls("door").live_replay(time(last)..).url().await.unwrap_err().kind(), ErrorKind::Retention);
    let sound = endpoint.create_stream("sound");
    let document = Document::new(Shape::Ffmpeg).audio_track(1, "sound", "A_VORBIS").block(1, 0, true, b"sound");
    sound.push(&document);
    assert_eq!(kvs.hls("sound").url().await.unwrap_err().kind(), ErrorKind::Unsupported);
}
