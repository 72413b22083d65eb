//! The files of `src`, and which file imports from which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A module's path from the crate's root.
type Module = Vec<String>;

/// A source file.
pub struct Source {
    /// The path below `src`, with slashes.
    pub name: String,
    /// The text without comment lines and unit tests.
    pub code: String,
    /// The number of lines, comments and unit tests included.
    pub lines: usize,
    module: Module,
    uses: Vec<Use>,
    /// The code without its `use` statements.
    body: String,
}

/// One name that a `use` statement brings in.
struct Use {
    path: Vec<String>,
    /// `*` for a glob.
    name: String,
    is_reexport: bool,
}

/// An import: the indices of the file that has it and of the file that defines the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
    pub is_reexport: bool,
}

/// All source files of a crate.
pub struct Sources {
    pub files: Vec<Source>,
    by_module: BTreeMap<Module, usize>,
}

/// The target of a path.
enum Target {
    Module(Module),
    /// An item, defined in the file of this index.
    Item(usize),
}

impl Sources {
    /// Reads all Rust files below a folder, except unit tests in a `tests.rs`.
    pub fn read(root: &Path) -> Self {
        Self::new(Self::texts(root))
    }

    /// Returns the names and texts of all Rust files below a folder, except unit tests in a `tests.rs`.
    pub fn texts(root: &Path) -> Vec<(String, String)> {
        let mut files = Vec::new();
        walk(root, root, &mut files);
        files
    }

    /// Takes pairs of a path below `src` and a text.
    pub fn new(texts: Vec<(String, String)>) -> Self {
        let mut files: Vec<Source> = texts.into_iter().map(|(name, text)| source(name, &text)).collect();
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let by_module = files.iter().enumerate().map(|(index, file)| (file.module.clone(), index)).collect();
        Self { files, by_module }
    }

    /// All imports between two files. A name that a module re-exports counts for the file that defines it.
    pub fn edges(&self) -> BTreeSet<Edge> {
        let mut edges = BTreeSet::new();
        for (from, file) in self.files.iter().enumerate() {
            let mut add = |path: &[String], is_reexport: bool| {
                let to = match self.resolve(&file.module, path, 0) {
                    Some(Target::Item(to)) => to,
                    Some(Target::Module(module)) => self.by_module[&module],
                    None => return,
                };
                if to != from {
                    edges.insert(Edge { from, to, is_reexport });
                }
            };
            for import in &file.uses {
                add(&import.path, import.is_reexport);
            }
            for path in paths(&file.body) {
                add(&path, false);
            }
        }
        edges
    }

    fn resolve(&self, from: &Module, path: &[String], depth: usize) -> Option<Target> {
        let (first, mut rest) = path.split_first()?;
        let mut module = match first.as_str() {
            "crate" => Module::new(),
            "self" => from.clone(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            // A child module, or a name that is imported here.
            _ => {
                rest = path;
                from.clone()
            }
        };
        let is_relative = rest.len() == path.len();
        for (index, name) in rest.iter().enumerate() {
            if name == "super" {
                module.pop();
                continue;
            }
            if name == "self" || name == "*" {
                continue;
            }
            let child: Module = module.iter().cloned().chain([name.clone()]).collect();
            if self.by_module.contains_key(&child) {
                module = child;
                continue;
            }
            let here = *self.by_module.get(&module)?;
            let after = &rest[index + 1..];
            // A path that is the import itself names another crate.
            if let Some(import) = self.files[here].uses.iter().find(|import| import.name == *name)
                && import.path[0] != *name
                && depth < 20
            {
                return match self.resolve(&module, &import.path, depth + 1)? {
                    Target::Module(next) if !after.is_empty() => {
                        let path: Vec<String> = ["self".to_owned()].into_iter().chain(after.iter().cloned()).collect();
                        self.resolve(&next, &path, depth + 1)
                    }
                    target => Some(target),
                };
            }
            if is_relative && index == 0 {
                // Another crate, or an item of this very file.
                return None;
            }
            if !self.files[here].defines(name) {
                for glob in self.files[here].uses.iter().filter(|import| import.name == "*") {
                    if let Some(Target::Module(next)) = self.resolve(&module, &glob.path, depth + 1)
                        && self.files[self.by_module[&next]].defines(name)
                    {
                        return Some(Target::Item(self.by_module[&next]));
                    }
                }
            }
            return Some(Target::Item(here));
        }
        self.by_module.contains_key(&module).then_some(Target::Module(module))
    }

    fn is_own_child(&self, edge: &Edge) -> bool {
        let folder = self.files[edge.from].name.strip_suffix("mod.rs");
        folder.is_some_and(|folder| self.files[edge.to].name.starts_with(folder))
    }

    /// Groups of files each of which imports all others of its group, directly or through others.
    ///
    /// Two things are no imports here: a re-export, and the use that the `mod.rs` of a folder makes of the files below
    /// it. A folder's `mod.rs` is their interface: it has the types that they share, and hands its work to them.
    pub fn circles(&self) -> Vec<Vec<&str>> {
        let mut next = vec![BTreeSet::new(); self.files.len()];
        let is_import = |edge: &&Edge| !edge.is_reexport && !self.is_own_child(edge);
        for edge in self.edges().iter().filter(is_import) {
            next[edge.from].insert(edge.to);
        }
        let reached = |from: usize| {
            let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
            while let Some(file) = open.pop() {
                open.extend(next[file].iter().copied().filter(|&file| seen.insert(file)));
            }
            seen
        };
        let reached: Vec<BTreeSet<usize>> = (0..self.files.len()).map(reached).collect();
        let group = |file: usize| -> Vec<usize> {
            (0..self.files.len())
                .filter(|&other| reached[file].contains(&other) && reached[other].contains(&file))
                .collect()
        };
        let groups: BTreeSet<Vec<usize>> = (0..self.files.len()).map(group).filter(|group| !group.is_empty()).collect();
        groups.iter().map(|group| group.iter().map(|&file| &self.files[file].name[..]).collect()).collect()
    }
}

impl Source {
    fn defines(&self, name: &str) -> bool {
        ["struct", "enum", "union", "trait", "type", "fn", "const", "static", "macro_rules!"].iter().any(|kind| {
            let definition = format!("{kind} {name}");
            self.body.match_indices(&definition).any(|(at, _)| {
                let after = self.body[at + definition.len()..].chars().next();
                !after.is_some_and(|after| after.is_alphanumeric() || after == '_')
            })
        })
    }
}

fn walk(root: &Path, dir: &Path, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            files.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn source(name: String, text: &str) -> Source {
    let before_tests = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or(text);
    let before_tests = before_tests.split("\n#[cfg(test)]\n#[expect(").next().unwrap_or(text);
    let code: String = before_tests
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let (mut uses, mut body, mut statement) = (Vec::new(), String::new(), String::new());
    for line in code.lines() {
        if statement.is_empty() && !is_use(line) {
            // A visibility is no import.
            let (before, after) = line.split_once("pub(in ").unwrap_or((line, ""));
            body.push_str(before);
            body.push_str(after.split_once(')').map_or("", |(_, after)| after));
            body.push('\n');
            continue;
        }
        statement.push_str(line.trim());
        statement.push(' ');
        if line.contains(';') {
            let is_reexport = statement.starts_with("pub");
            let tree = statement.split_once("use ").unwrap().1.split(';').next().unwrap();
            expand(&[], tree, is_reexport, &mut uses);
            statement.clear();
        }
    }
    let mut module: Module = name.trim_end_matches(".rs").split('/').map(ToOwned::to_owned).collect();
    if matches!(&module.last().unwrap()[..], "mod" | "lib" | "main") {
        module.pop();
    }
    Source { name, lines: text.lines().count(), code, module, uses, body }
}

fn is_use(line: &str) -> bool {
    let line = line.trim_start();
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')').map_or(rest, |(_, rest)| rest).trim_start(),
        Some(rest) => rest.trim_start(),
        None => line,
    };
    line.starts_with("use ")
}

/// Adds the names of a tree such as `a::{b, c::{self, d as e}}`.
fn expand(prefix: &[String], tree: &str, is_reexport: bool, uses: &mut Vec<Use>) {
    let tree = tree.trim();
    if tree.is_empty() {
        return;
    }
    if let Some((head, list)) = tree.split_once('{') {
        let list = list.trim_end().strip_suffix('}').unwrap();
        let head = head.split("::").map(str::trim).filter(|name| !name.is_empty()).map(ToOwned::to_owned);
        let prefix: Vec<String> = prefix.iter().cloned().chain(head).collect();
        let (mut depth, mut start) = (0, 0);
        for (at, c) in list.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    expand(&prefix, &list[start..at], is_reexport, uses);
                    start = at + 1;
                }
                _ => {}
            }
        }
        expand(&prefix, &list[start..], is_reexport, uses);
        return;
    }
    let (path, alias) = tree.split_once(" as ").map_or((tree, None), |(path, alias)| (path, Some(alias.trim())));
    let mut path: Vec<String> =
        prefix.iter().cloned().chain(path.split("::").map(|name| name.trim().to_owned())).collect();
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name = alias.map_or_else(|| path.last().unwrap().clone(), ToOwned::to_owned);
    uses.push(Use { path, name, is_reexport });
}

/// All paths of two or more names in a text.
fn paths(text: &str) -> Vec<Vec<String>> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_name(c) && c != ':');
    let path = |word: &str| -> Vec<String> {
        word.split("::").take_while(|name| !name.is_empty() && !name.contains(':')).map(ToOwned::to_owned).collect()
    };
    words.map(path).filter(|path| path.len() > 1).collect()
}
