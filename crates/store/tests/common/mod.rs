//! What tests of remote stores share.
#![allow(dead_code, clippy::unwrap_used, reason = "each test binary uses its part, and fails by panicking")]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// An error with its causes.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text = format!("{text}: {source}");
        cause = source.source();
    }
    text
}

/// Passes connections on to a server and counts the requests in them.
pub struct Proxy {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Proxy {
    /// To `server`, a `HOST:PORT`.
    pub async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(AtomicUsize::new(0));
        let (counter, server) = (requests.clone(), server.to_owned());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server.clone(), counter.clone()));
            }
        });
        Self { address, requests }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests came since this was called last.
    pub fn requests(&self) -> usize {
        self.requests.swap(0, Ordering::SeqCst)
    }
}

async fn pass(mut client: TcpStream, server: String, requests: Arc<AtomicUsize>) {
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
            // One chunk holds at most one request's head: the client waits for an answer before it asks again.
            let head = String::from_utf8_lossy(&buffer[..length.min(2048)]).into_owned();
            if head.lines().next().is_some_and(|line| line.ends_with(" HTTP/1.1")) {
                requests.fetch_add(1, Ordering::SeqCst);
            }
            if to_server.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    };
    let down = tokio::io::copy(&mut from_server, &mut to_client);
    tokio::select! { () = up => {}, _ = down => {} }
}
