//! [`Names`]: the names of the files of a recording.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::error::Result;
use crate::fragment::{FragmentHeader, Timestamp};
use crate::sink::files::part_of;
use crate::sink::pattern::Pattern;

/// Chooses a name for each file.
pub(super) struct Names {
    path: PathBuf,
    pub(super) pattern: Option<Pattern<Placeholder>>,
    pub(super) keeps_existing: bool,
    /// The number of earlier files.
    index: u64,
    /// The last number that was added to a name.
    suffix: u64,
    last: Option<PathBuf>,
    /// The names given so far, if existing files are replaced.
    given: HashSet<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placeholder {
    Index,
    Number,
    ProducerMillis,
    ServerMillis,
    Time,
}

const PLACEHOLDERS: [(&str, Placeholder); 5] = [
    ("index", Placeholder::Index),
    ("number", Placeholder::Number),
    ("producer_ms", Placeholder::ProducerMillis),
    ("server_ms", Placeholder::ServerMillis),
    ("time", Placeholder::Time),
];

impl Names {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, pattern: None, keeps_existing: true, index: 0, suffix: 1, last: None, given: HashSet::new() }
    }

    pub(super) fn parse(pattern: &str) -> Result<Pattern<Placeholder>> {
        Pattern::parse(pattern, &PLACEHOLDERS)
    }

    /// Returns the name for a file that begins with this fragment.
    pub(super) fn next(&mut self, first: &FragmentHeader) -> PathBuf {
        let name = match &self.pattern {
            None => self.path.clone(),
            Some(pattern) => self.path.with_file_name(pattern.fill(|placeholder| self.value(placeholder, first))),
        };
        // Numbers go up also after names that are free again.
        self.suffix = if self.last.as_ref() == Some(&name) { self.suffix + 1 } else { 1 };
        let mut path = numbered(&name, self.suffix);
        while self.is_taken(&path) {
            self.suffix += 1;
            path = numbered(&name, self.suffix);
        }
        if !self.keeps_existing {
            self.given.insert(path.clone());
        }
        self.last = Some(name);
        self.index += 1;
        path
    }

    fn is_taken(&self, path: &Path) -> bool {
        if self.keeps_existing { exists(path) || exists(&part_of(path)) } else { self.given.contains(path) }
    }

    fn value(&self, placeholder: Placeholder, first: &FragmentHeader) -> String {
        let millis = |time: Option<Timestamp>| time.map(|time| time.as_millis().to_string());
        let value = match placeholder {
            Placeholder::Index => None,
            Placeholder::Number => first.number().map(ToString::to_string),
            Placeholder::ProducerMillis => millis(first.producer_time()),
            Placeholder::ServerMillis => millis(first.server_time()),
            Placeholder::Time => first.producer_time().map(compact),
        };
        value.unwrap_or_else(|| self.index.to_string())
    }
}

/// Returns a time in the basic format of ISO 8601, to the second.
fn compact(time: Timestamp) -> String {
    let text = time.to_string();
    let (seconds, _) = text.split_once('.').unwrap_or((&text, ""));
    let digits: String = seconds.chars().filter(|c| !matches!(c, '-' | ':')).collect();
    digits + "Z"
}

/// Adds a number to a name, before its extension. The first file has none.
fn numbered(name: &Path, number: u64) -> PathBuf {
    if number < 2 {
        return name.to_owned();
    }
    let mut stem = name.file_stem().unwrap_or_default().to_owned();
    stem.push(format!("-{number}"));
    if let Some(extension) = name.extension() {
        stem.push(".");
        stem.push(extension);
    }
    name.with_file_name(stem)
}

/// Returns true if there is something of this name, even a link that leads nowhere.
fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}
