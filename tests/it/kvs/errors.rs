//! Ways to get it wrong, and what `kvs` prints. `docs/errors.md` has the same table.

use std::io::{Read, Write};
use std::process::Stdio;

use kinesis_video::local::{InjectedFault, Operation};

use super::{Lab, mask_varying, output_of, words};

/// Something that goes wrong.
#[derive(Clone, Copy, Default)]
struct Mistake {
    situation: &'static str,
    line: &'static str,
    /// What the environment has, or lacks, besides what it usually has.
    env: &'static [(&'static str, &'static str)],
    /// What the endpoint does the next time.
    inject: Option<(Operation, &'static str)>,
    /// The error inside the media that it reports after a fragment.
    fault: Option<(u32, &'static str)>,
}

const NO_CREDENTIALS: &[(&str, &str)] =
    &[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", ""), ("AWS_ENDPOINT_URL", "http://kinesisvideo.invalid")];

const MISTAKES: &[Mistake] = &[
    of("no credentials", "tail front-door").with(NO_CREDENTIALS),
    of("no region", "tail front-door").with(&[("AWS_REGION", "")]),
    of("unknown profile", "tail front-door --profile nobody"),
    of("endpoint that is no URL", "tail front-door --endpoint-url nowhere"),
    of("unreachable host", "tail front-door --idle 1s -q").with(&[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]),
    of("host that is not the service", "list front-door --start \"1h ago\" -q").with(&[("AWS_ENDPOINT_URL", "[WEB]")]),
    of("wrong stream", "tail front-dor"),
    of("wrong ARN", "tail arn:aws:kinesisvideo:us-west-2:1:stream/front-dor/1"),
    of("missing permission", "tail front-door").refused(Operation::GetMedia, "AccessDeniedException"),
    of("expired credentials", "tail front-door").refused(Operation::GetDataEndpoint, "ExpiredTokenException"),
    of("unknown access key", "tail front-door").refused(Operation::GetDataEndpoint, "UnrecognizedClientException"),
    of("wrong secret key", "tail front-door").refused(Operation::GetDataEndpoint, "InvalidSignatureException"),
    of("clock off", "list front-door --start \"1h ago\"").refused(Operation::ListFragments, "RequestTimeTooSkewed"),
    of("stream deleted while tailing", "tail front-door --start earliest").faulty(4507, "The stream has been deleted"),
    of("KMS key disabled", "tail front-door --start earliest").faulty(4502, "The KMS key is disabled"),
    of("retention 0", "save forgetful --start \"1h ago\" --end now -o out"),
    of("nothing stored in the range", "save front-door --start \"1h ago\" --end now -o out"),
    of("no media arrives", "tail empty --idle 1s"),
    of("wrong time", "tail front-door --start noonish"),
    of("range the wrong way round", "save door.mkv --start \"2026-11-20 12:00\" --end \"2026-11-20 11:00\" -o out"),
    of("range without a start", "save front-door --end now -o out"),
    of("shards of a relative time", "save front-door --start 2026-11-20 --end 2026-11-21T00:00:00Z --shard 0/8 -o out"),
    of(
        "no job scheduler",
        "save front-door --start 2026-11-20T00:00:00Z --end 2026-11-21T00:00:00Z --shard env -o out",
    ),
    of("missing file", "tail dor.mkv"),
    of("folder without MKV", "tail folder/"),
    of("not MKV", "save notes.mkv -o out"),
    of("damaged file", "tail damaged.mkv -q"),
    of("empty file", "tail nothing.mkv -q"),
    of("file without times", "tail plain.mkv --start \"1h ago\""),
    of("no picture at the time", "frame door.mkv --at \"2026-11-20 09:00\" -o still.jpg"),
    of("picture of an unknown format", "frame door.mkv --at now -o still.gif"),
    of("damaged checkpoint", "tail door.mkv --checkpoint notes.mkv"),
    of("full disk", "save door.mkv -o full.mkv"),
    of("read-only folder", "save door.mkv -o /sys/kvs"),
    of("file where a folder should be", "save door.mkv -o notes.mkv.d/out"),
    of("unknown placeholder", "save door.mkv -o out --name {what}.mkv"),
];

const fn of(situation: &'static str, line: &'static str) -> Mistake {
    Mistake { situation, line, env: &[], inject: None, fault: None }
}

impl Mistake {
    const fn with(self, env: &'static [(&'static str, &'static str)]) -> Self {
        Self { env, ..self }
    }

    const fn refused(self, operation: Operation, exception: &'static str) -> Self {
        Self { inject: Some((operation, exception)), ..self }
    }

    const fn faulty(self, id: u32, message: &'static str) -> Self {
        Self { fault: Some((id, message)), ..self }
    }
}

/// Answers every request with a web page. Returns its URL.
fn web_server() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let Ok(mut connection) = connection else { return };
            let _ = connection.read(&mut [0; 65_536]);
            let page = "<html>It works!</html>";
            let _ = write!(connection, "HTTP/1.1 404 Not Found\r\ncontent-length: {}\r\n\r\n{page}", page.len());
        }
    });
    url
}

/// Returns the row of the table: situation, command, text, exit code.
async fn row(lab: &Lab, mistake: Mistake, web: &str) -> String {
    let Mistake { situation, line, env, inject, fault } = mistake;
    if let Some((operation, exception)) = inject {
        lab.endpoint.inject(operation, Some("front-door"), InjectedFault::Refuse(exception.into()));
        // A request that was signed at the wrong time is sent once more.
        if exception == "RequestTimeTooSkewed" {
            lab.endpoint.inject(operation, Some("front-door"), InjectedFault::Refuse(exception.into()));
        }
    }
    if let Some((id, message)) = fault {
        let fault = InjectedFault::FaultAfter { fragments: 1, id, message: message.into() };
        lab.endpoint.inject(Operation::GetMedia, Some("front-door"), fault);
    }
    let mut kvs = lab.kvs();
    kvs.args(words(line)).stdin(Stdio::null());
    for (name, value) in env {
        kvs.env(name, value.replace("[WEB]", web));
    }
    let output = output_of(&mut kvs).await;
    let told = String::from_utf8(output.stderr).unwrap();
    // At most three lines, without anything that only a programmer can read.
    let error: Vec<_> = told.lines().skip_while(|line| !line.starts_with("error: ")).collect();
    let is_usage = output.status.code() == Some(2);
    assert!((1..=3).contains(&error.len()) || is_usage, "{situation}: {told}");
    for word in ["Error {", "Some(", "Request {", "panicked", "os error"] {
        assert!(!told.contains(word), "{situation}: {told}");
    }
    let told = error.into_iter().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("<br>");
    // Which of the two it is depends on the user.
    let told = told.replace("operation not permitted", "permission denied");
    let told = mask_varying(&lab.mask(&told)).replace(web, "[URL]").replace('|', "\\|");
    format!("| {situation} | `kvs {line}` | {told} | {} |", output.status.code().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn mistakes_are_explained_as_the_documentation_says() {
    let (lab, web) = (Lab::new().await, web_server());
    std::fs::create_dir(lab.path("folder")).unwrap();
    std::fs::write(lab.path("notes.mkv.d"), "in the way").unwrap();
    // The file that a recording is written to before it is complete is on a full disk.
    #[cfg(target_os = "linux")]
    std::os::unix::fs::symlink("/dev/full", lab.path("full.mkv.part")).unwrap();
    let mut table = String::from("| what is wrong | command | text | exit code |\n|---|---|---|---|\n");
    for mistake in MISTAKES {
        table += &row(&lab, *mistake, &web).await;
        table.push('\n');
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (begin, end) = ("<!-- what kvs prints -->\n\n", "\n<!-- end -->");
    let from = page.find(begin).unwrap() + begin.len();
    let to = page.find(end).unwrap();
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        std::fs::write(path, [&page[..from], &table, &page[to..]].concat()).unwrap();
    } else {
        assert_eq!(page[from..to], table, "docs/errors.md has another table");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_behind_standard_output_is_an_error() {
    let lab = Lab::new().await;
    let mut kvs = lab.kvs();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    kvs.args(["tail", "door.mkv"]).stdin(Stdio::null()).stdout(full);
    let output = tokio::task::spawn_blocking(move || kvs.output().unwrap()).await.unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(told, "error: cannot write to standard output\n  why: no space left on device\n");
}
