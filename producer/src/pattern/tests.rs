use proptest::prelude::*;

use super::*;

/// As the search goes when the first automaton has given up.
fn search_by_states(pattern: &Pattern, body: &[u8]) -> bool {
    let nfa = &pattern.automaton().unwrap().nfa;
    let mut search = Search { begun: true, reached: vec![0; nfa.states().len()], ..Search::default() };
    if search.reach(nfa, nfa.start_unanchored(), body) {
        return true;
    }
    loop {
        if let Some(found) = search.step(pattern, body, 10) {
            return found;
        }
    }
}

fn search_in_steps(pattern: &Pattern, body: &[u8]) -> bool {
    let mut search = Search::default();
    loop {
        if let Some(found) = search.step(pattern, body, 10) {
            return found;
        }
    }
}

fn every_way_finds(text: &str, body: &[u8]) {
    let pattern = Pattern::compile(text).unwrap();
    let expected = pattern.regex.is_match(body);
    assert_eq!(search_in_steps(&pattern, body), expected, "{text:?} in steps in {body:?}");
    if pattern.states > 1 {
        assert_eq!(search_by_states(&pattern, body), expected, "{text:?} by states in {body:?}");
    }
    assert_eq!(pattern.search_at_once(body).unwrap_or(expected), expected);
}

const PATTERNS: [&str; 24] = [
    "ok",
    "ok|fine",
    "(?i)grün",
    "",
    "a*",
    "^ok$",
    "(?m)^ok$",
    "(?mR)^ok$",
    r"\Aok",
    r"ok\z",
    r"\bok\b",
    r"\Bk",
    r"(?-u)\bok\b",
    r"(?-u:\bok)",
    r"\b{start}ok\b{end}",
    "(?s)o.{0,3}k",
    "o.{0,3}k",
    r"(?s-u)o.k",
    r"[^\x00-\x7f]",
    r"(?-u:\xff)o",
    r"(a|ok)+b{2,3}|k(oo)*$",
    "(a+)+$",
    r"\w+\s*:\s*(ok|fine)",
    "[a&&b]",
];

#[test]
fn all_searches_agree() {
    let bodies: [&[u8]; 14] = [
        b"",
        b"ok",
        b"ok\n",
        b"x\nok\r\ny",
        b"oxk",
        b"o\nk",
        b"o1234k",
        "a ok b".as_bytes(),
        "äokä ok".as_bytes(),
        "GRÜN".as_bytes(),
        b"o\xffk \xffo",
        b"status: fine",
        b"kaokbb",
        b"aaaaaaaaab",
    ];
    for pattern in PATTERNS {
        for body in bodies {
            every_way_finds(pattern, body);
        }
    }
}

proptest! {
    #[test]
    fn all_searches_agree_on_anything(
        pattern in proptest::sample::select(PATTERNS.to_vec()),
        body in proptest::collection::vec(proptest::sample::select(b"ok a:\nb\xc3\xa4\xff\r".to_vec()), 0..40),
    ) {
        every_way_finds(pattern, &body);
    }
}

/// Near-matches all over make any search for these slow. No step of it may take long.
#[test]
fn a_step_is_short_whatever_the_body() {
    let bodies = ["status ".repeat(20_000), "status".repeat(20_000) + "\u{e4}", "aaaaab".repeat(20_000)];
    for text in ["(?s)status.{0,1000}ok", r"\bstatus[\s\S]{0,500}\bok\b", "a[ab]{300}c", "(?i)(a|aa|aaa){50}x"] {
        for body in &bodies {
            let pattern = Pattern::compile(text).unwrap();
            assert_eq!(pattern.search_at_once(body.as_bytes()), None, "{text:?} is not cheap");
            let mut search = Search::default();
            for _ in 0..20 {
                if search.step(&pattern, body.as_bytes(), 1000).is_some() {
                    break;
                }
                // What is reached after one byte is all that a step may take longer.
                assert!(search.work <= 1000 + 2 * pattern.states, "{text:?}: {}", search.work);
            }
        }
    }
}

#[test]
fn what_would_be_too_large_is_refused() {
    for text in ["(a{1000}){1000}", r"\w{1000}", r"(\pL{50}){50}", "((((a{30}){30}){30}){30}){30}"] {
        let refused = Pattern::compile(text).unwrap_err();
        assert!(refused.contains("1048576 bytes"), "{text}: {refused}");
    }
}

#[test]
fn what_is_short_or_fixed_is_searched_at_once() {
    let page = "x".repeat(10_000);
    for text in ["Welcome", "<h1>Welcome</h1>|Hello", "needle"] {
        assert_eq!(Pattern::compile(text).unwrap().search_at_once(page.as_bytes()), Some(false), "{text}");
    }
    for text in ["(?i)welcome", r"status:\s*(ok|fine)", r#""state"\s*:\s*"up""#] {
        assert_eq!(Pattern::compile(text).unwrap().search_at_once(&page.as_bytes()[..1000]), Some(false), "{text}");
    }
}
