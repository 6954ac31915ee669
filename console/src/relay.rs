//! More ports of the local HTTP API, for requests of the page.
//!
//! Over HTTP/1.1 a browser sends at most six requests at once to one port, and the rest waits in the page. On one port,
//! the slow responses of one design would hold up the requests of the other, and nobody would see the database's
//! limit but the browser's.

use std::net::SocketAddr;

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};

/// How many requests a browser sends at once to one port.
pub(crate) const REQUESTS_AT_ONCE: usize = 6;
/// How many ports each design has.
const PORTS: usize = 3;

/// The address of the API on ports of its own, all of them on 127.0.0.1.
pub(crate) async fn more_urls(api: SocketAddr, url: &str) -> std::io::Result<Vec<String>> {
    let mut urls = Vec::new();
    for _ in 0..PORTS {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        urls.push(url.replacen(&api.to_string(), &listener.local_addr()?.to_string(), 1));
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut server = TcpStream::connect(api).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        });
    }
    Ok(urls)
}
