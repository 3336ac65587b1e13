//! Small websites on loopback ports that behave as they are told, well or badly.
//!
//! They are written on bare sockets because what they are for, broken answers and broken connections, is just what a
//! server library prevents. Each connection serves one request.

mod behaviour;
mod connection;

pub use behaviour::{Behaviour, Framing, Response, Step};

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::certificate::Identity;

const ACCEPT_AGAIN: Duration = Duration::from_millis(10);

/// A running website; it stops, and cuts its connections off, when this is dropped.
pub struct Site {
    address: SocketAddr,
    scheme: &'static str,
    acceptor: Arc<Mutex<Option<TlsAcceptor>>>,
    seen: Arc<Seen>,
    _tasks: JoinSet<()>,
}

/// What a site has seen of its visitors.
#[derive(Default)]
pub(crate) struct Seen {
    connections: AtomicU64,
    requests: AtomicU64,
    last: Mutex<Option<String>>,
}

impl Site {
    /// Starts a website on a free port.
    pub async fn start(behaviour: Behaviour) -> io::Result<Site> {
        Site::launch(behaviour, None).await
    }

    /// Starts a website with TLS on a free port.
    pub async fn start_tls(behaviour: Behaviour, identity: &Identity) -> io::Result<Site> {
        Site::launch(behaviour, Some(identity)).await
    }

    async fn launch(behaviour: Behaviour, identity: Option<&Identity>) -> io::Result<Site> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Seen::default());
        let scheme = if identity.is_some() { "https" } else { "http" };
        let acceptor = Arc::new(Mutex::new(identity.map(Identity::acceptor)));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::new(behaviour), Arc::clone(&acceptor), Arc::clone(&seen)));
        Ok(Site { address, scheme, acceptor, seen, _tasks: tasks })
    }

    /// From the next connection on the site proves itself with this.
    pub fn change_identity(&self, identity: &Identity) {
        *self.acceptor.lock().unwrap_or_else(PoisonError::into_inner) = Some(identity.acceptor());
    }

    /// Where the site listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The site's address under a name.
    pub fn url(&self, host: &str) -> String {
        format!("{}://{host}:{}/", self.scheme, self.address.port())
    }

    /// How many connections there have been, whether or not a request came over them.
    pub fn connections(&self) -> u64 {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// How many requests there have been.
    pub fn hits(&self) -> u64 {
        self.seen.requests.load(Ordering::Relaxed)
    }

    /// The last request as it came, head and body.
    pub fn last_request(&self) -> Option<String> {
        self.seen.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Seen {
    /// Notes a request and returns its number, from 1 on.
    pub(crate) fn request(&self, text: String) -> u64 {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
        self.requests.fetch_add(1, Ordering::Relaxed) + 1
    }
}

async fn serve(
    listener: TcpListener,
    behaviour: Arc<Behaviour>,
    acceptor: Arc<Mutex<Option<TlsAcceptor>>>,
    seen: Arc<Seen>,
) {
    let mut visits = JoinSet::new();
    // The only failures to accept are a client's haste and a lack of descriptors; both pass.
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        seen.connections.fetch_add(1, Ordering::Relaxed);
        let acceptor = acceptor.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (behaviour, seen) = (Arc::clone(&behaviour), Arc::clone(&seen));
        visits.spawn(async move {
            // A visitor that hangs up in the middle is what many of these sites are for.
            let _ = visit(stream, &behaviour, acceptor, &seen).await;
        });
        while visits.try_join_next().is_some() {}
    }
}

async fn visit(
    mut stream: TcpStream,
    behaviour: &Behaviour,
    acceptor: Option<TlsAcceptor>,
    seen: &Seen,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match (behaviour, acceptor) {
        (Behaviour::SilentHandshake, _) => connection::hold(&mut stream).await,
        (Behaviour::Bare(steps), _) => connection::play(&mut stream, steps).await,
        (Behaviour::HandshakeUpTo(bytes, steps), Some(acceptor)) => {
            connection::begin_handshake(&mut stream, acceptor, *bytes, steps).await
        }
        (_, None) => connection::serve(&mut stream, behaviour, seen).await,
        (_, Some(acceptor)) => connection::serve(&mut acceptor.accept(stream).await?, behaviour, seen).await,
    }
}
