//! A copy of a bench that serves the endpoint, so that the two processes can be told apart.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use aws_sdk_kinesisvideo::config::{Credentials, SharedCredentialsProvider};
use kinesis_video::KinesisVideo;

/// The other process, and the URL that it printed. Dropping it kills the process.
pub(crate) struct OtherProcess {
    child: Child,
    pub(crate) url: String,
}

impl OtherProcess {
    /// Starts this program with the argument `endpoint`, and these.
    pub(crate) fn start(arguments: &[u64]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .arg("endpoint")
            .args(arguments.iter().map(u64::to_string))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { child, url: url.trim().to_owned() }
    }

    pub(crate) fn kvs(&self) -> KinesisVideo {
        let credentials = Credentials::new("local", "local", None, None, "bench");
        let config = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::latest())
            .region(aws_config::Region::new("us-west-2"))
            .endpoint_url(&self.url)
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        KinesisVideo::new(&config)
    }

    /// Returns the resident memory of the process, in bytes.
    #[allow(dead_code, reason = "one of the two benches asks")]
    pub(crate) fn resident(&self) -> u64 {
        resident_of(&self.child.id().to_string())
    }
}

impl Drop for OtherProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the resident memory of this process, in bytes.
pub(crate) fn resident() -> u64 {
    resident_of("self")
}

fn resident_of(process: &str) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm")).unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Returns a number of bytes in MiB.
pub(crate) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// Returns the number that a variable of the environment holds.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap())
}
