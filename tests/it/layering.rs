//! Imports flow in one direction, and no file is long.

use std::path::Path;

use crate::support::imports::{Edge, Source, Sources};

/// The layers of the crate. Each may use itself and the layers in its list.
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
    ("mux", &["error", "ebml", "fragment", "packet", "audio"]),
    ("checkpoint", &["error", "fragment"]),
    ("frame", &["error", "image_format", "fragment", "packet"]),
    ("sink", &["error", "summary", "image_format", "fragment", "packet", "audio", "mux", "frame", "service"]),
    ("ext", &["error", "fragment", "packet", "audio", "mux", "checkpoint", "frame", "sink", "service"]),
    ("service", &["error", "limits", "image_format", "ebml", "fragment", "packet", "demux", "checkpoint"]),
    ("viewer", &["error", "fragment", "audio", "mux", "ext", "frame", "service", "local"]),
    ("local", &["error", "limits", "ebml", "fragment", "packet", "demux", "mux", "frame"]),
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
            "mux",
            "packet",
            "service",
            "sink",
            "summary",
            "viewer",
        ],
    ),
];

/// Every layer may use the macros of this one.
const MACROS: &str = "accessors";

/// Files whose path begins with the first never import from files whose path begins with the second.
const NEVER: &[(&str, &str)] = &[
    ("fragment/", "packet/"),
    ("fragment/", "demux/"),
    ("packet/", "demux/"),
    // An API call knows neither its purpose nor `KinesisVideo`.
    ("service/call/", "service/live/"),
    ("service/call/", "service/archived/"),
    ("service/call/", "service/mod.rs"),
    ("service/call/", "service/control/"),
    ("service/client.rs", "service/mod.rs"),
    ("service/put/", "service/mod.rs"),
    ("service/put/", "service/live/"),
    ("service/put/", "service/archived/"),
    ("service/put/", "service/control/"),
    ("service/call/", "service/put/"),
    ("service/live/", "service/put/"),
    ("service/archived/", "service/put/"),
    ("service/fleet/", "service/mod.rs"),
    ("service/fleet/", "service/live/"),
    ("service/fleet/", "service/archived/"),
    ("service/fleet/", "service/put/"),
    ("service/live/", "service/fleet/"),
    ("service/presign.rs", "service/mod.rs"),
    ("service/presign.rs", "service/live/"),
    ("service/presign.rs", "service/archived/"),
    // The control plane knows nothing of media.
    ("service/control/", "service/live/"),
    ("service/control/", "service/archived/"),
    ("service/control/", "service/mod.rs"),
    // Live and archived reading are independent of each other and of `KinesisVideo`.
    ("service/live/", "service/archived/"),
    ("service/live/", "service/mod.rs"),
    ("service/archived/", "service/live/"),
    ("service/archived/", "service/mod.rs"),
    // The local endpoint stores media without knowing who asks for them.
    ("local/store/", "local/server/"),
    ("local/store/", "local/operations/"),
    ("local/operations/", "local/server/router.rs"),
];

/// The library's files. Those of a program in `bin` are another crate's.
fn crate_sources() -> Sources {
    let mut files = Sources::texts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    files.retain(|(name, _)| !name.starts_with("bin/"));
    Sources::new(files)
}

/// The files of the program `kvs`.
fn program_sources() -> Sources {
    Sources::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bin/kvs"))
}

/// The layer of a file: its folder, or its name directly below `src`.
fn layer(name: &str) -> &str {
    name.split('/').next().unwrap().trim_end_matches(".rs")
}

/// All imports that leave their layer for one that it may not use.
fn layer_violations(sources: &Sources) -> Vec<String> {
    let may_use = |from: &str, to: &str| {
        let row = LAYERS.iter().find(|(name, _)| *name == from);
        from == to || to == MACROS || row.unwrap_or_else(|| panic!("{from} has no row in LAYERS")).1.contains(&to)
    };
    let name = |index: usize| &sources.files[index].name[..];
    let edges = sources.edges().into_iter();
    let imports = edges.filter(|edge| !may_use(layer(name(edge.from)), layer(name(edge.to))));
    let mut found: Vec<String> = imports.map(|edge| format!("{} uses {}", name(edge.from), name(edge.to))).collect();
    // Paths name the layer that has the item, not a re-export at the root.
    for file in &sources.files {
        for used in file.code.split("crate::").skip(1) {
            let module: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !module.is_empty() && !may_use(layer(&file.name), &module) {
                found.push(format!("{} uses crate::{module}", file.name));
            }
        }
    }
    found
}

/// All imports that a row of [`NEVER`] forbids.
fn forbidden_imports(sources: &Sources) -> Vec<String> {
    let name = |index: usize| &sources.files[index].name[..];
    let is_forbidden = |edge: &Edge| {
        let (from, to) = (name(edge.from), name(edge.to));
        NEVER.iter().any(|(user, used)| from.starts_with(user) && to.starts_with(used))
    };
    let forbidden = sources.edges().into_iter().filter(is_forbidden);
    forbidden.map(|edge| format!("{} uses {}", name(edge.from), name(edge.to))).collect()
}

#[test]
fn layers_import_in_one_direction() {
    assert_eq!(layer_violations(&crate_sources()), [""; 0]);
}

#[test]
fn forbidden_imports_do_not_occur() {
    let sources = crate_sources();
    for (user, used) in NEVER {
        for prefix in [user, used] {
            let is_there = sources.files.iter().any(|file| file.name.starts_with(prefix));
            assert!(is_there, "no file begins with {prefix}: the rule holds nothing");
        }
    }
    assert_eq!(forbidden_imports(&sources), [""; 0]);
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let sources = crate_sources();
    let circles = sources.circles();
    assert!(circles.is_empty(), "{circles:#?}");
}

/// The commands share what is beside their folder, and do not use each other.
#[test]
fn commands_of_the_program_are_independent() {
    let sources = program_sources();
    let name = |index: usize| &sources.files[index].name[..];
    assert!(sources.circles().is_empty(), "{:#?}", sources.circles());
    // A command is a file or a folder.
    let command = |index: usize| {
        let name = name(index).strip_prefix("commands/").filter(|name| *name != "mod.rs")?;
        Some(name.split('/').next().unwrap().trim_end_matches(".rs"))
    };
    let edges = sources.edges().into_iter();
    let used = edges.filter(|edge| name(edge.from) != "main.rs" && command(edge.to).is_some());
    let used = used.filter(|edge| command(edge.from) != command(edge.to));
    let used: Vec<String> = used.map(|edge| format!("{} uses {}", name(edge.from), name(edge.to))).collect();
    assert_eq!(used, [""; 0]);
    let edges = sources.edges();
    assert!(edges.iter().any(|edge| name(edge.from) == "main.rs" && command(edge.to).is_some()), "nothing was found");
}

/// Breaks each rule in a copy of the sources.
#[test]
fn every_rule_notices_a_violation() {
    let sources = crate_sources();
    let with = |added: &[(String, String)]| {
        let text = |file: &Source| {
            let added = added.iter().filter(|(name, _)| *name == file.name).map(|(_, code)| &code[..]);
            added.chain([&file.code[..]]).collect::<Vec<_>>().join("\n")
        };
        Sources::new(sources.files.iter().map(|file| (file.name.clone(), text(file))).collect())
    };
    // One file of each side stands for all files below a prefix.
    let first = |prefix: &str| {
        let below = || sources.files.iter().filter(|file| file.name.starts_with(prefix));
        let file = below().find(|file| !file.name.ends_with("/mod.rs")).or_else(|| below().next());
        file.unwrap_or_else(|| panic!("no file {prefix}")).name.clone()
    };
    for form in ["use crate::MODULE::Thing;", "fn f() { crate::MODULE::thing() }"] {
        let rules: Vec<_> = NEVER.iter().map(|(user, used)| (first(user), first(used))).collect();
        // Each rule has its own name, since the file of one rule may be used by another.
        let added = |(at, (user, used)): (usize, &(String, String))| {
            let module = used.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
            (user.clone(), form.replace("MODULE", &module).replace("hing", &format!("hing{at}")))
        };
        let found = forbidden_imports(&with(&rules.iter().enumerate().map(added).collect::<Vec<_>>()));
        for (user, used) in rules {
            assert!(found.contains(&format!("{user} uses {used}")), "{user} uses {used}");
        }
    }
    let mut added = Vec::new();
    for (name, allowed) in LAYERS {
        let file = &sources.files.iter().find(|file| layer(&file.name) == *name).unwrap().name;
        let others = LAYERS.iter().map(|(other, _)| *other);
        let forbidden = others.filter(|other| other != name && !allowed.contains(other) && *other != MACROS);
        added.extend(forbidden.map(|other| (file.clone(), other)));
    }
    let uses = |(file, other): &(String, &str)| (file.clone(), format!("use crate::{other}::Thing;"));
    let found = layer_violations(&with(&added.iter().map(uses).collect::<Vec<_>>()));
    for (file, other) in added {
        assert!(found.contains(&format!("{file} uses crate::{other}")), "{file} uses {other}");
    }
    // Two files that use each other, directly and through a re-export.
    let texts = |texts: &[(&str, &str)]| {
        Sources::new(texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    };
    let circle = texts(&[
        ("lib.rs", "pub use a::A;\nmod a;\nmod b;"),
        ("a.rs", "use crate::b::One;\npub struct A;"),
        ("b/mod.rs", "mod one;\npub use one::One;"),
        ("b/one.rs", "pub struct One;\nfn f() { crate::a::f() }"),
    ]);
    assert_eq!(circle.circles(), [["a.rs", "b/one.rs"]]);
    let line = texts(&[
        ("lib.rs", "pub use a::A;\nmod a;\nmod b;"),
        ("a.rs", "use crate::b::{One, Two as Other};\npub struct A;"),
        ("b/mod.rs", "mod one;\nmod two;\npub use one::One;\npub use two::*;"),
        ("b/one.rs", "pub struct One;\nuse super::two::Two;"),
        ("b/two.rs", "pub struct Two;"),
    ]);
    assert!(line.circles().is_empty());
    assert_eq!(line.edges().iter().filter(|edge| !edge.is_reexport).count(), 3);
}

#[test]
fn the_parser_is_free_of_io_and_clocks() {
    for file in crate_sources().files {
        if file.name.starts_with("ebml/") || file.name == "demux/assembler.rs" {
            for word in ["async fn", "tokio", "std::io", "Instant", "SystemTime"] {
                assert!(!file.code.contains(word), "{} has {word}", file.name);
            }
        }
    }
}

#[test]
fn no_file_is_longer_than_800_lines() {
    for file in crate_sources().files.into_iter().chain(program_sources().files) {
        assert!(file.lines <= 800, "{} has {} lines", file.name, file.lines);
    }
}
