//! `kvs completions` and `kvs man`.

use std::path::Path;
use std::process::{Command, Output};

use super::Lab;

/// Runs a script of a shell in which `kvs` is the command, or returns nothing if the shell is not installed.
fn shell(lab: &Lab, shell: &[&str], script: &str) -> Option<Output> {
    if !is_installed(shell[0]) {
        eprintln!("{} is not installed", shell[0]);
        return None;
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_kvs")).parent().unwrap();
    let mut command = Command::new(shell[0]);
    command.args(&shell[1..]).args(["-c", script]).current_dir(lab.dir()).env("HOME", lab.dir());
    command.env("PATH", format!("{}:{}", bin.display(), std::env::var("PATH").unwrap()));
    Some(command.output().unwrap())
}

fn is_installed(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|dir| dir.join(program).is_file())
}

/// Returns what was printed, and requires that nothing was complained of.
fn printed(output: Output) -> String {
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{}: {complaints}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn bash_completes() {
    let lab = Lab::new().await;
    let bash = ["bash", "--norc", "--noprofile"];
    let Some(loaded) = shell(&lab, &bash, "source <(kvs completions bash) && complete -p kvs") else { return };
    assert!(printed(loaded).trim_end().ends_with("-F _kvs kvs"));
    // As the shell calls it when the user presses Tab.
    let complete = |words: &str| {
        let script = format!(
            "source <(kvs completions bash)
            COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            _kvs kvs \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"
            printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let found = printed(shell(&lab, &bash, &script).unwrap());
        found.lines().map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(complete("kvs ta"), ["tail"]);
    assert_eq!(complete("kvs l"), ["ls", "list"]);
    assert_eq!(complete("kvs tail --che"), ["--checkpoint"]);
    assert_eq!(complete("kvs tail --color a"), ["always", "auto"]);
    // Files are SOURCEs, and options take them.
    assert!(complete("kvs serve --loo").contains(&"--loop".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn zsh_loads_its_completions() {
    let lab = Lab::new().await;
    let script = "autoload -U compinit && compinit -u -D && source <(kvs completions zsh) && whence -w _kvs && \
        print -r -- $_comps[kvs]";
    let Some(loaded) = shell(&lab, &["zsh", "-f"], script) else { return };
    assert_eq!(printed(loaded), "_kvs: function\n_kvs\n");
    // As the file that the help advises.
    let script = "mkdir -p comp && kvs completions zsh >comp/_kvs && fpath=($PWD/comp $fpath) && \
        autoload -U compinit && compinit -u -D && autoload +X _kvs && whence -w _kvs && print -r -- $_comps[kvs]";
    assert_eq!(printed(shell(&lab, &["zsh", "-f"], script).unwrap()), "_kvs: function\n_kvs\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_for_other_shells_are_printed() {
    let lab = Lab::new().await;
    for name in ["fish", "elvish", "powershell"] {
        let script = printed(lab.run(&format!("completions {name}")).await);
        assert!(script.contains("tail") && script.contains("checkpoint"), "{name}: {script}");
    }
    assert_eq!(lab.run("completions csh").await.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_command_has_a_page() {
    let lab = Lab::new().await;
    assert_eq!(printed(lab.run("man -o pages/man1").await), "");
    let mut pages: Vec<_> =
        std::fs::read_dir(lab.path("pages/man1")).unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    let names: Vec<_> = pages.iter().map(|page| page.file_name().unwrap().to_str().unwrap()).collect();
    let help = printed(lab.run("--help").await);
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let mut expected: Vec<_> = commands
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next().filter(|name| !["", "help"].contains(name)))
        .map(|name| format!("kvs-{name}.1"))
        .collect();
    expected.push("kvs.1".into());
    expected.sort();
    assert!(expected.len() > 10, "{help}");
    assert_eq!(names, expected);

    let page = std::fs::read_to_string(lab.path("pages/man1/kvs-inspect.1")).unwrap();
    assert!(page.contains(".TH KVS-INSPECT 1 "), "{page}");
    // The lines of examples stay as they are.
    let examples = page.split(".SH \"EXAMPLES\"\n.nf\n").nth(1).unwrap().split(".fi").next().unwrap();
    assert!(examples.contains("\n  kvs inspect damaged.mkv \\-\\-resync  "), "{examples}");
    // `kvs man` prints the first page.
    assert_eq!(printed(lab.run("man").await), std::fs::read_to_string(lab.path("pages/man1/kvs.1")).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_render_without_warnings() {
    let lab = Lab::new().await;
    printed(lab.run("man -o pages").await);
    for page in std::fs::read_dir(lab.path("pages")).unwrap().map(|page| page.unwrap().path()) {
        if is_installed("man") {
            let mut man = Command::new("man");
            man.args(["--warnings", "-l"]).arg(&page).env("MANPAGER", "cat").env("MANWIDTH", "80");
            let shown = printed(man.output().unwrap());
            assert!(shown.contains("kvs") && shown.contains("OPTIONS"), "{}: {shown}", page.display());
        }
        if is_installed("mandoc") {
            let lint = Command::new("mandoc").args(["-T", "lint", "-W", "warning"]).arg(&page).output().unwrap();
            let complaints =
                String::from_utf8_lossy(&lint.stdout).into_owned() + &String::from_utf8_lossy(&lint.stderr);
            assert!(lint.status.success() && complaints.is_empty(), "{}: {complaints}", page.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_cannot_be_made_is_told() {
    let lab = Lab::new().await;
    let shown = lab.session(&["man -o notes.mkv/pages"]).await;
    assert_eq!(
        shown,
        "$ kvs man -o notes.mkv/pages\n! error: cannot create the folder notes.mkv/pages\n!   why: not a directory\n? 1\n\n"
    );
}
