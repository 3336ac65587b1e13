//! Uptime Kuma's backup: a list of monitors, each with a type. Those of HTTP can be targets.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};

use super::notes::{Gravity, INSECURE, Note};
use super::output::{CODES, Harvest, Span, Target, statuses};
use super::yaml::Node;

/// What Kuma's monitors have that do not say otherwise.
const INTERVAL: Duration = Duration::from_secs(60);
const TIMEOUT: Duration = Duration::from_secs(48);

/// The targets of a backup.
///
/// # Errors
/// It is none.
pub(super) fn import(backup: &Node) -> Result<Harvest, String> {
    let list = ["monitorList", "monitors"].into_iter().find_map(|key| backup.get(key)).unwrap_or(backup);
    let monitors: Vec<&Node> = list.children().map(AsRef::as_ref).filter(|node| node.get("type").is_some()).collect();
    let is_empty = list.is_list() && list.items().next().is_none();
    if monitors.is_empty() && !is_empty {
        return Err("expected a backup of Uptime Kuma: JSON with a monitorList".to_owned());
    }
    let groups: BTreeMap<&str, &Node> =
        monitors.iter().filter_map(|monitor| Some((monitor.text_of("id")?, *monitor))).collect();
    let mut harvest = Harvest::new("monitor", INTERVAL, TIMEOUT);
    let has = |key: &str| {
        let some = |node: &Node| node.children().next().is_some();
        monitors.iter().filter(|monitor| monitor.get(key).is_some_and(some)).count()
    };
    harvest.note_of(
        has("notificationIDList"),
        Gravity::Harmless,
        "notifications: not carried over: alerts are made from the rows in Postgres",
    );
    harvest.note_of(has("tags"), Gravity::Harmless, "tags: not carried over: a target has no labels but its name");
    for monitor in monitors {
        let name = name(monitor, &groups);
        // A group is no check, but a name that others have before theirs.
        if monitor.text_of("type") == Some("group") {
            continue;
        }
        let mut notes = Vec::new();
        match target(&name, monitor, &mut notes) {
            Ok(target) => harvest.add(target, notes),
            Err(reason) => harvest.leave_out(&name, reason),
        }
    }
    Ok(harvest)
}

/// The monitor's name after those of the groups that it is in.
fn name(monitor: &Node, groups: &BTreeMap<&str, &Node>) -> String {
    let mut names = Vec::new();
    let mut next = Some(monitor);
    // A group may be in itself, in a file that somebody has written.
    while let Some(node) = next.filter(|_| names.len() < 10) {
        names.push(node.text_of("name").unwrap_or("a monitor without a name"));
        next = node.text_of("parent").and_then(|parent| groups.get(parent)).copied();
    }
    names.reverse();
    names.join("/")
}

/// Whether a monitor says yes to a key; in some backups with a number.
fn yes(monitor: &Node, key: &str) -> bool {
    monitor.truth_of(key) == Some(true) || monitor.text_of(key) == Some("1")
}

fn target(name: &str, monitor: &Node, notes: &mut Vec<Note>) -> Result<Target, String> {
    match monitor.text_of("type") {
        Some("http" | "keyword") => {}
        other => {
            return Err(format!("its type is {}, and only http and keyword are known here", other.unwrap_or_default()));
        }
    }
    if monitor.truth_of("active") == Some(false) || monitor.text_of("active") == Some("0") {
        return Err("it is paused".to_owned());
    }
    if yes(monitor, "upsideDown") {
        return Err("it is upside down: a target is up when it answers, never when it does not".to_owned());
    }
    let seconds = |key: &str| {
        let seconds: f64 = monitor.text_of(key)?.parse().ok()?;
        Duration::try_from_secs_f64(seconds).ok().filter(|span| !span.is_zero())
    };
    let interval = seconds("interval").unwrap_or(INTERVAL);
    let mut target = Target {
        name: name.to_owned(),
        url: monitor.text_of("url").ok_or("it has no url")?.to_owned(),
        method: monitor.text_of("method").map(str::to_owned),
        interval: Some(Span(interval)),
        // Before it could be set it was four fifths of the interval.
        timeout: Some(Span(seconds("timeout").unwrap_or(interval.mul_f64(0.8)))),
        expected_status: statuses(&codes(monitor, notes)?),
        follow_redirects: (monitor.text_of("maxredirects") == Some("0")).then_some(false),
        headers: headers(monitor, notes),
        body: monitor.text_of("body").map(str::to_owned).filter(|body| !body.is_empty()),
        regex: keyword(monitor, notes),
    };
    let encoding = match monitor.text_of("httpBodyEncoding") {
        Some("xml") => "text/xml; charset=utf-8",
        Some("form") => "application/x-www-form-urlencoded",
        _ => "application/json",
    };
    if target.body.is_some() && !target.headers.keys().any(|name| name.eq_ignore_ascii_case("content-type")) {
        target.headers.insert("Content-Type".to_owned(), encoding.to_owned());
    }
    others(monitor, notes);
    Ok(target)
}

/// Notes what else a monitor has that no target can have.
fn others(monitor: &Node, notes: &mut Vec<Note>) {
    let number = |key: &str| monitor.text_of(key).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    let table = [
        (yes(monitor, "ignoreTls"), Gravity::Down, "ignoreTls", INSECURE),
        (
            yes(monitor, "expiryNotification"),
            Gravity::Less,
            "expiryNotification",
            "only an expired certificate makes a target down; when it ends is in every row, as certificate_expires_at",
        ),
        (
            number("maxretries") > 0,
            Gravity::Harmless,
            "maxretries",
            "every check has its row, and an alert may wait for several of them",
        ),
        (monitor.get("proxyId").is_some(), Gravity::MayBeDown, "proxyId", "checks go straight to their targets"),
    ];
    for (_, gravity, key, reason) in table.into_iter().filter(|(is_so, ..)| *is_so) {
        notes.push(Note::new(gravity, format!("{key}: not carried over: {reason}")));
    }
}

/// `200-299`, `301` and the like.
fn codes(monitor: &Node, notes: &mut Vec<Note>) -> Result<BTreeSet<u16>, String> {
    let mut codes = BTreeSet::new();
    for text in monitor.texts_of("accepted_statuscodes") {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse::<u16>()) {
            (Ok(first), Ok(last)) => codes.extend((first..=last).filter(|code| CODES.contains(code))),
            _ => {
                let text = format!("accepted_statuscodes: {text:?} is not carried over: no status codes");
                notes.push(Note::new(Gravity::MayBeDown, text));
            }
        }
    }
    match (codes.is_empty(), monitor.items_of("accepted_statuscodes").next().is_some()) {
        (true, true) => Err("accepted_statuscodes has no status code".to_owned()),
        (true, false) => Ok((200..300).collect()),
        (false, _) => Ok(codes),
    }
}

fn headers(monitor: &Node, notes: &mut Vec<Note>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    if let Some(text) = monitor.text_of("headers").filter(|text| !text.trim().is_empty()) {
        match Node::from_json(text) {
            Ok(object) if object.is_map() => {
                let known =
                    object.entries().filter_map(|(name, value)| Some((name.to_owned(), value.text()?.to_owned())));
                headers.extend(known);
            }
            _ => notes.push(Note::new(Gravity::MayBeDown, "headers: not carried over: expected a JSON object")),
        }
    }
    let text = |key: &str| monitor.text_of(key).unwrap_or_default();
    match monitor.text_of("authMethod") {
        // Before there were other methods, a user was enough.
        None | Some("" | "null" | "basic") if !text("basic_auth_user").is_empty() => {
            let credentials = format!("{}:{}", text("basic_auth_user"), text("basic_auth_pass"));
            headers.insert("Authorization".to_owned(), format!("Basic {}", BASE64_STANDARD.encode(credentials)));
        }
        None | Some("" | "null" | "basic") => {}
        Some(method) => {
            let text = format!("authMethod: not carried over: {method} is not known here; a header may do");
            notes.push(Note::new(Gravity::MayBeDown, text));
        }
    }
    headers
}

fn keyword(monitor: &Node, notes: &mut Vec<Note>) -> Option<String> {
    let keyword = monitor.text_of("keyword").filter(|_| monitor.text_of("type") == Some("keyword"))?;
    if yes(monitor, "invertKeyword") {
        let reason = "a regex says what is in a body, not what is not";
        notes.push(Note::new(Gravity::Less, format!("invertKeyword: not carried over: {reason}")));
        return None;
    }
    Some(regex::escape(keyword)).filter(|regex| !regex.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imported(monitors: &str) -> Harvest {
        import(&Node::from_json(&format!("{{\"version\": \"1.23.0\", \"monitorList\": [{monitors}]}}")).unwrap())
            .unwrap()
    }

    #[test]
    fn what_is_carried_over() {
        let table = [
            (r#""type": "http", "interval": 60, "timeout": 48, "accepted_statuscodes": ["200-299"]"#, r"{}"),
            (r#""type": "http", "interval": 20"#, r#"{"interval":"20s","timeout":"16s"}"#),
            (
                r#""type": "http", "method": "POST", "body": "{}", "headers": "{\"X-A\": \"b\"}""#,
                r#"{"body":"{}","headers":{"Content-Type":"application/json","X-A":"b"},"method":"POST"}"#,
            ),
            (r#""type": "http", "accepted_statuscodes": ["200-204", "401"]"#, r#"{"expected_status":["200-204",401]}"#),
            (r#""type": "http", "maxredirects": 0, "active": 1"#, r#"{"follow_redirects":false}"#),
            (
                r#""type": "keyword", "keyword": "a.b", "authMethod": "basic", "basic_auth_user": "u", "basic_auth_pass": "p""#,
                r#"{"headers":{"Authorization":"Basic dTpw"},"regex":"a\\.b"}"#,
            ),
        ];
        for (monitor, expected) in table {
            let harvest = imported(&format!(r#"{{"id": 1, "name": "a", "url": "https://example.net/", {monitor}}}"#));
            assert!(harvest.lines().is_empty(), "{monitor}: {:?}", harvest.lines());
            let file = harvest.file("a").unwrap().unwrap();
            let mut target = toml::from_str::<serde_json::Value>(&file).unwrap()["targets"][0].take();
            target.as_object_mut().unwrap().retain(|key, _| key != "name" && key != "url");
            assert_eq!(target.to_string(), expected, "{monitor}");
        }
    }

    #[test]
    fn what_is_not() {
        let table = [
            (r#""type": "docker""#, "left out: 1 monitor (g/a): its type is docker"),
            (r#""type": "http", "active": false"#, "left out: 1 monitor (g/a): it is paused"),
            (r#""type": "http", "upsideDown": true"#, "left out: 1 monitor (g/a): it is upside down"),
            (
                r#""type": "http", "ignoreTls": true"#,
                "will be down: 1 monitor (g/a): ignoreTls: not carried over: every",
            ),
            (r#""type": "http", "proxyId": 3"#, "may be down: 1 monitor (g/a): proxyId"),
            (r#""type": "http", "authMethod": "ntlm""#, "may be down: 1 monitor (g/a): authMethod"),
            (r#""type": "http", "headers": "X: 1""#, "may be down: 1 monitor (g/a): headers"),
            (
                r#""type": "keyword", "keyword": "x", "invertKeyword": true"#,
                "checks less: 1 monitor (g/a): invertKeyword",
            ),
            (r#""type": "http", "expiryNotification": 1"#, "checks less: 1 monitor (g/a): expiryNotification"),
            (r#""type": "http", "maxretries": 2"#, "harmless: 1 monitor (g/a): maxretries"),
            (r#""type": "http", "notificationIDList": {"1": true}"#, "harmless: 1 monitor: notifications"),
            (r#""type": "http", "tags": [{"name": "x"}]"#, "harmless: 1 monitor: tags"),
            (r#""type": "http", "accepted_statuscodes": ["none"]"#, "left out: 1 monitor (g/a): accepted_statuscodes"),
        ];
        for (monitor, expected) in table {
            let group = r#"{"id": 7, "name": "g", "type": "group", "parent": 7}"#;
            let group = group.replace(r#", "parent": 7"#, "");
            let harvest = imported(&format!(
                r#"{group}, {{"id": 1, "parent": 7, "name": "a", "url": "https://example.net/", {monitor}}}"#
            ));
            let lines = harvest.lines();
            assert!(lines.len() == 1 && lines[0].starts_with(expected), "{monitor}: {lines:?}");
        }
        let error = |text: &str| import(&Node::from_json(text).unwrap()).map(drop);
        assert_eq!(error(r#"{"monitorList": []}"#), Ok(()));
        for text in ["{}", "[]x".trim_end_matches('x'), r#"{"monitorList": {}}"#, "3"] {
            let expected = if text == "[]" {
                Ok(())
            } else {
                Err("expected a backup of Uptime Kuma: JSON with a monitorList".to_owned())
            };
            assert_eq!(error(text), expected, "{text}");
        }
    }
}
