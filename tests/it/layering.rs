//! Imports flow one way, and files stay one noun.

use std::fs;
use std::path::{Path, PathBuf};

/// Each layer with what it may use of the crate, besides itself.
const LAYERS: &[(&str, &[&str])] = &[
    ("accessors", &[]),
    ("summary", &[]),
    ("image_format", &[]),
    ("error", &["summary"]),
    ("limits", &[]),
    ("ebml", &["error", "limits"]),
    ("fragment", &["error", "limits", "ebml"]),
    ("packet", &["error", "ebml", "fragment"]),
    ("demux", &["error", "limits", "ebml", "fragment", "packet"]),
    ("audio", &["error", "fragment", "packet"]),
    ("checkpoint", &["error", "fragment"]),
    ("frame", &["error", "image_format", "fragment", "packet"]),
    ("sink", &["error", "summary", "image_format", "fragment", "packet", "audio", "frame", "service"]),
    ("ext", &["error", "fragment", "packet", "audio", "checkpoint", "frame", "sink"]),
    ("service", &["error", "limits", "image_format", "fragment", "packet", "demux", "checkpoint"]),
    ("local", &["error", "limits", "ebml", "fragment", "packet", "demux", "frame"]),
    (
        "lib",
        &[
            "accessors",
            "audio",
            "checkpoint",
            "demux",
            "ebml",
            "error",
            "ext",
            "fragment",
            "frame",
            "image_format",
            "limits",
            "local",
            "packet",
            "service",
            "sink",
            "summary",
        ],
    ),
];

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, files: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path, text));
            }
        }
    }
    let mut files = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files
}

/// The part of a file that is not tests.
fn code(text: &str) -> String {
    let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or(text);
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

#[test]
fn imports_flow_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for (path, text) in sources() {
        let relative = path.strip_prefix(&root).unwrap();
        let layer = relative.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs");
        let allowed =
            LAYERS.iter().find(|(name, _)| *name == layer).unwrap_or_else(|| panic!("{layer} has no row here")).1;
        for used in code(&text).split("crate::").skip(1) {
            let module: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            assert!(
                module == "accessors" || module == layer || allowed.contains(&&*module) || module.is_empty(),
                "{} uses crate::{module}",
                relative.display()
            );
        }
    }
}

#[test]
fn the_parser_is_free_of_io_and_clocks() {
    for (path, text) in sources() {
        let name = path.display().to_string();
        if name.contains("/ebml/") || name.ends_with("demux/assembler.rs") {
            for word in ["async fn", "tokio", "std::io", "Instant", "SystemTime"] {
                assert!(!code(&text).contains(word), "{name} has {word}");
            }
        }
    }
}

#[test]
fn no_file_has_grown_long() {
    for (path, text) in sources() {
        assert!(text.lines().count() <= 800, "{} has {} lines", path.display(), text.lines().count());
    }
}
