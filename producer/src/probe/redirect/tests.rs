use super::*;

fn ask(url: &str, method: Method, body: Option<&str>) -> Ask {
    let mut headers = HeaderMap::new();
    let all = [
        ("authorization", "Basic x"),
        ("cookie", "a=1"),
        ("x-api-key", "key"),
        ("accept", "text/html"),
        ("user-agent", "us"),
        ("host", "named"),
        ("content-type", "text/plain"),
    ];
    for (name, value) in all {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    let body = body.map(str::to_owned);
    Ask { url: url.parse().unwrap(), method, headers, body, http_version: HttpVersion::default() }
}

fn names(ask: &Ask) -> String {
    let mut names: Vec<&str> = ask.headers.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    names.join(" ")
}

fn refused(from: Ask, status: u16, location: &str) -> String {
    let status = StatusCode::from_u16(status).unwrap();
    match from.redirected(status, location) {
        Err(Broken::Theirs(failure)) if failure.class == FailureClass::Redirect => failure.detail,
        _ => panic!("{location} is not refused"),
    }
}

fn next(from: Ask, status: u16, location: &str) -> Ask {
    let location = self::location(&HeaderValue::from_bytes(location.as_bytes()).unwrap()).unwrap();
    let status = StatusCode::from_u16(status).unwrap();
    from.redirected(status, &location).unwrap_or_else(|_| panic!("{location} is refused"))
}

const ALL: &str = "accept authorization content-type cookie host user-agent x-api-key";
const AWAY: &str = "accept user-agent";

#[test]
fn what_goes_on_to_whom() {
    let table = [
        ("http://a.test/x", "/y", "http://a.test/y", ALL),
        ("http://a.test/x", "http://a.test:80/", "http://a.test/", ALL),
        ("http://a.test/x", "https://a.test/", "https://a.test/", ALL),
        ("http://a.test:81/x", "https://a.test:444/", "https://a.test:444/", ALL),
        ("https://a.test/x", "http://a.test/", "http://a.test/", "accept host user-agent"),
        ("http://a.test/x", "http://a.test:81/", "http://a.test:81/", "accept host user-agent"),
        ("https://a.test/x", "https://a.test:444/", "https://a.test:444/", "accept host user-agent"),
        ("http://a.test/x", "http://b.test/", "http://b.test/", AWAY),
        ("http://a.test/x", "https://b.test/", "https://b.test/", AWAY),
        ("http://a.test/x", "//www.a.test/z#top", "http://www.a.test/z", AWAY),
        ("http://a.test/x", r"\\b.test\z", "http://b.test/z", AWAY),
        ("http://a.test/x/y", "z?q=1", "http://a.test/x/z?q=1", ALL),
        ("http://a.test/x/y", "  /a b  ", "http://a.test/a%20b", ALL),
        ("http://a.test/", "HTTP://A.test/caf\u{e9}", "http://a.test/caf%C3%A9", ALL),
        ("http://a.test/", "http://m\u{fc}ller.test/", "http://xn--mller-kva.test/", AWAY),
    ];
    for (from, location, to, headers) in table {
        let next = next(ask(from, Method::GET, None), 302, location);
        assert_eq!(next.url.as_str(), to, "{from} to {location}");
        assert_eq!(names(&next), headers, "{from} to {location}");
    }
}

#[test]
fn user_information_is_for_that_hop_and_never_shown() {
    let away = next(ask("http://a.test/", Method::GET, None), 302, "http://me:s3cret@b.test/");
    assert_eq!(away.url.as_str(), "http://b.test/");
    assert_eq!(away.headers.get(AUTHORIZATION).unwrap(), "Basic bWU6czNjcmV0");
    let further = next(away, 302, "http://c.test/");
    assert_eq!(further.headers.get(AUTHORIZATION), None);
    let locations =
        ["ftp://u:s3cret@b.test/", "http://u:s3cret@[bad/", "http://u:s3?cret@[bad/", "http://b.test:0/?key=s3cret"];
    for location in locations {
        let detail = refused(ask("http://a.test/", Method::GET, None), 302, location);
        assert!(!detail.contains("s3"), "{location}: {detail}");
        assert!(detail.contains("b"), "{location}: {detail}");
    }
}

#[test]
fn bytes_of_a_location_stay_what_they_are() {
    let latin = HeaderValue::from_bytes(b"/caf\xe9").unwrap();
    assert_eq!(location(&latin).as_deref(), Some("/caf%E9"));
    for empty in ["", "  "] {
        assert_eq!(location(&HeaderValue::from_static(empty)), None);
    }
}

#[test]
fn methods_and_bodies() {
    let table = [
        (301, Method::POST, Method::GET, None),
        (302, Method::POST, Method::GET, None),
        (303, Method::POST, Method::GET, None),
        (303, Method::PUT, Method::GET, None),
        (303, Method::HEAD, Method::HEAD, None),
        (302, Method::PUT, Method::PUT, Some("data")),
        (307, Method::POST, Method::POST, Some("data")),
        (308, Method::POST, Method::POST, Some("data")),
    ];
    for (status, method, then, body) in table {
        let has_body = (method != Method::HEAD).then_some("data");
        let next = next(ask("http://a.test/", method.clone(), has_body), status, "/next");
        assert_eq!((&next.method, next.body.as_deref()), (&then, body), "{status} after {method}");
        assert_eq!(next.headers.contains_key("content-type"), next.method != Method::GET, "{status} after {method}");
    }
    for status in [307, 308] {
        let detail = refused(ask("http://a.test/", Method::POST, Some("data")), status, "http://b.test/");
        assert!(detail.contains("another origin"), "{detail}");
    }
    assert_eq!(next(ask("http://a.test/", Method::POST, Some("data")), 302, "http://b.test/").method, Method::GET);
}
