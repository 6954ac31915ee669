//! The JavaScript client, against the stack behind a proxy with faults, under Node.js and in a browser: the cases are in
//! `tests/client/`.

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
};

use e2e::stack::{Stack, unique};
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::{browser::Browser, page::Page};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/client");

/// The proxy. It ends when its input does.
struct Proxy {
    _process: Child,
    port: String,
}

impl Proxy {
    fn before(stack: &Stack) -> Self {
        let mut process = node()
            .args(["server.mjs", &format!("http://{}", stack.address())])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Node.js runs");
        let mut port = String::new();
        let output = process.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut port).expect("it prints its port");
        Self { _process: process, port: port.trim().to_owned() }
    }

    /// Opens the page of the cases. By this name it is another origin than the API's.
    async fn show_in<'a>(&self, page: &'a mut Page) -> &'a mut Browser {
        let url = format!("http://localhost:{}/", self.port);
        page.browser.call("Page.navigate", json!({ "url": url })).await;
        page.browser.until("document.title === 'Cases'").await;
        &mut page.browser
    }

    /// What a case gets to know.
    fn describe(&self, stack: &Stack) -> Value {
        let through =
            |url: &str| url.replacen(&stack.address().to_string(), &format!("127.0.0.1:{}", self.port), 1);
        let mut claims = stack.claims(&unique("client"));
        let valid = stack.sign(&claims);
        claims["exp"] = json!(1_700_000_000);
        json!({
            "url": through(&stack.at.http_url),
            "webSocketUrl": through(&stack.at.websocket_url),
            "control": format!("http://127.0.0.1:{}/control", self.port),
            "tokens": { "valid": valid, "expired": stack.sign(&claims) },
        })
    }
}

fn node() -> Command {
    let program = env::var("INTAKE_NODE").expect("`cargo xtask test --step console` names Node.js");
    let mut command = Command::new(program);
    command.current_dir(FOLDER);
    command
}

#[tokio::test]
async fn the_client_passes_its_cases_under_node() {
    let page = Page::open().await;
    let proxy = Proxy::before(&page.stack);
    let mut command = node();
    command
        .args(["--test", "--test-reporter=spec", "client.test.mjs"])
        .env("INTAKE_CLIENT", proxy.describe(&page.stack).to_string());
    // The database's proxy, which belongs to the console, runs meanwhile.
    let tests = spawn_blocking(move || command.output()).await.unwrap().expect("Node.js runs");
    assert!(tests.status.success(), "{}", String::from_utf8_lossy(&tests.stdout));
}

#[tokio::test]
async fn the_client_passes_its_cases_in_a_browser() {
    let mut page = Page::open().await;
    let proxy = Proxy::before(&page.stack);
    let at = proxy.describe(&page.stack);
    let browser = proxy.show_in(&mut page).await;
    let names = browser.evaluate("import('/cases.mjs').then(({ cases }) => Object.keys(cases))").await;
    let names = names.as_array().expect("a list").clone();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let run = format!(
            "Promise.all([import('/cases.mjs'), import('/intake.js')]) \
             .then(([{{ run }}, client]) => run({name}, client, {at})).then(() => 'passed', (error) => error.stack)"
        );
        assert_eq!(browser.evaluate(&run).await, "passed", "{name}");
    }
}

#[tokio::test]
async fn the_headers_of_tracing_libraries_pass_the_preflight_of_every_route() {
    let mut page = Page::open().await;
    let proxy = Proxy::before(&page.stack);
    let token = page.stack.caller().token;
    // Not through the proxy: the responses to preflights are those of the stack.
    let url = page.stack.at.http_url.clone();
    let browser = proxy.show_in(&mut page).await;
    browser.events.clear();
    let id = unique("traced");
    let headers = json!({
        "Authorization": format!("Bearer {token}"),
        "Content-Type": "application/json",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "vendor=1",
        "baggage": "sentry-environment=production",
        "sentry-trace": "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
        "x-datadog-origin": "rum",
        "x-datadog-parent-id": "1",
        "x-datadog-sampling-priority": "1",
        "x-datadog-trace-id": "2",
    });
    for (method, path, expected) in
        [("PUT", "messages", 201), ("PUT", "queue", 202), ("GET", "messages", 200)]
    {
        let body = if method == "PUT" { json!(r#"{"item":"book"}"#) } else { Value::Null };
        let fetch = format!(
            "fetch({url}, {{ method: '{method}', headers: {headers}, body: {body} ?? undefined }}) \
             .then(({{ status }}) => status, (error) => String(error))",
            url = json!(format!("{url}/{path}/{id}")),
        );
        assert_eq!(browser.evaluate(&fetch).await, expected, "{method} /{path}");
    }
    browser.evaluate("0").await;
    let is_preflight = |event: &&Value| {
        event["method"] == "Network.requestWillBeSent" && event["params"]["request"]["method"] == "OPTIONS"
    };
    assert_eq!(
        browser.events.iter().filter(is_preflight).count(),
        2,
        "one for each path, which the browser keeps"
    );
}
