//! Playlists and manifests: their text, what they list, and how sessions refuse.

use kinesis_video::local::{Document, LocalEndpoint, LocalStream, Quotas};
use kinesis_video::service::playback::{Discontinuities, PlaybackUrl};
use kinesis_video::{Clock, KinesisVideo};
use m3u8_rs::{MediaPlaylist, Playlist};

use super::{AAC, AAC_ID, H264_ID, OTHER_AVCC, SECOND, two_seconds_of};
use crate::support::bodies::{AVCC, stamp_at};
use crate::support::endpoint::{http, now_millis, time, unlimited};

/// What a URL answers.
struct Fetched {
    status: u16,
    head: String,
    body: String,
}

async fn fetch(endpoint: &LocalEndpoint, method: &str, url: &str) -> Fetched {
    let path = url.strip_prefix(endpoint.url()).unwrap();
    let (status, answer) = http(endpoint, method, path, "").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Fetched { status, head: head.to_lowercase(), body: body.into() }
}

/// The URL of a file next to a playlist.
fn beside(url: &PlaybackUrl, file: &str) -> String {
    let (folder, _) = url.as_str().split_once("/get").unwrap();
    format!("{folder}/{file}")
}

fn token(url: &PlaybackUrl) -> &str {
    url.as_str().split_once("SessionToken=").unwrap().1
}

async fn media_text(endpoint: &LocalEndpoint, url: &PlaybackUrl) -> String {
    let url = beside(url, &format!("getHLSMediaPlaylist.m3u8?SessionToken={}&TrackNumber=1", token(url)));
    let fetched = fetch(endpoint, "GET", &url).await;
    assert_eq!(fetched.status, 200, "{}", fetched.body);
    fetched.body
}

async fn media_playlist(endpoint: &LocalEndpoint, url: &PlaybackUrl) -> MediaPlaylist {
    let text = media_text(endpoint, url).await;
    let Ok(Playlist::MediaPlaylist(playlist)) = m3u8_rs::parse_playlist_res(text.as_bytes()) else {
        panic!("m3u8-rs cannot read {text}")
    };
    playlist
}

/// Pushes a fragment of two seconds at this server time. The producer's clock is a minute slow.
fn push(stream: &LocalStream, ordinal: u32, server: i64, document: &Document) {
    stream.push_stamped(document, stamp_at(ordinal, server, server - 60 * SECOND));
}

fn h264() -> Document {
    two_seconds_of(&[(H264_ID, AVCC)])
}

async fn start() -> (LocalEndpoint, KinesisVideo, LocalStream) {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let door = endpoint.create_stream("door");
    (endpoint, kvs, door)
}

#[tokio::test]
async fn playlists_read_like_the_service_s() {
    let (endpoint, kvs, door) = start().await;
    let base = now_millis() - 60 * SECOND;
    let both = two_seconds_of(&[(H264_ID, AVCC), (AAC_ID, AAC)]);
    for index in 0..3 {
        push(&door, index + 1, base + i64::from(index) * 2 * SECOND, &both);
    }
    let session = kvs.hls("door").on_demand(time(base)..=time(base + 9 * SECOND)).display_timestamps(true);
    let url = session.url().await.unwrap();
    let master = fetch(&endpoint, "GET", url.as_str()).await;
    for header in ["content-type: application/vnd.apple.mpegurl", "access-control-allow-origin: *"] {
        assert!(master.head.contains(header), "{}", master.head);
    }
    let token = token(&url);
    assert!(token.ends_with('~'));
    let text = master.body.replace(token, "TOKEN");
    let (before, bandwidth) = text.split_once("BANDWIDTH=").unwrap();
    assert_eq!(
        before,
        "#EXTM3U\n#EXT-X-VERSION:1\n\
         #EXT-X-MEDIA:AUTOSELECT=YES,FORCED=NO,TYPE=AUDIO,URI=\"getHLSMediaPlaylist.m3u8?SessionToken=TOKEN&TrackNumber=2\",\
         GROUP-ID=\"audio\",DEFAULT=NO,NAME=\"audio\"\n\
         #EXT-X-STREAM-INF:CODECS=\"avc1.64000c,mp4a.40.2\",RESOLUTION=640x480,FRAME-RATE=1,"
    );
    let rest = ",AUDIO=\"audio\"\ngetHLSMediaPlaylist.m3u8?SessionToken=TOKEN&TrackNumber=1\n";
    assert!(bandwidth.ends_with(rest) && bandwidth.trim_end_matches(rest).parse::<u64>().unwrap() > 0, "{bandwidth}");
    let Ok(Playlist::MasterPlaylist(parsed)) = m3u8_rs::parse_playlist_res(master.body.as_bytes()) else {
        panic!("m3u8-rs cannot read {text}")
    };
    assert_eq!(parsed.variants.len(), 1);
    // m3u8-rs leaves out the rendition: FORCED, which the service writes, is for subtitles only.
    assert_eq!(parsed.variants[0].audio.as_deref(), Some("audio"));

    let number = |index: u32| stamp_at(index, base + i64::from(index - 1) * 2 * SECOND, 0).number;
    let text = media_text(&endpoint, &url).await.replace(token, "TOKEN");
    let segment = |index: u32| {
        let time = time(base + i64::from(index - 1) * 2 * SECOND);
        format!(
            "#EXT-X-PROGRAM-DATE-TIME:{time}\n#EXTINF:2,\n\
             getMP4MediaFragment.mp4?FragmentNumber={}&SessionToken=TOKEN&TrackNumber=1\n",
            number(index)
        )
    };
    // Sessions by server time have a discontinuity at each fragment.
    assert_eq!(
        text,
        format!(
            "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:1\n\
             #EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-DISCONTINUITY\n\
             #EXT-X-MAP:URI=\"getMP4InitFragment.mp4?SessionToken=TOKEN&TrackNumber=1&SequenceNumber=0\"\n\
             {}#EXT-X-DISCONTINUITY\n{}#EXT-X-DISCONTINUITY\n{}#EXT-X-ENDLIST\n",
            segment(1),
            segment(2),
            segment(3)
        )
    );
    for (file, kind) in [
        ("getMP4InitFragment.mp4?TrackNumber=1".to_owned(), "content-type: video/mp4"),
        ("getMP4InitFragment.mp4?TrackNumber=2".to_owned(), "content-type: audio/mp4"),
        ("getHLSMediaPlaylist.m3u8?TrackNumber=2".to_owned(), "content-type: application/vnd.apple.mpegurl"),
    ] {
        let answer = fetch(&endpoint, "HEAD", &beside(&url, &format!("{file}&SessionToken={token}"))).await;
        assert!(answer.status == 200 && answer.head.contains(kind), "{}", answer.head);
    }
    // A page of another site may ask first.
    let allowed = fetch(&endpoint, "OPTIONS", url.as_str()).await;
    assert!(allowed.status == 204 && allowed.head.contains("access-control-allow-headers: *"), "{}", allowed.head);
    for (file, status) in [
        ("getMP4MediaFragment.mp4?FragmentNumber=1", 404),
        ("getMP4MediaFragment.mp4?FragmentNumber=", 404),
        ("getMP4MediaFragment.mp4?SequenceNumber=x", 400),
        ("getMP4MediaFragment.mp4?TrackNumber=1", 400),
        ("getMP4InitFragment.mp4?SequenceNumber=18446744073709551615", 404),
        ("getMP4InitFragment.mp4?TrackNumber=3", 404),
        ("getHLSMediaPlaylist.m3u8?TrackNumber=3", 404),
        ("getTSFragment.ts?FragmentNumber=1", 400),
        ("getDASHManifest.mpd?TrackNumber=1", 404),
    ] {
        let answer = fetch(&endpoint, "GET", &beside(&url, &format!("{file}&SessionToken={token}"))).await;
        assert_eq!(answer.status, status, "{file}: {}", answer.body);
        assert!(answer.head.contains("access-control-allow-origin: *"), "{}", answer.head);
    }
}

#[tokio::test]
async fn a_live_playlist_slides_and_leaves_out_what_is_late() {
    let (endpoint, kvs, door) = start().await;
    let base = now_millis() - 20 * SECOND;
    (0..3).for_each(|index| push(&door, index + 1, base + i64::from(index) * 2 * SECOND, &h264()));
    let url = kvs.hls("door").max_fragments(3).url().await.unwrap();
    let first = media_playlist(&endpoint, &url).await;
    assert_eq!((first.media_sequence, first.segments.len(), first.end_list), (1, 3, false));
    // A fragment that is older than the newest comes late, then a newer one.
    push(&door, 4, base + SECOND, &h264());
    assert_eq!(media_playlist(&endpoint, &url).await, first);
    push(&door, 5, base + 6 * SECOND, &h264());
    let second = media_playlist(&endpoint, &url).await;
    assert_eq!((second.media_sequence, second.segments.len()), (2, 3));
    assert_eq!(second.segments[0].uri, first.segments[1].uri);
    assert!(second.segments[2].uri.contains(stamp_at(5, base + 6 * SECOND, 0).number.as_str()));
    // What has just left the playlist can still be read.
    let gone = beside(&url, &first.segments[0].uri);
    assert_eq!(fetch(&endpoint, "HEAD", &gone).await.status, 200);
    // The service does not number discontinuities.
    assert!(second.segments[0].discontinuity && second.discontinuity_sequence == 0);
    endpoint.number_discontinuities(true);
    assert_eq!(media_playlist(&endpoint, &url).await.discontinuity_sequence, 1);
    // A live session ends when nothing has come for 30 s.
    endpoint.set_clock_offset(60 * SECOND);
    let stale = fetch(&endpoint, "GET", url.as_str()).await;
    assert!(stale.status == 404 && stale.body.contains("No fragments found"), "{}", stale.body);
}

#[tokio::test]
async fn a_replay_lists_a_fragment_when_the_one_before_has_lasted() {
    let (endpoint, kvs, door) = start().await;
    let base = now_millis() - 3600 * SECOND;
    // Between the second and the third is a gap, for which no player waits.
    for (index, at) in [0, 2, 60, 62].into_iter().enumerate() {
        push(&door, index as u32 + 1, base + at * SECOND, &h264());
    }
    let range = || time(base)..=time(base + 90 * SECOND);
    let url = kvs.hls("door").live_replay(range()).max_fragments(2).url().await.unwrap();
    for (millis, expected) in [
        (0, (1, 1, false)),
        (1500, (1, 1, false)),
        (2000, (1, 2, false)),
        (4000, (2, 2, false)),
        (6000, (3, 2, false)),
        (8100, (3, 2, true)),
    ] {
        endpoint.set_clock_offset(millis);
        let playlist = media_playlist(&endpoint, &url).await;
        assert_eq!((playlist.media_sequence, playlist.segments.len(), playlist.end_list), expected, "{millis}");
    }
}

#[tokio::test]
async fn discontinuities_are_marked_as_asked() {
    let (endpoint, kvs, door) = start().await;
    let base = now_millis() - 60 * SECOND;
    let changed = two_seconds_of(&[(H264_ID, OTHER_AVCC)]);
    for (index, (at, document)) in
        [(0, h264()), (2040, h264()), (4140, h264()), (6140, changed)].into_iter().enumerate()
    {
        push(&door, index as u32 + 1, base + at, &document);
    }
    for (mode, expected) in [
        (Discontinuities::Always, [true; 4]),
        // A gap of more than 50 ms, and other codec private data.
        (Discontinuities::OnDiscontinuity, [false, false, true, true]),
        (Discontinuities::Never, [false, false, false, true]),
    ] {
        let session = kvs.hls("door").on_demand(time(base)..=time(base + 9 * SECOND)).discontinuities(mode);
        let url = session.url().await.unwrap();
        let playlist = media_playlist(&endpoint, &url).await;
        let marked: Vec<bool> = playlist.segments.iter().map(|segment| segment.discontinuity).collect();
        assert_eq!(marked, expected, "{mode:?}");
        let maps: Vec<bool> = playlist.segments.iter().map(|segment| segment.map.is_some()).collect();
        assert_eq!(maps, [true, false, false, true], "{mode:?}");
    }
    let dash = kvs.dash("door").on_demand(time(base)..=time(base + 9 * SECOND)).url().await.unwrap();
    let refused = fetch(&endpoint, "GET", dash.as_str()).await;
    assert!(refused.head.contains("invalidcodecprivatedataexception"), "{}", refused.head);
    // A track is added.
    push(&door, 5, base + 8140, &two_seconds_of(&[(H264_ID, AVCC), (AAC_ID, AAC)]));
    let url = kvs.hls("door").on_demand(time(base)..=time(base + 9 * SECOND)).url().await.unwrap();
    let refused = fetch(&endpoint, "GET", url.as_str()).await;
    assert!(refused.head.contains("unsupportedstreammediatypeexception"), "{}", refused.head);
}

#[tokio::test]
async fn manifests_close_gaps_and_tell_times_and_numbers() {
    let (endpoint, kvs, door) = start().await;
    let base = now_millis() - 20 * SECOND;
    for (index, at) in [0, 2, 10].into_iter().enumerate() {
        push(&door, index as u32 + 1, base + at * SECOND, &two_seconds_of(&[(H264_ID, AVCC), (AAC_ID, AAC)]));
    }
    let stored = kvs.dash("door").on_demand(time(base)..=time(base + 15 * SECOND));
    let stored = stored.display_timestamps(true).display_numbers(true).url().await.unwrap();
    let live = kvs.dash("door").clock(Clock::Producer).url().await.unwrap();
    for (url, kind) in [(&stored, "static"), (&live, "dynamic")] {
        let fetched = fetch(&endpoint, "GET", url.as_str()).await;
        assert!(fetched.status == 200 && fetched.head.contains("application/dash+xml"), "{}", fetched.head);
        let mpd = dash_mpd_core::parse(&fetched.body).unwrap();
        assert_eq!(mpd.mpdtype.as_deref(), Some(kind));
        assert_eq!(mpd.minimumUpdatePeriod.is_some(), kind == "dynamic");
        let sets = &mpd.periods[0].adaptations;
        let codecs: Vec<_> = sets.iter().map(|set| set.representations[0].codecs.clone().unwrap()).collect();
        assert_eq!(codecs, ["avc1.64000c", "mp4a.40.2"]);
        let template = sets[0].SegmentTemplate.as_ref().unwrap();
        let segments = &template.SegmentTimeline.as_ref().unwrap().segments;
        let times: Vec<_> = segments.iter().map(|segment| (segment.t.unwrap(), segment.d)).collect();
        assert_eq!(times, [(900_000, 180_000), (1_080_000, 180_000), (1_260_000, 180_000)]);
        assert!(template.media.as_ref().unwrap().contains("SequenceNumber=$Number$"));
        let first = format!(" kvs:ts=\"{}\" kvs:fn=\"{}\"", base as f64 / 1e3, stamp_at(1, base, 0).number);
        assert_eq!(fetched.body.contains(&first), kind == "static", "{}", fetched.body);
        let segment = format!("getMP4MediaFragment.mp4?SessionToken={}&TrackNumber=1&SequenceNumber=3", token(url));
        assert_eq!(fetch(&endpoint, "HEAD", &beside(url, &segment)).await.status, 200);
    }
}

#[tokio::test]
async fn a_session_has_its_own_budget() {
    tokio::time::pause();
    let quotas = Quotas::default().segments_per_second(Some(2));
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let kvs = KinesisVideo::new(&endpoint.in_process_config());
    endpoint.create_stream("door").push(&h264());
    let urls = [kvs.hls("door").url().await.unwrap(), kvs.hls("door").url().await.unwrap()];
    for url in &urls {
        for (file, allowed) in [
            ("getHLSMasterPlaylist.m3u8?TrackNumber=1", 5),
            ("getHLSMediaPlaylist.m3u8?TrackNumber=1", 5),
            ("getMP4InitFragment.mp4?TrackNumber=1", 5),
            ("getMP4MediaFragment.mp4?SequenceNumber=1", 2),
        ] {
            let file = beside(url, &format!("{file}&SessionToken={}", token(url)));
            for call in 0..=allowed {
                let answer = fetch(&endpoint, "HEAD", &file).await;
                let is_throttled = answer.head.contains("clientlimitexceededexception");
                assert_eq!(is_throttled, call == allowed, "{file} {call}: {} {}", answer.status, answer.head);
            }
        }
    }
    assert_eq!(endpoint.fault_counts().throttled, 8);
}
