//! A look at a process's admin port.

use std::collections::BTreeMap;

use local::process::Process;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::patiently;

/// The address that a process says it listens on.
///
/// # Panics
/// It does not say so.
pub async fn address(process: &mut Process) -> String {
    let line = patiently("the admin port", process.says("admin.address")).await.expect("a line");
    let line: Value = serde_json::from_str(&line).expect("JSON");
    line["admin.address"].as_str().expect("an address").to_owned()
}

/// Status and body.
///
/// # Panics
/// There is no answer.
pub async fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").as_bytes()).await.expect("a request");
    let mut answer = String::new();
    patiently("an answer", stream.read_to_string(&mut answer)).await.expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).expect("a status line").parse().expect("a status"), body.to_owned())
}

/// Each sample by its name, without our prefix, and labels.
///
/// # Panics
/// There is no exposition.
pub async fn metrics(address: &str) -> BTreeMap<String, f64> {
    let (status, text) = get(address, "/metrics").await;
    assert_eq!(status, 200);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let parse = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect("a value");
        (name.strip_prefix("slotwatch_").expect("our prefix").to_owned(), value.parse().expect("a number"))
    };
    samples.map(parse).collect()
}
