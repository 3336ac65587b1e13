//! Real servers with certificates of our own: those that prove who they are are believed, and no others; and what is mended is gone
//! on with.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use local::certificate::{Authority, Identity};
use local::kafka::{Kafka, Listener, Login, USER};
use local::postgres::{Options, Postgres};
use local::process::Process;
use local::site::{Behaviour, Response, Site};
use tests::{Fed, Slot, World, complaints, due, patiently, said, stop, until_log};
use tokio::task::block_in_place;
use url::Url;

const PASSWORD: &str = "correct horse";
const KAFKA_REFUSES: &str = "kafka does not let us in";
const NAMES: [&str; 2] = ["a", "b"];
const INTERVAL: Duration = Duration::from_secs(1);

type Variables = Vec<(&'static str, String)>;

/// The listeners of the broker, by number.
const GOOD: usize = 0;
const MUTUAL: usize = 1;
const SCRAM: usize = 2;
const WRONG_NAME: usize = 3;
const EXPIRED: usize = 4;

/// A broker with listeners of every kind, and what its clients need.
struct Secured {
    kafka: Kafka,
    ca: Authority,
    /// Signs nobody that we talk to.
    stranger: Authority,
}

impl Secured {
    fn start() -> Self {
        let (ca, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
        let good = ca.valid(&["127.0.0.1"]);
        let by_tls = |identity: &Identity| Listener { identity: Some(identity.clone()), ..Listener::default() };
        let listeners = vec![
            by_tls(&good),
            Listener { client_ca: Some(fs::read_to_string(ca.ca_file()).unwrap()), ..by_tls(&good) },
            Listener { login: Some(Login::Scram(PASSWORD.to_owned())), ..by_tls(&good) },
            by_tls(&ca.wrong_name()),
            by_tls(&ca.expired(&["127.0.0.1"])),
        ];
        Self { kafka: Kafka::start_with(None, listeners).unwrap(), ca, stranger }
    }

    /// What a client says that goes to a listener and trusts the right authority.
    fn to(&self, listener: usize, more: &[(&'static str, &str)]) -> Variables {
        let mut variables = vec![
            ("KAFKA_BROKERS", self.kafka.listener(listener).unwrap().to_string()),
            ("KAFKA_SECURITY_PROTOCOL", "ssl".to_owned()),
            ("KAFKA_CA_FILE", self.ca.ca_file().display().to_string()),
        ];
        variables.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
        variables
    }

    async fn world(&self) -> World {
        let mut world = World::new().await;
        self.kafka.brokers().clone_into(&mut world.brokers);
        world
    }
}

/// The variables that name a certificate and its key, both as files of the world.
fn certificate(world: &World, name: &str, identity: &Identity) -> [(&'static str, String); 2] {
    let file = world.file(&format!("{name}.crt"), &identity.certificate_pem());
    [("KAFKA_CERTIFICATE_FILE", file), ("KAFKA_KEY_FILE", world.file(&format!("{name}.key"), identity.key_pem()))]
}

fn start(world: &World, name: &str, variables: &Variables) -> Process {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    world.start(name, &[], &variables)
}

/// A producer and a consumer that go the same way to Kafka.
struct Pair {
    producer: Process,
    consumer: Process,
}

impl Pair {
    fn start(world: &World, site: &Site, variables: &Variables) -> Self {
        let url = site.url("127.0.0.1");
        let entry = |name| format!("[[targets]]\nname = '{name}'\nurl = '{url}'\ninterval = '1s'\n");
        let file = world.file("targets.toml", &NAMES.map(entry).concat());
        let mut variables = variables.clone();
        variables.push(("SCHEDULE_TARGETS_FILE", file));
        let [producer, consumer] = ["producer", "consumer"].map(|name| start(world, name, &variables));
        Self { producer, consumer }
    }

    fn both(&self) -> [&Process; 2] {
        [&self.producer, &self.consumer]
    }

    /// Ends both; what was due meanwhile is returned.
    async fn stop(self) -> (Self, BTreeSet<Slot>) {
        let ended = Self { producer: stop(self.producer).await, consumer: stop(self.consumer).await };
        let due = due(&ended.producer, &NAMES, INTERVAL);
        (ended, due)
    }

    /// What each complained of, but for the results that wait.
    fn complaints(&self) -> [Vec<String>; 2] {
        self.both().map(|process| {
            let mut said = complaints(process);
            said.retain(|line| !line.contains("results wait in the spool for the next start"));
            said
        })
    }
}

async fn site() -> Site {
    Site::start(Response::ok("fine").into()).await.unwrap()
}

/// What was due before is stored, too.
async fn stores_everything(world: &World, site: &Site, variables: &Variables, mut before: BTreeSet<Slot>) {
    let pair = Pair::start(world, site, variables);
    world.until_stored("rows", |rows| rows.len() >= before.len() + 2 * NAMES.len()).await;
    let Pair { producer, consumer } = pair;
    let producer = stop(producer).await;
    before.extend(due(&producer, &NAMES, INTERVAL));
    world.accounts_for(&before).await;
    let consumer = stop(consumer).await;
    assert_eq!([complaints(&producer), complaints(&consumer)], [[""; 0], [""; 0]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_by_tls_with_certificates_and_with_a_password_from_a_file() {
    let secured = block_in_place(Secured::start);
    let world = secured.world().await;
    let site = site().await;
    let password = world.file("password", &format!("{PASSWORD}\n"));
    let scram = [("KAFKA_SECURITY_PROTOCOL", "sasl_ssl"), ("KAFKA_USERNAME", USER), ("KAFKA_PASSWORD_FILE", &password)];
    let mut mutual = secured.to(MUTUAL, &[]);
    mutual.extend(certificate(&world, "client", &secured.ca.valid(&["client"])));
    let mut stored = BTreeSet::new();
    for variables in [secured.to(GOOD, &[]), mutual, secured.to(SCRAM, &scram)] {
        stores_everything(&world, &site, &variables, stored).await;
        stored = world.slots().await;
    }
}

/// Each refusal is said once, with what is wrong, and no result is lost by it.
#[tokio::test(flavor = "multi_thread")]
async fn kafka_that_cannot_be_trusted_or_does_not_trust_us() {
    let secured = block_in_place(Secured::start);
    let site = site().await;
    let stranger = secured.stranger.ca_file().display().to_string();
    let login = [("KAFKA_SECURITY_PROTOCOL", "sasl_ssl"), ("KAFKA_USERNAME", USER), ("KAFKA_PASSWORD", "wrong")];
    let by = |world: &World, identity: Identity| {
        let mut variables = secured.to(MUTUAL, &[]);
        variables.extend(certificate(world, "client", &identity));
        variables
    };
    type Case<'a> = (&'a str, Box<dyn Fn(&World) -> Variables + 'a>);
    let cases: [Case<'_>; 7] = [
        ("certificate verify failed", Box::new(|_| secured.to(GOOD, &[("KAFKA_CA_FILE", &stranger)]))),
        ("certificate verify failed", Box::new(|_| secured.to(WRONG_NAME, &[]))),
        ("certificate verify failed", Box::new(|_| secured.to(EXPIRED, &[]))),
        ("bad certificate", Box::new(|_| secured.to(MUTUAL, &[]))),
        ("certificate unknown", Box::new(|world| by(world, secured.stranger.valid(&["client"])))),
        ("certificate unknown", Box::new(|world| by(world, secured.ca.expired(&["client"])))),
        ("Authentication failed", Box::new(|_| secured.to(SCRAM, &login))),
    ];
    // One after the other, since brokers that are slow to refuse are complained of, too; they go on meanwhile.
    let mut pairs = Vec::new();
    for (reason, variables) in cases {
        let world = secured.world().await;
        let mut variables = variables(&world);
        // There is nobody to wait for at the end.
        variables.push(("STOP_GRACE", "1s".to_owned()));
        let pair = Pair::start(&world, &site, &variables);
        for process in pair.both() {
            until_log(process, KAFKA_REFUSES, |log| said(log, KAFKA_REFUSES) == 1).await;
        }
        pairs.push((reason, world, pair));
    }
    for (reason, world, pair) in pairs {
        let (pair, due) = pair.stop().await;
        for said in pair.complaints() {
            assert!(said.len() == 1 && said[0].contains(KAFKA_REFUSES) && said[0].contains(reason), "{said:#?}");
        }
        stores_everything(&world, &site, &secured.to(GOOD, &[]), due).await;
    }
}

/// Whoever ends while librdkafka's threads are shaking hands must not take OpenSSL from under them. That is a matter of chance,
/// so there are many processes here, and many handshakes in each.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_amid_handshakes_is_no_crash() {
    let world = World::new().await;
    let (ca, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let site = site().await;
    let mut brokers = Vec::new();
    for _ in 0..20 {
        brokers.push(Site::start_tls(Behaviour::Silent, &stranger.valid(&["127.0.0.1"])).await.unwrap());
    }
    let shaken = || brokers.iter().map(Site::connections).sum::<u64>();
    let variables = [
        ("KAFKA_BROKERS", brokers.iter().map(|broker| broker.addr().to_string()).collect::<Vec<_>>().join(",")),
        ("KAFKA_SECURITY_PROTOCOL", "ssl".to_owned()),
        ("KAFKA_CA_FILE", ca.ca_file().display().to_string()),
        (
            "KAFKA_OPTIONS",
            "enable.sparse.connections=false,reconnect.backoff.ms=0,reconnect.backoff.max.ms=0".to_owned(),
        ),
        ("STOP_GRACE", "1s".to_owned()),
        ("SITE_URL", site.url("127.0.0.1")),
    ];
    for round in 0..8 {
        let before = shaken();
        let processes = ["producer", "consumer", "consumer"].map(|name| {
            let mut variables = variables.to_vec();
            variables.push(("SPOOL_FILE", world.file(&format!("spool{round}"), "")));
            start(&world, name, &variables)
        });
        patiently("handshakes", async {
            while shaken() < before + 500 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        for process in processes {
            stop(process).await;
        }
    }
}

/// A refusal is over when its cause is, in processes that run; here a broker's certificate expires and is renewed.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_shows_an_expired_certificate_for_a_while() {
    let mut secured = block_in_place(Secured::start);
    let world = secured.world().await;
    let site = site().await;
    let pair = Pair::start(&world, &site, &secured.to(GOOD, &[]));
    world.until_stored("rows before", |rows| rows.len() >= 4).await;
    for identity in [secured.ca.expired(&["127.0.0.1"]), secured.ca.valid(&["127.0.0.1"])] {
        let listener = Listener { identity: Some(identity), ..Listener::default() };
        block_in_place(|| secured.kafka.change_listener(GOOD, listener)).unwrap();
        for process in pair.both() {
            until_log(process, KAFKA_REFUSES, |log| said(log, KAFKA_REFUSES) == 1).await;
        }
    }
    let stored = world.slots().await.len();
    world.until_stored("rows afterwards", |rows| rows.len() >= stored + 10).await;
    let (pair, due) = pair.stop().await;
    world.accounts_for(&due).await;
    for said in pair.complaints() {
        // Whether a broker that ends is missed before it is back is a matter of chance.
        let refusals = said.iter().filter(|line| !line.contains("kafka is unreachable")).collect::<Vec<_>>();
        assert!(refusals.len() == 1 && refusals[0].contains("certificate verify failed"), "{said:#?}");
    }
}

/// A role that nobody lets in without TLS, and the URL that it goes by, without its password.
async fn by_tls(world: &World, host: &str, parameters: &str) -> String {
    let role = &world.name;
    world.query(&format!("CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")).await;
    world.query(&format!("ALTER DATABASE {role} OWNER TO {role}")).await;
    world.query(&format!("GRANT ALL ON SCHEMA public TO {role}")).await;
    let port = Url::parse(&world.postgres_url).unwrap().port().unwrap();
    format!("postgres://{role}@{host}:{port}/{role}?{parameters}")
}

/// Every mode of TLS with every certificate: what the consumer says of it, or that it stores.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_trusted_as_far_as_the_mode_says() {
    const REFUSED: &str = "postgres refuses to work for us";
    let (ca, stranger) = (Authority::new().unwrap(), Authority::new().unwrap());
    let good = ca.valid(&["127.0.0.1", "localhost"]);
    let start = || Postgres::start_with(&Options { identity: Some(&good), ..Options::default() });
    let mut postgres = block_in_place(start).unwrap();
    let kafka = World::new().await.brokers;
    let ca_file = |authority: &Authority| format!("sslrootcert={}", authority.ca_file().display());
    let (root, other_root) = (ca_file(&ca), ca_file(&stranger));
    type Case<'a> = (&'a str, &'a str, &'a str, Option<&'a str>);
    let failed = Some("certificate verify failed");
    let cases: [(Identity, &[Case<'_>]); 3] = [
        (
            good.clone(),
            &[
                ("127.0.0.1", "verify-full", &root, None),
                ("localhost", "verify-full", &root, None),
                ("127.0.0.1", "verify-full", &other_root, failed),
                ("127.0.0.1", "verify-ca", &other_root, failed),
                ("127.0.0.1", "require", "", None),
                ("127.0.0.1", "require", &other_root, failed),
                ("127.0.0.1", "prefer", "", None),
                ("127.0.0.1", "disable", "", Some("no encryption")),
                // The system knows nothing of our authority.
                ("127.0.0.1", "verify-full", "", failed),
            ],
        ),
        (
            ca.wrong_name(),
            &[
                ("127.0.0.1", "verify-full", &root, Some("IP address mismatch")),
                ("localhost", "verify-full", &root, Some("ostname mismatch")),
                ("127.0.0.1", "verify-ca", &root, None),
            ],
        ),
        (
            ca.expired(&["127.0.0.1"]),
            &[
                ("127.0.0.1", "verify-full", &root, Some("certificate has expired")),
                ("127.0.0.1", "verify-ca", &root, Some("certificate has expired")),
                ("127.0.0.1", "require", "", None),
            ],
        ),
    ];
    for (identity, cases) in cases {
        block_in_place(|| postgres.change_identity(&identity)).unwrap();
        for (host, mode, root, refusal) in cases {
            let world = World::on(&kafka, &postgres).await;
            let url = by_tls(&world, host, &format!("sslmode={mode}&{root}")).await;
            let password = world.file("password", &format!("{PASSWORD}\n"));
            let variables = [("POSTGRES_URL", url.as_str()), ("POSTGRES_PASSWORD_FILE", &password)];
            let mut fed = Fed::new(world, &variables).await;
            fed.feed().await;
            let Some(reason) = refusal else {
                fed.ends_well(&[]).await;
                continue;
            };
            fed.says(REFUSED).await;
            let consumer = stop(fed.consumer).await;
            let said = complaints(&consumer);
            assert!(said.len() == 1 && said[0].contains(REFUSED) && said[0].contains(reason), "{url}: {said:#?}");
            assert!(!fed.world.has_tables().await, "{url}");
        }
    }
}

/// The certificate expires while we run, and is renewed.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_shows_an_expired_certificate_for_a_while() {
    let ca = Authority::new().unwrap();
    let good = ca.valid(&["127.0.0.1"]);
    let start = || Postgres::start_with(&Options { identity: Some(&good), ..Options::default() });
    let mut postgres = block_in_place(start).unwrap();
    let world = World::on(&World::new().await.brokers, &postgres).await;
    let url = by_tls(&world, "127.0.0.1", "sslmode=verify-full").await;
    let root = ca.ca_file().display().to_string();
    let password = world.file("password", PASSWORD);
    let variables =
        [("POSTGRES_URL", url.as_str()), ("POSTGRES_PASSWORD_FILE", &password), ("POSTGRES_ROOT_CERTIFICATE", &root)];
    let mut fed = Fed::new(world, &variables).await.settled().await;
    block_in_place(|| postgres.change_identity(&ca.expired(&["127.0.0.1"]))).unwrap();
    fed.feed().await;
    fed.says("certificate has expired").await;
    block_in_place(|| postgres.change_identity(&good)).unwrap();
    fed.is_stored().await;
    // Whether the restart is noticed before the certificate is a matter of chance.
    fed.ends_having_said(&["certificate has expired"], &["postgres is not available"]).await;
}
