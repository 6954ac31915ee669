//! A headless Chromium, by its DevTools protocol.

use std::{
    env, fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use e2e::stack::{eventually, unique};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite::Message};

/// How long the browser may take for a command.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// A browser with one tab.
pub(crate) struct Browser {
    process: Child,
    profile: PathBuf,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    session: Option<String>,
    calls: u64,
    /// What the tab has reported.
    pub(crate) events: Vec<Value>,
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let program = env::var("INTAKE_BROWSER").expect("`cargo xtask test --step console` names a browser");
        let profile = env::temp_dir().join(unique("intake-browser"));
        let mut command = Command::new(program);
        command
            // As root, and in a container, it has no sandbox. It opens pages of this machine only.
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--no-proxy-server", "--remote-debugging-port=0", "about:blank"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Ok(libraries) = env::var("INTAKE_BROWSER_LIBRARIES") {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let process = command.spawn().expect("the browser runs");
        let file = profile.join("DevToolsActivePort");
        let url = eventually("the browser's port", async || {
            let text = fs::read_to_string(&file).map_err(|error| error.to_string())?;
            let (port, path) = text.trim().split_once('\n').ok_or("an unfinished file")?;
            Ok::<_, String>(format!("ws://127.0.0.1:{port}{path}"))
        })
        .await;
        let (socket, _) = connect_async(url).await.expect("the browser accepts a client");
        let mut browser = Self { process, profile, socket, session: None, calls: 0, events: Vec::new() };
        let tab = browser.call("Target.createTarget", json!({ "url": "about:blank" })).await;
        let attach = json!({ "targetId": tab["targetId"], "flatten": true });
        let attached = browser.call("Target.attachToTarget", attach).await;
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        for domain in ["Log", "Network", "Page", "Runtime"] {
            browser.call(&format!("{domain}.enable"), json!({})).await;
        }
        browser
    }

    /// Sends a command, and returns its result.
    pub(crate) async fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let mut command = json!({ "id": self.calls, "method": method, "params": parameters });
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(command.to_string())).await.expect("the browser runs");
        loop {
            let frame = timeout(MAX_WAIT, self.socket.next()).await;
            let frame = frame.unwrap_or_else(|_| panic!("the browser does not respond to {method}"));
            let Some(Ok(Message::Text(text))) = frame else { panic!("the browser ended: {frame:?}") };
            let mut message: Value = serde_json::from_str(&text).expect("JSON");
            if message["id"] == self.calls {
                assert!(message["error"].is_null(), "{method}: {message}");
                return message["result"].take();
            }
            self.events.push(message);
        }
    }

    /// The value of an expression in the page. A promise is awaited.
    pub(crate) async fn evaluate(&mut self, expression: &str) -> Value {
        let parameters = json!({ "expression": expression, "awaitPromise": true, "returnByValue": true });
        let mut result = self.call("Runtime.evaluate", parameters).await;
        assert!(result["exceptionDetails"].is_null(), "{expression}: {}", result["exceptionDetails"]);
        result["result"]["value"].take()
    }

    /// Waits until an expression is true.
    pub(crate) async fn until(&mut self, expression: &str) {
        eventually(expression, async || match self.evaluate(&format!("({expression}) === true")).await {
            Value::Bool(true) => Ok(()),
            _ => Err(self.evaluate("(document.body?.innerText ?? '').slice(0, 1500)").await),
        })
        .await;
    }

    /// Presses a key.
    pub(crate) async fn press(&mut self, key: &str) {
        let text = if key == "Enter" { "\r" } else { "" };
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "ArrowLeft" => 37,
            "ArrowDown" => 40,
            _ => panic!("no such key: {key}"),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let event =
                json!({ "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// A picture of the whole page.
    pub(crate) async fn screenshot(&mut self) -> Vec<u8> {
        let shot = json!({ "format": "png", "captureBeyondViewport": true, "clip": {
            "x": 0, "y": 0, "scale": 1,
            "width": self.evaluate("innerWidth").await,
            "height": self.evaluate("document.documentElement.scrollHeight").await,
        }});
        let shot = self.call("Page.captureScreenshot", shot).await;
        STANDARD.decode(shot["data"].as_str().expect("a picture")).expect("base64")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}
