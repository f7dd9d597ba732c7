//! A client that says exactly what a test tells it to, byte for byte.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Only turns a test that would wait for ever into one that fails.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The answer as a problem with this status and kind, whose request id is the header's.
    pub(crate) fn problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        assert_eq!(
            problem["type"],
            format!("https://redeliver.dev/problems/{kind}")
        );
        assert_eq!(problem["request_id"], self.headers["x-request-id"].as_str());
        assert!(!problem["title"].as_str().unwrap().is_empty());
        problem
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Client {
        Client::on(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn on(stream: TcpStream) -> Client {
        Client {
            stream,
            buffer: Vec::new(),
        }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// One request, one answer.
    pub(crate) async fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}");
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        self.send(format!("{head}\r\n{body}")).await;
        if method == "HEAD" {
            return self.head().await;
        }
        self.answer().await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, "", "").await
    }

    /// The next answer with its body, whose length must be told.
    pub(crate) async fn answer(&mut self) -> Answer {
        let mut answer = self.head().await;
        let length: usize = answer
            .headers
            .get("content-length")
            .map_or(0, |length| length.parse().unwrap());
        while self.buffer.len() < length {
            self.more().await;
        }
        answer.body = self.buffer.drain(..length).collect();
        answer
    }

    async fn head(&mut self) -> Answer {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                break end;
            }
            self.more().await;
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Answer {
            status: status.parse().unwrap(),
            headers,
            body: Vec::new(),
        }
    }

    async fn more(&mut self) {
        let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer));
        let read = read.await.expect("the server answers").unwrap();
        assert!(
            read > 0,
            "closed after {:?}",
            String::from_utf8_lossy(&self.buffer)
        );
    }

    /// Waits until the server closes, however it does it, and returns what it said before.
    pub(crate) async fn closed(mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.buffer);
        // A reset is a close too.
        let read = timeout(PATIENCE, self.stream.read_to_end(&mut rest));
        let _ = read.await.expect("the server closes");
        rest
    }
}
