//! `kvs fleet`.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kinesis_video::Timestamp;
use kinesis_video::fleet::{DynamoLeases, LeaseRow, LeaseStore, Swap, WorkerRow};
use kinesis_video::local::{Stamp, fragment_number};
use serde_json::Value;

use super::{Lab, START, assert_shown, next_line, output_of, signal, until};
use crate::support::bodies::producer_document;
use crate::support::dynamo::Dynamo;
use crate::support::files::file_names;
use crate::support::store_proxy::{StoreFault, StoreProxy};

/// A lab with a table in DynamoDB, behind a proxy.
struct Yard {
    lab: Lab,
    table: DynamoLeases,
    proxy: StoreProxy,
    _dynamo: Dynamo,
}

impl Yard {
    /// With `front-door` in the table, if there is to be one.
    async fn new(has_table: bool) -> Self {
        let mut lab = Lab::new().await;
        let dynamo = Dynamo::start().await;
        let proxy = StoreProxy::start(dynamo.port).await;
        lab.set_table_url(&proxy.url);
        let table = DynamoLeases::new(&dynamo.sdk_config(), "kvs-fleet");
        if has_table {
            table.create_table().await.unwrap();
            table.add(&"front-door".into()).await.unwrap();
        }
        Self { lab, table, proxy, _dynamo: dynamo }
    }

    /// Starts `kvs fleet` with a short lease and these arguments.
    fn start(&self, arguments: &[&str]) -> Child {
        self.start_with_lease("1s", arguments)
    }

    fn start_with_lease(&self, lease: &str, arguments: &[&str]) -> Child {
        let mut kvs = self.lab.kvs();
        kvs.args(["fleet", "--lease", lease, "--save-interval", "100ms", "--worker", "w"]).args(arguments);
        kvs.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Adds a fragment to `front-door`, after the others, and returns its number.
    fn push(&self) -> String {
        let server = START + 60_000;
        let (number, time) = (fragment_number(9, server as u64), Timestamp::from_millis(server));
        let stamp = Stamp { number: number.clone(), server_time: time, producer_time: time };
        self.lab.door.push_stamped(&producer_document(9), stamp);
        number.to_string()
    }

    /// Drops the saved position of `front-door`.
    async fn forget(&self) {
        let row = self.row().await;
        let new = LeaseRow { seq: row.seq + 1, checkpoint: None, ..row.clone() };
        assert_eq!(self.table.swap_lease(&new, Some(row.version())).await.unwrap(), Swap::Done);
    }

    async fn row(&self) -> LeaseRow {
        self.table.lease(&"front-door".into()).await.unwrap().unwrap()
    }

    async fn worker(&self) -> WorkerRow {
        self.table.workers().await.unwrap().remove(0)
    }
}

/// Sends SIGTERM, and returns what was printed since: standard output, then standard error.
async fn leave(child: Child) -> (String, String) {
    signal(&child, "TERM");
    let output = tokio::task::spawn_blocking(move || child.wait_with_output().unwrap()).await.unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{told}");
    (String::from_utf8(output.stdout).unwrap(), told)
}

/// Reads so many lines of a running command. One that prints nothing for a minute is killed, and fails the test.
async fn lines(child: &mut Child, count: usize) -> Vec<String> {
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let reading = tokio::task::spawn_blocking(move || {
        let lines = (0..count).map(|_| next_line(&mut out)).collect();
        (lines, out)
    });
    let read = tokio::time::timeout(Duration::from_secs(60), reading).await;
    if read.is_err() {
        child.kill().unwrap();
    }
    let (lines, out): (Vec<String>, _) = read.expect("lines are printed").unwrap();
    // What was read ahead would be lost.
    assert!(out.buffer().is_empty());
    child.stdout = Some(out.into_inner());
    lines
}

fn numbers(lines: &[String]) -> Vec<String> {
    let objects = lines.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.map(|object| object["fragment_number"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_is_made_and_changed() {
    let yard = Yard::new(false).await;
    let lines = [
        "fleet status",
        "fleet tail",
        "fleet --create-table --add front-door,call",
        "fleet --create-table --add front-door",
        "fleet --remove call",
        "fleet --prefix em",
        "fleet --prefix em",
        "fleet status",
        "fleet status --json",
        "fleet --fleet other status",
        "fleet",
        "fleet tail -- sh",
        "fleet save",
    ];
    assert_shown("fleet", &yard.lab.session(&lines).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_continues_where_the_last_worker_stopped() {
    let yard = Yard::new(true).await;
    let mut first = yard.start(&["tail", "--start", "earliest", "--json"]);
    let before = lines(&mut first, 4).await;
    let (rest, told) = leave(first).await;
    assert_eq!(rest, "");
    assert!(
        told.contains("front-door: claimed, epoch 1\n") && told.contains("front-door: 4 fragments: lease released"),
        "{told}"
    );
    assert!(before.iter().all(|line| serde_json::from_str::<Value>(line).unwrap()["epoch"] == 1));
    // All is saved, and the worker has gone.
    let row = yard.row().await;
    assert_eq!((row.owner, row.epoch), (None, 1));
    assert_eq!(row.checkpoint.unwrap().number().unwrap().as_str(), numbers(&before)[3]);
    assert!(yard.table.workers().await.unwrap().is_empty());
    let new = yard.push();
    let mut second = yard.start(&["tail", "--start", "earliest", "--json"]);
    assert_eq!(numbers(&lines(&mut second, 1).await), [new]);
    let status = yard.lab.run("fleet status").await;
    let text = String::from_utf8(status.stdout).unwrap();
    let owner = yard.worker().await.id;
    assert!(
        text.contains(&format!("front-door  {owner}  2")) && text.contains(&format!("{owner}  alive  1")),
        "{text}"
    );
    assert_eq!(String::from_utf8(status.stderr).unwrap(), "1 stream, 1 of them read by 1 live worker\n");
    leave(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn save_has_a_folder_for_each_stream() {
    let yard = Yard::new(true).await;
    let mut worker = yard.start(&["save", "--start", "earliest", "-o", "saved"]);
    let printed = lines(&mut worker, 4).await;
    leave(worker).await;
    let files = file_names(&yard.lab.path("saved/front-door"));
    assert_eq!(files.len(), 4);
    for (line, file) in printed.iter().zip(files) {
        assert!(line.starts_with(&format!("saved/front-door/{file}  2026-")), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn recordings_and_pictures_have_a_folder_for_each_stream() {
    let yard = Yard::new(true).await;
    let worker = yard.start(&["record", "--start", "earliest", "-o", "recorded"]);
    until_read(&yard).await;
    let (printed, told) = leave(worker).await;
    // The file is completed when the worker leaves.
    assert!(printed.starts_with("recorded/front-door/000001.mp4  2026-11-20 "), "{printed}");
    assert!(told.contains("front-door: 4 fragments: lease released\n"), "{told}");
    assert_eq!(file_names(&yard.lab.path("recorded/front-door")), ["000001.mp4"]);
    yard.forget().await;
    let worker = yard.start(&["frames", "--start", "earliest", "-o", "pictures", "--keyframes"]);
    until_read(&yard).await;
    let (printed, _) = leave(worker).await;
    let files = file_names(&yard.lab.path("pictures/front-door"));
    assert_eq!((files.len(), printed.lines().count()), (4, 4), "{printed}");
    assert!(files.iter().all(|file| file.ends_with("-0.jpg")));
    let lines = ["fleet record -o recorded --tags", "fleet frames -o pictures --every 0s"];
    assert_shown("fleet_actions", &yard.lab.session(&lines).await);
}

/// Waits until the fourth fragment's position is saved.
async fn until_read(yard: &Yard) {
    for _ in 0..600 {
        let position = yard.row().await.checkpoint;
        if position.and_then(|position| position.server_time()) == Some(Timestamp::from_millis(START + 29_000)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not all is read after a minute: {:?}", yard.row().await);
}

/// Another `kvs` is the program: what it keeps as its checkpoint is saved in the table.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_keeps_its_position_in_the_table() {
    let yard = Yard::new(true).await;
    let tail = [
        "--",
        env!("CARGO_BIN_EXE_kvs"),
        "tail",
        "{stream}",
        "--start",
        "earliest",
        "--checkpoint",
        "{checkpoint}",
        "--json",
        "-q",
    ];
    let mut first = yard.start(&tail);
    let before = numbers(&lines(&mut first, 4).await);
    let (rest, told) = leave(first).await;
    assert_eq!(rest, "", "{told}");
    assert_eq!(yard.row().await.checkpoint.unwrap().number().unwrap().as_str(), before[3]);
    let new = yard.push();
    let mut second = yard.start(&tail);
    assert_eq!(numbers(&lines(&mut second, 1).await), [new]);
    leave(second).await;
}

/// What a program sees: its variables, its arguments, and the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_knows_its_stream_and_ends_with_its_lease() {
    let yard = Yard::new(true).await;
    let script = "echo $KVS_STREAM $KVS_EPOCH [$KVS_START] $KVS_WORKER $KVS_CHECKPOINT $0 $1 $2\n\
        trap 'echo bye; exit 0' TERM; while :; do sleep 0.05; done";
    let mut worker = yard.start(&["--", "sh", "-c", script, "{stream}", "{epoch}", "{checkpoint}"]);
    let line = lines(&mut worker, 1).await.remove(0);
    let words: Vec<&str> = line.split_whitespace().collect();
    let file = Path::new(words[4]);
    assert_eq!(words, ["front-door", "1", "[]", &yard.worker().await.id, words[4], "front-door", "1", words[4]]);
    assert!(file.parent().unwrap().is_dir() && !file.exists());
    let (printed, told) = leave(worker).await;
    assert_eq!(printed, "bye\n");
    assert!(told.ends_with("front-door: lease released\n"), "{told}");
    assert!(!file.parent().unwrap().exists());
    // One that does not end is killed. One that fails is told.
    let mut worker = yard.start(&["--", "sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.05; done"]);
    let id = lines(&mut worker, 1).await.remove(0);
    leave(worker).await;
    assert!(!is_running(&id));
    for (script, expected) in [
        (
            "exit 3",
            "error: front-door: sh failed\n  why: exit status: 3\n  try: it is started again later, here or on another machine\n",
        ),
        ("exit 0", "front-door: sh has ended\n"),
    ] {
        let mut worker = yard.start(&["--", "sh", "-c", script]);
        let mut told = BufReader::new(worker.stderr.take().unwrap());
        let text = tokio::task::spawn_blocking(move || {
            let mut text = String::new();
            while !text.ends_with("another machine\n") && !text.ends_with("has ended\n") {
                assert!(told.read_line(&mut text).unwrap() > 0, "{text}");
            }
            text
        });
        assert_eq!(text.await.unwrap().split_once('\n').unwrap().1, expected);
        leave(worker).await;
    }
    let mut kvs = yard.lab.kvs();
    kvs.args(["fleet", "--", "no-such-program"]);
    let child = kvs.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (_, told) = leave(child).await;
    assert!(told.contains("error: cannot run no-such-program\n  why: no such file or directory\n"), "{told}");
}

/// Whether a process runs, and is not a zombie.
fn is_running(id: &str) -> bool {
    state(id).is_some_and(|state| state != 'Z')
}

/// The state of a process, such as 'S' for sleeping and 'T' for stopped.
fn state(id: &str) -> Option<char> {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", id.trim())).ok()?;
    text.rsplit_once(") ")?.1.chars().next()
}

/// A program never outlives its lease: not if `kvs` is killed, and not if the lease is lost or cannot be extended.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_does_nothing_without_a_lease() {
    let yard = Yard::new(true).await;
    let script = ["--", "sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.05; done"];
    let mut worker = yard.start(&script);
    let id = lines(&mut worker, 1).await.remove(0);
    // The table does not answer for longer than a lease.
    yard.proxy.set(StoreFault::Partition);
    until(|| state(&id) == Some('T')).await;
    yard.proxy.set(StoreFault::None);
    until(|| state(&id).is_some_and(|state| state != 'T')).await;
    // Another worker takes this one for dead.
    loop {
        let row = yard.worker().await;
        let dead = WorkerRow { beat: row.beat + 1, dead: true, ..row.clone() };
        if yard.table.swap_worker(&dead, Some(row.beat)).await.unwrap() == Swap::Done {
            break;
        }
    }
    until(|| !is_running(&id)).await;
    // The worker joins again as a new one. Then it is killed, and cannot kill its program.
    let id = lines(&mut worker, 1).await.remove(0);
    assert!(is_running(&id));
    worker.kill().unwrap();
    worker.wait().unwrap();
    until(|| !is_running(&id)).await;
}

/// The streams of several workers, from `kvs fleet status --json`.
#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_and_status_shows_it() {
    let yard = Yard::new(true).await;
    for name in ["call", "empty", "forgetful"] {
        yard.table.add(&name.into()).await.unwrap();
    }
    let workers = [(); 2].map(|()| {
        let mut kvs = yard.lab.kvs();
        kvs.args(["fleet", "--lease", "2s", "tail", "-q"]);
        kvs.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    });
    let mut counts = BTreeMap::new();
    for _ in 0..100 {
        let mut kvs: Command = yard.lab.kvs();
        let output = output_of(kvs.args(["fleet", "status", "--json"])).await;
        let text = String::from_utf8(output.stdout).unwrap();
        let objects: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let alive = objects.iter().filter(|object| object["state"] == "alive");
        counts =
            alive.map(|object| (object["worker"].clone().to_string(), object["streams"].as_u64().unwrap())).collect();
        if counts.values().all(|count| *count == 2) && counts.len() == 2 {
            break;
        }
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [2, 2]);
    for worker in workers {
        let (printed, _) = leave(worker).await;
        assert_eq!(printed, "");
    }
}
