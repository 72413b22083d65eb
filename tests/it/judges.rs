//! Independent Python programs as judges: boto3, ebmlite and moto.
//!
//! `make judges` installs them and sets `KVS_JUDGES` to their interpreter.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_kinesisvideo::types::ApiName;
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use futures::TryStreamExt;
use kinesis_video::local::{Document, InjectedFault, LocalEndpoint, Operation, Quotas, Shape};
use kinesis_video::{
    Clock, ErrorKind, Fragment, FragmentStream, FragmentStreamExt, KinesisVideo, Order, PlaybackUrl, PresignExt,
    PresignedRequest, RecordExt, Start, Timestamp, WavSink,
};
use serde_json::{Value, json};

use crate::support::bodies::{AVCC, CAMERA, FRAME, fragments, live_body, producer_document, stamp, stamp_at};
use crate::support::endpoint::{attempts, now_millis, unlimited};
use crate::support::footage::red_and_green;
use crate::support::put_server::PutServer;

/// The command of a judge. `None` and a message without `KVS_JUDGES`.
fn command(script: &str) -> Option<Command> {
    let Some(python) = std::env::var_os("KVS_JUDGES") else {
        eprintln!("KVS_JUDGES is not set: {script} is not asked");
        return None;
    };
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judges").join(script));
    Some(command)
}

/// Runs a judge, and returns its output. `None` without `KVS_JUDGES`.
fn judge(script: &str, arguments: &[&str], input: &str) -> Option<String> {
    let mut child = command(script)?
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    Some(said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn boto3_reads_live_media_from_the_endpoint() {
    let quotas = Quotas::default().calls_per_second(None).idle(Duration::from_millis(100));
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let ten = endpoint.create_stream("ten");
    endpoint.create_stream("faulty");
    let mut listed = Vec::new();
    for ordinal in 1..=10 {
        let stamp = stamp(ordinal);
        ten.push_stamped(&producer_document(ordinal), stamp.clone());
        listed.push(json!({
            "number": stamp.number.as_str(),
            "server": stamp.server_time.as_millis(),
            "producer": stamp.producer_time.as_millis(),
            "millis": 1000,
        }));
    }
    let errors = [
        "AccessDeniedException",
        "ClientLimitExceededException",
        "ConnectionLimitExceededException",
        "ExpiredTokenException",
        "InternalFailure",
        "InvalidArgumentException",
        "InvalidEndpointException",
        "NotAuthorizedException",
        "ResourceNotFoundException",
        "ServiceUnavailable",
        "ThrottlingException",
    ];
    let input = json!({ "url": endpoint.url(), "arn": ten.arn(), "fragments": listed, "errors": errors });
    for name in errors {
        endpoint.inject(Operation::GetMedia, Some("faulty"), InjectedFault::Refuse(name.into()));
    }
    let said = tokio::task::spawn_blocking(move || judge("boto3_client.py", &[], &input.to_string())).await.unwrap();
    if let Some(said) = said {
        eprintln!("{said}");
        assert_eq!(endpoint.pending_faults(), 0);
    }
}

#[test]
fn manifests_are_valid() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/deploy");
    if let Some(said) = judge("manifests.py", &[folder], "") {
        eprintln!("{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn boto3_reads_archived_media_from_the_endpoint() {
    const H264: &str = "V_MPEG4/ISO/AVC";
    let quotas = Quotas::default().calls_per_second(None).metadata_points(None).media_points(None);
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    // Whole seconds, because some releases of boto3 send no fraction.
    let start = now_millis() / 1000 - 600;
    let stamp = |index: u32| {
        let millis = (start + i64::from(index) * 2) * 1000;
        stamp_at(index + 1, millis, millis)
    };
    let door = endpoint.create_stream("door");
    let pictures = red_and_green().await;
    (0..5).for_each(|index| door.push_stamped(&pictures, stamp(index)));
    let numbers: Vec<_> = (0..5).map(|index| stamp(index).number.to_string()).collect();
    let provoked = [
        ("empty", "ResourceNotFoundException", None),
        ("kept-for-no-time", "NoDataRetentionException", Some((H264, AVCC, FRAME))),
        ("of-no-codec", "UnsupportedStreamMediaTypeException", Some(("V_MJPEG", AVCC, FRAME))),
        ("without-private-data", "MissingCodecPrivateDataException", Some((H264, &[][..], FRAME))),
        ("with-private-data-of-its-own", "InvalidCodecPrivateDataException", Some((H264, &[7; 30][..], FRAME))),
        ("of-broken-frames", "InvalidMediaFrameException", Some((H264, AVCC, &b"broken"[..]))),
    ];
    for (name, exception, track) in provoked {
        let stream = endpoint.create_stream(name);
        if let Some((codec, private, frame)) = track {
            let document = Document::new(Shape::Producer).codec_private(private).picture_track(1, codec, 64, 48);
            stream.push_stamped(&document.block(1, 0, true, frame), stamp(0));
        }
        if exception == "NoDataRetentionException" {
            stream.set_retention(Duration::ZERO);
        }
    }
    let every = ["ClientLimitExceeded", "InvalidArgument", "NotAuthorized", "ResourceNotFound"];
    let playing = [&every[..], &["InvalidCodecPrivateData", "MissingCodecPrivateData"]].concat();
    let playing = [&playing[..], &["NoDataRetention", "UnsupportedStreamMediaType"]].concat();
    let operations = [
        (Operation::ListFragments, "ListFragments", every.to_vec()),
        (Operation::GetMediaForFragmentList, "GetMediaForFragmentList", every.to_vec()),
        (Operation::GetHlsStreamingSessionUrl, "GetHLSStreamingSessionURL", playing.clone()),
        (Operation::GetDashStreamingSessionUrl, "GetDASHStreamingSessionURL", playing.clone()),
        (Operation::GetClip, "GetClip", [&playing[..], &["InvalidMediaFrame"]].concat()),
        (Operation::GetImages, "GetImages", [&every[..], &["NoDataRetention"]].concat()),
    ];
    let mut scripted = json!({});
    for (operation, name, exceptions) in operations {
        let exceptions: Vec<_> = exceptions.iter().map(|exception| format!("{exception}Exception")).collect();
        scripted[name] = json!(exceptions);
        for exception in exceptions {
            // A fault applies to the first call that is not refused, so these calls are last.
            endpoint.inject(operation, Some("refused"), InjectedFault::Refuse(exception));
        }
    }
    (0..5).for_each(|index| endpoint.create_stream("refused").push_stamped(&pictures, stamp(index)));
    let provoked: Value = provoked.iter().map(|(name, exception, _)| json!([name, exception])).collect();
    let input = json!({
        "url": endpoint.url(),
        "start": start,
        "numbers": numbers,
        "provoked": provoked,
        "scripted": scripted,
    });
    let said = tokio::task::spawn_blocking(move || judge("boto3_archive.py", &[], &input.to_string())).await.unwrap();
    if let Some(said) = said {
        eprintln!("{said}");
        assert_eq!(endpoint.pending_faults(), 0);
    }
}

/// The configuration of an endpoint with these credentials, which botocore signs with again.
fn signing_config(endpoint: &LocalEndpoint, token: Option<&str>) -> SdkConfig {
    let credentials = Credentials::new("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG", token.map(Into::into), None, "test");
    let provider = SharedCredentialsProvider::new(credentials);
    endpoint.sdk_config().into_builder().credentials_provider(provider).build()
}

/// A signed request, as the judge reads it.
fn signed(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8], token: Option<&str>) -> Value {
    json!({
        "method": method,
        "url": url,
        "headers": headers,
        "body": std::str::from_utf8(body).unwrap(),
        "access_key": "AKIDEXAMPLE",
        "secret_key": "wJalrXUtnFEMI/K7MDENG",
        "token": token,
        "region": "us-west-2",
        "unsigned_payload": false,
    })
}

/// All requests that can be presigned, by their paths.
async fn presigned(kvs: &KinesisVideo, arn: &str) -> Vec<(&'static str, PresignedRequest)> {
    use aws_sdk_kinesisvideoarchivedmedia::types as archived;
    let minutes = Duration::from_secs(300);
    let start = aws_sdk_kinesisvideomedia::types::StartSelector::builder()
        .start_selector_type(aws_sdk_kinesisvideomedia::types::StartSelectorType::ProducerTimestamp)
        .start_timestamp(aws_smithy_types::DateTime::from_millis(1_700_000_000_123))
        .build()
        .unwrap();
    let media = kvs.media_client("door").await.unwrap();
    let client = async |api| kvs.archived_client("door", api).await.unwrap();
    let (list, get) = (client(ApiName::ListFragments).await, client(ApiName::GetMediaForFragmentList).await);
    let (clip, images) = (client(ApiName::GetClip).await, client(ApiName::GetImages).await);
    let hls = client(ApiName::GetHlsStreamingSessionUrl).await;
    let dash = client(ApiName::GetDashStreamingSessionUrl).await;
    let range = archived::ClipTimestampRange::builder()
        .start_timestamp(aws_smithy_types::DateTime::from_millis(1_700_000_000_000))
        .end_timestamp(aws_smithy_types::DateTime::from_millis(1_700_000_009_000))
        .build()
        .unwrap();
    let range = archived::ClipFragmentSelector::builder()
        .fragment_selector_type(archived::ClipFragmentSelectorType::ServerTimestamp)
        .timestamp_range(range)
        .build()
        .unwrap();
    let images = images
        .get_images()
        .stream_name("door")
        .image_selector_type(archived::ImageSelectorType::ServerTimestamp)
        .start_timestamp(aws_smithy_types::DateTime::from_millis(1_700_000_000_000))
        .end_timestamp(aws_smithy_types::DateTime::from_millis(1_700_000_009_000))
        .format(archived::Format::Jpeg);
    vec![
        ("getMedia", media.get_media().stream_name("door").start_selector(start).presigned(minutes).await.unwrap()),
        ("listFragments", list.list_fragments().stream_arn(arn).max_results(7).presigned(minutes).await.unwrap()),
        (
            "getMediaForFragmentList",
            get.get_media_for_fragment_list().stream_name("door").fragments("7").presigned(minutes).await.unwrap(),
        ),
        (
            "getClip",
            clip.get_clip().stream_name("door").clip_fragment_selector(range).presigned(minutes).await.unwrap(),
        ),
        ("getImages", images.presigned(minutes).await.unwrap()),
        (
            "getHLSStreamingSessionURL",
            hls.get_hls_streaming_session_url().stream_name("door").presigned(minutes).await.unwrap(),
        ),
        (
            "getDASHStreamingSessionURL",
            dash.get_dash_streaming_session_url().stream_arn(arn).presigned(minutes).await.unwrap(),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn botocore_signs_presigned_requests_alike() {
    let endpoint = LocalEndpoint::start_with(0, unlimited()).await.unwrap();
    let arn = endpoint.create_stream("door").arn().to_owned();
    let mut requests = Vec::new();
    for token in [None, Some("IQoJb3JpZ2luX2VjE+session/token==")] {
        let kvs = KinesisVideo::new(&signing_config(&endpoint, token));
        for (path, request) in presigned(&kvs, &arn).await {
            let (url, headers) = (request.url(), request.headers().collect::<Vec<_>>());
            assert!(url.starts_with(&format!("{}/{path}?", endpoint.url())), "{url}");
            assert_eq!((request.method(), &headers[..]), ("POST", &[("content-type", "application/json")][..]));
            assert!(url.contains("&X-Amz-Expires=300&"), "{url}");
            assert!(!format!("{request:?}").contains("AKIDEXAMPLE"), "{request:?}");
            assert!(request.body().starts_with(b"{\"") && request.body().ends_with(b"}"), "{:?}", request.body());
            requests.push(signed(request.method(), url, &headers, request.body(), token));
        }
    }
    assert_eq!(requests.len(), 14);
    let judge = move || judge("signed_requests.py", &[], &Value::from(requests).to_string());
    if let Some(said) = tokio::task::spawn_blocking(judge).await.unwrap() {
        assert_eq!(said.lines().filter(|line| line.contains(": ok, content-type;host")).count(), 14, "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn botocore_signs_put_media_alike() {
    let server = PutServer::start([]).await;
    let arn = "arn:aws:kinesisvideo:us-west-2:1:stream/door/1";
    let tokens = [None, Some("IQoJb3JpZ2luX2VjE+session/token==")];
    for token in tokens {
        let kvs = KinesisVideo::new(&signing_config(&server.endpoint, token)).with_data_endpoint(&server.url);
        for stream in ["door", arn] {
            let fragment = fragments(&producer_document(1).to_bytes(&stamp(1), 0)).await;
            let sent = futures::stream::iter(fragment.into_iter().map(Ok));
            assert_eq!(sent.record(kvs.put_media(stream).sink()).await.unwrap().items(), 1);
        }
    }
    let mut requests = Vec::new();
    for (at, put) in server.puts().iter().enumerate() {
        let headers: Vec<_> = put.headers.iter().map(|(name, value)| (&name[..], &value[..])).collect();
        let named = put.header("x-amzn-stream-name").or(put.header("x-amzn-stream-arn"));
        assert_eq!(named, Some(["door", arn][at % 2]));
        let mut request = signed("POST", &format!("{}{}", server.url, put.path), &headers, b"", tokens[at / 2]);
        request["unsigned_payload"] = true.into();
        requests.push(request);
    }
    assert_eq!(requests.len(), 4);
    let judge = move || judge("signed_requests.py", &[], &Value::from(requests).to_string());
    if let Some(said) = tokio::task::spawn_blocking(judge).await.unwrap() {
        let is_signed = |line: &&str| {
            line.starts_with("/putMedia: ok") && line.contains("x-amzn-producer-start-timestamp;x-amzn-stream-")
        };
        assert_eq!(said.lines().filter(is_signed).count(), 4, "{said}");
    }
}

/// A producer that is not ours: ffmpeg piped into curl, with botocore's signature.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_puts_media_that_ffmpeg_makes() {
    let quotas = Quotas::default().calls_per_second(None).idle(Duration::from_millis(100));
    let endpoint = LocalEndpoint::start_with(0, quotas).await.unwrap();
    let file = tempfile::NamedTempFile::with_suffix(".mkv").unwrap();
    std::fs::write(file.path(), CAMERA).unwrap();
    let input = json!({ "url": endpoint.url(), "file": file.path(), "offset": now_millis() / 1000 - 600 }).to_string();
    let said = tokio::task::spawn_blocking(move || judge("put_media.py", &[], &input)).await.unwrap();
    let Some(said) = said else { return };
    eprintln!("{said}");
    // Every frame came through.
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let live = kvs.live("absolute").start(Start::Earliest).reconnect(false);
    let fragments: Vec<Fragment> = live.fragments().try_collect().await.unwrap();
    let hashes = |packets: Vec<crate::support::ffmpeg::Judged>| {
        let mut packets: Vec<_> = packets.into_iter().map(|(track, millis, _, hash)| (track, millis, hash)).collect();
        packets.sort();
        packets.into_iter().map(|(track, _, hash)| (track, hash)).collect::<Vec<_>>()
    };
    let stored = fragments.iter().flat_map(crate::support::ffmpeg::our_packets).collect();
    assert_eq!(hashes(stored), hashes(crate::support::ffmpeg::ffprobe_packets(CAMERA)));
}

fn read_by_us(fragments: &[Fragment]) -> Value {
    fragments
        .iter()
        .map(|fragment| {
            let simple_tags = fragment.elements().find("Segment/Tags/Tag/SimpleTag").map(Result::unwrap);
            let text = |tag: &kinesis_video::ebml::Element<'_>, name: &str| {
                tag.children().find(name).next().unwrap().unwrap().value().to_string().trim_matches('"').to_owned()
            };
            let tags: Vec<_> = simple_tags.map(|tag| json!([text(&tag, "TagName"), text(&tag, "TagString")])).collect();
            let frames: Vec<_> =
                crate::support::ffmpeg::our_packets(fragment).into_iter().map(|(.., hash)| hash).collect();
            json!({ "tags": tags, "frames": frames })
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn ebmlite_reads_what_we_write() {
    // Frames without bytes that look like an EBML header, because that method would split there.
    let plain = |n: u32| {
        let document = kinesis_video::local::Document::new(kinesis_video::local::Shape::Producer).video_track(1);
        (0..5).fold(document.tag("ordinal", &n.to_string()), |d, i| {
            d.block(1, i * 40, i == 0, &vec![n as u8; 100 + n as usize])
        })
    };
    let generated = live_body((1..=5).map(plain));
    let endpoint = LocalEndpoint::start().await.unwrap();
    endpoint.loop_media("camera", CAMERA).unwrap();
    let kvs = KinesisVideo::new(&endpoint.sdk_config());
    let looped = kvs.live("camera").start(Start::Earliest).reconnect(false).fragments();
    let looped: Vec<Fragment> = futures::StreamExt::take(looped, 2).try_collect().await.unwrap();
    let looped: Vec<u8> = looped.iter().flat_map(|fragment| fragment.raw().to_vec()).collect();
    for payload in [generated, looped.into()] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &payload).unwrap();
        let Some(said) = judge("ebmlite_reader.py", &[file.path().to_str().unwrap()], "") else { return };
        let theirs: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(theirs, read_by_us(&fragments(&payload).await));
    }
}

#[tokio::test]
async fn the_python_librarys_method_writes_the_same_wav_files() {
    let call = kinesis_video::local::ConnectCall::new("a contact").duration(std::time::Duration::from_millis(3_500));
    // A counter has no bytes that look like an EBML header.
    let call = call.voice(|party, position| (position % 9_973) as i16 * 2 + party as i16);
    let payload = call.to_payload(kinesis_video::Timestamp::from_millis(1_700_000_000_000));
    let dir = tempfile::tempdir().unwrap();
    let (file, theirs, ours) = (dir.path().join("call"), dir.path().join("theirs"), dir.path().join("ours"));
    std::fs::write(&file, &payload).unwrap();
    std::fs::create_dir(&theirs).unwrap();
    let arguments = [file.to_str().unwrap(), theirs.join("call").to_str().unwrap()].map(ToOwned::to_owned);
    let Some(_) = judge("connect_wav.py", &arguments.each_ref().map(|argument| &argument[..]), "") else { return };
    let audio = FragmentStream::new(&payload[..]).connect_audio();
    let summary = audio.record(WavSink::per_fragment(ours.join("call"))).await.unwrap();
    assert_eq!(summary.files(), 8);
    let mut compared = 0;
    for entry in std::fs::read_dir(&theirs).unwrap() {
        let entry = entry.unwrap();
        let ours = std::fs::read(ours.join(entry.file_name())).unwrap();
        assert!(ours == std::fs::read(entry.path()).unwrap(), "{:?}", entry.file_name());
        compared += 1;
    }
    assert_eq!(compared, 8);
}

/// moto's server, until it is dropped.
struct Moto {
    child: Child,
    url: String,
}

impl Moto {
    /// Starts the server with these fragments in each stream, because moto has none.
    fn start(listed: &Value) -> Option<Self> {
        let mut command = command("moto_server.py")?;
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("Python runs");
        writeln!(child.stdin.as_mut().unwrap(), "{listed}").unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://"), "moto did not start: is it installed? `make judges-installed`");
        Some(Self { child, url: url.trim().to_owned() })
    }

    async fn config(&self) -> SdkConfig {
        // For its region and credentials.
        let config = LocalEndpoint::start().await.unwrap().sdk_config();
        config.into_builder().endpoint_url(&self.url).build()
    }

    /// A client that sends everything to moto, because the hosts that moto names do not exist.
    async fn client(&self) -> KinesisVideo {
        KinesisVideo::new(&self.config().await).with_data_endpoint(&self.url)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // The server ends with its standard input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Creates a stream, and returns its ARN.
async fn create(kvs: &KinesisVideo, name: &str, hours: i32) -> String {
    let created = kvs.control().create_stream().stream_name(name).data_retention_in_hours(hours).send().await;
    created.unwrap().stream_arn.unwrap()
}

/// Answers every request with 404, and records its host.
#[derive(Clone, Debug, Default)]
struct Nowhere(Arc<Mutex<Vec<String>>>);

impl HttpConnector for Nowhere {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.0.lock().unwrap().push(request.uri().to_owned());
        HttpConnectorFuture::ready(Ok(HttpResponse::new(StatusCode::try_from(404).unwrap(), SdkBody::empty())))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn moto_returns_data_endpoints() {
    let Some(moto) = Moto::start(&json!([])) else { return };
    let config = moto.config().await;
    let nowhere = Nowhere::default();
    let connector = SharedHttpConnector::new(nowhere.clone());
    let elsewhere = config.clone().into_builder().http_client(http_client_fn(move |_, _| connector.clone())).build();
    let kvs = KinesisVideo::with_clients(
        aws_sdk_kinesisvideo::Client::new(&config),
        aws_sdk_kinesisvideomedia::Client::new(&elsewhere),
        aws_sdk_kinesisvideoarchivedmedia::Client::new(&elsewhere),
    );
    let arn = create(&kvs, "door", 2).await;
    let asked = |path: &str| {
        let asked = std::mem::take(&mut *nowhere.0.lock().unwrap());
        let [uri] = &asked[..] else { panic!("{path}: {asked:?}") };
        let (host, called) = uri.strip_prefix("https://").and_then(|uri| uri.split_once('/')).unwrap();
        assert_eq!(called, path);
        host.to_owned()
    };
    let mut hosts = Vec::new();
    for stream in ["door", &arn] {
        let client = async |api| kvs.archived_client(stream, api).await.unwrap();
        assert!(client(ApiName::ListFragments).await.list_fragments().stream_name("door").send().await.is_err());
        hosts.push(asked("listFragments"));
        let get = client(ApiName::GetMediaForFragmentList).await.get_media_for_fragment_list();
        assert!(get.stream_name("door").fragments("7").send().await.is_err());
        hosts.push(asked("getMediaForFragmentList"));
        // Calls of this crate go to the same host, and their errors name it.
        let error = kvs.hls(stream).retry(attempts(1)).url().await.unwrap_err();
        hosts.push(asked("getHLSStreamingSessionURL"));
        assert_eq!(error.context().endpoint(), hosts.last().map(|host| format!("https://{host}")).as_deref());
        assert!(kvs.dash(stream).retry(attempts(1)).url().await.is_err());
        hosts.push(asked("getDASHStreamingSessionURL"));
        let archive = kvs.archive(stream).numbers(["7".parse().unwrap()]).retry(attempts(1));
        assert!(archive.fragments().try_collect::<Vec<_>>().await.is_err());
        hosts.push(asked("getMediaForFragmentList"));
    }
    let is_archive = |host: &String| host.starts_with("b-") && host.ends_with(".kinesisvideo.us-west-2.amazonaws.com");
    assert!(hosts.iter().all(|host| is_archive(host) && *host == hosts[0]), "{hosts:?}");
    let media = kvs.media_client("door").await.unwrap();
    let earliest = aws_sdk_kinesisvideomedia::types::StartSelector::builder()
        .start_selector_type(aws_sdk_kinesisvideomedia::types::StartSelectorType::Earliest);
    assert!(media.get_media().stream_name("door").start_selector(earliest.build().unwrap()).send().await.is_err());
    let host = asked("getMedia");
    assert_eq!(host.replacen("s-", "b-", 1), hosts[0]);
    // Nothing is sent without a host.
    for api in [ApiName::GetClip, ApiName::GetImages] {
        let error = kvs.archived_client("nobody", api).await.unwrap_err();
        assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, Some("ResourceNotFoundException")));
        assert_eq!(error.context().stream(), Some("nobody"));
    }
    let error = kvs.list_fragments("nobody").retry(attempts(1)).entries().try_next().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(nowhere.0.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn moto_accepts_playback_requests() {
    let Some(moto) = Moto::start(&json!([])) else { return };
    let kvs = moto.client().await;
    let arn = create(&kvs, "door", 2).await;
    let now = Timestamp::from(SystemTime::now()).as_millis();
    let (start, end) = (Timestamp::from_millis(now - 60_000), Timestamp::from_millis(now - 1000));
    let is_url = |url: &PlaybackUrl, path: &str| {
        let (place, token) = url.as_str().split_once("?SessionToken=").unwrap();
        assert!(place.starts_with("https://b-") && place.ends_with(path), "{place}");
        assert!(token.len() > 100 && !format!("{url:?}").contains(&token[..20]), "{url:?}");
        token.to_owned()
    };
    const HLS: &str = ".kinesisvideo.us-west-2.amazonaws.com/hls/v1/getHLSMasterPlaylist.m3u8";
    const DASH: &str = ".kinesisvideo.us-west-2.amazonaws.com/dash/v1/getDASHManifest.mpd";
    for stream in ["door", &arn] {
        let minutes = Duration::from_secs(600);
        for url in [
            kvs.hls(stream).url().await,
            kvs.hls(stream).live_replay(start..).expires(minutes).display_timestamps(true).url().await,
            kvs.hls(stream).on_demand(start..=end).clock(Clock::Producer).max_fragments(5000).url().await,
        ] {
            is_url(&url.unwrap(), HLS);
        }
        for url in [
            kvs.dash(stream).url().await,
            kvs.dash(stream).live_replay(start..=end).display_numbers(true).url().await,
            kvs.dash(stream).on_demand(start..=end).clock(Clock::Server).url().await,
        ] {
            is_url(&url.unwrap(), DASH);
        }
        let url = kvs.hls(stream).expires(minutes).url().await.unwrap();
        // The service's clock has whole seconds, and runs on the same machine.
        let lasts = url.expires().as_millis() - now;
        assert!((598_000..630_000).contains(&lasts), "{lasts} ms");
        let again = url.renew().await.unwrap();
        assert_ne!(is_url(&url, HLS), is_url(&again, HLS), "another session");
    }
    for error in [kvs.hls("nobody").url().await.unwrap_err(), kvs.dash("nobody").url().await.unwrap_err()] {
        assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, Some("ResourceNotFoundException")));
    }
    let url = kvs.dash("door").url().await.unwrap();
    kvs.control().delete_stream().stream_arn(&arn).send().await.unwrap();
    assert_eq!(url.renew().await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn moto_accepts_clip_requests() {
    let millis = |n: i64| 1_700_000_000_126 + n * 2000;
    let info = |n: i64| {
        let seconds = millis(n) as f64 / 1000.0;
        json!({
            "FragmentNumber": (n + 1).to_string(),
            "FragmentSizeInBytes": 100,
            "ProducerTimestamp": seconds,
            "ServerTimestamp": seconds,
            "FragmentLengthInMilliseconds": 2000,
        })
    };
    // More fragments than one clip can have, in no order.
    let listed: Value = (0..250).rev().map(info).collect();
    let Some(moto) = Moto::start(&listed) else { return };
    let kvs = moto.client().await;
    let arn = create(&kvs, "door", 2).await;
    let range = Timestamp::from_millis(millis(0))..=Timestamp::from_millis(millis(249));
    for stream in ["door", &arn] {
        for clock in [Clock::Server, Clock::Producer] {
            let mut clips = kvs.clips(stream).range(range.clone()).clock(clock).clips();
            let (mut fragments, mut files) = (Vec::new(), 0);
            while let Some(clip) = clips.try_next().await.unwrap() {
                fragments.extend(clip.fragments().iter().map(|info| info.number().to_string()));
                assert_eq!(clip.content_type(), Some("video/mp4"));
                let bytes: Vec<bytes::Bytes> = clip.try_collect().await.unwrap();
                assert_eq!(bytes.concat(), b"sample-mp4-video");
                files += 1;
            }
            assert_eq!(files, 2);
            assert_eq!(fragments, (1..=250).map(|n| n.to_string()).collect::<Vec<_>>());
        }
    }
    // The SDK's client reaches moto by the endpoint that this crate finds.
    let client = kvs.archived_client("door", ApiName::GetClip).await.unwrap();
    let selector = aws_sdk_kinesisvideoarchivedmedia::types::ClipFragmentSelector::builder()
        .fragment_selector_type(aws_sdk_kinesisvideoarchivedmedia::types::ClipFragmentSelectorType::ServerTimestamp)
        .timestamp_range(
            aws_sdk_kinesisvideoarchivedmedia::types::ClipTimestampRange::builder()
                .start_timestamp(aws_smithy_types::DateTime::from_millis(millis(0)))
                .end_timestamp(aws_smithy_types::DateTime::from_millis(millis(1)))
                .build()
                .unwrap(),
        );
    let clip = client.get_clip().stream_arn(&arn).clip_fragment_selector(selector.build().unwrap()).send().await;
    assert_eq!(clip.unwrap().payload.collect().await.unwrap().into_bytes(), &b"sample-mp4-video"[..]);
    let error = kvs.clips("nobody").range(range).retry(attempts(1)).clips().try_next().await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, Some("ResourceNotFoundException")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn moto_reports_missing_retention() {
    let Some(moto) = Moto::start(&json!([])) else { return };
    let kvs = moto.client().await;
    let keeping = create(&kvs, "keeping", 2).await;
    let keeping_nothing = create(&kvs, "keeping-nothing", 0).await;
    for stream in ["keeping", &keeping] {
        let list: Vec<_> = kvs.list_fragments(stream).order(Order::Number).entries().try_collect().await.unwrap();
        assert!(list.is_empty());
    }
    for stream in ["keeping-nothing", &keeping_nothing] {
        let error = kvs.list_fragments(stream).entries().try_next().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retention, "{error}");
    }
    // moto has neither operation, and answers with HTML.
    let error = kvs
        .archive("keeping")
        .numbers(["7".parse().unwrap()])
        .retry(attempts(2))
        .fragments()
        .try_next()
        .await
        .unwrap_err();
    assert!(!error.is_retryable() && error.to_string().contains("GetMediaForFragmentList"), "{error}");
}
