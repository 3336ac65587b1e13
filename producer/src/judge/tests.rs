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

fn evidence(status: Option<u16>, found: Option<bool>, cut: bool, end: Result<(), Broken>) -> Evidence {
    let body_bytes = status.map(|_| 100);
    let http = Http { status_code: status, body_bytes, regex_found: found, ..Http::default() };
    Evidence { dns: Dns::default(), http, body_cut: cut, undecoded: None, end, unsearched: None }
}

fn broken() -> Failure {
    Failure { class: FailureClass::PartialResponse, phase: Some(Phase::Transfer), detail: String::new() }
}

#[test]
fn verdicts() {
    use FailureClass::{Content, HttpStatus, PartialResponse};
    use State::{Down, Unmeasured, Up};
    /// Target, status, whether the pattern was found, cut, end, then: state and class.
    type Case = (&'static str, Option<u16>, Option<bool>, bool, Result<(), Broken>, State, Option<FailureClass>);
    let theirs = || Err(Broken::Theirs(broken()));
    let ours = || Err(Broken::Ours(broken()));
    let (found, absent) = (Some(true), Some(false));
    let table: Vec<Case> = vec![
        ("", Some(200), None, false, Ok(()), Up, None),
        ("", Some(299), None, false, Ok(()), Up, None),
        ("", Some(301), None, false, Ok(()), Down, Some(HttpStatus)),
        ("", Some(503), None, false, Ok(()), Down, Some(HttpStatus)),
        ("expected_status = [301, '4xx', '500-502']", Some(301), None, false, Ok(()), Up, None),
        ("expected_status = [301, '4xx', '500-502']", Some(418), None, false, Ok(()), Up, None),
        ("expected_status = [301, '4xx', '500-502']", Some(502), None, false, Ok(()), Up, None),
        ("expected_status = [301, '4xx', '500-502']", Some(503), None, false, Ok(()), Down, Some(HttpStatus)),
        ("expected_status = [301, '4xx', '500-502']", Some(200), None, false, Ok(()), Down, Some(HttpStatus)),
        ("regex = 'wel+come'", Some(200), found, false, Ok(()), Up, None),
        ("regex = 'wel+come'", Some(200), found, true, Ok(()), Up, None),
        ("regex = 'welcome'", Some(200), absent, false, Ok(()), Down, Some(Content)),
        ("regex = 'welcome'", Some(200), absent, true, Ok(()), Down, Some(Content)),
        ("regex = 'welcome'", Some(500), found, false, Ok(()), Down, Some(HttpStatus)),
        ("regex = 'welcome'", Some(200), None, false, theirs(), Down, Some(PartialResponse)),
        ("regex = 'wel'", Some(200), found, false, theirs(), Down, Some(PartialResponse)),
        ("regex = 'welcome'", None, None, false, theirs(), Down, Some(PartialResponse)),
        ("", None, None, false, ours(), Unmeasured, Some(PartialResponse)),
    ];
    for (fields, status, found, cut, end, state, class) in table {
        let case = format!("{fields:?} {status:?} {found:?} {cut} {end:?}");
        let outcome = judge(&target(fields), &evidence(status, found, cut, end));
        assert_eq!(outcome.state, state, "{case}");
        assert_eq!(outcome.failure.map(|failure| failure.class), class, "{case}");
    }
}

/// What we could not find out is no fault of the site's, and no excuse for what it did wrong.
#[test]
fn a_search_that_did_not_end() {
    let unsearched = Failure { class: FailureClass::Resources, phase: None, detail: String::new() };
    let table = [
        (Some(200), Ok(()), State::Unmeasured, FailureClass::Resources),
        (Some(500), Ok(()), State::Down, FailureClass::HttpStatus),
        (Some(200), Err(Broken::Theirs(broken())), State::Down, FailureClass::PartialResponse),
    ];
    for (status, end, state, class) in table {
        let evidence = Evidence { unsearched: Some(unsearched.clone()), ..evidence(status, None, false, end) };
        let outcome = judge(&target("regex = 'ok'"), &evidence);
        assert_eq!((outcome.state, outcome.failure.map(|failure| failure.class)), (state, Some(class)), "{status:?}");
    }
}
