use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

async fn server(ready: &Ready) -> Server {
    let mut metrics = Metrics::new("test", "0.0.0");
    metrics.counter("events", "Events").inc_by(3);
    metrics.counters("things", "Things", "kind", ["big", "small"])[1].inc();
    metrics.counted("seen", "Seen elsewhere", || 7);
    metrics.measured("depth_bytes", "Depth", || 1.5);
    metrics.histogram("wait_seconds", "Wait", &[0.1, 1.0]).observe(0.5);
    let admin = Admin { listen: "127.0.0.1:0".to_owned() };
    admin.serve(metrics, ready.clone()).await.unwrap().unwrap()
}

async fn ask(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn status(server: &Server, request: &str) -> u16 {
    ask(server, request).await.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn ready_is_from_the_begin_of_the_work_to_the_stop_and_alive_is_always() {
    let stop = CancellationToken::new();
    let ready = Ready::new(stop.clone());
    let server = server(&ready).await;
    assert_eq!((status(&server, "GET /livez").await, status(&server, "GET /readyz").await), (200, 503));
    ready.set();
    assert_eq!((status(&server, "GET /livez").await, status(&server, "HEAD /readyz").await), (200, 200));
    stop.cancel();
    assert_eq!((status(&server, "GET /livez").await, status(&server, "GET /readyz").await), (200, 503));
    assert_eq!((status(&server, "GET /").await, status(&server, "POST /livez").await), (404, 405));
}

#[tokio::test]
async fn metrics_are_open_metrics_text() {
    let server = server(&Ready::new(CancellationToken::new())).await;
    let answer = ask(&server, "GET /metrics").await;
    assert!(
        answer.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{answer}"
    );
    let expected = "# HELP slotwatch_build_info What runs here.\n# TYPE slotwatch_build_info gauge\n\
                    slotwatch_build_info{component=\"test\",version=\"0.0.0\"} 1\n";
    assert!(answer.contains(expected), "{answer}");
    for line in [
        "slotwatch_events_total 3",
        "slotwatch_things_total{kind=\"big\"} 0",
        "slotwatch_things_total{kind=\"small\"} 1",
        "slotwatch_seen_total 7",
        "slotwatch_depth_bytes 1.5",
        "slotwatch_wait_seconds_bucket{le=\"0.1\"} 0",
        "slotwatch_wait_seconds_bucket{le=\"1.0\"} 1",
        "slotwatch_wait_seconds_count 1",
        "# EOF",
    ] {
        assert!(answer.contains(&format!("{line}\n")), "{line}: {answer}");
    }
}

/// A connection that has asked as much as this, and then neither asks more nor reads.
async fn connected(server: &Server, begun: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(begun.as_bytes()).await.unwrap();
    stream
}

/// Far more than are served at once stay connected, each in another way; whoever asks is answered, and there is no end to it.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_else_is_connected_who_asks_is_answered() {
    let server = server(&Ready::new(CancellationToken::new())).await;
    let begun = ["", "GET /livez HT", "GET /livez HTTP/1.1\r\nHost: x\r\n", "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"];
    let mut others = Vec::new();
    for number in 0..visitors::CONNECTIONS * 3 {
        others.push(connected(&server, begun[number % begun.len()]).await);
        if number % 16 == 0 {
            assert_eq!(status(&server, "GET /livez").await, 200, "with {number} others");
        }
    }
    assert_eq!(status(&server, "GET /readyz").await, 503);
    // The first of them had to go.
    assert_eq!(others[0].read(&mut [0]).await.unwrap_or(0), 0);
}

/// As many as there is room for may come at once, and all are answered.
#[tokio::test]
async fn a_crowd_that_asks_is_answered() {
    let server = Arc::new(server(&Ready::new(CancellationToken::new())).await);
    let mut crowd = JoinSet::new();
    for _ in 0..visitors::CONNECTIONS - 1 {
        let server = server.clone();
        crowd.spawn(async move { status(&server, "GET /livez").await });
    }
    while let Some(answered) = crowd.join_next().await {
        assert_eq!(answered.unwrap(), 200);
    }
}

/// Large answers that nobody reads are kept for few.
#[tokio::test]
async fn slow_readers_of_much_make_room_for_each_other() {
    let mut metrics = Metrics::new("test", "0.0.0");
    for number in 0..2_000 {
        metrics.counter(&format!("events_{number}"), &"x".repeat(5_000));
    }
    let admin = Admin { listen: "127.0.0.1:0".to_owned() };
    let server = admin.serve(metrics, Ready::new(CancellationToken::new())).await.unwrap().unwrap();
    let mut slow = Vec::new();
    for _ in 0..=visitors::LARGE_ANSWERS {
        let mut stream = connected(&server, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
        // The answer has begun.
        stream.read_exact(&mut [0; 100]).await.unwrap();
        slow.push(stream);
    }
    let mut rest = slow.into_iter().map(async |mut stream| {
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.is_ok() && text.ends_with(b"# EOF\n")
    });
    assert!(!rest.next().unwrap().await, "the oldest has gone");
    assert!(rest.next_back().unwrap().await, "the youngest is answered in full");
    assert_eq!(status(&server, "GET /livez").await, 200);
}

/// Without anybody else, too, a connection that says nothing is closed.
#[tokio::test]
async fn silence_is_not_kept_for_ever() {
    let server = server(&Ready::new(CancellationToken::new())).await;
    let mut silent = connected(&server, "GET /livez").await;
    assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
}

#[test]
fn an_address_has_a_port() {
    let good = |listen: &str| Admin { listen: listen.to_owned() }.validate().is_ok();
    assert_eq!(
        ["", "0.0.0.0:9465", "[::1]:0", "9465", "localhost", "1.2.3.4"].map(good),
        [true, true, true, false, false, false]
    );
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_that_names_it() {
    let ready = Ready::new(CancellationToken::new());
    let server = server(&ready).await;
    let admin = Admin { listen: server.address().to_string() };
    let error = admin.serve(Metrics::new("test", "0"), ready).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("admin.listen {}: ", server.address())), "{error}");
}
