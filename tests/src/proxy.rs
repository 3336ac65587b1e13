//! A network that can fail: a TCP relay that can be cut, stalled, made slow, lose what the server answers, or stop at a given
//! piece of the conversation.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
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
    /// How many more pieces may pass, either way; `None` for any number.
    allowance: Option<u64>,
    /// Whether a piece has come that may not pass.
    held: bool,
}

impl State {
    /// Takes one piece off the allowance; false when there is nothing left of it.
    fn admit(&mut self) -> bool {
        match &mut self.allowance {
            None => true,
            Some(0) => {
                self.held = true;
                false
            }
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }
}

/// A relay on a port of its own to some server; it ends when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
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
        let state = State { upstream: None, link: Link::Open, generation: 0, allowance: None, held: false };
        let state = Arc::new(watch::Sender::new(state));
        let mut relay = JoinSet::new();
        relay.spawn(accept(listener, state.clone()));
        Ok(Self { address, state, _relay: relay })
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

    /// Resets the connections that stand, with whatever is held on them; new ones are welcome, and hold nothing.
    pub fn reset(&self) {
        self.state.send_modify(|state| {
            state.generation += 1;
            state.allowance = None;
            state.held = false;
        });
    }

    /// Lets so many more pieces of 4 KiB at most pass, either way, and then holds what comes until [`Self::reset`].
    pub fn hold_after(&self, pieces: u64) {
        self.state.send_modify(|state| {
            state.allowance = Some(pieces);
            state.held = false;
        });
    }

    /// Resolves when a piece is held back for [`Self::hold_after`].
    pub async fn held(&self) {
        let mut state = self.state.subscribe();
        // Fails only when the sender is gone, which is ourselves.
        let _ = state.wait_for(|state| state.held).await;
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

async fn accept(listener: TcpListener, state: Arc<watch::Sender<State>>) {
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

async fn relay(mut client: TcpStream, gate: Arc<watch::Sender<State>>) {
    let mut state = gate.subscribe();
    let State { upstream, generation, .. } = *state.borrow();
    let pass = async {
        let Some(upstream) = upstream else { return };
        let Ok(mut server) = TcpStream::connect(upstream).await else { return };
        // Small packets shall not wait for each other on top of what the link does.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let (client_reader, client_writer) = client.split();
        let (server_reader, server_writer) = server.split();
        tokio::select! {
            // Either side may break the connection off; the other one learns of it by the drop.
            _ = pump(client_reader, server_writer, &gate, false) => {}
            _ = pump(server_reader, client_writer, &gate, true) => {}
        }
    };
    tokio::select! {
        // In this order, so that nothing that is held passes at the last moment.
        biased;
        _ = state.wait_for(|state| state.link == Link::Cut || state.generation != generation) => {}
        () = pass => return,
    }
    // Closing with nothing lingering sends a reset.
    let _ = client.set_zero_linger();
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    gate: &watch::Sender<State>,
    answers: bool,
) -> io::Result<()> {
    let mut state = gate.subscribe();
    let mut piece = [0; CHUNK];
    loop {
        let length = from.read(&mut piece).await?;
        while length > 0 && !admitted(gate) {
            state.wait_for(|state| state.allowance != Some(0)).await.map_err(io::Error::other)?;
        }
        let held = |state: &State| state.link == Link::Stalled || answers && state.link == Link::Deaf;
        let link = state.wait_for(|state| !held(state)).await.map_err(io::Error::other)?.link;
        if let Link::Slow(wait) = link {
            tokio::time::sleep(wait).await;
        }
        if length == 0 {
            return Ok(());
        }
        to.write_all(&piece[..length]).await?;
    }
}

fn admitted(gate: &watch::Sender<State>) -> bool {
    let mut admitted = false;
    gate.send_if_modified(|state| {
        let held = state.held;
        admitted = state.admit();
        state.held != held
    });
    admitted
}
