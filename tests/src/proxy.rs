//! A network that can fail: a TCP relay that can be cut, stalled, made slow, or lose what the server answers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How much is read at once, which is what one wait of a slow link is for.
const CHUNK: usize = 4096;

/// What a link does with what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Passes it on.
    Open,
    /// Resets every connection, and those to come.
    Cut,
    /// Keeps it until it is open again; connections stand.
    Stalled,
    /// Passes on what clients say, and keeps what the server answers.
    Deaf,
    /// Passes each piece of 4 KiB, either way, after this wait.
    Slow(Duration),
}

#[derive(Clone, Copy)]
struct State {
    /// Nobody is there yet while this is `None`.
    upstream: Option<SocketAddr>,
    link: Link,
    /// Connections of an earlier one are reset.
    generation: u64,
}

/// A relay on a port of its own to some server; it ends when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    state: watch::Sender<State>,
    _relay: JoinSet<()>,
}

impl Proxy {
    /// A relay to `upstream` that begins open or cut.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start(upstream: SocketAddr, open: bool) -> io::Result<Self> {
        let proxy = Self::unconnected().await?;
        proxy.lead_to(upstream);
        proxy.set(if open { Link::Open } else { Link::Cut });
        Ok(proxy)
    }

    /// A relay to a server whose address is not known yet.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn unconnected() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (sender, state) = watch::channel(State { upstream: None, link: Link::Open, generation: 0 });
        let mut relay = JoinSet::new();
        relay.spawn(accept(listener, state));
        Ok(Self { address, state: sender, _relay: relay })
    }

    /// Where new connections lead.
    pub fn lead_to(&self, upstream: SocketAddr) {
        self.state.send_modify(|state| state.upstream = Some(upstream));
    }

    /// Where to connect to.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Changes what the link does.
    pub fn set(&self, link: Link) {
        self.state.send_modify(|state| state.link = link);
    }

    /// Resets the connections that stand; new ones are welcome.
    pub fn reset(&self) {
        self.state.send_modify(|state| state.generation += 1);
    }

    /// Resets every connection, and those to come.
    pub fn cut(&self) {
        self.set(Link::Cut);
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        self.set(Link::Open);
    }
}

async fn accept(listener: TcpListener, state: watch::Receiver<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(relay(client, state.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn relay(mut client: TcpStream, mut state: watch::Receiver<State>) {
    let State { upstream, generation, .. } = *state.borrow();
    let gates = (state.clone(), state.clone());
    let pass = async {
        let Some(upstream) = upstream else { return };
        let Ok(mut server) = TcpStream::connect(upstream).await else { return };
        // Small packets shall not wait for each other on top of what the link does.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (client_reader, client_writer) = client.split();
        let (server_reader, server_writer) = server.split();
        tokio::select! {
            // Either side may break the connection off; the other one learns of it by the drop.
            _ = pump(client_reader, server_writer, gates.0, false) => {}
            _ = pump(server_reader, client_writer, gates.1, true) => {}
        }
    };
    tokio::select! {
        () = pass => return,
        _ = state.wait_for(|state| state.link == Link::Cut || state.generation != generation) => {}
    }
    // Closing with nothing lingering sends a reset.
    let _ = client.set_zero_linger();
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut gate: watch::Receiver<State>,
    answers: bool,
) -> io::Result<()> {
    let mut piece = [0; CHUNK];
    loop {
        let length = from.read(&mut piece).await?;
        let held = |state: &State| state.link == Link::Stalled || answers && state.link == Link::Deaf;
        let link = gate.wait_for(|state| !held(state)).await.map_err(io::Error::other)?.link;
        if let Link::Slow(wait) = link {
            tokio::time::sleep(wait).await;
        }
        if length == 0 {
            return Ok(());
        }
        to.write_all(&piece[..length]).await?;
    }
}
