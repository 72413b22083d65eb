//! --shard: one part of a stored range, with files of its own.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use kinesis_video::{Archive, Clock, Position, Shard, Timestamp};

use crate::failure::{Failure, Result};
use crate::files;
use crate::time::{self, GivenTime};

/// The archive connections that the service allows for each stream.
const CONNECTIONS: u32 = 5;
/// The stored fragments per second that the service allows for each stream.
const POINTS_PER_SECOND: u32 = 500;

/// The option that divides a range among processes.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct ShardOption {
    /// Read one of N equal parts of --start to --end: I/N, with I from 0 to N-1, or env.
    ///
    /// With env, the job scheduler tells I and N: AWS Batch to array jobs, Kubernetes to Indexed Jobs (set
    /// KVS_SHARD_COUNT to the completions), Slurm to arrays and to the tasks of srun. Each fragment is in one part. The
    /// files of -o, --sheet and --checkpoint get the part in their names: door-3-of-8.mp4. A part without fragments is no
    /// failure.
    #[arg(long, value_name = "I/N|env", value_parser = parse, help_heading = "What to read", conflicts_with = "idle")]
    pub(crate) shard: Option<Shard>,
}

fn parse(text: &str) -> Result<Shard, String> {
    let shard = if text == "env" { Shard::from_env() } else { text.parse() };
    shard.map_err(|error| error.message().to_owned())
}

/// Returns the text of a shard in the name of a file. Names sort as the shards do.
fn label(shard: Shard) -> String {
    let digits = shard.count().saturating_sub(1).to_string().len();
    format!("{:0digits$}-of-{}", shard.index(), shard.count())
}

/// Returns the path of a shard's file, such as `door-3-of-8.mp4`.
pub(crate) fn path_of(path: &Path, shard: Shard) -> PathBuf {
    files::with_suffix(path, &label(shard))
}

/// Returns the pattern of a shard's file names, such as `door-{time}-3-of-8.mp4`.
pub(crate) fn name_of(pattern: &str, shard: Shard) -> String {
    match pattern.rsplit_once('.') {
        Some((stem, extension)) if !extension.contains('}') => format!("{stem}-{}.{extension}", label(shard)),
        _ => format!("{pattern}-{}", label(shard)),
    }
}

/// Refuses a pattern that gives files of two shards, or of two runs of one, the same name or another for the same media.
pub(crate) fn check_names(pattern: Option<&str>, unique: &str, default: &str) -> Result<()> {
    let Some(pattern) = pattern else { return Ok(()) };
    let what = if pattern.contains("{index}") {
        "{index} is not for --shard: it counts anew in each shard and each run".to_owned()
    } else if !pattern.contains(unique) {
        format!("the pattern of --name lacks {unique}, so files of two shards could have the same name")
    } else {
        return Ok(());
    };
    Err(Failure::usage(what).hint(format!("--name \"{default}\"")))
}

/// Refuses a range that another shard could see otherwise.
pub(crate) fn check_range(start: Option<GivenTime>, end: Option<GivenTime>) -> Result<()> {
    let (Some(start), Some(end)) = (start, end) else {
        let failure = Failure::usage("--shard needs a range: the times of --start and --end");
        return Err(failure.hint("--start 2026-11-20T00:00:00Z --end 2026-11-21T00:00:00Z"));
    };
    for (option, given) in [("--start", start), ("--end", end)] {
        if !given.is_absolute {
            let what =
                format!("{option} depends on when and where it is read: with --shard, give all shards the same time");
            return Err(Failure::usage(what).hint(format!("{option} {}", given.time)));
        }
    }
    if end.time > Timestamp::from(SystemTime::now()) {
        let what = format!(
            "--end is in the future, {}: what is still arriving where two shards meet would be in neither",
            time::local(end.time)
        );
        return Err(Failure::usage(what).hint("an earlier --end, or wait until then"));
    }
    Ok(())
}

/// Refuses a saved position of another range, after which this one would have nothing or too little.
pub(crate) fn check_position(
    position: &Position,
    range: &RangeInclusive<Timestamp>,
    clock: Clock,
    file: &Path,
) -> Result<()> {
    let time = match clock {
        Clock::Producer => position.producer_time(),
        Clock::Server => position.server_time(),
    };
    match time {
        Some(time) if !range.contains(&time) => {
            let what = format!(
                "{} is the checkpoint of another range: its time, {}, is not in this shard, {} to {}",
                file.display(),
                time::local(time),
                time::local(*range.start()),
                time::local(*range.end())
            );
            Err(Failure::usage(what).hint("--checkpoint with another name for each range"))
        }
        _ => Ok(()),
    }
}

/// Divides what the service allows of a stream among the shards, of which at most five should run at the same time.
pub(crate) fn with_share_of_quota(archive: Archive, shard: Shard) -> Archive {
    let shards = shard.count().clamp(1, CONNECTIONS);
    archive.connections((CONNECTIONS / shards) as usize).points_per_second(POINTS_PER_SECOND / shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_shards_differ_and_sort() {
        let shard = |index, count| Shard::new(index, count).unwrap();
        let path = |path: &str, shard| path_of(Path::new(path), shard).display().to_string();
        assert_eq!(path("out/door.mp4", shard(3, 8)), "out/door-3-of-8.mp4");
        assert_eq!(path("door.checkpoint", shard(7, 100)), "door-07-of-100.checkpoint");
        assert_eq!(path("c", shard(9, 10)), "c-9-of-10");
        assert_eq!(name_of("door-{time}.mp4", shard(0, 2)), "door-{time}-0-of-2.mp4");
        assert_eq!(name_of("{time}", shard(0, 2)), "{time}-0-of-2");
        assert_eq!(name_of("a.{time}", shard(0, 2)), "a.{time}-0-of-2");
    }
}
