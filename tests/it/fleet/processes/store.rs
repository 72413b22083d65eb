//! The servers that stand for DynamoDB.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use dynoxide::Database;
use kinesis_video::fleet::DynamoLeases;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::world::TABLE;
use crate::support::dynamo::Dynamo;

/// A server whose tables survive it.
pub enum Store {
    /// In this process. Its connections end with it.
    Dynoxide { server: Option<Dynamo>, database: Database, port: u16 },
    /// A process of Node.js, with its tables in a folder.
    Dynalite { child: Child, port: u16, dir: tempfile::TempDir },
}

impl Store {
    pub async fn dynoxide() -> Self {
        let server = Dynamo::start().await;
        Self::Dynoxide { database: server.database.clone(), port: server.port, server: Some(server) }
    }

    /// Starts dynalite, or returns nothing if it is not installed: `make proof` installs it.
    pub async fn dynalite() -> Option<Self> {
        let program = dynalite_program();
        if !program.exists() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = start_dynalite(port, dir.path()).await;
        Some(Self::Dynalite { child, port, dir })
    }

    pub fn port(&self) -> u16 {
        match self {
            Self::Dynoxide { port, .. } | Self::Dynalite { port, .. } => *port,
        }
    }

    /// The table, without the proxy that the workers go through.
    pub fn table(&self) -> DynamoLeases {
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-west-2"))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::from_keys("test", "test", None)))
            .endpoint_url(format!("http://127.0.0.1:{}", self.port()))
            .build();
        DynamoLeases::new(&config, TABLE)
    }

    /// Ends the server, as if it was killed.
    pub async fn stop(&mut self) {
        match self {
            Self::Dynoxide { server, .. } => drop(server.take()),
            Self::Dynalite { child, .. } => {
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
    }

    pub async fn start_again(&mut self) {
        match self {
            Self::Dynoxide { server, database, port } => {
                // The old one may still hold its port for its last connections.
                let again = Dynamo::start_with(database.clone(), 0).await;
                *port = again.port;
                *server = Some(again);
            }
            Self::Dynalite { child, port, dir } => *child = start_dynalite(*port, dir.path()).await,
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Self::Dynalite { child, .. } = self {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn dynalite_program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/dynalite/node_modules/.bin/dynalite")
}

async fn start_dynalite(port: u16, dir: &Path) -> Child {
    let mut command = Command::new(dynalite_program());
    command.args(["--port", &port.to_string(), "--path"]).arg(dir.join("tables"));
    command.args(["--createTableMs", "0", "--deleteTableMs", "0"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let connected = timeout(Duration::from_secs(30), async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    });
    connected.await.expect("dynalite starts");
    child
}
