//! The web pages of `go tool trace`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// A server of the pages of one trace, which ends with this value.
pub struct Pages {
    server: Child,
    address: String,
}

impl Pages {
    pub fn serve(tool: &Path, file: &Path) -> Self {
        let mut command = Command::new(tool);
        command.arg("-http=127.0.0.1:0").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        // The tool opens a browser.
        let mut server = command.env("BROWSER", "true").env_remove("DISPLAY").spawn().unwrap();
        let said = BufReader::new(server.stderr.take().unwrap());
        let mut lines = said.lines().map(Result::unwrap);
        let address = lines.find_map(|line| Some(line.split_once("http://")?.1.trim().to_string()));
        let address = address.expect("the server says its address");
        // A full pipe would stop the server.
        std::thread::spawn(move || lines.for_each(drop));
        Self { server, address }
    }

    /// Returns a page with its head.
    pub fn get(&self, page: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {page} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let status = text.lines().next().unwrap_or_default();
        assert!(status.contains(" 200 "), "{page}: {status}");
        text
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
