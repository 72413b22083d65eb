//! What the page and a listening endpoint refuse.

use std::net::SocketAddr;

use kinesis_video::local::{Access, Document, LocalEndpoint, Quotas, Shape};
use kinesis_video::viewer::Viewer;
use kinesis_video::{ErrorKind, KinesisVideo};

use super::{PATIENCE, answer, get, read_until, send, show};
use crate::kvs::{Lab, START};

async fn status(address: SocketAddr, line: &str, headers: &str) -> u16 {
    answer(send(address, line, headers).await).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn other_sites_get_nothing() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    endpoint.create_stream("door");
    let address = show(&endpoint);
    let own = format!("Host: {address}\r\n");
    for path in ["/", "/view/streams", "/view/stream?stream=door", "/view/app.js"] {
        let line = format!("GET {path}");
        assert_eq!(status(address, &line, &own).await, 200, "{path}");
        assert_eq!(status(address, &line, &format!("{own}Origin: http://{address}\r\n")).await, 200, "{path}");
        for headers in [
            "Host: evil.example\r\n".to_owned(),
            format!("Host: evil.example:{}\r\n", address.port()),
            format!("{own}Origin: https://evil.example\r\n"),
            format!("{own}Origin: http://127.0.0.1:1\r\n"),
            format!("{own}Origin: null\r\n"),
        ] {
            assert_eq!(status(address, &line, &headers).await, 403, "{path} {headers}");
        }
    }
    for site in ["cross-site", "same-site"] {
        let headers = format!("{own}Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: no-cors\r\n");
        assert_eq!(status(address, "GET /view/live?stream=door", &headers).await, 403);
        let link = format!("{own}Sec-Fetch-Site: {site}\r\nSec-Fetch-Mode: navigate\r\n");
        assert_eq!(status(address, "GET /", &link).await, 200);
        assert_eq!(status(address, "GET /view/streams", &link).await, 403);
    }
    // The same holds for the service's operations, and clients without a page go on.
    let list = |headers: &str| format!("{headers}Content-Length: 0\r\n");
    assert_eq!(status(address, "POST /listStreams", &list(&own)).await, 200);
    let foreign = list(&format!("{own}Origin: https://evil.example\r\nContent-Type: text/plain\r\n"));
    assert_eq!(status(address, "POST /listStreams", &foreign).await, 403);
    assert_eq!(status(address, "POST /listStreams", &list("Host: evil.example\r\n")).await, 403);
    let streams: Vec<_> =
        futures::TryStreamExt::try_collect(KinesisVideo::new(&endpoint.sdk_config()).list_streams().entries())
            .await
            .unwrap();
    assert_eq!(streams.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_the_headers_that_protect_it() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    let address = show(&endpoint);
    for path in ["/", "/view/streams", "/view/nothing", "/view/stream?stream=", "/view/spans?stream=a"] {
        let head = get(address, path).await.head;
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self'",
            "x-content-type-options: nosniff",
            "x-frame-options: deny",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(head.contains(header), "{path} lacks {header}: {head}");
        }
        assert!(!head.contains("unsafe") && !head.contains("access-control-allow"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_tags_are_only_data() {
    const SCRIPT: &str = "<script>alert(1)</script><img src=x onerror=alert(2)>";

    let endpoint = LocalEndpoint::start().await.unwrap();
    let stream = endpoint.create_stream(SCRIPT);
    let document = Document::new(Shape::Producer).video_track(1).block(1, 0, true, b"coded frame");
    stream.push(&document.tag(SCRIPT, "\"></dd><script>alert(3)</script>"));
    let address = show(&endpoint);
    let listed = get(address, "/view/streams").await;
    assert!(listed.head.contains("content-type: application/json"), "{}", listed.head);
    assert_eq!(listed.json()["streams"][0]["name"], SCRIPT);
    let name: String = SCRIPT.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let told = get(address, &format!("/view/stream?stream={name}")).await;
    assert!(told.head.contains("content-type: application/json"), "{}", told.head);
    assert_eq!(told.json()["newest"]["tags"][0][0], SCRIPT);
    assert_eq!(get(address, "/").await.text().matches("alert").count(), 0);
    // Nothing in the page makes HTML of text.
    for script in ["app", "boxes", "call", "dom", "player", "timeline"] {
        let text = get(address, &format!("/view/{script}.js")).await.text();
        for word in
            ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "DOMParser"]
        {
            assert!(!text.contains(word), "{script}.js has {word}");
        }
    }
    // The name of a file is plain.
    let now = kinesis_video::Timestamp::from(std::time::SystemTime::now()).as_millis();
    let path = format!("/view/file.mp4?stream={name}&start={}&end={}", now - 60_000, now + 60_000);
    let head = get(address, &path).await.head;
    assert!(!head.contains("<script>"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn paths_lead_nowhere_else() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    let address = show(&endpoint);
    for path in [
        "/view/../../../../etc/passwd",
        "/view/%2e%2e/%2e%2e/etc/passwd",
        "/view/..%2f..%2fetc%2fpasswd",
        "/view//etc/passwd",
        "/view/app.js/../../Cargo.toml",
        "/view/style.css%00",
        "/../Cargo.toml",
        "//view/app.js",
        "/view/",
        "/page/index.html",
    ] {
        let found = get(address, path).await;
        assert!(matches!(found.status, 400 | 404), "{path}: {} {}", found.status, found.text());
        assert!(!found.text().contains("root:") && !found.text().contains("[package]"), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_bounded() {
    let lab = Lab::new().await;
    let address = show(&lab.endpoint);
    let day = 24 * 3_600_000;
    let long = "a".repeat(2_000);
    for (path, expected) in [
        (format!("/view/spans?stream=front-door&start={START}&end={}", START + day), 200),
        (format!("/view/spans?stream=front-door&start={START}&end={}", START + day + 1), 400),
        (format!("/view/media?stream=front-door&start={START}&end={}", START + 3_600_001), 400),
        (format!("/view/file.wav?stream=front-door&start={START}&end={START}"), 400),
        ("/view/spans?stream=front-door&start=5&end=4".into(), 400),
        (format!("/view/spans?stream=front-door&start=-1&end={}", i64::MAX), 400),
        (format!("/view/spans?stream=front-door&start={}&end={}", i64::MIN, i64::MAX), 400),
        ("/view/spans?stream=front-door&start=NaN&end=1e9".into(), 400),
        (format!("/view/peaks?stream=call&start={START}&end={}&points=1000000", START + 1000), 400),
        (format!("/view/thumbnail?stream=front-door&at={}", i64::MAX), 400),
        (format!("/view/stream?stream={long}"), 400),
        ("/view/stream".into(), 400),
        ("/view/fragment?stream=front-door&number=../../x".into(), 400),
    ] {
        let told = get(address, &path).await;
        assert_eq!(told.status, expected, "{path}: {}", told.text());
    }
    // Headers too.
    let many: String = (0..200).map(|at| format!("X-{at}: a\r\n")).collect();
    assert_eq!(status(address, "GET /", &format!("Host: {address}\r\n{many}")).await, 431);
    let huge = format!("Host: {address}\r\nX-Long: {}\r\n", "a".repeat(200_000));
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\n{huge}\r\n");
    // The server may hang up while the rest is being sent.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, request.as_bytes()).await;
    let mut told = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, tokio::io::AsyncReadExt::read_to_end(&mut socket, &mut told)).await.unwrap();
    assert!(!told.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&told));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_number_of_live_viewers_is_bounded() {
    let endpoint = LocalEndpoint::start().await.unwrap();
    endpoint.create_stream("door");
    let address = show(&endpoint);
    let request = format!("Host: {address}\r\n");
    let mut viewers = Vec::new();
    for _ in 0..16 {
        let mut socket = send(address, "GET /view/live?stream=door", &request).await;
        let told = read_until(&mut socket, |body| !body.is_empty()).await;
        assert_eq!(told.status, 200);
        viewers.push(socket);
    }
    let told = get(address, "/view/live?stream=door").await;
    assert!(told.status == 503 && told.json()["error"]["hint"] == "close another one", "{}", told.text());
    // The page itself goes on, and a place is free again when a viewer leaves.
    assert_eq!(get(address, "/").await.status, 200);
    drop(viewers.pop());
    let again = async {
        loop {
            let mut socket = send(address, "GET /view/live?stream=door", &request).await;
            if read_until(&mut socket, |body| !body.is_empty()).await.status == 200 {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("a place becomes free");
}

const TOKEN: &str = "a-token-of-sixteen-or-more";

#[tokio::test(flavor = "multi_thread")]
async fn other_machines_need_the_token() {
    let all: SocketAddr = ([0, 0, 0, 0], 0).into();
    let refused = LocalEndpoint::start_at(all, Quotas::default(), Access::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument);
    let access = Access::default().token(TOKEN).unwrap();
    let endpoint = LocalEndpoint::start_at(all, Quotas::default(), access).await.unwrap();
    endpoint.create_stream("door");
    let address = SocketAddr::from(([127, 0, 0, 1], endpoint.port()));
    Viewer::new(KinesisVideo::new(&endpoint.in_process_config())).attach(&endpoint);
    let own = format!("Host: {address}\r\n");
    for line in
        ["GET /", "GET /view/streams", "GET /view/app.js", "POST /listStreams", "GET /?token=wrong-token-of-sixteen"]
    {
        assert_eq!(status(address, line, &format!("{own}Content-Length: 0\r\n")).await, 401, "{line}");
    }
    let led = answer(send(address, &format!("GET /?token={TOKEN}"), &own).await).await;
    assert!(led.status == 303 && led.head.contains("location: /\r\n"), "{}", led.head);
    assert!(
        led.head.contains(&format!("set-cookie: kvs_token={TOKEN}; path=/; httponly; samesite=strict")),
        "{}",
        led.head
    );
    let cookie = format!("{own}Cookie: kvs_token={TOKEN}\r\n");
    assert_eq!(status(address, "GET /", &cookie).await, 200);
    assert_eq!(status(address, "GET /view/streams", &cookie).await, 200);
    // The SDK sends it as access key.
    let mut streams = KinesisVideo::new(&endpoint.sdk_config()).list_streams().entries();
    assert_eq!(futures::TryStreamExt::try_next(&mut streams).await.unwrap().unwrap().name(), "door");
    let other = endpoint.sdk_config().into_builder().credentials_provider(
        aws_credential_types::provider::SharedCredentialsProvider::new(aws_credential_types::Credentials::new(
            "another", "secret", None, None, "test",
        )),
    );
    let mut streams = KinesisVideo::new(&other.build()).list_streams().entries();
    let refused = futures::TryStreamExt::try_next(&mut streams).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AccessDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_its_own_shows_only_its_stream() {
    let lab = Lab::new().await;
    let page = Viewer::new(KinesisVideo::new(&lab.endpoint.sdk_config())).stream("front-door").start(0).await.unwrap();
    let address = page.address();
    assert_eq!(get(address, "/").await.status, 200);
    let listed = get(address, "/view/streams").await.json();
    assert_eq!(listed["streams"].as_array().unwrap().len(), 1);
    assert_eq!(listed["streams"][0]["name"], "front-door");
    assert_eq!(get(address, "/view/stream?stream=front-door").await.json()["kind"], "video");
    for path in
        ["stream?stream=call", "live?stream=call", &format!("spans?stream=call&start={START}&end={}", START + 1)]
    {
        assert_eq!(get(address, &format!("/view/{path}")).await.status, 404, "{path}");
    }
    // It does not speak the service's protocol.
    assert_ne!(status(address, "POST /listStreams", &format!("Host: {address}\r\nContent-Length: 0\r\n")).await, 200);
    drop(page);
    let gone = async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("the port is closed");
}
