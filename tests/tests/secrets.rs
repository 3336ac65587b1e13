//! Whatever a process is told to keep to itself is in nothing that it says, however much it says and whatever goes wrong.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs;
use std::process::{Command, Output};

use local::certificate::{Authority, Identity};
use local::kafka::{Kafka, Listener, Login, USER};
use local::process::Process;
use local::site::{Behaviour, Response, Site};
use openssl::pkey::PKey;
use openssl::symm::Cipher;
use tests::{World, admin, binary, read_topic, said, stop, until_log};
use tokio::task::block_in_place;
use url::Url;

/// Every secret has this in it, so that one look finds any of them.
const MARK: &str = "hush-";
const KAFKA_PASSWORD: &str = "hush-kafka";
const KEY_PASSWORD: &str = "hush-key";
const POSTGRES_PASSWORD: &str = "hush-postgres";
const SITE_PASSWORD: &str = "hush-site";
const TOKEN: &str = "hush-token";
/// How basic authentication spells `user:hush-`.
const BASIC: &str = "dXNlcjpodXNo";

/// A broker that asks for everything, and a client's certificate and key for it.
struct Strict {
    kafka: Kafka,
    ca: Authority,
    client: Identity,
    /// The client's key under its password.
    key: String,
}

impl Strict {
    fn start() -> Self {
        let ca = Authority::new().unwrap();
        let listener = Listener {
            identity: Some(ca.valid(&["127.0.0.1"])),
            client_ca: Some(fs::read_to_string(ca.ca_file()).unwrap()),
            login: Some(Login::Scram(KAFKA_PASSWORD.to_owned())),
            relay: None,
        };
        let client = ca.valid(&["client"]);
        let key = PKey::private_key_from_pem(client.key_pem().as_bytes()).unwrap();
        let key = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), KEY_PASSWORD.as_bytes()).unwrap();
        let kafka = Kafka::start_with(None, vec![listener]).unwrap();
        Self { kafka, ca, client, key: String::from_utf8(key).unwrap() }
    }

    /// Holds that no secret is in a text, nor a line of the key that is not public.
    fn keeps_quiet(&self, what: &str, text: &str) {
        let (keys, public) = ([self.client.key_pem(), &self.key], self.client.certificate_pem());
        let lines =
            keys.into_iter().flat_map(str::lines).filter(|line| !line.starts_with('-') && !public.contains(line));
        for secret in lines.chain([MARK, BASIC]) {
            if let Some(line) = text.lines().find(|line| line.contains(secret)) {
                panic!("{what} shows {secret:?}: {line}");
            }
        }
    }

    /// The settings by variables and files that hold one value each, with the most that there is to say.
    fn by_variables(&self, world: &World) -> Vec<(&'static str, String)> {
        vec![
            ("LOG_LEVEL", "trace".to_owned()),
            ("ADMIN_LISTEN", "127.0.0.1:0".to_owned()),
            ("STOP_GRACE", "2s".to_owned()),
            ("PROBE_CA_FILE", self.ca.ca_file().display().to_string()),
            ("KAFKA_BROKERS", self.kafka.listener(0).unwrap().to_string()),
            ("KAFKA_SECURITY_PROTOCOL", "sasl_ssl".to_owned()),
            ("KAFKA_USERNAME", USER.to_owned()),
            ("KAFKA_PASSWORD_FILE", world.file("kafka-password", KAFKA_PASSWORD)),
            ("KAFKA_CA_FILE", self.ca.ca_file().display().to_string()),
            ("KAFKA_CERTIFICATE_FILE", world.file("client.crt", &self.client.certificate_pem())),
            ("KAFKA_KEY_FILE", world.file("client.key", &self.key)),
            ("KAFKA_KEY_PASSWORD_FILE", world.file("key-password", &format!("{KEY_PASSWORD}\n"))),
            ("KAFKA_OPTIONS", "debug=all".to_owned()),
        ]
    }

    /// The same by a file that holds all of it, in options.
    fn by_options(&self, world: &World) -> Vec<(&'static str, String)> {
        let options = format!(
            "[kafka.options]\n'debug' = 'all'\n'sasl.password' = '{KAFKA_PASSWORD}'\n'ssl.key.password' = '{KEY_PASSWORD}'\n\
             'ssl.key.pem' = '''{}'''\n'ssl.certificate.pem' = '''{}'''\n",
            self.key,
            self.client.certificate_pem()
        );
        let kept =
            ["LOG_LEVEL", "STOP_GRACE", "KAFKA_BROKERS", "KAFKA_SECURITY_PROTOCOL", "KAFKA_USERNAME", "KAFKA_CA_FILE"];
        let mut variables = self.by_variables(world);
        variables.retain(|(name, _)| kept.contains(name) || name.starts_with("PROBE") || name.starts_with("ADMIN"));
        variables.push(("CONFIG_FILE", world.file("options.toml", &options)));
        variables
    }
}

fn start(world: &World, name: &str, variables: &[(&'static str, String)]) -> Process {
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    world.start(name, &[], &variables)
}

/// The world's database as a role with a password that is a secret.
async fn postgres(world: &World) -> Url {
    let role = &world.name;
    world.query(&format!("CREATE ROLE {role} LOGIN PASSWORD '{POSTGRES_PASSWORD}'")).await;
    world.query(&format!("ALTER DATABASE {role} OWNER TO {role}")).await;
    world.query(&format!("GRANT ALL ON SCHEMA public TO {role}")).await;
    let mut url = Url::parse(&world.postgres_url).unwrap();
    url.set_username(role).unwrap();
    url.set_password(Some(POSTGRES_PASSWORD)).unwrap();
    url
}

/// Sites that end well, badly and elsewhere, each asked with a password and a token.
async fn targets(world: &World, ca: &Authority) -> (String, Vec<Site>) {
    let well = || Behaviour::from(Response::ok("fine"));
    let sites = vec![
        Site::start(well()).await.unwrap(),
        Site::start_tls(well(), &ca.valid(&["127.0.0.1"])).await.unwrap(),
        Site::start_tls(well(), &ca.expired(&["127.0.0.1"])).await.unwrap(),
        Site::start(Behaviour::ResetBeforeHead).await.unwrap(),
        Site::start(Response::broken().into()).await.unwrap(),
    ];
    let urls = sites.iter().map(|site| site.url("127.0.0.1")).chain(["http://127.0.0.1:1/".to_owned()]);
    let entry = |(number, url): (usize, String)| {
        let url = url.replace("://", &format!("://user:{SITE_PASSWORD}@")) + &format!("?a=1&api_key={TOKEN}");
        let headers = if number % 2 == 0 { format!("Authorization = 'Bearer {TOKEN}', ") } else { String::new() };
        format!(
            "[[targets]]\nname = 'target-{number}'\nurl = '{url}'\ninterval = '1s'\nheaders = {{ {headers}X-Api-Key = '{TOKEN}' }}\n"
        )
    };
    (world.file("targets.toml", &urls.enumerate().map(entry).collect::<String>()), sites)
}

/// Everything works, and both say as much as they can.
#[tokio::test(flavor = "multi_thread")]
async fn at_work() {
    let strict = block_in_place(Strict::start);
    for by in [Strict::by_variables, Strict::by_options] {
        let mut world = World::new().await;
        strict.kafka.brokers().clone_into(&mut world.brokers);
        let (file, sites) = targets(&world, &strict.ca).await;
        let mut variables = by(&strict, &world);
        variables.extend([("SCHEDULE_TARGETS_FILE", file), ("POSTGRES_URL", postgres(&world).await.to_string())]);
        let mut processes = ["producer", "consumer"].map(|name| start(&world, name, &variables));
        world.until_stored("rows", |rows| rows.len() >= 12).await;
        for process in &mut processes {
            let address = admin::address(process).await;
            strict.keeps_quiet("an exposition", &admin::get(&address, "/metrics").await.1);
        }
        for process in processes {
            let log = stop(process).await.log().join("\n");
            assert!(log.contains("\"level\":\"TRACE\"") && log.contains("kafka.facility"), "{log}");
            strict.keeps_quiet("a log", &log);
        }
        assert!(sites[0].last_request().unwrap().contains(TOKEN));
        for row in world.query("SELECT row_to_json(check_results)::text FROM check_results").await {
            strict.keeps_quiet("a row", row.get(0));
            assert!(row.get::<_, &str>(0).contains("?a=1&api_key=***"), "{}", row.get::<_, &str>(0));
        }
        for record in block_in_place(|| read_topic(&world.brokers, &world.topic)) {
            strict
                .keeps_quiet("a record", &format!("{} {:?}", String::from_utf8_lossy(&record.payload), record.headers));
        }
        for name in ["producer", "consumer"] {
            printed(&strict, &world, name, &variables);
        }
    }
}

/// What `--print-config` makes of good settings.
fn printed(strict: &Strict, world: &World, name: &str, variables: &[(&'static str, String)]) {
    let variables = world.variables().into_iter().chain(variables.iter().cloned());
    let output = run(name, &["--print-config"], variables);
    let text = shown(&output);
    assert!(output.status.success() && text.contains("<redacted>"), "{text}");
    strict.keeps_quiet("a printed configuration", &text);
}

fn run<V: AsRef<str>>(
    name: &str,
    arguments: &[&str],
    variables: impl IntoIterator<Item = (&'static str, V)>,
) -> Output {
    let mut command = Command::new(binary(name));
    for (name, value) in variables {
        command.env(name, value.as_ref());
    }
    command.args(arguments).output().unwrap()
}

fn shown(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

/// Nothing lets us in, or there is nobody.
#[tokio::test(flavor = "multi_thread")]
async fn in_vain() {
    let strict = block_in_place(Strict::start);
    let world = World::new().await;
    let (file, _sites) = targets(&world, &strict.ca).await;
    let url = postgres(&world).await;
    let (wrong, mut nowhere) = (url.to_string() + "-wrong", url.clone());
    let wrong = wrong.replace(POSTGRES_PASSWORD, "hush-wrong").replace("-wrong-wrong", "-wrong");
    nowhere.set_port(Some(1)).unwrap();
    let cases = [
        ("producer", "kafka does not let us in", "KAFKA_PASSWORD", "hush-wrong"),
        ("consumer", "kafka does not let us in", "KAFKA_PASSWORD", "hush-wrong"),
        ("producer", "kafka is unreachable", "KAFKA_BROKERS", "127.0.0.1:1"),
        ("consumer", "kafka is unreachable", "KAFKA_BROKERS", "127.0.0.1:1"),
        ("consumer", "postgres refuses to work for us", "POSTGRES_URL", &wrong),
        ("consumer", "postgres is not available", "POSTGRES_URL", nowhere.as_str()),
    ];
    for (name, says, variable, value) in cases {
        let mut variables = strict.by_variables(&world);
        variables.retain(|(name, _)| *name != format!("{variable}_FILE"));
        variables.push(("SCHEDULE_TARGETS_FILE", file.clone()));
        variables.push((variable, value.to_owned()));
        let process = start(&world, name, &variables);
        until_log(&process, says, |log| said(log, says) > 0).await;
        strict.keeps_quiet("a log", &stop(process).await.log().join("\n"));
    }
}

/// Settings that are refused are refused without being shown.
#[test]
fn in_bad_configuration() {
    let strict_free = |what: &str, text: &str| assert!(!text.contains(MARK) && !text.contains(BASIC), "{what}: {text}");
    let folder = tempfile::tempdir().unwrap();
    let both = ["producer", "consumer"].as_slice();
    let (producer, consumer) = (&both[..1], &both[1..]);
    let variables: [(&[&str], &'static str, &str); 20] = [
        // A password that should have been escaped.
        (consumer, "POSTGRES_URL", "postgres://user:hush-one@hush-two@localhost/"),
        (both, "KAFKA_OPTIONS", "sasl.jaas.config=PlainLoginModule required password=\"hush-option\";"),
        (both, "KAFKA_OPTIONS", "sasl.pasword=hush-option"),
        (both, "KAFKA_OPTIONS", "pass=hush-option"),
        (both, "KAFKA_OPTIONS", "sasl.password=a,hush-option"),
        (both, "KAFKA_OPTIONS", "sasl.oauthbearer.assertion.private.key.passphrase=hush-option"),
        (both, "KAFKA_OPTIONS", "ssl.key.pem=hush-option"),
        (both, "KAFKA_OPTIONS", "ssl.keystore.password=hush-option,ssl.keystore.location=/no/such.p12"),
        (producer, "SITE_URL", "http//user:hush-site@localhost/"),
        (producer, "SITE_URL", "ftp://user:hush-site@localhost/"),
        (producer, "SITE_URL", "localhost:user:hush-site@localhost/"),
        (producer, "SITE_URL", "http://user:hush-site@localhost:0/"),
        (producer, "SITE_URL", "http://user:hush-site@localhost:x/"),
        (consumer, "POSTGRES_URL", "postgres://user:hush-url@localhost:x/d"),
        (consumer, "POSTGRES_URL", "postgres://user:hush-url"),
        (consumer, "POSTGRES_URL", "postgres://user:hush-url@/d"),
        (consumer, "POSTGRES_URL", "postgres://user:hush-url@localhost/d?sslmode=maybe"),
        (consumer, "POSTGRES_URL", "postgres://localhost/d?password=hush-url&nothing=1"),
        (consumer, "POSTGRES_URL", "host=localhost password=hush-url"),
        (consumer, "POSTGRES_PASSWORD_FILE", "/dev/null/hush"),
    ];
    let files: [(&[&str], &str, &str); 10] = [
        (both, "toml", "[kafka]\npassword = \"hush-file\n"),
        (both, "toml", "[kafka]\npassword = hush-file\n"),
        (both, "toml", "[kafka]\npassword = ['hush-file']\n"),
        (both, "toml", "[kafka]\npassword = 'a'\npassword = 'hush-file'\n"),
        (both, "toml", "[kafka.options]\n'sasl.password' = ['hush-file']\n"),
        (both, "toml", "[kafka]\npasword = 'hush-file'\n"),
        (both, "yaml", "kafka:\n  password: hush-file: x\n"),
        (both, "yaml", "kafka:\n  password: \"hush-file\n"),
        (both, "json", "{\"kafka\": {\"password\": \"hush-file\" \"x\"}}"),
        (both, "json", "{\"kafka\": {\"key_password\": \"hush-file}}"),
    ];
    let refused = |name: &str, variable: (&'static str, &str)| {
        let given = [
            ("KAFKA_BROKERS", "localhost:9092"),
            ("KAFKA_SECURITY_PROTOCOL", "ssl"),
            ("SITE_URL", "http://localhost/"),
            ("POSTGRES_URL", "postgres://localhost/d"),
        ];
        let given = given.into_iter().filter(|(name, _)| !variable.0.starts_with(name));
        // The producer shows its settings before it makes anything of them.
        let output = run(name, &["--print-config"], given.chain([variable]));
        let text = shown(&output);
        assert_eq!(output.status.code(), Some(2), "{variable:?}: {text}");
        strict_free(variable.1, &text);
    };
    for (names, variable, value) in variables {
        names.iter().for_each(|name| refused(name, (variable, value)));
    }
    for (names, extension, text) in files {
        let path = folder.path().join(format!("bad.{extension}"));
        fs::write(&path, text).unwrap();
        names.iter().for_each(|name| refused(name, ("CONFIG_FILE", path.to_str().unwrap())));
    }
}

/// A URL with a password or a token is a setting, too.
#[test]
fn in_the_url_of_the_site() {
    let urls = [
        "http://user:hush-site@127.0.0.1:1/",
        "http://127.0.0.1:1/?token=hush-site",
        "http://127.0.0.1:1/a?b=c&X-Api-Key=hush-site#hush-site",
        "http://127.0.0.1:1/?to=http%3A%2F%2Fuser%3Ahush-site%40localhost",
    ];
    for url in urls {
        let variables = [("KAFKA_BROKERS", "localhost:9092"), ("SITE_URL", url)];
        for arguments in
            [["--print-config"].as_slice(), &["--once"], &["--once", "--json"], &["targets"], &["targets", "--json"]]
        {
            let text = shown(&run("producer", arguments, variables));
            assert!(text.contains("127.0.0.1") || text.contains("<redacted>"), "{text}");
            assert!(!text.contains(MARK) && !text.contains(BASIC), "{text}");
        }
    }
}

/// What a site says is not ours to pass on either: where it redirects to may open its doors.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_redirect_that_is_refused() {
    let table = [
        ("ftp://user:hush-site@localhost/", "\"ftp://localhost/\""),
        ("ftp://localhost/?token=hush-site", "\"ftp://localhost/?token=***\""),
        ("ftp://localhost/#hush-site", "\"ftp://localhost/#***\""),
    ];
    for (location, told) in table {
        let site = Site::start(Response::redirect(location).into()).await.unwrap();
        let url = site.url("127.0.0.1");
        for arguments in [["--once"].as_slice(), &["--once", "--json"]] {
            let text = block_in_place(|| shown(&run("producer", arguments, [("SITE_URL", url.as_str())])));
            assert!(text.replace("\\\"", "\"").contains(&format!("redirected to {told}")), "{text}");
            assert!(!text.contains(MARK), "{text}");
        }
    }
}
