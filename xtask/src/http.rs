//! As much HTTP as the local emulator needs: version 1.0, in which the end of the connection ends the response. No
//! proxy of this machine's environment comes in between.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

/// The emulator responds in milliseconds.
const LIMIT: Duration = Duration::from_secs(10);

/// Sends a request without a body to a port of this machine, and returns the status of the response.
pub(crate) fn request(port: u16, method: &str, path: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(
        format!("{method} {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nContent-Length: 0\r\n\r\n").as_bytes(),
    )?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response)?;
    status(&response).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP response"))
}

fn status(response: &[u8]) -> Option<u16> {
    let text = str::from_utf8(response.get(..12)?).ok()?;
    text.strip_prefix("HTTP/1.")?.get(2..)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_read_from_the_first_line() {
        assert_eq!(status(b"HTTP/1.1 200 \r\n\r\nbody"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503 Service Unavailable\r\n"), Some(503));
        assert_eq!(status(b""), None);
        assert_eq!(status(b"SSH-2.0-OpenSSH_9.2\r\n"), None);
        assert_eq!(status(b"HTTP/1.1 2"), None);
    }
}
