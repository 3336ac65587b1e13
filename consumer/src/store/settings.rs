//! The `[postgres]` section.

use std::num::NonZeroU16;
use std::time::Duration;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use shared::config::{Fault, Number, Secret, check_numbers};
use tokio_postgres::Config;

const SECONDS_OF_DAY: i64 = 86_400;
/// Ten years: a result that claims to be older comes from a clock that is wrong.
const BELIEVED_DAYS: i64 = 3653;

/// Where Postgres is and how to talk to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Postgres {
    /// `postgres://user:password@host:port/dbname?sslmode=…`; or else the parts below.
    pub url: Secret,
    /// Host name, address, or folder of a Unix socket.
    pub host: String,
    /// Port.
    pub port: u16,
    /// User.
    pub user: String,
    /// Password; also completes a URL that has none.
    pub password: Secret,
    /// Database; empty for the one named like the user.
    pub dbname: String,
    /// How the connection is secured, unless the URL says it.
    pub sslmode: SslMode,
    /// CA certificates in PEM that sign the server's certificate; empty for the system's.
    pub root_certificate: String,
    /// Whether the consumer brings the tables up to date at start.
    pub migrate: bool,
    /// How long results are kept.
    pub retention: Retention,
    /// Longest wait for a connection.
    #[serde(with = "shared::config::duration")]
    pub connect_timeout: Duration,
    /// Longest wait for one batch to be stored before it is tried again.
    #[serde(with = "shared::config::duration")]
    pub timeout: Duration,
}

/// How long results are kept: a number of days, written `90d`, or for ever, written as nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Retention(Option<NonZeroU16>);

impl Retention {
    /// How many days; `None` for ever.
    pub fn days(self) -> Option<u16> {
        self.0.map(NonZeroU16::get)
    }

    /// The begin of the oldest day that is kept, or believed in where all are kept; and how many days ago that is.
    pub fn oldest(self, now: Timestamp) -> (Timestamp, i64) {
        let days = self.days().map_or(BELIEVED_DAYS, i64::from);
        let second = (now.as_second().div_euclid(SECONDS_OF_DAY) - days) * SECONDS_OF_DAY;
        (Timestamp::from_second(second).unwrap_or(Timestamp::MIN), days)
    }
}

impl TryFrom<String> for Retention {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
        days.map(|days| Self(Some(days)))
            .ok_or_else(|| format!("expected 1 to 65535 days, such as \"90d\", found {text:?}"))
    }
}

impl From<Retention> for String {
    fn from(Retention(days): Retention) -> Self {
        days.map_or_else(Self::new, |days| format!("{days}d"))
    }
}

/// How a connection is secured, in libpq's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS if the server offers it, unverified.
    Prefer,
    /// TLS; the certificate is verified only where a root certificate is given.
    Require,
    /// TLS, with a certificate that a CA has signed.
    VerifyCa,
    /// TLS, with a certificate that a CA has signed for this host.
    VerifyFull,
}

impl Default for Postgres {
    fn default() -> Self {
        Self {
            url: Secret::default(),
            host: String::new(),
            port: 5432,
            user: "postgres".to_owned(),
            password: Secret::default(),
            dbname: String::new(),
            sslmode: SslMode::Prefer,
            root_certificate: String::new(),
            migrate: true,
            retention: Retention::default(),
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
        }
    }
}

/// How to reach the server: what the section comes to.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) sslmode: SslMode,
    pub(super) root_certificate: String,
}

impl Postgres {
    /// The only number, and what it may be.
    pub fn number(&self) -> Number {
        ("postgres.port", self.port.into(), 1..=65_535)
    }

    /// Checks the section.
    ///
    /// # Errors
    /// The first fault found.
    pub fn validate(&self) -> Result<(), Fault> {
        check_numbers(&[self.number()])?;
        for (key, value) in [("postgres.connect_timeout", self.connect_timeout), ("postgres.timeout", self.timeout)] {
            if !(Duration::from_millis(100)..=Duration::from_secs(3600)).contains(&value) {
                return Err(Fault::new(key, "expected a duration from 100ms to 1h"));
            }
        }
        let address = self.address()?;
        super::tls::connector(address.sslmode, &address.root_certificate)
            .map_err(|error| Fault::new("postgres.root_certificate", error))?;
        Ok(())
    }

    /// The section as a configuration of the client.
    pub(super) fn address(&self) -> Result<Address, Fault> {
        let mut address = match (self.url.is_empty(), self.host.is_empty()) {
            (true, true) => return Err(Fault::missing("postgres.url")),
            (false, false) => return Err(Fault::new("postgres.url", "set either url or host, not both")),
            (false, true) => self.url_address()?,
            (true, false) => self.parts_address(),
        };
        if !self.password.is_empty() {
            address.config.password(self.password.expose());
        }
        address
            .config
            .application_name("slotwatch-consumer")
            .ssl_mode(match address.sslmode {
                SslMode::Disable => tokio_postgres::config::SslMode::Disable,
                SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
                _ => tokio_postgres::config::SslMode::Require,
            })
            .connect_timeout(self.connect_timeout)
            // A server that vanished without a word is noticed by the kernel.
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(self.timeout);
        Ok(address)
    }

    fn parts_address(&self) -> Address {
        let mut config = Config::new();
        config.host(&self.host).port(self.port).user(&self.user);
        if !self.dbname.is_empty() {
            config.dbname(&self.dbname);
        }
        Address { config, sslmode: self.sslmode, root_certificate: self.root_certificate.clone() }
    }

    fn url_address(&self) -> Result<Address, Fault> {
        let url = self.url.expose();
        super::url::check(url).map_err(|fault| Fault::new("postgres.url", fault))?;
        // The client knows neither the verifying modes nor the root certificate.
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut sslmode = self.sslmode;
        let mut root_certificate = self.root_certificate.clone();
        let mut rest = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", mode)) => sslmode = parse_sslmode(mode)?,
                Some(("sslrootcert", path)) => {
                    root_certificate = percent_decode_str(path).decode_utf8_lossy().into_owned();
                }
                _ => rest.push(pair),
            }
        }
        let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
        // The parser's message may quote the URL, and with it the password.
        let config: Config = url.parse().map_err(|error: tokio_postgres::Error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            Fault::new("postgres.url", format!("expected postgres://user:password@host:5432/dbname ({cause})"))
        })?;
        if config.get_hosts().is_empty() {
            return Err(Fault::new("postgres.url", "names no host"));
        }
        Ok(Address { config, sslmode, root_certificate })
    }
}

fn parse_sslmode(mode: &str) -> Result<SslMode, Fault> {
    match mode {
        "disable" => Ok(SslMode::Disable),
        "allow" | "prefer" => Ok(SslMode::Prefer),
        "require" => Ok(SslMode::Require),
        "verify-ca" => Ok(SslMode::VerifyCa),
        "verify-full" => Ok(SslMode::VerifyFull),
        _ => Err(Fault::new(
            "postgres.url",
            format!("sslmode: expected disable, prefer, require, verify-ca or verify-full, found {mode:?}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(url: &str) -> Postgres {
        Postgres { url: Secret::from(url.to_owned()), ..Postgres::default() }
    }

    #[test]
    fn urls_and_what_they_say_of_tls() {
        let table = [
            ("postgres://u@h/d", SslMode::Prefer, ""),
            ("postgresql://u:p@h:1,i:2/d?sslmode=verify-full&application_name=x", SslMode::VerifyFull, ""),
            ("postgres://u@h/d?sslmode=verify-ca&sslrootcert=%2Fetc%2Fca.pem", SslMode::VerifyCa, "/etc/ca.pem"),
            (
                "postgres://u@h/d?sslmode=verify-ca&sslrootcert=%2fetc%2fmy%20ca.pem",
                SslMode::VerifyCa,
                "/etc/my ca.pem",
            ),
            ("postgres://u@h/d?sslmode=disable", SslMode::Disable, ""),
        ];
        for (url, sslmode, root) in table {
            let address = section(url).address().unwrap();
            assert_eq!((address.sslmode, address.root_certificate.as_str()), (sslmode, root), "{url}");
        }
    }

    #[test]
    fn faults() {
        let both = Postgres { host: "h".to_owned(), ..section("postgres://h") };
        let short = Postgres { timeout: Duration::ZERO, ..section("postgres://h") };
        let root = Postgres {
            sslmode: SslMode::VerifyFull,
            root_certificate: "/nowhere.pem".to_owned(),
            ..section("postgres://u@h/d")
        };
        let table = [
            (Postgres::default(), "postgres.url", "is missing"),
            (both, "postgres.url", "not both"),
            (section("host=h"), "postgres.url", "expected a URL"),
            (section("postgres://u:s3cret@h:port/d"), "postgres.url", "%3A"),
            (section("postgres://u:s3cret@x@h/d"), "postgres.url", "%40"),
            (section("postgres://u@h/d?sslmode=maybe"), "postgres.url", "found \"maybe\""),
            (short, "postgres.timeout", "from 100ms"),
            (root, "postgres.root_certificate", "/nowhere.pem"),
        ];
        for (section, key, message) in table {
            let fault = section.validate().unwrap_err();
            assert_eq!(fault.key, key);
            assert!(fault.message.contains(message), "{}", fault.message);
            assert!(!fault.message.contains("s3cret"), "{}", fault.message);
        }
    }

    #[test]
    fn parts_make_an_address() {
        let parts = Postgres {
            host: "db".to_owned(),
            dbname: "checks".to_owned(),
            password: Secret::from("p".to_owned()),
            ..Postgres::default()
        };
        let config = parts.address().unwrap().config;
        assert_eq!(config.get_dbname(), Some("checks"));
        assert_eq!(config.get_password(), Some(b"p".as_slice()));
        assert_eq!(config.get_ports(), [5432]);
    }
}
