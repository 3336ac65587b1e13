use std::path::Path;
use std::sync::Arc;

use shared::config::{Environment, load};
use shared::message::{Dns, Http, Phase};

use super::*;
use crate::settings::Settings;
use crate::targets::load_targets;

fn target(fields: &str) -> Arc<Target> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("targets.toml");
    std::fs::write(&path, format!("[[targets]]\nname = 'x'\nurl = 'http://example.net/'\n{fields}\n")).unwrap();
    let path = path.to_str().unwrap();
    let environment = Environment::from_pairs([("SCHEDULE_TARGETS_FILE", path)]);
    load_targets(&load::<Settings>(None::<&Path>, &environment).unwrap()).unwrap().remove(0)
}

fn evidence(status: Option<u16>, body: &str, cut: bool, end: Result<(), Broken>) -> Evidence {
    let body_bytes = status.map(|_| body.len() as u64);
    let http = Http { status_code: status, body_bytes, ..Http::default() };
    Evidence { dns: Dns::default(), http, body: body.as_bytes().to_vec(), body_cut: cut, end }
}

fn broken() -> Failure {
    Failure { class: FailureClass::PartialResponse, phase: Some(Phase::Transfer), detail: String::new() }
}

#[test]
fn verdicts() {
    use FailureClass::{Content, HttpStatus, PartialResponse};
    use State::{Down, Unmeasured, Up};
    /// Target, status, body, cut, end, then: state, class, regex verdict.
    type Case =
        (&'static str, Option<u16>, &'static str, bool, Result<(), Broken>, State, Option<FailureClass>, Option<bool>);
    let theirs = || Err(Broken::Theirs(broken()));
    let ours = || Err(Broken::Ours(broken()));
    let table: Vec<Case> = vec![
        ("", Some(200), "", false, Ok(()), Up, None, None),
        ("", Some(299), "", false, Ok(()), Up, None, None),
        ("", Some(301), "", false, Ok(()), Down, Some(HttpStatus), None),
        ("", Some(503), "", false, Ok(()), Down, Some(HttpStatus), None),
        ("expected_status = [301, '4xx', '500-502']", Some(301), "", false, Ok(()), Up, None, None),
        ("expected_status = [301, '4xx', '500-502']", Some(418), "", false, Ok(()), Up, None, None),
        ("expected_status = [301, '4xx', '500-502']", Some(502), "", false, Ok(()), Up, None, None),
        ("expected_status = [301, '4xx', '500-502']", Some(503), "", false, Ok(()), Down, Some(HttpStatus), None),
        ("expected_status = [301, '4xx', '500-502']", Some(200), "", false, Ok(()), Down, Some(HttpStatus), None),
        ("regex = 'wel+come'", Some(200), "wellcome!", false, Ok(()), Up, None, Some(true)),
        ("regex = 'welcome'", Some(200), "sorry", false, Ok(()), Down, Some(Content), Some(false)),
        ("regex = 'welcome'", Some(200), "sorry", true, Ok(()), Down, Some(Content), Some(false)),
        ("regex = 'welcome'", Some(500), "welcome", false, Ok(()), Down, Some(HttpStatus), Some(true)),
        ("regex = 'welcome'", Some(200), "wel", false, theirs(), Down, Some(PartialResponse), None),
        ("regex = 'wel'", Some(200), "wel", false, theirs(), Down, Some(PartialResponse), Some(true)),
        ("regex = 'welcome'", None, "", false, theirs(), Down, Some(PartialResponse), None),
        ("", None, "", false, ours(), Unmeasured, Some(PartialResponse), None),
    ];
    for (fields, status, body, cut, end, state, class, found) in table {
        let case = format!("{fields:?} {status:?} {body:?} {cut} {end:?}");
        let mut evidence = evidence(status, body, cut, end);
        let outcome = judge(&target(fields), &mut evidence);
        assert_eq!(outcome.state, state, "{case}");
        assert_eq!(outcome.failure.map(|failure| failure.class), class, "{case}");
        assert_eq!(evidence.http.regex_found, found, "{case}");
    }
}
