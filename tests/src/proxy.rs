//! A TCP connection that can be cut: while it is, open connections are reset and new ones, too.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A relay on a port of its own to some server; it ends when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    open: watch::Sender<bool>,
    _relay: JoinSet<()>,
}

impl Proxy {
    /// A relay to `upstream` that begins open or cut.
    ///
    /// # Errors
    /// No port can be had.
    pub async fn start(upstream: SocketAddr, open: bool) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (sender, state) = watch::channel(open);
        let mut relay = JoinSet::new();
        relay.spawn(accept(listener, upstream, state));
        Ok(Self { address, open: sender, _relay: relay })
    }

    /// Where to connect to.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Resets every connection, and those to come.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub fn heal(&self) {
        self.open.send_replace(true);
    }
}

async fn accept(listener: TcpListener, upstream: SocketAddr, state: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(relay(client, upstream, state.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn relay(mut client: TcpStream, upstream: SocketAddr, mut state: watch::Receiver<bool>) {
    let pass = async {
        if let Ok(mut server) = TcpStream::connect(upstream).await {
            // Either side may break the connection off; the other one learns of it by the drop.
            let _ = copy_bidirectional(&mut client, &mut server).await;
        }
    };
    tokio::select! {
        () = pass => return,
        _ = state.wait_for(|open| !open) => {}
    }
    // Closing with nothing lingering sends a reset.
    let _ = client.set_zero_linger();
}
