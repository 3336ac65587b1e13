//! The probe and the protocol HTTP: what servers say that err, do harm, or speak another one.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod http1;
mod http2;

use std::sync::Arc;

use local::certificate::Authority;
use producer::once;
use producer::probe::Probe;
use producer::settings::Settings;
use producer::targets::load_targets;
use shared::config::{Environment, load};
use shared::message::CheckResult;
use tests::awake;

/// A certificate authority that the probe trusts.
struct Lab {
    authority: Authority,
    probe: Arc<Probe>,
}

impl Lab {
    fn new() -> Self {
        let authority = Authority::new().unwrap();
        let mut settings = Settings::default();
        settings.probe.ca_file = authority.ca_file().display().to_string();
        Self { authority, probe: Arc::new(Probe::new(&settings).unwrap()) }
    }

    /// Checks a URL once; `fields` are further lines of the target.
    async fn check(&self, url: &str, fields: &str) -> CheckResult {
        self.check_all(&[(url.to_owned(), fields)]).await.remove(0)
    }

    /// Checks several at once, and returns their results in this order.
    async fn check_all(&self, asked: &[(String, &str)]) -> Vec<CheckResult> {
        let mut text = String::new();
        for (number, (url, fields)) in asked.iter().enumerate() {
            let timeout = if fields.contains("timeout") { "" } else { "timeout = '30s'" };
            text += &format!("[[targets]]\nname = '{number:04}'\nurl = '{url}'\n{timeout}\n{fields}\n");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("targets.toml");
        std::fs::write(&path, text).unwrap();
        let variables = [("SCHEDULE_TARGETS_FILE", path.to_str().unwrap())];
        let targets = load_targets(&load(None, &Environment::from_pairs(variables)).unwrap()).unwrap();
        let mut results = awake(async || once::run(&targets, "test", 100, self.probe.clone()).await).await;
        results.sort_by(|one, other| one.meta.target.cmp(&other.meta.target));
        results
    }
}

fn detail(result: &CheckResult) -> &str {
    result.outcome.failure.as_ref().map_or("", |failure| &failure.detail)
}
