//! The real program under test: started, asked over HTTP, stopped or killed, started again.

#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

pub mod document;
pub mod mount;
pub mod routes;

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use document::Document;
use serde_json::{Value, json};

/// Longer than any answer takes, so that a hanging server fails a test instead of stopping it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Who the first administrator is, and the password that every test's program gives that one.
pub const ADMIN: (&str, &str) = ("admin@example.com", "admin-password");

/// The program with arguments, and of the environment's configuration only ours: the first
/// administrator's password is known, and comparing passwords takes no time to speak of.
pub fn commerce(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_commerce"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("COMMERCE_") {
            command.env_remove(name);
        }
    }
    command.args(args).stdin(Stdio::null());
    command
        .env("COMMERCE_ADMIN_PASSWORD", ADMIN.1)
        .env("COMMERCE_IDENTITY_ARGON2_MEMORY_KIB", "8")
        .env("COMMERCE_IDENTITY_ARGON2_PASSES", "1");
    command
}

/// The password of every customer of the tests.
pub const CUSTOMER_PASSWORD: &str = "a customer's password";

/// What became of a program that ended by itself.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Runs the program to its end.
pub fn run(args: &[&str]) -> Ended {
    ended(commerce(args))
}

pub fn ended(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A running server. Killed when dropped.
pub struct Server {
    pub address: String,
    pub data: PathBuf,
    child: Child,
    stderr: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Server {
    /// Starts one on a free port over this data directory and waits until it is ready.
    pub fn start(data: &Path) -> Server {
        Server::with(data, &[], &[])
    }

    /// The same with further arguments and variables.
    pub fn with(data: &Path, args: &[&str], variables: &[(&str, &str)]) -> Server {
        Server::try_start(data, args, variables).unwrap_or_else(|ended| panic!("{ended:?}"))
    }

    /// The same; how it ended, if it was never ready.
    pub fn try_start(
        data: &Path,
        args: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Server, Ended> {
        let mut server = Server::spawn(data, args, variables);
        let mut line = String::new();
        server.stdout.read_line(&mut line).unwrap();
        let Some(address) = line.trim_end().strip_prefix("ready http://") else {
            let status = server.child.wait().unwrap();
            return Err(Ended {
                code: status.code(),
                stdout: line,
                stderr: server.said(),
            });
        };
        server.address = address.to_owned();
        Ok(server)
    }

    /// Starts one without waiting for anything.
    pub fn spawn(data: &Path, args: &[&str], variables: &[(&str, &str)]) -> Server {
        let data_arg = data.display().to_string();
        let mut all = vec![
            "--data",
            &data_arg,
            "--listen",
            "127.0.0.1:0",
            "--log",
            "warn",
        ];
        // A test's own value stands instead of ours.
        for name in ["--listen", "--log"] {
            if args.contains(&name) {
                let place = all.iter().position(|arg| *arg == name).unwrap();
                all.drain(place..place + 2);
            }
        }
        all.extend(args);
        let mut child = commerce(&all)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let stderr = Arc::new(Mutex::new(String::new()));
        let said = stderr.clone();
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            while lines.read_line(&mut line).is_ok_and(|read| read > 0) {
                said.lock().unwrap().push_str(&line);
                line.clear();
            }
        });
        Server {
            address: String::new(),
            data: data.to_owned(),
            child,
            stderr,
            reader: Some(reader),
            stdout,
        }
    }

    pub fn client(&self) -> Client {
        Client::new(&self.address)
    }

    /// A client of nobody's.
    pub fn stranger(&self) -> Client {
        Client::stranger(&self.address)
    }

    /// A client of this user.
    pub fn client_of(&self, email: &str, password: &str) -> Client {
        self.stranger().as_user(email, password)
    }

    /// Registers a customer; their id and a client of theirs.
    #[track_caller]
    pub fn customer(&self, email: &str) -> (String, Client) {
        let id = self.stranger().register(email, CUSTOMER_PASSWORD);
        (id, self.client_of(email, CUSTOMER_PASSWORD))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(sent.unwrap().success());
    }

    /// SIGKILL, at once.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and what became of it.
    pub fn terminate(self) -> Ended {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let status: ExitStatus = self.child.wait().unwrap();
        let mut stdout = String::new();
        self.stdout.read_to_string(&mut stdout).unwrap();
        Ended {
            code: status.code(),
            stdout,
            stderr: self.said(),
        }
    }

    /// Whether this has been written to standard error so far.
    pub fn has_said(&self, text: &str) -> bool {
        self.stderr.lock().unwrap().contains(text)
    }

    /// Everything on standard error, once the process has ended.
    fn said(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.stderr.lock().unwrap().clone()
    }

    /// The provider's ledger, line by line.
    pub fn ledger(&self) -> Vec<Value> {
        let path = self.data.join("provider").join("ledger.jsonl");
        let text = fs::read_to_string(path).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An HTTP client with one connection. It signs in by itself when it first needs to, as the first
/// administrator unless it is told otherwise, and again when its token is no longer good.
pub struct Client {
    address: String,
    connection: Option<BufReader<TcpStream>>,
    user: Option<(String, String)>,
    token: Option<String>,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(error) => panic!("{error}: {}", String::from_utf8_lossy(&self.body)),
        }
    }

    /// The body, if the status is this one.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        let said = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, status, "{said}");
        self.json()
    }

    /// The answer as a problem of this status and kind.
    #[track_caller]
    pub fn problem(&self, status: u16, kind: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json")
        );
        assert_eq!(
            problem["type"],
            format!("https://redeliver.dev/problems/{kind}"),
            "{problem}"
        );
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"].as_str(), self.header("x-request-id"));
        assert!(!problem["detail"].as_str().unwrap().is_empty(), "{problem}");
        problem
    }
}

impl Client {
    pub fn new(address: &str) -> Client {
        Client::stranger(address).as_user(ADMIN.0, ADMIN.1)
    }

    /// A client that shows no credentials of its own.
    pub fn stranger(address: &str) -> Client {
        Client {
            address: address.to_owned(),
            connection: None,
            user: None,
            token: None,
        }
    }

    /// The client of this user instead.
    #[must_use]
    #[allow(
        clippy::wrong_self_convention,
        reason = "it says as whom the client asks"
    )]
    pub fn as_user(mut self, email: &str, password: &str) -> Client {
        self.user = Some((email.to_owned(), password.to_owned()));
        self.token = None;
        self
    }

    /// The same user at another address, with the same token.
    pub fn move_to(&mut self, address: &str) {
        self.address = address.to_owned();
        self.connection = None;
    }

    /// Registers a customer; their id.
    #[track_caller]
    pub fn register(&mut self, email: &str, password: &str) -> String {
        let body = json!({
            "email": email, "password": password, "first_name": "Ada", "last_name": "Lovelace"
        });
        let user = self.post("/api/v1/auth/register", &body).expect(201);
        user["id"].as_str().unwrap().to_owned()
    }

    /// Signs in as this user, whatever the client's own is.
    #[track_caller]
    pub fn log_in(&mut self, email: &str, password: &str) -> Answer {
        let body = json!({ "email": email, "password": password });
        self.post("/api/v1/auth/login", &body)
    }

    /// A request under this access token.
    #[track_caller]
    pub fn get_with_token(&mut self, path: &str, token: &str) -> Answer {
        let bearer = format!("Bearer {token}");
        self.request("GET", path, &[("authorization", &bearer)], None)
    }

    #[track_caller]
    pub fn get(&mut self, path: &str) -> Answer {
        self.request("GET", path, &[], None)
    }

    #[track_caller]
    pub fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body)
    }

    #[track_caller]
    pub fn post_with(&mut self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut all = vec![("content-type", "application/json")];
        all.extend(headers);
        self.request("POST", path, &all, Some(body.to_string().as_bytes()))
    }

    #[track_caller]
    pub fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Answer {
        self.try_request(method, path, headers, body)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
    }

    /// One request, one answer; an error when the server is gone.
    pub fn try_request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<Answer> {
        let needs_token = self.user.is_some()
            && ["/api/", "/admin/"]
                .iter()
                .any(|below| path.starts_with(below))
            && !path.starts_with("/api/v1/auth/")
            && !headers.iter().any(|(name, _)| *name == "authorization");
        if !needs_token {
            return self.ask(method, path, headers, body);
        }
        let had_token = self.token.is_some();
        let answer = self.ask_as_user(method, path, headers, body)?;
        if answer.status == 401 && had_token {
            self.token = None;
            return self.ask_as_user(method, path, headers, body);
        }
        Ok(answer)
    }

    /// Signs in if need be; if that fails, with the answer that was given to it.
    fn ask_as_user(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<Answer> {
        if let (None, Some((email, password))) = (&self.token, &self.user) {
            let login = json!({ "email": email, "password": password }).to_string();
            let json = [("content-type", "application/json")];
            let path = "/api/v1/auth/login";
            let answer = self.ask("POST", path, &json, Some(login.as_bytes()))?;
            if answer.status != 200 {
                return Ok(answer);
            }
            let token = answer.json()["access_token"].as_str().unwrap().to_owned();
            self.token = Some(token);
        }
        let bearer = format!("Bearer {}", self.token.as_deref().unwrap_or_default());
        let mut all = vec![("authorization", bearer.as_str())];
        all.extend(headers);
        self.ask(method, path, &all, body)
    }

    fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<Answer> {
        let answer = self.exchange(method, path, headers, body);
        if let Ok(answer) = &answer {
            self.check(method, path, answer);
        }
        let closes = |answer: &Answer| answer.header("connection") == Some("close");
        if answer.as_ref().map_or(true, closes) {
            self.connection = None;
        }
        answer
    }

    /// Fails the test if the answer is not what the server's own document says.
    #[track_caller]
    fn check(&self, method: &str, path: &str, answer: &Answer) {
        let Some(document) = document_of(&self.address) else {
            return;
        };
        let content_type = answer.header("content-type");
        let objections =
            document.objections(method, path, answer.status, content_type, &answer.body);
        let said = String::from_utf8_lossy(&answer.body);
        assert!(
            objections.is_empty(),
            "{method} {path} is not answered as documented: {objections:#?}\n{said}"
        );
    }

    fn exchange(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> io::Result<Answer> {
        if self.connection.is_none() {
            let stream = TcpStream::connect(&self.address)?;
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            self.connection = Some(BufReader::new(stream));
        }
        let connection = self.connection.as_mut().unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n", self.address);
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = body {
            head.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        let mut request = head.into_bytes();
        request.extend(body.unwrap_or_default());
        // A server that refuses a long body may close before it has read it all; its answer is
        // there all the same.
        let sent = connection.get_mut().write_all(&request);
        let answer = read_answer(connection, method == "HEAD");
        match (sent, answer) {
            (_, Ok(answer)) => Ok(answer),
            (Err(error), Err(_)) | (Ok(()), Err(error)) => Err(error),
        }
    }
}

/// The document of the server at this address, asked for once; `None` if it has none or is gone.
fn document_of(address: &str) -> Option<Arc<Document>> {
    static DOCUMENTS: LazyLock<Mutex<HashMap<String, Arc<Document>>>> =
        LazyLock::new(Mutex::default);
    if let Some(known) = DOCUMENTS.lock().unwrap().get(address) {
        return Some(known.clone());
    }
    let mut client = Client::new(address);
    let answer = client.exchange("GET", "/openapi.json", &[], None).ok()?;
    if answer.status != 200 {
        return None;
    }
    let document = Arc::new(Document::new(answer.json()));
    let mut documents = DOCUMENTS.lock().unwrap();
    documents.insert(address.to_owned(), document.clone());
    Some(document)
}

fn read_answer(from: &mut impl BufRead, head_only: bool) -> io::Result<Answer> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let status = line.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| bad(&line))?;
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_owned(), value.to_owned())),
            None if line == "\r\n" => break,
            None => return Err(bad(&line)),
        }
    }
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    let length = answer.header("content-length").unwrap_or("0");
    let length: usize = length.parse().map_err(|_| bad("content-length"))?;
    if !head_only {
        answer.body.resize(length, 0);
        from.read_exact(&mut answer.body)?;
    }
    Ok(answer)
}

/// Id of the seed's product at this place.
pub fn product(place: usize) -> String {
    commerce::seed::product_id(place).to_string()
}

/// An order of one line, paid with this token.
pub fn order_of(product_id: &str, quantity: i64, token: &str) -> Value {
    json!({
        "items": [{ "product_id": product_id, "quantity": quantity }],
        "shipping_address": {
            "recipient": "Ada Lovelace", "line1": "1 Analytical Way", "line2": null,
            "city": "Berlin", "region": "BE", "postal_code": "10115", "country": "DE"
        },
        "payment_method": { "type": "card", "token": token },
        "expected_total": null
    })
}

/// `(on_hand, reserved, available)` of a product.
#[track_caller]
pub fn stock(client: &mut Client, product_id: &str) -> (u64, u64, u64) {
    let path = format!("/api/v1/inventory/products/{product_id}");
    let stock = client.get(&path).expect(200);
    let number = |name: &str| stock[name].as_u64().unwrap();
    (number("on_hand"), number("reserved"), number("available"))
}
