use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, Request};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::Client;
use crate::probe::trace::Trace;
use crate::settings;
use crate::targets::HttpVersion;

/// What is left to write when a check ends cannot be written to a server that does not read.
#[tokio::test]
async fn a_server_that_does_not_read_keeps_no_connection() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let client = Client::new(&settings::Probe::default()).unwrap();
    let mut request = Request::new(Method::POST, format!("http://{address}/").parse().unwrap());
    *request.body_mut() = Some("x".repeat(50_000_000).into());
    let trace = Arc::new(Trace::new(address));
    let check = trace.follow(client.execute(request, HttpVersion::Newest));
    let visit = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0; 10_000]).await.unwrap();
        stream
    };
    let _stream = tokio::select! {
        _ = check => panic!("nobody answers"),
        stream = visit => stream,
    };
    assert_eq!(client.tasks.len(), 1);
    client.tasks.close();
    tokio::time::timeout(Duration::from_secs(60), client.tasks.wait()).await.unwrap();
}
