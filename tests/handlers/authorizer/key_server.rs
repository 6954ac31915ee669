//! An issuer's web server: HTTPS on a port of its own, with a certificate made for the test.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use authorizer::key_source::KeySource;
use rcgen::CertifiedKey;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};
use ureq::tls::{Certificate, RootCerts};

/// Serves what the test has last chosen, to clients that trust its certificate.
pub(crate) struct KeyServer {
    address: SocketAddr,
    certificate: CertificateDer<'static>,
    response: Arc<Mutex<Response>>,
    requests: Arc<AtomicUsize>,
}

/// What the server does with a request.
#[derive(Clone)]
pub(crate) enum Response {
    /// `200` with this body.
    KeySet(String),
    /// `200` with this body, after a while.
    Slowly(String),
    /// This status with no body.
    Status(u16),
    /// A redirect to this address.
    Redirect(String),
    /// `/` redirects to `/moved`, which has this body.
    Moved(String),
    /// Nothing, ever.
    Silence,
}

impl KeyServer {
    pub(crate) fn start(response: Response) -> Self {
        Self::start_as("127.0.0.1", response)
    }

    /// A server whose certificate is for this name, though its address is 127.0.0.1.
    pub(crate) fn start_as(name: &str, response: Response) -> Self {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed([name.to_owned()]).expect("a certificate");
        let certificate = cert.der().clone();
        let private = PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], private)
            .expect("a certificate with its key");

        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let server = Self {
            address: listener.local_addr().expect("the port"),
            certificate,
            response: Arc::new(Mutex::new(response)),
            requests: Arc::default(),
        };
        let (response, requests) = (server.response.clone(), server.requests.clone());
        let config = Arc::new(config);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let (config, response) = (config.clone(), response.clone());
                let requests = requests.clone();
                // A client that ends the connection, because it does not trust the certificate, is no error here.
                thread::spawn(move || serve(connection, config, &response, &requests).ok());
            }
        });
        server
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}/", self.address)
    }

    /// How many requests clients have made that trusted the certificate.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub(crate) fn respond(&self, response: Response) {
        *self.response.lock().expect("no test panicked here") = response;
    }

    /// Keys that are fetched from this server, by a client that trusts its certificate.
    pub(crate) fn keys(&self) -> KeySource {
        KeySource::remote_with(&self.url(), self.roots(), None).expect("an https address")
    }

    pub(crate) fn roots(&self) -> RootCerts {
        RootCerts::from(vec![Certificate::from_der(&self.certificate).to_owned()])
    }
}

fn serve(
    connection: TcpStream,
    config: Arc<ServerConfig>,
    response: &Mutex<Response>,
    requests: &AtomicUsize,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut stream = StreamOwned::new(ServerConnection::new(config)?, connection);
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.ends_with(b"\r\n\r\n") {
        let length = stream.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        request.extend_from_slice(&buffer[..length]);
    }
    requests.fetch_add(1, Ordering::SeqCst);

    let response = response.lock().expect("no test panicked here").clone();
    let (head, body) = match response {
        Response::KeySet(body) => ("200 OK".to_owned(), body),
        Response::Slowly(body) => {
            thread::sleep(Duration::from_millis(200));
            ("200 OK".to_owned(), body)
        }
        Response::Status(status) => (format!("{status} Odd"), String::new()),
        Response::Redirect(target) => (format!("302 Found\r\nLocation: {target}"), String::new()),
        Response::Moved(body) if request.starts_with(b"GET /moved ") => ("200 OK".to_owned(), body),
        Response::Moved(_) => ("301 Moved\r\nLocation: /moved".to_owned(), String::new()),
        Response::Silence => {
            thread::sleep(2 * KeySource::FETCH_TIMEOUT);
            return Ok(());
        }
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {head}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    stream.conn.send_close_notify();
    Ok(stream.flush()?)
}
