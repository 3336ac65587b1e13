//! The floors: clients of their own process that do what a check cannot do without, and nothing else.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_rustls::TlsConnector;

use super::SETTLES;
use super::remembering::Remembering;
use super::sites::{HOSTS, Scheme, Sites, address, host};
use crate::usage::cpu;

/// What the producer asks for, too.
const USER_AGENT: &str = "bench/0";
/// How many are under way at the same time at most; a healthy run is far from it.
const UNDER_WAY: usize = 5000;

/// A client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Client {
    /// A datagram to the name server, a socket, TLS where it belongs.
    Raw,
    /// The same, and a chain is verified only when it is first seen.
    RawRemembered,
    /// A datagram to the name server, and a request of the HTTP client.
    Reqwest,
}

/// What a client is told.
#[derive(Args, Clone, Debug)]
pub(crate) struct Task {
    client: Client,
    #[arg(long)]
    dns: SocketAddr,
    #[arg(long)]
    port: u16,
    /// Whether the site has TLS.
    #[arg(long)]
    tls: bool,
    /// The roots.
    #[arg(long)]
    ca_file: PathBuf,
    /// Checks a second.
    #[arg(long)]
    rate: u32,
    /// How long to measure, in milliseconds.
    #[arg(long)]
    millis: u64,
}

/// CPU of a client for each check, in microseconds.
pub(super) async fn measure(
    client: Client,
    sites: &Sites,
    scheme: Scheme,
    rate: u32,
    lasts: Duration,
) -> anyhow::Result<f64> {
    let mut command = Command::new(std::env::current_exe()?);
    let name = client.to_possible_value().context("a client without a name")?;
    command.args(["client", name.get_name(), "--dns", &sites.dns().to_string()]);
    command.args(["--port", &sites.port(scheme).to_string(), "--rate", &rate.to_string()]);
    command.args(["--millis", &lasts.as_millis().to_string()]);
    command.arg("--ca-file").arg(sites.ca_file(scheme));
    if scheme.is_tls() {
        command.arg("--tls");
    }
    let output = tokio::process::Command::from(command).kill_on_drop(true).output().await?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "a client ended with {}: {complaint}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

/// Does what a task says, in this process, and prints the figure.
pub(crate) async fn run(task: Task) -> anyhow::Result<()> {
    let asker = Arc::new(Asker::new(&task)?);
    let done = Arc::new(AtomicU64::new(0));
    let checks = at_rate(task.rate, asker, done.clone());
    let measured = async {
        tokio::time::sleep(SETTLES).await;
        let myself = rustix::process::getpid();
        let (cpu_before, done_before) = (cpu(myself)?, done.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(task.millis)).await;
        let used = cpu(myself)? - cpu_before;
        let checks = done.load(Ordering::Relaxed) - done_before;
        anyhow::ensure!(
            checks * 1000 > u64::from(task.rate) * task.millis * 9 / 10,
            "only {checks} checks: this machine has too much else to do"
        );
        #[expect(clippy::cast_precision_loss, reason = "some ten thousands")]
        anyhow::Ok(used.as_secs_f64() * 1e6 / checks as f64)
    };
    tokio::select! {
        figure = measured => println!("{}", figure?),
        ended = checks => ended?,
    }
    Ok(())
}

/// Begins so many checks a second, evenly; ends with the first that fails.
async fn at_rate(rate: u32, asker: Arc<Asker>, done: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut tick = interval(Duration::from_millis(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (began, mut number) = (Instant::now(), 0);
    let mut checks = JoinSet::new();
    loop {
        tick.tick().await;
        while f64::from(number) < began.elapsed().as_secs_f64() * f64::from(rate) && checks.len() < UNDER_WAY {
            let (asker, done) = (asker.clone(), done.clone());
            checks.spawn(async move {
                asker.ask(number % HOSTS).await?;
                done.fetch_add(1, Ordering::Relaxed);
                anyhow::Ok(())
            });
            number += 1;
        }
        while let Some(ended) = checks.try_join_next() {
            ended??;
        }
    }
}

struct Asker {
    dns: SocketAddr,
    port: u16,
    /// The name of each host, its question, and the request for its page.
    hosts: Vec<(ServerName<'static>, Vec<u8>, Vec<u8>)>,
    how: How,
}

enum How {
    Socket,
    Tls(TlsConnector),
    Reqwest(reqwest::Client, &'static str),
}

impl Asker {
    fn new(task: &Task) -> anyhow::Result<Self> {
        let tls = tls(&task.ca_file, task.client)?;
        let how = match (task.client, task.tls) {
            (Client::Reqwest, is_tls) => How::Reqwest(reqwest(tls)?, if is_tls { "https" } else { "http" }),
            (_, true) => How::Tls(TlsConnector::from(Arc::new(tls))),
            (_, false) => How::Socket,
        };
        let about = |index| {
            let name = host(index);
            let request = format!(
                "GET / HTTP/1.1\r\nuser-agent: {USER_AGENT}\r\naccept: */*\r\naccept-encoding: gzip\r\nhost: {name}:{}\r\n\r\n",
                task.port
            );
            Ok((ServerName::try_from(name.clone())?, question(&name), request.into_bytes()))
        };
        let hosts = (0..HOSTS).map(about).collect::<anyhow::Result<_>>()?;
        Ok(Self { dns: task.dns, port: task.port, hosts, how })
    }

    async fn ask(&self, index: u32) -> anyhow::Result<()> {
        let (name, question, request) = &self.hosts[index as usize];
        let address = SocketAddr::new(look_up(self.dns, question).await?, self.port);
        match &self.how {
            How::Socket => fetch(TcpStream::connect(address).await?, request).await?,
            How::Tls(tls) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                fetch(tls.connect(name.clone(), stream).await?, request).await?;
            }
            How::Reqwest(client, scheme) => {
                let url = format!("{scheme}://{}:{}/", name.to_str(), self.port);
                client.get(url).send().await?.error_for_status()?.bytes().await?;
            }
        }
        Ok(())
    }
}

/// Sends a request, and reads the answer up to the end that its head promises.
async fn fetch(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> io::Result<()> {
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut answer = Vec::with_capacity(4096);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if length(&answer).is_some_and(|length| answer.len() >= length) {
            return Ok(());
        }
    }
}

/// How long an answer is in all, once its head is there.
fn length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let text = std::str::from_utf8(&answer[..head]).ok()?;
    let (_, value) = text.split_once("Content-Length: ")?;
    Some(head + 4 + value.lines().next()?.parse::<usize>().ok()?)
}

/// A question for the IPv4 address of a name (RFC 1035, section 4).
fn question(name: &str) -> Vec<u8> {
    let mut question = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap_or_default());
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    question
}

/// Asks the name server on a fresh socket; the address are the last four bytes of an answer that has just that one record.
async fn look_up(dns: SocketAddr, question: &[u8]) -> io::Result<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
    socket.send_to(question, dns).await?;
    let mut answer = [0; 512];
    let (length, _) = socket.recv_from(&mut answer).await?;
    let address = answer[..length].last_chunk::<4>().ok_or(io::ErrorKind::InvalidData)?;
    Ok(Ipv4Addr::from(*address).into())
}

fn tls(ca_file: &Path, client: Client) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(ca_file)? {
        roots.add(root?)?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = match client {
        Client::RawRemembered => {
            config.dangerous().with_custom_certificate_verifier(Arc::new(Remembering::new(verifier)))
        }
        Client::Raw | Client::Reqwest => config.with_webpki_verifier(verifier),
    }
    .with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// One client for all, which keeps no connection.
fn reqwest(tls: ClientConfig) -> anyhow::Result<reqwest::Client> {
    let mut builder = reqwest::Client::builder().user_agent(USER_AGENT).no_proxy().pool_max_idle_per_host(0);
    for index in 0..HOSTS {
        builder = builder.resolve(&host(index), SocketAddr::new(address(index), 0));
    }
    Ok(builder.tls_backend_preconfigured(tls).build()?)
}
