//! What tests of servers share.

pub(crate) mod tls;

use std::path::{Path, PathBuf};

/// TLS in front of the server at `behind`; returns its port, and the file of `dir` with its authority's certificate.
pub(crate) async fn with_tls(dir: &Path, behind: String) -> (u16, PathBuf) {
    let (ca_file, acceptor) = tls::certified(dir);
    let front = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = front.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = front.accept().await {
            let (acceptor, behind) = (acceptor.clone(), behind.clone());
            tokio::spawn(async move {
                // Who does not trust the certificate ends the handshake.
                let Ok(mut client) = acceptor.accept(client).await else { return };
                let mut server = tokio::net::TcpStream::connect(behind).await.unwrap();
                // Either end may go at any time.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (port, ca_file)
}
