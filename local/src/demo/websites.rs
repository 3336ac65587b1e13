//! What the demo watches: local websites of different character under names of their own, or the user's URLs.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use local::certificate::Authority;
use local::dns::{Answer, DnsServer};
use local::site::{Behaviour, Framing, Response, Site};
use tempfile::TempDir;

const PAGE: &str = "<!doctype html><title>Demo</title><h1>Welcome to the demo</h1>\n";

/// The targets of the demo, and what serves them.
pub(super) struct Websites {
    folder: TempDir,
    local: Option<Local>,
}

/// Sites, names and certificates on this machine; they end when this is dropped.
struct Local {
    _sites: Vec<Site>,
    dns: DnsServer,
    authority: Authority,
}

/// One target as it goes into the targets file.
struct Target {
    name: &'static str,
    url: String,
    more: &'static str,
}

impl Websites {
    /// The user's own sites.
    pub(super) fn of_urls(urls: &[&str]) -> io::Result<Self> {
        let mut text = "[defaults]\ninterval = \"5s\"\n".to_owned();
        for url in urls {
            let name = url.split_once("://").map_or(*url, |(_, rest)| rest).trim_end_matches('/');
            push(&mut text, name, url, "");
        }
        Self::write(&text, None)
    }

    /// Sites of ours: what they are called is what they do.
    pub(super) async fn start() -> io::Result<Self> {
        let mut local = Local {
            _sites: Vec::new(),
            dns: DnsServer::start(Vec::<(String, Answer)>::new()).await?,
            authority: Authority::new()?,
        };
        let mut text = "[defaults]\ninterval = \"2s\"\ntimeout = \"1500ms\"\n".to_owned();
        for target in local.targets().await? {
            push(&mut text, target.name, &target.url, target.more);
        }
        Self::write(&text, Some(local))
    }

    fn write(targets: &str, local: Option<Local>) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("slotwatch-demo-").tempdir()?;
        std::fs::write(folder.path().join("targets.toml"), targets)?;
        Ok(Self { folder, local })
    }

    pub(super) fn targets_file(&self) -> PathBuf {
        self.folder.path().join("targets.toml")
    }

    /// Variables that let the producer find the names and trust the certificates.
    pub(super) fn variables(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.display().to_string();
        let mut variables = vec![("SCHEDULE_TARGETS_FILE", text(&self.targets_file())), ("SITE_URL", String::new())];
        variables.push(("SPOOL_FILE", text(&self.folder.path().join("spool.sqlite"))));
        if let Some(local) = &self.local {
            variables.push(("DNS_SERVERS", local.dns.addr().to_string()));
            variables.push(("PROBE_CA_FILE", text(&local.authority.ca_file())));
        }
        variables
    }
}

impl Local {
    async fn targets(&mut self) -> io::Result<Vec<Target>> {
        let millis = Duration::from_millis;
        let page = || Response::ok(PAGE);
        let healthy = self.http("healthy", Behaviour::Respond(page())).await?;
        let valid = self.authority.valid(&["secure.demo.test"]);
        let expired = self.authority.expired(&["expired.demo.test"]);
        let flaky = Behaviour::Flaky {
            every: 3,
            failure: Box::new(Behaviour::Respond(Response::broken())),
            otherwise: Box::new(Behaviour::Respond(page())),
        };
        let cut = page().framed(Framing::Promised(100_000));
        Ok(vec![
            Target {
                name: "slow",
                url: self.http("slow", Behaviour::Respond(page().slow(millis(400), millis(200)))).await?,
                more: "",
            },
            Target { name: "secure", url: self.https("secure", Behaviour::Respond(page()), &valid).await?, more: "" },
            Target {
                name: "redirecting",
                url: self.http("redirecting", Behaviour::Respond(Response::redirect(&healthy))).await?,
                more: "",
            },
            Target { name: "flaky", url: self.http("flaky", flaky).await?, more: "" },
            Target {
                name: "broken",
                url: self.http("broken", Behaviour::Respond(Response::broken())).await?,
                more: "",
            },
            Target { name: "regex-found", url: healthy.clone(), more: "regex = 'Welcome\\s+to'" },
            Target { name: "regex-not-found", url: healthy.clone(), more: "regex = 'Goodbye'" },
            Target {
                name: "certificate-expired",
                url: self.https("expired", Behaviour::Respond(page()), &expired).await?,
                more: "",
            },
            Target { name: "cut-short", url: self.http("cut-short", Behaviour::Respond(cut)).await?, more: "" },
            Target { name: "dies-midway", url: self.http("dies-midway", Behaviour::ResetBeforeHead).await?, more: "" },
            Target { name: "never-answers", url: self.http("never-answers", Behaviour::Silent).await?, more: "" },
            Target { name: "unknown-name", url: "http://unknown-name.demo.test/".to_owned(), more: "" },
            Target { name: "healthy", url: healthy, more: "" },
        ])
    }

    async fn http(&mut self, host: &str, behaviour: Behaviour) -> io::Result<String> {
        let site = Site::start(behaviour).await?;
        Ok(self.open(host, site))
    }

    async fn https(
        &mut self,
        host: &str,
        behaviour: Behaviour,
        identity: &local::certificate::Identity,
    ) -> io::Result<String> {
        let site = Site::start_tls(behaviour, identity).await?;
        Ok(self.open(host, site))
    }

    fn open(&mut self, host: &str, site: Site) -> String {
        let name = format!("{host}.demo.test");
        self.dns.set(&name, Answer::Addresses(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]));
        let url = site.url(&name);
        self._sites.push(site);
        url
    }
}

fn push(text: &mut String, name: &str, url: &str, more: &str) {
    // A JSON string is a TOML string. Writing to a string cannot fail.
    let _ = writeln!(text, "\n[[targets]]\nname = {}\nurl = {}\n{more}", quoted(name), quoted(url));
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
