//! What all processes of a run have in common.

use std::{fs, path::PathBuf, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use development_key::DevelopmentKey;
use rcgen::CertifiedKey;
use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use crate::{Failure, cases::scratch};

/// Where systems keep the root certificates that programs trust (Debian, Amazon Linux).
const SYSTEM_ROOTS: [&str; 2] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"];
/// The root certificates that the functions trust.
const AMAZON_ROOTS: &str = include_str!("../../../shared/platform/src/amazon-roots.pem");

pub(crate) struct Setup {
    /// Has a certificate for this run.
    pub(crate) acceptor: TlsAcceptor,
    /// Files that make contestants trust it. Each holds as many other root certificates as its reader has to read
    /// on AWS: Amazon's five, or those of the system, some 140.
    pub(crate) amazon_roots: PathBuf,
    pub(crate) system_roots: PathBuf,
    /// Signs tokens for the authorizer.
    pub(crate) key: DevelopmentKey,
    /// The folder of logs.
    pub(crate) logs: PathBuf,
}

impl Setup {
    pub(crate) fn new() -> Result<Self, Failure> {
        let folder = scratch();
        let logs = folder.join("logs");
        fs::create_dir_all(&logs)?;
        let key = DevelopmentKey::load_or_create(&folder.join("key.p8"))?;

        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], signing_key.serialize_der().try_into()?)?;
        // What DynamoDB's endpoints speak.
        server.alpn_protocols = vec![b"http/1.1".to_vec()];

        // As text (RFC 7468). OpenSSL rejects long lines: 48 bytes make one of 64 characters.
        let lines: String = cert.der().chunks(48).map(|bytes| STANDARD.encode(bytes) + "\n").collect();
        let pem = format!("-----BEGIN CERTIFICATE-----\n{lines}-----END CERTIFICATE-----\n");
        let system = SYSTEM_ROOTS.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
        let (amazon_roots, system_roots) = (folder.join("amazon.pem"), folder.join("system.pem"));
        fs::write(&amazon_roots, format!("{AMAZON_ROOTS}\n{pem}"))?;
        fs::write(&system_roots, format!("{system}\n{pem}"))?;
        Ok(Self { acceptor: Arc::new(server).into(), amazon_roots, system_roots, key, logs })
    }
}
