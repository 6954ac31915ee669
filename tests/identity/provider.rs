//! The provider, and what its clients do: get tokens over HTTPS, as discovery says.

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Lines, Write},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use authorizer::key_source::KeySource;
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use rcgen::CertifiedKey;
use ring::digest::{SHA256, digest};
use serde_json::{Value, json};
use ureq::{
    Agent, Body,
    http::Response,
    tls::{Certificate, RootCerts, TlsConfig},
};

/// Where the client `web` is sent with its code. Nothing is there: these tests read the address.
const SIGNED_IN: &str = "https://app.example/signed-in";

/// A provider in a process of its own, which ends when its standard input is closed.
pub(crate) struct Provider {
    process: Child,
    output: Lines<BufReader<ChildStdout>>,
    roots: RootCerts,
    agent: Agent,
    /// What it says of itself (OpenID Connect Discovery 1.0).
    metadata: Value,
}

/// What a user's client gets.
pub(crate) struct UserTokens {
    pub(crate) access: String,
    pub(crate) id: String,
}

impl Provider {
    /// Starts one on a free port, whose access tokens are `named` (have a `kid`) or not.
    pub(crate) fn start(named: bool) -> Self {
        let CertifiedKey { cert, signing_key } =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let arguments = json!({
            "certificate": STANDARD.encode(cert.der()),
            "key": STANDARD.encode(signing_key.serialize_der()),
            "named": named,
        });
        let [node, packages] = ["INTAKE_NODE", "INTAKE_IDENTITY"]
            .map(|name| env::var_os(name).expect("`cargo xtask test --step identity` runs these tests"));
        let mut process = Command::new(node)
            // As text it finds its package in this folder.
            .args(["--input-type=module", "--eval", include_str!("provider.mjs"), &arguments.to_string()])
            .current_dir(packages)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node.js starts");
        let mut output = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let issuer = output.next().expect("the provider starts").expect("text");

        let roots = RootCerts::from(vec![Certificate::from_der(cert.der()).to_owned()]);
        let agent = Agent::config_builder()
            .https_only(true)
            .max_redirects(0)
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(30)))
            .tls_config(TlsConfig::builder().root_certs(roots.clone()).build())
            .build()
            .new_agent();
        let discovered = agent.get(format!("{issuer}/.well-known/openid-configuration")).call();
        let metadata = body(discovered.expect("a response"));
        assert_eq!(metadata["issuer"], issuer);
        Self { process, output, roots, agent, metadata }
    }

    pub(crate) fn issuer(&self) -> &str {
        self.discovered("issuer")
    }

    /// The keys that it publishes, none of which is fetched yet.
    pub(crate) fn keys(&self) -> KeySource {
        KeySource::remote_with(self.discovered("jwks_uri"), self.roots.clone(), None)
            .expect("an https address")
    }

    /// Withdraws all keys, and signs with new ones.
    pub(crate) fn change_keys(&mut self) {
        let input = self.process.stdin.as_mut().expect("a pipe");
        writeln!(input).expect("the provider runs");
        self.output.next().expect("the provider runs").expect("text");
    }

    /// An access token for a client without a user (RFC 6749, section 4.4; RFC 8707).
    pub(crate) fn machine_token(&self, resource: &str, scope: &str) -> String {
        let tokens = self.tokens(&[
            ("grant_type", "client_credentials"),
            ("client_id", "machine"),
            ("client_secret", "secret"),
            ("resource", resource),
            ("scope", scope),
        ]);
        text(&tokens, "access_token")
    }

    /// The tokens of a user who signs in, by an authorization code with PKCE (RFC 6749, section 4.1; RFC 7636).
    pub(crate) fn user_tokens(&self, user: &str, resource: Option<&str>) -> UserTokens {
        let secret = "a-secret-of-this-client-which-has-43-letters-or-more";
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, secret.as_bytes()));
        let resource = resource.map(|resource| ("resource", resource));
        let wanted = [
            ("client_id", "web"),
            ("response_type", "code"),
            ("redirect_uri", SIGNED_IN),
            ("scope", "openid messages.write"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let code = self.sign_in(user, wanted.into_iter().chain(resource));
        let exchanged = [
            ("grant_type", "authorization_code"),
            ("client_id", "web"),
            ("redirect_uri", SIGNED_IN),
            ("code", &code),
            ("code_verifier", secret),
        ];
        let tokens = self.tokens(&exchanged.into_iter().chain(resource).collect::<Vec<_>>());
        UserTokens { access: text(&tokens, "access_token"), id: text(&tokens, "id_token") }
    }

    /// What a browser does, and a user who signs in and consents: follows redirects with cookies, and sends the forms
    /// of the pages between. Returns the code.
    fn sign_in<'a>(&self, user: &str, wanted: impl Iterator<Item = (&'a str, &'a str)>) -> String {
        let mut forms = [vec![("prompt", "login"), ("login", user)], vec![("prompt", "consent")]].into_iter();
        let mut cookies = BTreeMap::new();
        let mut response =
            self.agent.get(self.discovered("authorization_endpoint")).query_pairs(wanted).call();
        loop {
            let redirect = response.expect("a response");
            for cookie in redirect.headers().get_all("set-cookie") {
                let cookie = cookie.to_str().expect("text").split(';').next().expect("a cookie");
                let (name, value) = cookie.split_once('=').expect("a name and a value");
                cookies.insert(name.to_owned(), value.to_owned());
            }
            let location = redirect.headers().get("location").and_then(|location| location.to_str().ok());
            let Some(location) = location else { panic!("no redirect: {}", body(redirect)) };
            if let Some(parameters) = location.strip_prefix(SIGNED_IN) {
                let mut parameters = parameters.split(['?', '&']);
                let code = parameters.find_map(|parameter| parameter.strip_prefix("code="));
                return code.expect(location).to_owned();
            }
            let address = match location.strip_prefix('/') {
                Some(path) => format!("{}/{path}", self.issuer()),
                None => location.to_owned(),
            };
            let sent: Vec<_> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let sent = sent.join("; ");
            response = if address.contains("/interaction/") {
                let form = forms.next().expect("two pages");
                self.agent.post(address).header("cookie", sent).send_form(form)
            } else {
                self.agent.get(address).header("cookie", sent).call()
            };
        }
    }

    fn tokens(&self, form: &[(&str, &str)]) -> Value {
        let response = self.agent.post(self.discovered("token_endpoint")).send_form(form.iter().copied());
        body(response.expect("a response"))
    }

    fn discovered(&self, name: &str) -> &str {
        self.metadata[name].as_str().expect(name)
    }
}

/// The header (0) or the claims (1) of a token.
pub(crate) fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("a token");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

fn body(mut response: Response<Body>) -> Value {
    let text = response.body_mut().read_to_string().expect("text");
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{}: {text}", response.status()))
}

fn text(object: &Value, name: &str) -> String {
    object[name].as_str().unwrap_or_else(|| panic!("no {name} in {object}")).to_owned()
}
