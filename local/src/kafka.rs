//! A real single-node Apache Kafka, broker and controller in one process, on loopback ports of its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rustix::process::Signal;

use crate::certificate::Identity;
use crate::distribution::{self, Distribution};
use crate::error::{Error, doing};
use crate::guard::Guarded;
use crate::home::{Home, free_port, random};
use crate::mock::Embedded;

/// Small and quick to start: this broker lives for minutes and serves one machine.
const JVM: [&str; 5] = ["-Xms64m", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"];
/// How often a start is tried when another process takes one of the ports first.
const PORT_ATTEMPTS: u32 = 5;
/// Kafka's own default, so that a machine that stands still for a while does not cost a broker its place.
const SESSION: Duration = Duration::from_secs(9);
/// The successor of a broker that was killed waits until the dead one has lost its place.
const SESSION_AFTER_KILL: Duration = Duration::from_secs(4);
const METADATA_WITHIN: Duration = Duration::from_secs(2);

/// A Kafka cluster to talk to; one of ours ends when this is dropped, or when its owner ends.
pub struct Kafka {
    brokers: String,
    origin: Origin,
}

enum Origin {
    Given,
    Embedded { _cluster: Embedded },
    Own(Box<Broker>),
}

struct Broker {
    guarded: Guarded,
    distribution: Distribution,
    /// How Java is to load, or to archive, its classes.
    class_loading: Option<String>,
    port: u16,
    controller_port: u16,
    /// Where each further listener is.
    listeners: Vec<(u16, Listener)>,
    /// How long a silent broker keeps its place.
    session: Duration,
}

/// Whom listeners with a password know.
pub const USER: &str = "slotwatch";

/// A listener beside the plain one.
#[derive(Clone, Default)]
pub struct Listener {
    /// What stands between it and its clients: they are told to go on through that.
    pub relay: Option<SocketAddr>,
    /// What it proves itself with, by TLS.
    pub identity: Option<Identity>,
    /// The CA, in PEM, that has to have signed the certificates of its clients; without one they need none.
    pub client_ca: Option<String>,
    /// What clients say by SASL to be let in.
    pub login: Option<Login>,
}

/// The password of [`USER`], and how it is asked for.
#[derive(Clone, Debug)]
pub enum Login {
    /// By PLAIN.
    Plain(String),
    /// By SCRAM-SHA-512. The broker keeps it with its data, which are made at its first start.
    Scram(String),
}

impl Kafka {
    /// Starts a broker with its data below `data`, or in a temporary folder.
    pub fn start(data: Option<&Path>) -> Result<Kafka, Error> {
        Kafka::start_behind(data, &[])
    }

    /// Starts a broker that has a listener more for each of these addresses, and tells clients that come there to go on
    /// through that address. So each of several relays can stand between the broker and one of its clients.
    pub fn start_behind(data: Option<&Path>, relays: &[SocketAddr]) -> Result<Kafka, Error> {
        let behind = |relay: &SocketAddr| Listener { relay: Some(*relay), ..Listener::default() };
        Kafka::start_with(data, relays.iter().map(behind).collect())
    }

    /// Starts a broker that has these listeners, too.
    pub fn start_with(data: Option<&Path>, listeners: Vec<Listener>) -> Result<Kafka, Error> {
        let distribution = Distribution::find()?;
        archive_classes(&distribution);
        let archive = distribution.archive.as_deref().filter(|archive| archive.exists());
        let class_loading = archive.map(|archive| format!("-XX:SharedArchiveFile={}", archive.display()));
        let broker = Broker::start(distribution, data, class_loading, listeners)?;
        Ok(Kafka { brokers: broker.address(), origin: Origin::Own(Box::new(broker)) })
    }

    /// The cluster that `KAFKA_BROKERS` names, if it names one.
    pub fn given() -> Option<Kafka> {
        let brokers = std::env::var("KAFKA_BROKERS").ok().filter(|brokers| !brokers.is_empty())?;
        Some(Kafka { brokers, origin: Origin::Given })
    }

    /// A broker inside this process, for a machine without Java. It keeps everything in memory, drops the oldest
    /// messages when it has too many, and is no proof that anything works on a real broker.
    pub fn embedded() -> Result<Kafka, Error> {
        let (cluster, brokers) = Embedded::start()?;
        eprintln!(
            "WARNING: no Java runtime was found, so this is NOT a real Kafka but a broker embedded in this process."
        );
        eprintln!(
            "WARNING: it holds messages in memory only, drops old ones silently, and loses all of them at the end."
        );
        Ok(Kafka { brokers, origin: Origin::Embedded { _cluster: cluster } })
    }

    /// What `bootstrap.servers` takes.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// Where the further listener of this number is.
    pub fn listener(&self, number: usize) -> Option<SocketAddr> {
        let Origin::Own(broker) = &self.origin else { return None };
        broker.listeners.get(number).map(|(port, _)| (Ipv4Addr::LOCALHOST, *port).into())
    }

    /// Puts another in the place of the further listener of this number, and starts the broker again with it.
    pub fn change_listener(&mut self, number: usize, listener: Listener) -> Result<(), Error> {
        let broker = self.own()?;
        if let Some((_, known)) = broker.listeners.get_mut(number) {
            *known = listener;
        }
        broker.configure()?;
        self.stop()?;
        self.start_again()
    }

    /// Where the listener behind one of the relays is.
    pub fn behind(&self, relay: SocketAddr) -> Option<SocketAddr> {
        let Origin::Own(broker) = &self.origin else { return None };
        self.listener(broker.listeners.iter().position(|(_, listener)| listener.relay == Some(relay))?)
    }

    /// The process id of our own broker, while it runs.
    pub fn pid(&self) -> Option<u32> {
        let Origin::Own(broker) = &self.origin else { return None };
        broker.guarded.pid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs())
    }

    /// The data folder of our own broker.
    pub fn folder(&self) -> Option<&Path> {
        let Origin::Own(broker) = &self.origin else { return None };
        Some(broker.guarded.home())
    }

    /// Shuts the broker down in an orderly manner and waits for it; its data and its ports stay.
    pub fn stop(&mut self) -> Result<(), Error> {
        self.own()?.guarded.end(Signal::TERM)
    }

    /// Kills the broker where it stands and waits until it is gone; its data and its ports stay.
    pub fn kill(&mut self) -> Result<(), Error> {
        let broker = self.own()?;
        broker.session = SESSION_AFTER_KILL;
        broker.configure()?;
        broker.guarded.end(Signal::KILL)
    }

    /// Starts a broker that was stopped or killed, on the same ports and the same data.
    pub fn start_again(&mut self) -> Result<(), Error> {
        self.own()?.run()
    }

    /// Freezes the broker: connections stay open and nothing answers.
    pub fn pause(&mut self) -> Result<(), Error> {
        self.own()?.guarded.signal(Signal::STOP)
    }

    /// Lets a frozen broker go on.
    pub fn resume(&mut self) -> Result<(), Error> {
        self.own()?.guarded.signal(Signal::CONT)
    }

    fn own(&mut self) -> Result<&mut Broker, Error> {
        match &mut self.origin {
            Origin::Own(broker) => Ok(broker),
            Origin::Given | Origin::Embedded { .. } => Err(Error::NotOurs("Kafka")),
        }
    }
}

impl Broker {
    fn start(
        distribution: Distribution,
        data: Option<&Path>,
        class_loading: Option<String>,
        listeners: Vec<Listener>,
    ) -> Result<Broker, Error> {
        let home = Home::new(data, "kafka")?;
        // Nobody will read what is in a temporary folder, so its broker need not be asked politely.
        let signal = if home.keep { "TERM" } else { "KILL" };
        let guarded = Guarded::new("kafka", &home, None, signal)?;
        let listeners = listeners.into_iter().map(|listener| (0, listener)).collect();
        let (port, controller_port, session) = (0, 0, SESSION);
        let mut broker = Broker { guarded, distribution, class_loading, port, controller_port, listeners, session };
        let mut attempt = 1;
        loop {
            broker.port = free_port();
            broker.controller_port = free_port();
            broker.listeners.iter_mut().for_each(|(port, _)| *port = free_port());
            broker.configure()?;
            match broker.run() {
                Err(_) if attempt < PORT_ATTEMPTS && broker.guarded.log_says("Address already in use") => attempt += 1,
                Err(error) => return Err(error),
                Ok(()) => return Ok(broker),
            }
        }
    }

    /// Writes the configuration, and formats the data folder when that is new.
    fn configure(&mut self) -> Result<(), Error> {
        let home = self.guarded.home().to_owned();
        let file = home.join("server.properties");
        let (data, log4j) = (home.join("data"), home.join("log4j2.properties"));
        write(&file, &properties(&data, self.port, self.controller_port, self.session, &self.listeners))?;
        write(&log4j, include_str!("../kafka/log4j2.properties"))?;
        for (number, (_, listener)) in self.listeners.iter().enumerate() {
            if let Some(identity) = &listener.identity {
                write(&home.join(pem("identity", number)), &(identity.certificate_pem() + identity.key_pem()))?;
            }
            if let Some(client_ca) = &listener.client_ca {
                write(&home.join(pem("client-ca", number)), client_ca)?;
            }
        }
        if data.join("meta.properties").exists() {
            return Ok(());
        }
        // 16 bytes in base64url. Readers remember by the id whose offsets they know, so no two clusters may share one.
        let cluster = format!("{}A", &random()?[..21]);
        let mut arguments = vec!["kafka.tools.StorageTool", "format", "-t", &cluster, "-c", "server.properties"];
        let scram = self.listeners.iter().find_map(|(_, listener)| match &listener.login {
            Some(Login::Scram(password)) => Some(format!("SCRAM-SHA-512=[name={USER},password={password}]")),
            _ => None,
        });
        arguments.extend(scram.iter().flat_map(|scram| ["--add-scram", scram]));
        let arguments = self.java_arguments(&arguments);
        self.guarded.run(&self.distribution.java, &arguments)
    }

    fn run(&mut self) -> Result<(), Error> {
        let arguments = self.java_arguments(&["kafka.Kafka", "server.properties"]);
        let (port, address) = (self.port, self.address());
        self.guarded.start(&self.distribution.java, &arguments, || answers(port, &address))
    }

    fn java_arguments(&self, program: &[&str]) -> Vec<String> {
        let own = ["-Dlog4j2.configurationFile=log4j2.properties", "-cp", &self.distribution.classpath];
        JVM.into_iter()
            .chain(self.class_loading.as_deref())
            .chain(own)
            .chain(program.iter().copied())
            .map(str::to_owned)
            .collect()
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// An open port is not yet a broker: it is ready when it knows itself as a member of its cluster.
fn answers(port: u16, address: &str) -> bool {
    if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        return false;
    }
    let client = ClientConfig::new()
        .set("bootstrap.servers", address)
        .set("reconnect.backoff.ms", "10")
        .set("reconnect.backoff.max.ms", "50")
        .set_log_level(RDKafkaLogLevel::Emerg)
        .create::<BaseConsumer>();
    let metadata = client.and_then(|client| client.fetch_metadata(None, METADATA_WITHIN));
    metadata.is_ok_and(|metadata| !metadata.brokers().is_empty())
}

/// Loading its classes is most of what a broker does while it starts, so they are loaded, once, from an archive that
/// Java writes at the end of a run. Without the archive everything works, only slower: trouble is told and passed over.
fn archive_classes(distribution: &Distribution) {
    let Some(archive) = distribution.archive.as_deref().filter(|archive| !archive.exists()) else { return };
    let made = distribution::lock().and_then(|_lock| {
        if archive.exists() {
            return Ok(());
        }
        let partial = archive.with_extension("partial");
        let class_loading = format!("-XX:ArchiveClassesAtExit={}", partial.display());
        let once =
            Distribution { java: distribution.java.clone(), classpath: distribution.classpath.clone(), archive: None };
        Broker::start(once, None, Some(class_loading), Vec::new())?.guarded.end(Signal::TERM)?;
        fs::rename(&partial, archive).map_err(doing(format!("moving {} into place", partial.display())))
    });
    if let Err(error) = made {
        eprintln!("Kafka starts without a class archive: {error}");
    }
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(doing(format!("writing {}", path.display())))
}

/// The file that holds something of the listener of this number, in the broker's folder.
fn pem(name: &str, number: usize) -> String {
    format!("{name}-{number}.pem")
}

impl Listener {
    fn protocol(&self) -> &'static str {
        match (&self.identity, &self.login) {
            (None, None) => "PLAINTEXT",
            (None, Some(_)) => "SASL_PLAINTEXT",
            (Some(_), None) => "SSL",
            (Some(_), Some(_)) => "SASL_SSL",
        }
    }

    /// Its own lines of the broker's configuration.
    fn properties(&self, number: usize) -> String {
        let mut lines = Vec::new();
        if self.identity.is_some() {
            lines.push("ssl.keystore.type=PEM".to_owned());
            lines.push(format!("ssl.keystore.location={}", pem("identity", number)));
        }
        if self.client_ca.is_some() {
            lines.push("ssl.client.auth=required".to_owned());
            lines.push("ssl.truststore.type=PEM".to_owned());
            lines.push(format!("ssl.truststore.location={}", pem("client-ca", number)));
        }
        let (mechanism, module, options) = match &self.login {
            None => return prefixed(number, &lines),
            Some(Login::Plain(password)) => ("PLAIN", "plain.PlainLoginModule", format!(" user_{USER}=\"{password}\"")),
            Some(Login::Scram(_)) => ("SCRAM-SHA-512", "scram.ScramLoginModule", String::new()),
        };
        let property = mechanism.to_lowercase();
        lines.push(format!("sasl.enabled.mechanisms={mechanism}"));
        lines.push(format!("{property}.sasl.jaas.config=org.apache.kafka.common.security.{module} required{options};"));
        prefixed(number, &lines)
    }
}

fn prefixed(number: usize, lines: &[String]) -> String {
    lines.iter().map(|line| format!("listener.name.further{number}.{line}\n")).collect()
}

fn properties(data: &Path, port: u16, controller_port: u16, session: Duration, further: &[(u16, Listener)]) -> String {
    let (mut listeners, mut advertised, mut protocols) = (String::new(), String::new(), String::new());
    let mut own = String::new();
    for (number, (port, listener)) in further.iter().enumerate() {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, *port));
        listeners += &format!(",FURTHER{number}://{address}");
        advertised += &format!(",FURTHER{number}://{}", listener.relay.unwrap_or(address));
        protocols += &format!(",FURTHER{number}:{}", listener.protocol());
        own += &listener.properties(number);
    }
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}{listeners}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}{advertised}
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT{protocols}
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms={session}
log.cleaner.dedupe.buffer.size=4194304
log.segment.bytes=16777216
{own}",
        data = data.display(),
        session = session.as_millis()
    )
}
