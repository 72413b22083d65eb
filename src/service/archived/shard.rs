//! [`Shard`]: one of several parts of a range.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::millis_range::MillisRange;
use crate::error::{Error, Result};
use crate::fragment::Timestamp;

/// The number of parts of one stream that are worth reading at the same time.
///
/// The service allows 5 connections of GetMediaForFragmentList for each stream.
const PARTS_PER_STREAM: u32 = 5;

/// The variable that tells the number of shards in a Kubernetes Job, which has none of its own.
const KUBERNETES_COUNT: &str = "KVS_SHARD_COUNT";

/// One of several equal parts of a range of time, for reading an archive on several machines.
///
/// Shards are counted from 0. The text of the fourth of eight shards is `3/8`. All shards of one range are disjoint and
/// together are the range, so the machines need no coordinator. They have to use the same range: compute its ends once,
/// and pass them on.
///
/// ```
/// use kinesis_video::{Shard, Timestamp};
///
/// let range = Timestamp::from_millis(0)..=Timestamp::from_millis(999);
/// let shard: Shard = "3/8".parse()?;
/// assert_eq!(shard.range(&range), Some(Timestamp::from_millis(375)..=Timestamp::from_millis(499)));
/// # Ok::<(), kinesis_video::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shard {
    index: u32,
    count: u32,
}

impl Shard {
    /// Creates the shard with this index, from 0, of a number of shards.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the index is not below the number.
    pub fn new(index: u32, count: u32) -> Result<Self> {
        if index < count {
            return Ok(Self { index, count });
        }
        let message = match count {
            0 => format!("{index}/{count} is not a shard: there is at least one"),
            _ => format!("{index}/{count} is not a shard: the shards are 0/{count} to {}/{count}", count - 1),
        };
        Err(Error::invalid_argument(message))
    }

    /// Returns the index, from 0.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Returns the number of shards.
    pub fn count(self) -> u32 {
        self.count
    }

    /// Returns the part of a range that this shard has, both ends included.
    ///
    /// The part is in whole milliseconds, the resolution in which the service keeps and compares times. Each whole
    /// millisecond of the range is in the part of exactly one shard. So each fragment is read by one shard, also if it
    /// starts where two shards meet. The lengths of the parts differ by at most one millisecond.
    ///
    /// Returns `None` if there are more shards than milliseconds, and this one has none.
    ///
    /// The range should be over. While media are still arriving, a fragment that starts at the end of a part can be
    /// listed after the part was read.
    ///
    /// ```
    /// # #[cfg(feature = "local")]
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// use futures::TryStreamExt;
    /// use kinesis_video::local::{Document, LocalEndpoint, Shape};
    /// use kinesis_video::{KinesisVideo, Shard};
    ///
    /// let endpoint = LocalEndpoint::start().await?;
    /// let door = endpoint.create_stream("door");
    /// let document = Document::new(Shape::Ffmpeg).video_track(1).block(1, 0, true, b"coded frame");
    /// let (first, last) = (door.push(&document), door.push(&document));
    /// let range = first.server_time..=last.server_time;
    ///
    /// let kvs = KinesisVideo::new(&endpoint.sdk_config());
    /// let mut fragments = 0;
    /// for index in 0..3 {
    ///     // On a machine of its own: `Shard::from_env()?`.
    ///     let shard = Shard::new(index, 3)?;
    ///     let Some(range) = shard.range(&range) else { continue };
    ///     let archive = kvs.archive("door").range(range).connections(1).points_per_second(100);
    ///     fragments += archive.fragments().try_collect::<Vec<_>>().await?.len();
    /// }
    /// assert_eq!(fragments, 2);
    /// # Ok::<(), kinesis_video::Error>(()) }).unwrap();
    /// ```
    pub fn range(self, range: &RangeInclusive<Timestamp>) -> Option<RangeInclusive<Timestamp>> {
        let MillisRange { start, end } = MillisRange::of(range);
        let start = i128::from(start);
        let millis = (i128::from(end) + 1 - start).max(0);
        // The millisecond before which this many shards end.
        let edge = |shards: u32| i64::try_from(start + millis * i128::from(shards) / i128::from(self.count)).ok();
        let (first, next) = (edge(self.index)?, edge(self.index + 1)?);
        (first < next).then(|| MillisRange { start: first, end: next - 1 }.to_range())
    }

    /// Returns the parts of several streams that this shard reads: each a stream, and the shard of its range.
    ///
    /// A stream is divided only if there are more shards than streams, and into at most 5 parts: the service allows 5
    /// connections for each stream. Read each part with
    /// [`connections(1)`](crate::Archive::connections). Shards without a stream get nothing.
    ///
    /// All shards must list the same streams in the same order.
    ///
    /// ```
    /// use kinesis_video::Shard;
    ///
    /// // Two shards for each stream, and the last has nothing to do.
    /// let parts = |index| Shard::new(index, 7).unwrap().parts_of(["door", "yard", "hall"]);
    /// assert_eq!(parts(0), [("door", Shard::new(0, 2)?)]);
    /// assert_eq!(parts(3), [("yard", Shard::new(1, 2)?)]);
    /// assert_eq!(parts(6), []);
    /// # Ok::<(), kinesis_video::Error>(())
    /// ```
    pub fn parts_of<T: Clone>(self, streams: impl IntoIterator<Item = T>) -> Vec<(T, Self)> {
        let streams: Vec<T> = streams.into_iter().collect();
        let shards_per_stream = u32::try_from(streams.len()).ok().and_then(|streams| self.count.checked_div(streams));
        let count = shards_per_stream.unwrap_or(1).clamp(1, PARTS_PER_STREAM);
        let parts = streams.iter().flat_map(|stream| (0..count).map(move |index| (stream, Self { index, count })));
        let mine = parts.zip((0..self.count).cycle()).filter(|(_, shard)| *shard == self.index);
        mine.map(|((stream, part), _)| (stream.clone(), part)).collect()
    }

    /// Reads the shard of this process from the environment that a job scheduler sets.
    ///
    /// | scheduler | index | number of shards |
    /// |---|---|---|
    /// | AWS Batch, array job | `AWS_BATCH_JOB_ARRAY_INDEX` | `AWS_BATCH_JOB_ARRAY_SIZE` |
    /// | Kubernetes, Indexed Job | `JOB_COMPLETION_INDEX` | `KVS_SHARD_COUNT`, set in the manifest to the value of `completions` |
    /// | Slurm, array | `SLURM_ARRAY_TASK_ID`, from `_MIN` on in steps of `_STEP` | `SLURM_ARRAY_TASK_COUNT` |
    /// | Slurm, tasks of `srun` | `SLURM_PROCID` | `SLURM_STEP_NUM_TASKS` |
    ///
    /// Kubernetes tells a pod its index, and not the number of completions.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument), with the variable's name, if
    /// - no variable for the index is set, or the one for the number is missing;
    /// - a value is not a number, or the index is not below the number of shards;
    /// - two of the rows give a shard; a single task of `srun` in a Slurm array does not;
    /// - a Slurm array has other indices than a first, a last and equal steps between them.
    ///
    /// ```no_run
    /// use kinesis_video::Shard;
    ///
    /// let shard = Shard::from_env()?;
    /// println!("shard {shard}");
    /// # Ok::<(), kinesis_video::Error>(())
    /// ```
    pub fn from_env() -> Result<Self> {
        Self::from_variables(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    fn from_variables(value: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let variables = Variables { value };
        let array = variables.slurm_array()?;
        let step = variables.shard("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", variables.is_slurm_step())?;
        // A single process that was started by srun in a task of an array.
        let step = step.filter(|step| array.is_none() || step.count > 1);
        let found = [
            ("an AWS Batch array job", variables.shard("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE", true)?),
            ("a Kubernetes Indexed Job", variables.shard("JOB_COMPLETION_INDEX", KUBERNETES_COUNT, true)?),
            ("a Slurm array", array),
            ("a Slurm step", step),
        ];
        let mut found = found.into_iter().filter_map(|(name, shard)| Some((name, shard?)));
        match (found.next(), found.next()) {
            (Some((_, shard)), None) => Ok(shard),
            (Some((one, shard)), Some((other, another))) => {
                let message = format!(
                    "the environment has two shards: {shard} is that of {one}, and {another} that of {other}; name one"
                );
                Err(Error::invalid_argument(message))
            }
            (None, _) => {
                let message = "the environment has no shard: this is not a task of an AWS Batch array job, a \
                    Kubernetes Indexed Job, a Slurm array or srun";
                Err(Error::invalid_argument(message))
            }
        }
    }
}

/// The environment.
struct Variables<F> {
    value: F,
}

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    /// Returns the number that a variable has, or `None` if it is not set.
    fn number(&self, name: &str) -> Result<Option<u32>> {
        let Some(text) = (self.value)(name) else { return Ok(None) };
        let number = text.trim().parse().map_err(|_| {
            let shown: String = text.chars().take(32).collect();
            Error::invalid_argument(format!("{name} is {shown:?}, which is not a number of a shard"))
        })?;
        Ok(Some(number))
    }

    fn needed(&self, name: &str, beside: &str) -> Result<u32> {
        self.number(name)?.ok_or_else(|| {
            let hint = if name == KUBERNETES_COUNT { "; set it to the Job's completions" } else { "" };
            Error::invalid_argument(format!("{beside} is set, and {name} is not{hint}"))
        })
    }

    fn shard(&self, index: &str, count: &str, is_present: bool) -> Result<Option<Shard>> {
        let Some(number) = self.number(index)?.filter(|_| is_present) else { return Ok(None) };
        let shard = Shard::new(number, self.needed(count, index)?);
        shard.map(Some).map_err(|error| {
            Error::invalid_argument(format!("{index} and {count} do not fit together: {}", error.message()))
        })
    }

    /// Returns whether srun started this process.
    ///
    /// The script of a job has an index too, and the number of tasks that srun could start, but is one process.
    fn is_slurm_step(&self) -> bool {
        (self.value)("SLURM_STEP_NUM_TASKS").is_some()
    }

    fn slurm_array(&self) -> Result<Option<Shard>> {
        const ID: &str = "SLURM_ARRAY_TASK_ID";
        let Some(id) = self.number(ID)? else { return Ok(None) };
        let [count, first, last] = ["SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX"]
            .map(|name| self.needed(name, ID));
        let (count, first, last) = (count?, first?, last?);
        let step = self.number("SLURM_ARRAY_TASK_STEP")?.unwrap_or(1).max(1);
        // With --array=1,5,9 the step is 1, and nothing tells the index of 5.
        let is_even = u64::from(first) + u64::from(count.saturating_sub(1)) * u64::from(step) == u64::from(last);
        match id.checked_sub(first) {
            Some(offset) if is_even && offset.is_multiple_of(step) => Shard::new(offset / step, count).map(Some),
            _ => {
                let message = format!(
                    "task {id} of the Slurm array from {first} to {last} has no place among its {count} tasks; submit \
                     with --array=0-N, and repeat single tasks with scontrol requeue"
                );
                Err(Error::invalid_argument(message))
            }
        }
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

/// Parses the index, from 0, and the number of shards: `3/8`.
impl FromStr for Shard {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        match text.split_once('/').map(|(index, count)| (number(index), number(count))) {
            Some((Some(index), Some(count))) => Self::new(index, count),
            _ => {
                let shown: String = text.chars().take(32).collect();
                let message = format!("{shown:?} is not a shard, such as 0/8, the first of eight, or 7/8, the last");
                Err(Error::invalid_argument(message))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn shards(count: u32) -> impl Iterator<Item = Shard> {
        (0..count).map(move |index| Shard::new(index, count).unwrap())
    }

    fn millis(range: &RangeInclusive<Timestamp>) -> RangeInclusive<i64> {
        range.start().as_millis()..=range.end().as_millis()
    }

    /// The parts of a range in whole milliseconds, checked to be one behind the other without a gap.
    fn assert_is_partition(start: i64, end: i64, count: u32) {
        let range = Timestamp::from_millis(start)..=Timestamp::from_millis(end);
        let parts: Vec<_> = shards(count).map(|shard| shard.range(&range).map(|part| millis(&part))).collect();
        let mut next = start;
        for part in parts.iter().flatten() {
            assert!(*part.start() == next && part.end() >= part.start(), "{start}..={end} by {count}: {part:?}");
            next = part.end() + 1;
        }
        assert_eq!(next, end + 1, "{start}..={end} by {count}");
        let lengths = parts.iter().map(|part| part.as_ref().map_or(0, |part| part.end() - part.start() + 1));
        let (shortest, longest) = (lengths.clone().min().unwrap(), lengths.max().unwrap());
        assert!(longest - shortest <= 1, "{start}..={end} by {count}: {shortest} and {longest}");
    }

    /// Milliseconds that a timestamp can have.
    const LIMIT: i64 = i64::MAX / 1_000_000;

    proptest! {
        #[test]
        fn the_parts_are_the_range(start in -LIMIT..LIMIT, length in 0..LIMIT, count in 1u32..300) {
            assert_is_partition(start, start.saturating_add(length).min(LIMIT), count);
        }

        #[test]
        fn few_milliseconds_are_in_one_part_each(start in -50i64..50, length in 0i64..40, count in 1u32..60) {
            assert_is_partition(start, start + length, count);
        }

        #[test]
        fn a_time_is_in_one_part_if_it_is_in_the_range(
            (start, end, time) in (any::<i32>(), any::<i32>(), any::<i32>()), count in 1u32..100
        ) {
            // Ends may be finer than the times of fragments, which are whole milliseconds.
            let at = |micros: i32| Timestamp::default().plus_nanos(i64::from(micros) * 1000);
            let (range, time) = (at(start.min(end))..=at(start.max(end)), Timestamp::from_millis(i64::from(time) / 1000));
            let parts = shards(count).filter_map(|shard| shard.range(&range));
            let holders = parts.filter(|part| part.contains(&time)).count();
            prop_assert_eq!(holders, usize::from(range.contains(&time)));
        }

        #[test]
        fn each_part_of_several_streams_has_one_shard(streams in 0u32..40, count in 1u32..250) {
            let mut parts: HashMap<u32, Vec<Shard>> = HashMap::new();
            let mut most = 0;
            for shard in shards(count) {
                let mine = shard.parts_of(0..streams);
                most = most.max(mine.len());
                for (stream, part) in mine {
                    parts.entry(stream).or_default().push(part);
                }
            }
            prop_assert_eq!(parts.len(), streams as usize);
            for mut found in parts.into_values() {
                found.sort_by_key(|shard| shard.index());
                let count = u32::try_from(found.len()).unwrap();
                prop_assert!(count <= PARTS_PER_STREAM);
                prop_assert_eq!(found, shards(count).collect::<Vec<_>>());
            }
            // No shard has two parts while another could have one of them.
            prop_assert_eq!(most as u32, streams.div_ceil(count));
        }

        #[test]
        fn text_round_trips(index in any::<u32>(), more in 1u32.., text in ".{0,20}") {
            if let Ok(shard) = Shard::new(index, index.saturating_add(more)) {
                prop_assert_eq!(shard.to_string().parse::<Shard>().unwrap(), shard);
            }
            let _ = text.parse::<Shard>();
        }

        #[test]
        fn every_environment_gives_a_shard_or_an_error(values in proptest::collection::vec("[0-9]{0,3}|x", 11)) {
            let names = ["AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE", "JOB_COMPLETION_INDEX", KUBERNETES_COUNT,
                "SLURM_ARRAY_TASK_ID", "SLURM_ARRAY_TASK_COUNT", "SLURM_ARRAY_TASK_MIN", "SLURM_ARRAY_TASK_MAX",
                "SLURM_ARRAY_TASK_STEP", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"];
            let value = |name: &str| {
                let at = names.iter().position(|known| *known == name).unwrap();
                Some(values[at].clone()).filter(|value| !value.is_empty())
            };
            if let Ok(shard) = Shard::from_variables(value) {
                prop_assert!(shard.index() < shard.count());
            }
        }
    }

    #[test]
    fn the_extremes_of_time_have_parts() {
        let all = Timestamp::default().plus_nanos(i64::MIN)..=Timestamp::default().plus_nanos(i64::MAX);
        let parts: Vec<_> = shards(u32::from(u16::MAX)).filter_map(|shard| shard.range(&all)).collect();
        assert_eq!(parts.len(), usize::from(u16::MAX));
        assert_eq!(parts.last().unwrap().end().as_millis(), all.end().as_millis());
        let last = Shard::new(u32::MAX - 1, u32::MAX).unwrap();
        assert_eq!(last.range(&all).unwrap().end().as_millis(), all.end().as_millis());
    }

    #[test]
    fn a_range_without_a_whole_millisecond_has_no_part() {
        let time = |nanos| Timestamp::default().plus_nanos(nanos);
        let backwards = RangeInclusive::new(time(5_000_000), time(1_000_000));
        for range in [time(1_000_001)..=time(1_999_999), backwards] {
            assert!(shards(3).all(|shard| shard.range(&range).is_none()), "{range:?}");
        }
    }

    fn of(variables: &[(&str, &str)]) -> std::result::Result<String, String> {
        let value =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Shard::from_variables(value).map(|shard| shard.to_string()).map_err(|error| error.message().to_owned())
    }

    const BATCH: [(&str, &str); 2] = [("AWS_BATCH_JOB_ARRAY_INDEX", "9"), ("AWS_BATCH_JOB_ARRAY_SIZE", "10")];
    const KUBERNETES: [(&str, &str); 2] = [("JOB_COMPLETION_INDEX", "0"), (KUBERNETES_COUNT, "8")];
    /// What the script of `sbatch --array=0-7 --ntasks=4` has.
    const ARRAY: [(&str, &str); 7] = [
        ("SLURM_ARRAY_TASK_ID", "5"),
        ("SLURM_ARRAY_TASK_COUNT", "8"),
        ("SLURM_ARRAY_TASK_MIN", "0"),
        ("SLURM_ARRAY_TASK_MAX", "7"),
        ("SLURM_ARRAY_TASK_STEP", "1"),
        ("SLURM_PROCID", "0"),
        ("SLURM_NTASKS", "4"),
    ];
    const STEP: [(&str, &str); 3] = [("SLURM_PROCID", "2"), ("SLURM_NTASKS", "3"), ("SLURM_STEP_NUM_TASKS", "3")];

    #[test]
    fn each_scheduler_tells_the_shard() {
        assert_eq!(of(&BATCH), Ok("9/10".into()));
        assert_eq!(of(&KUBERNETES), Ok("0/8".into()));
        assert_eq!(of(&ARRAY), Ok("5/8".into()));
        assert_eq!(of(&STEP), Ok("2/3".into()));
        // `srun --ntasks=1` in a task of an array, and --array=10-24:2.
        assert_eq!(
            of(&[&ARRAY[..5], &[("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "1")]].concat()),
            Ok("5/8".into())
        );
        let stepped = [
            ("SLURM_ARRAY_TASK_ID", "24"),
            ("SLURM_ARRAY_TASK_COUNT", "8"),
            ("SLURM_ARRAY_TASK_MIN", "10"),
            ("SLURM_ARRAY_TASK_MAX", "24"),
            ("SLURM_ARRAY_TASK_STEP", "2"),
        ];
        assert_eq!(of(&stepped), Ok("7/8".into()));
    }

    #[test]
    fn what_is_no_shard_is_an_error_that_names_the_variable() {
        let with = |variables: &[(&'static str, &'static str)], name: &'static str, value: &'static str| {
            let rest = variables.iter().copied().filter(|(known, _)| *known != name);
            let changed: Vec<_> = rest.chain((!value.is_empty()).then_some((name, value))).collect();
            of(&changed).unwrap_err()
        };
        let cases = [
            (of(&[]).unwrap_err(), "no shard"),
            // The script of a job without an array is one process, whatever tasks it could start.
            (of(&ARRAY[5..]).unwrap_err(), "no shard"),
            (with(&BATCH, "AWS_BATCH_JOB_ARRAY_SIZE", ""), "AWS_BATCH_JOB_ARRAY_SIZE is not"),
            (with(&BATCH, "AWS_BATCH_JOB_ARRAY_SIZE", "9"), "do not fit together: 9/9"),
            (with(&BATCH, "AWS_BATCH_JOB_ARRAY_INDEX", "-1"), "AWS_BATCH_JOB_ARRAY_INDEX is \"-1\""),
            (with(&KUBERNETES, KUBERNETES_COUNT, ""), "set it to the Job's completions"),
            (with(&KUBERNETES, KUBERNETES_COUNT, "0"), "at least one"),
            (with(&ARRAY, "SLURM_ARRAY_TASK_COUNT", ""), "SLURM_ARRAY_TASK_COUNT is not"),
            // --array=0,1,2,3,4,5,6,9: task 7 would be missing.
            (with(&ARRAY, "SLURM_ARRAY_TASK_MAX", "9"), "no place among its 8 tasks"),
            (of(&[&ARRAY[..5], &STEP].concat()).unwrap_err(), "two shards: 5/8 is that of a Slurm array"),
            (of(&[BATCH, KUBERNETES].concat()).unwrap_err(), "two shards"),
        ];
        for (told, expected) in cases {
            assert!(told.contains(expected), "{told:?} lacks {expected:?}");
        }
        let long = "9".repeat(1000);
        assert!(of(&[("JOB_COMPLETION_INDEX", &long)]).unwrap_err().len() < 120);
        for text in ["", "/", "1", "1/", "/1", "8/8", "0/0", "+1/8", "-1/8", "1/8/9", " 1/8", "4294967296/1"] {
            assert!(text.parse::<Shard>().is_err(), "{text:?}");
        }
    }
}
