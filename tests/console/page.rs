//! The console under test, with a relay before the WebSocket that can fail.

use std::{env, path::Path};

use console::{Console, Description};
use e2e::stack::Stack;
use serde_json::{Value, json};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::browser::Browser;

/// The page in a browser, and what it works with.
pub(crate) struct Page {
    pub(crate) stack: Stack,
    pub(crate) browser: Browser,
    pub(crate) url: String,
    network: watch::Sender<bool>,
}

impl Page {
    /// Opens the console of the stack, and waits until it is notified.
    pub(crate) async fn open() -> Self {
        let stack = Stack::running();
        // Another test may have changed it, and failed.
        stack.redeliver_after(stack.visibility_timeout()).await;
        let path = env::var("INTAKE_STACK").expect("a stack");
        let mut description = Description::read(Path::new(&path)).expect("a description");
        let (relay, network) = relay(stack.address().to_string()).await;
        description.websocket_url =
            description.websocket_url.replacen(&stack.address().to_string(), &relay, 1);
        let console = Console::start(description, 0).await.expect("a console");
        let url = console.url();
        tokio::spawn(console.run());
        let mut browser = Browser::start().await;
        browser.call("Page.navigate", json!({ "url": url })).await;
        browser.until("document.body?.dataset.ready === 'true'").await;
        let mut page = Self { stack, browser, url, network };
        page.until("state() === 'open'").await;
        page
    }

    /// The value of an expression. `all` are the messages, oldest first; `state()` is the state of alice's socket;
    /// `$` finds an element.
    pub(crate) async fn get(&mut self, expression: &str) -> Value {
        self.browser.evaluate(&with_names(expression)).await
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&mut self, expression: &str) {
        self.browser.until(&with_names(expression)).await;
    }

    pub(crate) async fn click(&mut self, selector: &str) {
        self.get(&format!("$({}).click()", json!(selector))).await;
    }

    /// Sets a field as if it was typed, or dragged.
    pub(crate) async fn set(&mut self, selector: &str, value: &str) {
        let selector = json!(selector);
        let value = json!(value);
        let events =
            "for (const name of ['input', 'change']) field.dispatchEvent(new Event(name, { bubbles: true }))";
        self.get(&format!("(() => {{ const field = $({selector}); field.value = {value}; {events} }})()"))
            .await;
    }

    /// Sends one message by one design or `both`, and waits for the responses.
    pub(crate) async fn send(&mut self, way: &str, id: &str, payload: &str) {
        self.click(&format!("#one [name=way][value={way}]")).await;
        self.set("#id", id).await;
        self.set("#payload", payload).await;
        self.click("#one .main").await;
        self.until("all.length > 0 && all.every(({ respondedAt }) => respondedAt !== null)").await;
    }

    /// Gives the window a size and a colour scheme, and waits until the page is drawn.
    pub(crate) async fn resize(&mut self, width: u32, height: u32, scheme: &str) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.browser.call("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] });
        self.browser.call("Emulation.setEmulatedMedia", scheme).await;
        // A frame to lay it out, one for the charts, which are drawn once their size is known.
        self.get("new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(drawn))))").await;
    }

    /// The memory that the page's scripts use, in bytes, without what is not used any more.
    pub(crate) async fn heap(&mut self) -> Value {
        self.browser.call("HeapProfiler.collectGarbage", json!({})).await;
        self.browser.call("Runtime.getHeapUsage", json!({})).await["usedSize"].take()
    }

    /// Cuts all WebSockets, or lets them connect again.
    pub(crate) fn network(&self, works: bool) {
        self.network.send_replace(works);
    }

    /// What no test may leave behind: an error of the page, a request to another host.
    pub(crate) async fn close(mut self) {
        // So that all events have arrived.
        self.get("0").await;
        for event in &self.browser.events {
            let parameters = &event["params"];
            match event["method"].as_str().unwrap_or_default() {
                "Runtime.exceptionThrown" => panic!("{parameters}"),
                "Runtime.consoleAPICalled" => assert_ne!(parameters["type"], "error", "{parameters}"),
                // The browser itself reports responses of 400 and above, and sockets that do not open.
                "Log.entryAdded" if parameters["entry"]["source"] != "network" => {
                    assert_ne!(parameters["entry"]["level"], "error", "{parameters}");
                }
                "Network.requestWillBeSent" => check_host(&parameters["request"]["url"]),
                "Network.webSocketCreated" => check_host(&parameters["url"]),
                _ => {}
            }
        }
    }
}

fn check_host(url: &Value) {
    let host = url.as_str().and_then(|url| url.split_once("://")?.1.split([':', '/']).next());
    let is_here = host.is_none_or(|host| ["127.0.0.1", "localhost"].contains(&host));
    assert!(is_here, "a request to another host: {url}");
}

fn with_names(expression: &str) -> String {
    format!(
        "(() => {{ const $ = (selector) => document.querySelector(selector); const all = window.intake.messages.all; \
         const state = () => window.intake.sessions.get('alice')?.connection.state; return ({expression}); }})()"
    )
}

/// Passes connections on, as long as `true` is sent.
async fn relay(target: String) -> (String, watch::Sender<bool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let sender = watch::Sender::new(true);
    let network = sender.subscribe();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (mut network, target) = (network.clone(), target.clone());
            tokio::spawn(async move {
                if !*network.borrow() {
                    return;
                }
                let Ok(mut server) = TcpStream::connect(target).await else { return };
                tokio::select! {
                    _ = copy_bidirectional(&mut client, &mut server) => {}
                    _ = network.wait_for(|works| !works) => {}
                }
            });
        }
    });
    (address, sender)
}
