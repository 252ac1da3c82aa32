//! A headless Chromium, driven by WebDriver: W3C's protocol over HTTP, as chromedriver speaks it.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How to install what is missing.
const MISSING: &str = "no chromedriver here, so the page was not opened: `make setup-web` installs it";

/// True in the page of one trace, or of two, when it has read them.
const OPENED: &str = "
    const page = typeof app !== 'undefined' ? app : typeof pair !== 'undefined' ? pair : {};
    return page.opened > 0";

/// Held by the one browser that runs: two would take each other's time.
static ONE: Mutex<()> = Mutex::new(());

/// A browser with one window.
pub struct Browser {
    _one: MutexGuard<'static, ()>,
    driver: Child,
    session: String,
}

impl Browser {
    /// Starts a browser. Without chromedriver it says so, and returns none.
    pub fn start() -> Option<Self> {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut command = Command::new("chromedriver");
        let spawned = command.arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut driver) = spawned else {
            println!("skipped: {MISSING}");
            return None;
        };
        let lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
        let port = lines.map_while(Result::ok).find_map(|line| {
            let port = line.split_once("started successfully on port ")?.1;
            Some(port.trim_end_matches('.').to_owned())
        });
        let port = port.expect("chromedriver tells its port");
        let mut browser = Self { _one: one, driver, session: format!("http://127.0.0.1:{port}/session") };
        // A container's root has no sandbox for its browser, and a small /dev/shm.
        let arguments =
            ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--hide-scrollbars"];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            "goog:chromeOptions": { "args": arguments },
        } } });
        let url = browser.session.clone();
        let answer = browser.call(&url, &wanted);
        browser.session = format!("{url}/{}", answer["sessionId"].as_str().expect("a session"));
        browser.size(1280, 800);
        Some(browser)
    }

    fn call(&self, url: &str, body: &Value) -> Value {
        answer(url, minreq::post(url).with_body(body.to_string()))
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.call(&format!("{}/{path}", self.session), body)
    }

    fn developer(&self, command: &str, params: &Value) {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": params }));
    }

    /// Makes the page so large.
    pub fn size(&self, width: u32, height: u32) {
        let params = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.developer("Emulation.setDeviceMetricsOverride", &params);
    }

    /// Makes the system's theme dark.
    pub fn make_dark(&self) {
        let params = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
        self.developer("Emulation.setEmulatedMedia", &params);
    }

    /// Opens an address, and waits until the page has read its trace.
    pub fn open(&self, url: &str) {
        // Another address of the same file would only be a jump within it.
        self.post("url", &json!({ "url": "about:blank" }));
        self.logs("performance");
        self.post("url", &json!({ "url": url }));
        let begin = Instant::now();
        while !self.run(OPENED).as_bool().unwrap_or(false) {
            assert!(begin.elapsed() < Duration::from_secs(60), "the page does not open: {:?}", self.logs("browser"));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a script in the page, and returns its value.
    pub fn run(&self, script: &str) -> Value {
        self.run_with(script, &json!([]))
    }

    /// Runs a script with arguments.
    pub fn run_with(&self, script: &str, arguments: &Value) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// Runs a script that calls `done` with its value.
    pub fn wait_for(&self, script: &str) -> Value {
        let script = format!("const done = arguments[arguments.length - 1]; {script}");
        self.post("execute/async", &json!({ "script": script, "args": [] }))
    }

    /// Returns the text of an element.
    pub fn text(&self, id: &str) -> String {
        self.run_with("return document.getElementById(arguments[0]).textContent", &json!([id]))
            .as_str()
            .unwrap_or("")
            .into()
    }

    /// Presses keys, one after the other.
    pub fn press(&self, keys: &str) {
        let both = |key: char| {
            [
                json!({ "type": "keyDown", "value": key.to_string() }),
                json!({ "type": "keyUp", "value": key.to_string() }),
            ]
        };
        let actions: Vec<Value> = keys.chars().flat_map(both).collect();
        self.post("actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] }));
    }

    /// Clicks a point of the window.
    pub fn click(&self, x: i64, y: i64) {
        let actions = json!([
            { "type": "pointerMove", "duration": 0, "x": x, "y": y },
            { "type": "pointerDown", "button": 0 },
            { "type": "pointerUp", "button": 0 },
        ]);
        self.post("actions", &json!({ "actions": [{ "type": "pointer", "id": "mouse", "actions": actions }] }));
    }

    /// Turns the mouse's wheel over a point.
    pub fn wheel(&self, x: i64, y: i64, by: i64) {
        let actions = json!([{ "type": "scroll", "x": x, "y": y, "deltaX": 0, "deltaY": by, "duration": 0 }]);
        self.post("actions", &json!({ "actions": [{ "type": "wheel", "id": "wheel", "actions": actions }] }));
    }

    /// Returns the picture of the window, a PNG file in base64.
    pub fn screenshot(&self) -> String {
        let url = format!("{}/screenshot", self.session);
        answer(&url, minreq::get(&url)).as_str().expect("base64").into()
    }

    /// Returns the new lines of a log.
    pub fn logs(&self, kind: &str) -> Vec<Value> {
        self.post("se/log", &json!({ "type": kind })).as_array().cloned().unwrap_or_default()
    }

    /// Returns the addresses that the browser has asked for since the last call.
    pub fn requests(&self) -> Vec<String> {
        let messages = self.logs("performance").into_iter().filter_map(|line| {
            let message: Value = serde_json::from_str(line["message"].as_str()?).ok()?;
            let message = &message["message"];
            let is_request = message["method"].as_str()?.ends_with("equestWillBeSent");
            is_request.then(|| message["params"]["request"]["url"].as_str().unwrap_or("?").to_owned())
        });
        messages.collect()
    }
}

/// Sends a request, and returns the value of the answer.
fn answer(url: &str, request: minreq::Request) -> Value {
    let request = request.with_timeout(120);
    let answer = request.send().unwrap_or_else(|error| panic!("{url}: {error}"));
    let mut answer: Value = serde_json::from_slice(answer.as_bytes()).expect("JSON");
    let value = answer["value"].take();
    assert!(value.get("error").is_none(), "{url}: {value}");
    value
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = minreq::delete(&self.session).with_timeout(10).send();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
