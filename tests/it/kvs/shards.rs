//! `--shard`: one range, read by several processes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kinesis_video::Timestamp;
use kinesis_video::local::{InjectedFault, LocalEndpoint, LocalStream, Operation, Stamp, fragment_number};

use super::{Lab, START, assert_shown, output_of, until};
use crate::support::bodies::CAMERA;
use crate::support::footage;

const SHARDS: u32 = 8;

/// The length of a shard, in milliseconds.
const PART: i64 = 5000;

/// The number of fragments that start in each shard.
const EACH: usize = 9;

/// The range of the stream `archive`.
const RANGE: &str = "--start 2026-11-20T10:00:00Z --end 2026-11-20T10:00:39.999Z";

/// Creates the stream `archive`: a second of pictures in each fragment, most of them at the edges of eight shards.
async fn archive(endpoint: &LocalEndpoint) -> LocalStream {
    let stream = endpoint.create_stream("archive");
    let groups = footage::groups(&footage::fragment(&CAMERA.into()).await);
    let in_part = |shard: i64| {
        let times: [i64; EACH] = [0, 0, 1, 1000, 2000, 3000, PART - 2, PART - 1, PART - 1];
        times.map(|time| START + shard * PART + time)
    };
    // The first and the last are outside.
    let times = [START - 1].into_iter().chain((0..SHARDS.into()).flat_map(in_part));
    let times = times.chain([START + PART * i64::from(SHARDS)]);
    for ((n, server), document) in (1..).zip(times).zip(groups.into_iter().cycle()) {
        let media = i64::from(n) * 1000;
        let time = Timestamp::from_millis;
        let (server_time, producer_time) = (time(server), time(START + media));
        let stamp = Stamp { number: fragment_number(n, server as u64), server_time, producer_time };
        stream.push_stamped(&document.cluster_time(media as u64), stamp);
    }
    stream
}

/// The files of a folder.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    files.map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(&file).unwrap())).collect()
}

fn command(lab: &Lab, line: &str) -> Command {
    let mut kvs = lab.kvs();
    kvs.args(super::words(line)).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    kvs
}

/// Waits for the ends of commands that run at the same time. Returns what they printed.
async fn ends(commands: impl IntoIterator<Item = Command>) -> Vec<String> {
    let ended = commands.into_iter().map(async |mut kvs| {
        let output = output_of(&mut kvs).await;
        assert!(output.status.success(), "{kvs:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    });
    futures::future::join_all(ended).await
}

/// Eight processes that share the quotas of one stream: together they save what one saves, each fragment once.
#[tokio::test(flavor = "multi_thread")]
async fn eight_shards_save_what_one_process_saves() {
    let lab = Lab::new().await;
    let endpoint = LocalEndpoint::start().await.unwrap();
    archive(&endpoint).await;
    let kvs = |line: String| {
        let mut kvs = command(&lab, &line);
        kvs.env("AWS_ENDPOINT_URL", endpoint.url());
        kvs
    };
    ends([kvs(format!("save archive {RANGE} -o whole"))]).await;
    let whole = content(&lab.path("whole"));
    assert_eq!(whole.len(), EACH * SHARDS as usize);
    let part = |shard| kvs(format!("save archive {RANGE} --shard {shard}/{SHARDS} -o parts --json"));
    let printed = ends((0..SHARDS).map(part)).await;
    assert!(content(&lab.path("parts")) == whole);
    let mut seen = BTreeSet::new();
    for lines in printed {
        let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), EACH + 1, "{lines:?}");
        for line in &lines[..EACH] {
            assert!(seen.insert(line["fragment_number"].to_string()), "twice: {line}");
        }
    }
    assert_eq!(seen.len(), whole.len());

    // A number of shards that divides the range unevenly, and in which some have nothing.
    ends((0..23).map(|shard| kvs(format!("save archive {RANGE} --shard {shard}/23 -o uneven")))).await;
    assert!(content(&lab.path("uneven")) == whole);
    // By the other clock, in whose order the fragments are as well.
    let by_producer = |part: &str| {
        let range = "--start 2026-11-20T10:00:02Z --end 2026-11-20T10:01:13Z";
        kvs(format!("save archive {range} --clock producer {part}"))
    };
    ends((0..5).map(|shard| by_producer(&format!("--shard {shard}/5 -o by-producer")))).await;
    assert!(content(&lab.path("by-producer")) == whole);
}

/// Every process is killed three times in the middle of its part, and goes on from its checkpoint.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn killed_shards_go_on_without_loss() {
    let lab = Lab::new().await;
    archive(&lab.endpoint).await;
    ends([command(&lab, &format!("save archive {RANGE} -o whole"))]).await;
    let part = |shard| {
        let line = format!("save archive {RANGE} --shard {shard}/{SHARDS} --checkpoint state/c -o parts -q");
        command(&lab, &line)
    };
    let checkpoint = |shard: u32| std::fs::read(lab.path(&format!("state/c-{shard}-of-{SHARDS}"))).unwrap_or_default();
    for round in 0..3 {
        stall(&lab, SHARDS);
        let before: Vec<_> = (0..SHARDS).map(checkpoint).collect();
        let mut running: Vec<_> = (0..SHARDS).map(|shard| part(shard).spawn().unwrap()).collect();
        until(|| (0..SHARDS).all(|shard| checkpoint(shard) != before[shard as usize])).await;
        running.iter_mut().for_each(|child| kill(child, round));
        assert!(content(&lab.path("parts")).len() < EACH * SHARDS as usize);
    }
    assert_eq!(lab.endpoint.pending_faults(), 0);
    ends((0..SHARDS).map(part)).await;
    assert!(content(&lab.path("parts")) == content(&lab.path("whole")));
    // A shard that has ended has nothing left to do, and that is no failure.
    assert_eq!(ends([part(3)]).await, [""]);
}

/// Makes the next answers with media stop after two fragments or three.
fn stall(lab: &Lab, answers: u32) {
    for _ in 0..answers {
        let fault = InjectedFault::Stall { after: 35_000, pause: Duration::from_secs(60) };
        lab.endpoint.inject(Operation::GetMediaForFragmentList, Some("archive"), fault);
    }
}

#[cfg(unix)]
fn kill(child: &mut Child, round: u32) {
    use std::os::unix::process::ExitStatusExt;

    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(9), "a shard ended before it was killed, in round {round}");
}

/// One file for each shard; what a killed process has recorded plays, and the next one records the rest.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn shards_record_files_of_their_own() {
    let lab = Lab::new().await;
    archive(&lab.endpoint).await;
    let pictures = |name: &str| footage::judged_pictures(&std::fs::read(lab.path(name)).unwrap());
    ends([command(&lab, &format!("record archive {RANGE} -o whole.mp4"))]).await;
    let part = |shard: u32| {
        let mut kvs = command(&lab, &format!("record archive {RANGE} --shard env --checkpoint state/c -o film.mp4 -q"));
        kvs.env("JOB_COMPLETION_INDEX", shard.to_string()).env("KVS_SHARD_COUNT", "4");
        kvs
    };
    stall(&lab, 1);
    let mut killed = part(2).spawn().unwrap();
    until(|| lab.path("state/c-2-of-4").exists()).await;
    kill(&mut killed, 0);
    ends((0..4).map(part)).await;
    let whole = pictures("whole.mp4");
    let of_part = whole.len() / 4;
    assert_eq!(of_part, EACH * 2 * 15);
    for shard in [0, 1, 3] {
        let expected = &whole[shard * of_part..][..of_part];
        assert!(pictures(&format!("film-{shard}-of-4.mp4")) == expected, "shard {shard}");
    }
    let expected = &whole[2 * of_part..][..of_part];
    let (left, rest) = (pictures("film-2-of-4.mp4.part"), pictures("film-2-of-4-2.mp4"));
    assert!(expected.starts_with(&left) && expected.ends_with(&rest), "{} and {}", left.len(), rest.len());
    // A fragment that was recorded, and not yet noted as such, is recorded again.
    assert!((of_part..=of_part + 30).contains(&(left.len() + rest.len())), "{} and {}", left.len(), rest.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_save_the_pictures_of_one_process() {
    let lab = Lab::new().await;
    archive(&lab.endpoint).await;
    let line = |more: &str| command(&lab, &format!("frames archive {RANGE} --ratio 5 --size 100 {more}"));
    ends([line("-o whole")]).await;
    ends((0..3).map(|shard| {
        let mut kvs = line("--shard env -o parts --sheet sheet.png");
        kvs.env("AWS_BATCH_JOB_ARRAY_INDEX", shard.to_string()).env("AWS_BATCH_JOB_ARRAY_SIZE", "3");
        kvs
    }))
    .await;
    let whole = content(&lab.path("whole"));
    assert_eq!(whole.len(), EACH * SHARDS as usize * 3);
    assert!(content(&lab.path("parts")) == whole);
    assert!((0..3).all(|shard| lab.path(&format!("sheet-{shard}-of-3.png")).exists()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_lose_or_repeat_media_is_refused() {
    let lab = Lab::new().await;
    let shown = lab
        .session(&[
            "save front-door --start 2026-11-20T10:00:00Z --end 2026-11-20T11:00:00+01:00 --shard 0/2 -o out",
            "save front-door --start 2026-11-20T10:00:00Z --end 2026-11-20T10:00:30Z --shard 0/2 -o one.mkv",
            "save front-door --start 2026-11-20T10:00:10Z --end 2026-11-20T10:00:20Z --shard 1/2 -o out",
            "save front-door --start 2026-11-20T10:00:00Z --end 2026-11-20T10:00:00.001Z --shard 2/8 -o out",
            "record front-door --start 2026-11-20T10:00:00Z --end 2026-11-20T10:00:30Z --shard 1/12 -o none.mp4",
            "record front-door --start 2026-11-20T10:00:00Z --end 2026-11-20T10:00:30Z --shard 0/12 -o a.mp4 --name {time}.mp4",
            "frames front-door --start 2026-11-20T10:00:10Z --end 2026-11-20T10:00:20Z --shard 1/2 -o out",
            "save front-door --start \"2026-11-20 10:00\" --end 2026-11-20T11:00:00Z --shard 0/2 -o out",
            "save front-door --start 2026-11-20T10:00:00Z --end 2200-01-01T00:00:00Z --shard 0/2 -o out",
            "save front-door --start 2026-11-20T10:00:00Z --shard 0/2 -o out",
            "save front-door --start earliest --end 2026-11-20T11:00:00Z --shard 0/2 -o out",
            "save front-door --start 2026-11-20T10:00:00Z --end 2026-11-20T11:00:00Z --idle 9s --shard 0/2 -o out",
            "save front-door --start 2026-11-20T10:00:00Z --end 2026-11-20T11:00:00Z --shard 2/2 -o out",
            "save front-door --start 2026-11-20T10:00:00Z --end 2026-11-20T11:00:00Z --shard half -o out",
            "save front-door --start 2026-11-20T10:00:00Z --end 2026-11-20T11:00:00Z --shard env -o out",
            "save front-door --start 2026-11-20T10:00:00Z --end 2026-11-20T11:00:00Z --shard 0/2 -o out --name {server_ms}.mkv",
            "save front-door --start 2026-11-20T10:00:00Z --end 2026-11-20T11:00:00Z --shard 0/2 -o out --name {index}-{number}.mkv",
            "frames front-door --start 2026-11-20T10:00:00Z --end 2026-11-20T11:00:00Z --shard 0/2 -o out --name {time_ms}.{ext}",
            "save door.mkv --start 2026-11-20T10:00:00Z --end 2026-11-20T11:00:00Z --shard 0/2 -o out",
            "save front-door --start 2026-11-20T10:00:00Z --end 2026-11-20T10:00:30Z --shard 1/2 --checkpoint c -o late",
            "save front-door --start 2026-11-20T09:00:00Z --end 2026-11-20T10:00:20Z --shard 1/2 --checkpoint c -o late",
        ])
        .await;
    assert_shown("shards", &shown);
    assert!(lab.path("one-0-of-2.mkv").exists() && !lab.path("one.mkv").exists());
    assert!(!lab.path("none.mp4").exists() && !lab.path("none-01-of-12.mp4").exists());
    // What the refused text means is told, to be given to all shards.
    let told = lab.run("save front-door --start \"1h ago\" --end now --shard 0/2 -o out").await;
    let told = String::from_utf8(told.stderr).unwrap();
    let time = told.lines().last().unwrap().trim().strip_prefix("try: --start ").unwrap();
    let range = format!("--start {time} --end {time} --shard 0/2");
    let output = lab.run(&format!("save front-door {range} -o out")).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
