//! A PostgreSQL server of the tests' own.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio_postgres::{Client, Config, NoTls};

/// The user `nobody` and its group. The server refuses to run as root.
const NOBODY: u32 = 65_534;

/// A server with an empty database, on a socket in a folder of its own. It stops when this is dropped.
pub struct Postgres {
    dir: TempDir,
    programs: PathBuf,
    server: Option<Child>,
}

impl Postgres {
    /// Starts a server, or returns `None` with a message if PostgreSQL is not installed.
    ///
    /// With the variable `KVS_POSTGRES`, a missing PostgreSQL is a failure.
    pub async fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(std::env::var_os("KVS_POSTGRES").is_none(), "PostgreSQL is not installed");
            eprintln!("skipped: PostgreSQL is not installed; .ci/setup postgresql installs it");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        if is_root() {
            chown(dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut postgres = Self { dir, programs, server: None };
        let mut init = postgres.command("initdb");
        init.args(["--username=kvs", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "-D", "data"]);
        let output = init.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        postgres.restart().await;
        Some(postgres)
    }

    /// Stops the server as a crash of the machine would, without a shutdown.
    pub fn kill(&mut self) {
        self.stop("QUIT");
    }

    /// Starts the server again, on the same data.
    pub async fn restart(&mut self) {
        // Ends with this process, which holds the pipe. The first line is the signal for the server.
        let script = r#""$1" -D data -k "$PWD" -c listen_addresses= -c fsync=off -c max_connections=50 2>log &
            read -r signal; kill -"${signal:-INT}" $!; wait $!"#;
        let mut shell = self.command("/bin/sh");
        shell.args(["-c", script, "sh"]).arg(self.programs.join("postgres")).stdin(Stdio::piped());
        self.server = Some(shell.spawn().unwrap());
        for _ in 0..600 {
            if self.try_connect().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        panic!("PostgreSQL did not start: {log}");
    }

    /// Returns how clients connect.
    pub fn config(&self) -> Config {
        let mut config = Config::new();
        config.host_path(self.dir.path()).user("kvs").dbname("postgres");
        config
    }

    async fn try_connect(&self) -> Result<Client, tokio_postgres::Error> {
        let (client, connection) = self.config().connect(NoTls).await?;
        tokio::spawn(connection);
        client.simple_query("SELECT 1").await?;
        Ok(client)
    }

    /// A program in the server's folder, as a user whom the server accepts.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.dir.path()).stdout(Stdio::null()).env("LC_ALL", "C");
        if is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn stop(&mut self, signal: &str) {
        let Some(mut server) = self.server.take() else { return };
        if let Some(mut input) = server.stdin.take() {
            let _ = std::io::Write::write_all(&mut input, format!("{signal}\n").as_bytes());
        }
        let _ = server.wait();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop("INT");
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns the folder with the server's programs, of the newest version.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    found.sort();
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    found.into_iter().rev().chain(std::env::split_paths(&on_path)).find(|dir| has_server(dir))
}

fn has_server(dir: &Path) -> bool {
    dir.join("initdb").is_file() && dir.join("postgres").is_file()
}
