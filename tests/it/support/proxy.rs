//! A proxy over bare sockets, which breaks connections.

use std::time::Duration;

use fastrand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Starts a proxy to a port of this machine, and returns its URL. It ends with the runtime.
///
/// Most connections break after some bytes of the request or of the
/// response, and is slow at random.
pub async fn faulty_proxy(port: u16, seed: u64, most: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut rng = Rng::with_seed(seed);
        while let Ok((client, _)) = listener.accept().await {
            // Every fifth, so that any run comes to its end.
            let is_whole = rng.u32(0..5) == 0;
            let mut limit = |most: usize| if is_whole { usize::MAX } else { rng.usize(0..most) };
            let (up, down) = (limit(most), limit(most / 4));
            let pause = Duration::from_micros(rng.u64(0..2) * rng.u64(0..1500));
            tokio::spawn(async move {
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                // Both are dropped when one has reached its end.
                tokio::select! {
                    () = pass(from_client, to_server, up, pause) => {}
                    () = pass(from_server, to_client, down, pause) => {}
                }
            });
        }
    });
    url
}

/// Passes bytes on until the end or the limit.
async fn pass(mut from: impl AsyncReadExt + Unpin, mut to: impl AsyncWriteExt + Unpin, limit: usize, pause: Duration) {
    let (mut buffer, mut left) = (vec![0; 2000], limit);
    while let Ok(length) = from.read(&mut buffer).await {
        let length = length.min(left);
        if length == 0 || to.write_all(&buffer[..length]).await.is_err() {
            break;
        }
        left -= length;
        sleep(pause).await;
    }
    // What was written arrives before the connection ends.
    let _ = to.flush().await;
}
