//! A website on as little code as a server can have, for it shares the machine with whoever is measured.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Answers every request with the same bytes, until it is dropped.
pub(crate) async fn serve(listener: TcpListener, tls: Option<TlsAcceptor>, answer: Arc<[u8]>) {
    let mut visits = JoinSet::new();
    loop {
        // The only failures to accept are a client's haste and a lack of descriptors; both pass.
        if let Ok((stream, _)) = listener.accept().await {
            let (tls, answer) = (tls.clone(), answer.clone());
            visits.spawn(async move {
                // Who hangs up early has no use for an error.
                let _ = match tls {
                    None => reply(stream, &answer).await,
                    Some(tls) => shake_hands(stream, &tls, &answer).await,
                };
            });
        }
        while visits.try_join_next().is_some() {}
    }
}

async fn shake_hands(stream: TcpStream, tls: &TlsAcceptor, answer: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    reply(tls.accept(stream).await?, answer).await
}

/// One request, which has no body and fits a read, its answer, and the visitor's good-bye.
async fn reply(mut stream: impl AsyncRead + AsyncWrite + Unpin, answer: &[u8]) -> io::Result<()> {
    let mut request = [0; 2048];
    if stream.read(&mut request).await? > 0 {
        stream.write_all(answer).await?;
        stream.flush().await?;
        while stream.read(&mut request).await? > 0 {}
    }
    Ok(())
}
