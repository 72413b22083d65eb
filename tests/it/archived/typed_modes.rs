//! Impossible combinations of HLS and DASH options do not compile, with the expected error.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use serde_json::Value;

/// Expressions that compile, and similar ones that do not, with the compiler's error.
const CASES: &[(&str, &[(&str, &str)])] = &[
    (
        r#"kvs.hls("d").clock(clock).expires(length).max_fragments(9).display_timestamps(true).url()"#,
        &[
            // A live session has no range.
            (r#"kvs.hls("d").range(a..=b).url()"#, "E0599"),
            (r#"kvs.dash("d").range(a..=b).url()"#, "E0599"),
            (r#"kvs.hls("d").start(a).url()"#, "E0599"),
        ],
    ),
    (
        r#"kvs.hls("d").on_demand(a..=b).url()"#,
        &[
            // A session of stored media has a range with both ends.
            (r#"kvs.hls("d").on_demand().url()"#, "E0061"),
            (r#"kvs.hls("d").on_demand(a..).url()"#, "E0308"),
            (r#"kvs.hls("d").on_demand(..=b).url()"#, "E0308"),
            (r#"kvs.hls("d").on_demand(..).url()"#, "E0308"),
            // Both ends are included in the range.
            (r#"kvs.hls("d").on_demand(a..b).url()"#, "E0308"),
        ],
    ),
    (
        r#"kvs.dash("d").on_demand(a..=b).url()"#,
        &[
            (r#"kvs.dash("d").on_demand().url()"#, "E0061"),
            (r#"kvs.dash("d").on_demand(a..).url()"#, "E0308"),
            (r#"kvs.dash("d").on_demand(..=b).url()"#, "E0308"),
        ],
    ),
    (
        r#"kvs.hls("d").live_replay(a..).url()"#,
        &[
            (r#"kvs.hls("d").live_replay().url()"#, "E0061"),
            (r#"kvs.hls("d").live_replay(..=b).url()"#, "E0277"),
            (r#"kvs.hls("d").live_replay(..).url()"#, "E0277"),
            (r#"kvs.hls("d").live_replay(a..b).url()"#, "E0277"),
        ],
    ),
    (
        r#"kvs.dash("d").live_replay(a..=b).url()"#,
        &[
            (r#"kvs.dash("d").live_replay().url()"#, "E0061"),
            (r#"kvs.dash("d").live_replay(..=b).url()"#, "E0277"),
            // A session has one mode.
            (r#"kvs.dash("d").live_replay(a..=b).on_demand(a..=b).url()"#, "E0599"),
            (r#"kvs.hls("d").on_demand(a..=b).live_replay(a..).url()"#, "E0599"),
            (r#"kvs.hls("d").on_demand(a..=b).on_demand(a..=b).url()"#, "E0599"),
        ],
    ),
    (
        r#"kvs.hls("d").container(Container::MpegTs).discontinuities(Discontinuities::Never).url()"#,
        &[
            // Options of one protocol do not exist for the other.
            (r#"kvs.dash("d").container(Container::MpegTs).url()"#, "E0599"),
            (r#"kvs.dash("d").discontinuities(Discontinuities::Never).url()"#, "E0599"),
            (r#"kvs.dash("d").on_demand(a..=b).container(Container::MpegTs).url()"#, "E0599"),
            (r#"kvs.dash("d").live_replay(a..).discontinuities(Discontinuities::Never).url()"#, "E0599"),
        ],
    ),
    (
        r#"kvs.hls("d").live_replay(a..=b).container(Container::MpegTs).discontinuities(Discontinuities::Never).url()"#,
        &[],
    ),
    (
        r#"kvs.dash("d").on_demand(a..=b).display_numbers(true).url()"#,
        &[
            (r#"kvs.hls("d").display_numbers(true).url()"#, "E0599"),
            (r#"kvs.hls("d").on_demand(a..=b).display_numbers(true).url()"#, "E0599"),
            (r#"kvs.hls("d").live_replay(a..).display_numbers(true).url()"#, "E0599"),
        ],
    ),
    // A URL has no Display, so that its token is not shown by mistake.
    (r#"format!("{:?}", url)"#, &[(r#"format!("{}", url)"#, "E0277"), (r#"url.to_string()"#, "E0599")]),
];

/// A library of these expressions, each on its own line after the first.
fn library(expressions: &[&str]) -> String {
    let mut text =
        "#![allow(unused)] use kinesis_video::*; use kinesis_video::service::playback::*; use std::time::Duration;"
            .to_owned();
    for (index, expression) in expressions.iter().enumerate() {
        text.push_str(&format!(
            "\nfn f{index}(kvs: KinesisVideo, a: Timestamp, b: Timestamp, clock: Clock, length: Duration, url: PlaybackUrl) {{ let _ = {expression}; }}"
        ));
    }
    text
}

/// Compiles a text against the crate, and returns the errors by line. `None` if this compiler cannot use the built
/// crate.
fn errors(rlib: &Path, text: &str) -> Option<Vec<(usize, String)>> {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("lib.rs");
    std::fs::write(&source, text).unwrap();
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "--error-format=json", "--out-dir"])
        .arg(dir.path())
        .arg("-L")
        .arg(format!("dependency={}", rlib.parent().unwrap().display()))
        .arg("--extern")
        .arg(format!("kinesis_video={}", rlib.display()))
        .arg(&source)
        .output()
        .unwrap();
    let mut errors = Vec::new();
    for line in String::from_utf8(output.stderr).unwrap().lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        if message["level"] != "error" || message["message"].as_str().unwrap().starts_with("aborting due to") {
            continue;
        }
        // The crate was built by another compiler, with other features, or not completely.
        let code = message["code"]["code"].as_str()?;
        if ["E0432", "E0433", "E0460", "E0463", "E0514"].contains(&code) {
            return None;
        }
        let spans = message["spans"].as_array().unwrap();
        let span = spans.iter().find(|span| span["is_primary"] == true).unwrap();
        errors.push((span["line_start"].as_u64().unwrap() as usize, code.to_owned()));
    }
    assert_eq!(output.status.success(), errors.is_empty());
    Some(errors)
}

/// The built crate's files, the newest first.
fn rlibs() -> Vec<PathBuf> {
    let this = std::env::current_exe().unwrap();
    let mut rlibs: Vec<(SystemTime, PathBuf)> = std::fs::read_dir(this.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("libkinesis_video-") && name.ends_with(".rlib")
        })
        .map(|path| (path.metadata().unwrap().modified().unwrap(), path))
        .collect();
    rlibs.sort();
    rlibs.into_iter().rev().map(|(_, path)| path).collect()
}

#[test]
fn impossible_combinations_do_not_compile() {
    let possible: Vec<&str> = CASES.iter().map(|(possible, _)| *possible).collect();
    let impossible: Vec<(&str, &str)> = CASES.iter().flat_map(|(_, impossible)| impossible.iter().copied()).collect();
    let rlib = rlibs().into_iter().find_map(|rlib| Some((errors(&rlib, &library(&possible))?, rlib)));
    let (found, rlib) = rlib.expect("the crate as it was built for this test");
    assert_eq!(found, [], "valid expressions do not compile: {possible:#?}");

    let expressions: Vec<&str> = impossible.iter().map(|(expression, _)| *expression).collect();
    let found = errors(&rlib, &library(&expressions)).unwrap();
    for (line, (expression, code)) in (2..).zip(&impossible) {
        let codes: Vec<&str> = found.iter().filter(|found| found.0 == line).map(|found| &*found.1).collect();
        assert_eq!(codes, [*code], "{expression}");
    }
}
