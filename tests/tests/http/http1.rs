use local::site::{Behaviour, Framing, Response, Site, Step};
use tests::verdict;

use super::{Lab, detail};

/// A site that reads a request, sends this, and says nothing more.
fn says(text: impl AsRef<[u8]>) -> Behaviour {
    Behaviour::Script(vec![Step::Send(text.as_ref().to_vec()), Step::Hold])
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_that_everybody_reads_are_read() {
    let lab = Lab::new();
    let many = |headers: usize| "X-Many: yes\r\n".repeat(headers);
    let table = [
        ("blank before a colon", "HTTP/1.1 200 OK\r\nX-A \t: b\r\n".to_owned()),
        ("blank in a name", "HTTP/1.1 200 OK\r\nX A: b\r\n".to_owned()),
        ("other bytes in a name", "HTTP/1.1 200 OK\r\nX\u{e9}(A): b\r\n".to_owned()),
        ("control byte in a value", "HTTP/1.1 200 OK\r\nSet-Cookie: a=\x01\x0b\x7f; path=/\r\n".to_owned()),
        ("folded line", "HTTP/1.1 200 OK\r\nX-A: b;\r\n c\r\n\td\r\n".to_owned()),
        ("folded before the first", "HTTP/1.1 200 OK\r\n X-A: b\r\n".to_owned()),
        ("folded and empty", "HTTP/1.1 200 OK\r\nX-A:\r\n b\r\n".to_owned()),
        ("no colon", "HTTP/1.1 200 OK\r\nthis is no header\r\n".to_owned()),
        ("no name", "HTTP/1.1 200 OK\r\n: b\r\n".to_owned()),
        ("150 headers", format!("HTTP/1.1 200 OK\r\n{}", many(150))),
        ("1,900 headers", format!("HTTP/1.1 200 OK\r\n{}", many(1_900))),
        ("200 kB", format!("HTTP/1.1 200 OK\r\nX-A: {}\r\n", "b".repeat(200_000))),
        ("line feeds alone", "HTTP/1.1 200 OK\nX-A : b\n".to_owned()),
        ("small letters", "http/1.1 200 OK\r\n".to_owned()),
        ("blanks in the status line", "HTTP/1.1   200   OK\r\n".to_owned()),
        ("no reason", "HTTP/1.1 200\r\n".to_owned()),
        ("control bytes in the reason", "HTTP/1.1 200 O\x01K\r\n".to_owned()),
        ("empty lines before", "\r\n\r\nHTTP/1.1 200 OK\r\n".to_owned()),
        ("interim answers", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n".repeat(50) + "HTTP/1.1 200 OK\r\n"),
        ("1.0", "HTTP/1.0 200 OK\r\n".to_owned()),
    ];
    for (name, head) in table {
        // The connection stays open: only a length that was read ends the body.
        let site = Site::start(says(head + "Content-Length: 4\r\n\r\nfine")).await.unwrap();
        let result = lab.check(&site.url("127.0.0.1"), "regex = '^fine$'").await;
        assert_eq!(verdict(&result), "up", "{name}: {result:#?}");
    }
    let chunks = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n";
    let site = Site::start(says(chunks)).await.unwrap();
    let result = lab.check(&site.url("127.0.0.1"), "regex = '^fine$'").await;
    assert_eq!((verdict(&result).as_str(), result.http.version.as_deref()), ("up", Some("HTTP/1.0")), "{result:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_answer_is_told_in_words() {
    let lab = Lab::new();
    let flood = |begin: &str, again: &str| Behaviour::Script(vec![Step::send(begin), Step::flood(again)]);
    let close = |text: &[u8]| Behaviour::Script(vec![Step::Send(text.to_vec())]);
    let headers = "X-Many: yes\r\n".repeat(2_500);
    let table = [
        ("NUL", says("HTTP/1.1 200 OK\r\nX-A: \0\r\n\r\n"), "invalid HTTP header"),
        ("CR in a line", says("HTTP/1.1 200 OK\r\nX-A: b\rc\r\n\r\n"), "invalid HTTP header"),
        ("2,500 headers", says(format!("HTTP/1.1 200 OK\r\n{headers}\r\n")), "too many headers"),
        ("endless headers", flood("HTTP/1.1 200 OK\r\n", "X-A: b\r\n"), "too many bytes"),
        ("endless header", flood("HTTP/1.1 200 OK\r\nX-A: ", "b"), "too many bytes"),
        ("endless lines", flood("", "\r\n"), "too many bytes"),
        ("endless interim answers", flood("", "HTTP/1.1 100 Continue\r\n\r\n"), "interim answers (1xx)"),
        ("endless large ones", flood("", &format!("HTTP/1.1 103 X\r\nA: {}\r\n\r\n", "b".repeat(9_000))), "512 KiB"),
        ("SSH", Behaviour::Bare(vec![Step::send("SSH-2.0-x\r\n"), Step::Hold]), "not HTTP, it begins with \"SSH-2.0-x"),
        ("0.9", close(b"<html>"), "not HTTP, it begins with \"<html>"),
        ("HTTP/2", close(b"\0\0\0\x04\0\0\0\0\0"), "speaks HTTP/2 without TLS"),
        ("HTTP/2 with settings", close(b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64"), "speaks HTTP/2 without TLS"),
        ("TLS", close(b"\x15\x03\x01\0\x02\x02\x46"), "speaks TLS on this port"),
        ("nothing", Behaviour::CloseWithoutAnswer, "closed the connection without an answer"),
        ("half of a head", close(b"HTTP/1.1 200 OK\r\nX-A"), "in the middle of the response head"),
    ];
    for (name, behaviour, words) in table {
        let site = Site::start(behaviour).await.unwrap();
        let result = lab.check(&site.url("127.0.0.1"), "").await;
        assert_eq!(verdict(&result), "down protocol first_byte", "{name}: {result:#?}");
        assert!(detail(&result).contains(words), "{name}: {result:#?}");
    }
    let plain = Behaviour::Bare(vec![Step::Listen, Step::send("HTTP/1.1 400 Bad Request\r\n\r\n")]);
    let site = Site::start(plain).await.unwrap();
    let result = lab.check(&site.url("127.0.0.1").replace("http:", "https:"), "").await;
    assert_eq!(verdict(&result), "down tls tls", "{result:#?}");
    assert!(detail(&result).contains("does not speak TLS on this port, but plain HTTP"), "{result:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_floods_is_no_trouble_to_neighbours() {
    let lab = Lab::new();
    let interim = "HTTP/1.1 100 Continue\r\n\r\n";
    let floods = Site::start(Behaviour::Script(vec![Step::flood(interim)])).await.unwrap();
    let healthy = Site::start(Response::ok("fine").into()).await.unwrap();
    let mut asked = vec![(floods.url("127.0.0.1"), "timeout = '1h'"); 20];
    asked.resize(60, (healthy.url("127.0.0.1"), ""));
    let results = lab.check_all(&asked).await;
    for (number, result) in results.iter().enumerate() {
        let expected = if number < 20 { "down protocol first_byte" } else { "up" };
        assert_eq!(verdict(result), expected, "{number}: {result:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_length_a_closed_connection_ends_the_body() {
    let lab = Lab::new();
    let identity = lab.authority.valid(&["127.0.0.1"]);
    let table = [
        ("nothing promised", "HTTP/1.1 200 OK\r\n\r\nfine", "up"),
        ("by 1.0", "HTTP/1.0 200 OK\r\n\r\nfine", "up"),
        ("all of it", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine", "up"),
        ("cut length", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfine", "down partial_response transfer"),
        (
            "cut chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n",
            "down partial_response transfer",
        ),
        ("cut head", "HTTP/1.1 200 OK\r\n", "down protocol first_byte"),
        ("no head", "", "down protocol first_byte"),
    ];
    for (name, text, expected) in table {
        let behaviour = Behaviour::Script(vec![Step::send(text), Step::Leave]);
        let site = Site::start_tls(behaviour, &identity).await.unwrap();
        let result = lab.check(&site.url("127.0.0.1"), "").await;
        assert_eq!(verdict(&result), expected, "{name}: {result:#?}");
        assert!(!detail(&result).contains("docs.rs"), "{name}: {result:#?}");
    }
    let page = Response::ok("fine").framed(Framing::UntilClose);
    let site = Site::start_tls(Behaviour::ResetInBody(page), &identity).await.unwrap();
    let result = lab.check(&site.url("127.0.0.1"), "").await;
    assert_eq!(verdict(&result), "down partial_response transfer", "{result:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_written_as_old_servers_want_them() {
    let lab = Lab::new();
    let site = Site::start(Response::ok("fine").into()).await.unwrap();
    let table = [
        ("GET", "", false),
        ("HEAD", "", false),
        ("DELETE", "", false),
        ("POST", "", true),
        ("PUT", "", true),
        ("PATCH", "body = ''", true),
        ("POST", "headers = { Transfer-Encoding = 'chunked' }", false),
    ];
    for (method, fields, empty) in table {
        let result = lab.check(&site.url("127.0.0.1"), &format!("method = '{method}'\n{fields}")).await;
        assert_eq!(verdict(&result), "up", "{method}: {result:#?}");
        let request = site.last_request().unwrap();
        assert!(request.starts_with(&format!("{method} / HTTP/1.1\r\n")), "{request}");
        assert!(request.contains(&format!("\r\nHost: {}\r\n", site.addr())), "{request}");
        assert!(request.contains("\r\nUser-Agent: slotwatch/"), "{request}");
        assert_eq!(request.contains("\r\nContent-Length: 0\r\n"), empty, "{request}");
    }
    let fields = "method = 'POST'\nbody = 'four'\nheaders = { Host = 'shop.test', x-my-KEY = 'a' }";
    lab.check(&site.url("127.0.0.1"), fields).await;
    let request = site.last_request().unwrap();
    let lines = ["\r\nHost: shop.test\r\n", "\r\nX-My-Key: a\r\n", "\r\nContent-Length: 4\r\n", "\r\n\r\nfour"];
    assert!(lines.iter().all(|line| request.contains(line)), "{request}");
}
