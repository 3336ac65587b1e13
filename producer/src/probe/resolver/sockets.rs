//! Sockets for the resolver, which hides why it could not ask: the one cause that matters here is noted on the way.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::net::runtime::{RuntimeProvider, TokioRuntimeProvider};
use tokio::time::Instant;

use super::is_ours;

type Opening<T> = Pin<Box<dyn Send + Future<Output = io::Result<T>>>>;

/// Opens sockets, and remembers when this machine last had none to give, and why.
#[derive(Clone, Default)]
pub(super) struct Sockets {
    tokio: TokioRuntimeProvider,
    refused: Arc<Mutex<Option<(Instant, String)>>>,
}

impl Sockets {
    /// Why there was no socket at some time since then, if so.
    pub(super) fn refused_since(&self, then: Instant) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().filter(|(at, _)| *at >= then).map(|(_, why)| why.clone())
    }

    fn watch<T: 'static>(&self, opening: Opening<T>) -> Opening<T> {
        let refused = self.refused.clone();
        Box::pin(async move {
            let opened = opening.await;
            if let Err(error) = &opened
                && is_ours(error)
            {
                *refused.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), error.to_string()));
            }
            opened
        })
    }
}

impl fmt::Debug for Sockets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sockets").field("refused", &self.refused).finish_non_exhaustive()
    }
}

impl RuntimeProvider for Sockets {
    type Handle = <TokioRuntimeProvider as RuntimeProvider>::Handle;
    type Timer = <TokioRuntimeProvider as RuntimeProvider>::Timer;
    type Udp = <TokioRuntimeProvider as RuntimeProvider>::Udp;
    type Tcp = <TokioRuntimeProvider as RuntimeProvider>::Tcp;

    fn create_handle(&self) -> Self::Handle {
        self.tokio.create_handle()
    }

    fn connect_tcp(&self, to: SocketAddr, from: Option<SocketAddr>, timeout: Option<Duration>) -> Opening<Self::Tcp> {
        self.watch(self.tokio.connect_tcp(to, from, timeout))
    }

    fn bind_udp(&self, local: SocketAddr, server: SocketAddr) -> Opening<Self::Udp> {
        self.watch(self.tokio.bind_udp(local, server))
    }
}
