//! The event stream of the real program: who sees what, in which order, and where one goes on.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use common::{Client, Server, order_of, product};
use serde_json::Value;

const WAIT: (&str, &str) = ("prefer", "wait=20");
/// Longer than a stream is silent, so that a hanging one fails a test instead of stopping it.
const PATIENCE: Duration = Duration::from_secs(60);

/// An event as it was told.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    number: u64,
    event: String,
    data: Value,
}

impl Told {
    fn is(&self, message: &str, order: &str) -> bool {
        self.event == message && self.data["order_id"] == order
    }
}

/// A reader of the stream.
struct Reader(BufReader<TcpStream>);

impl Reader {
    /// Opens a stream; the status and the reader.
    fn try_open(server: &Server, token: &str, query: &str, last: Option<u64>) -> (u16, Reader) {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let id = last.map_or_else(String::new, |last| format!("last-event-id: {last}\r\n"));
        let bearer = match token {
            "" => String::new(),
            token => format!("authorization: Bearer {token}\r\n"),
        };
        // HTTP/1.0: the body comes without chunks.
        let head = format!(
            "GET /api/v1/events{query} HTTP/1.0\r\nhost: {}\r\naccept: text/event-stream\r\n\
             accept-encoding: gzip\r\n{bearer}{id}\r\n",
            server.address
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = Reader(BufReader::new(stream));
        let status = reader.line().unwrap();
        while reader.line().unwrap() != "\r\n" {}
        let status = status.split(' ').nth(1).unwrap().parse().unwrap();
        if status == 200 {
            // The stream has its place in the row of events when it greets.
            assert!(reader.line().unwrap().starts_with("retry: "));
        }
        (status, reader)
    }

    #[track_caller]
    fn open(server: &Server, token: &str, query: &str, last: Option<u64>) -> Reader {
        let (status, reader) = Reader::try_open(server, token, query, last);
        assert_eq!(status, 200);
        reader
    }

    /// The next line with its end; `None` at the end.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).unwrap();
        (read > 0).then_some(line)
    }

    /// The next event; `None` at the end.
    fn next(&mut self) -> Option<Told> {
        let (mut number, mut event, mut data) = (0, String::new(), String::new());
        loop {
            let line = self.line()?;
            match line.trim_end().split_once(": ") {
                Some(("id", id)) => number = id.parse().unwrap(),
                Some(("event", name)) => event = name.to_owned(),
                Some(("data", text)) => data.push_str(text),
                _ if line == "\n" && !data.is_empty() => {
                    let data = serde_json::from_str(&data).unwrap();
                    return Some(Told {
                        number,
                        event,
                        data,
                    });
                }
                _ => {}
            }
        }
    }

    /// Everything up to the event that is so.
    fn until(&mut self, so: impl Fn(&Told) -> bool) -> Vec<Told> {
        let mut told = Vec::new();
        loop {
            told.push(self.next().expect("the stream goes on"));
            if told.last().is_some_and(&so) {
                return told;
            }
        }
    }
}

fn token(client: &mut Client, email: &str, password: &str) -> String {
    let answer = client.log_in(email, password).expect(200);
    answer["access_token"].as_str().unwrap().to_owned()
}

fn admin(server: &Server) -> String {
    token(&mut server.client(), common::ADMIN.0, common::ADMIN.1)
}

/// Places an order and waits for its outcome; its id.
#[track_caller]
fn order(client: &mut Client, place: usize) -> String {
    let order = order_of(&product(place), 1, "tok_ok");
    let answer = client.post_with("/api/v1/orders", &[WAIT], &order);
    let order = answer.expect(200);
    assert_eq!(order["status"], "confirmed", "{order}");
    order["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn ascending(told: &[Told]) {
    let numbers: Vec<u64> = told.iter().map(|told| told.number).collect();
    assert!(
        numbers.windows(2).all(|pair| pair[0] < pair[1]),
        "{numbers:?}"
    );
}

#[test]
fn an_order_is_told_step_by_step_and_says_nothing_personal() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut reader = Reader::open(&server, &admin(&server), "", None);
    let id = order(&mut server.client(), 0);
    let told = reader.until(|told| told.is("order-confirmed", &id));
    ascending(&told);
    let steps: Vec<&str> = told
        .iter()
        .filter(|told| told.data["order_id"] == id)
        .map(|told| told.event.as_str())
        .filter(|event| !event.starts_with("notification"))
        .collect();
    assert_eq!(
        steps,
        [
            "order-created",
            "inventory-reservation-requested",
            "inventory-reservation-confirmed",
            "payment-requested",
            "payment-confirmed",
            "order-confirmed"
        ]
    );
    let created = told.iter().find(|told| told.is("order-created", &id));
    let created = &created.unwrap().data;
    let mut fields: Vec<&str> = created
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "at",
            "body",
            "causation_id",
            "correlation_id",
            "id",
            "message",
            "order_id",
            "service",
            "version"
        ]
    );
    assert_eq!(created["message"], "order-created");
    assert_eq!(
        (&created["service"], &created["version"]),
        (&"order".into(), &1.into())
    );
    assert_eq!(
        created["at"].as_str().unwrap().len(),
        "2026-01-01T00:00:00.000000Z".len()
    );
    assert_eq!(created["body"]["total"]["amount"], 999);
    for told in &told {
        let text = told.data.to_string();
        for secret in ["Lovelace", "Analytical", "tok_ok", "@"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[test]
fn a_reader_goes_on_where_it_was_also_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let first = order(&mut client, 1);
    let mut reader = Reader::open(&server, &admin(&server), "", Some(0));
    let mut seen = reader.until(|told| told.is("payment-requested", &first));
    drop(reader);
    let second = order(&mut client, 2);
    let last = seen.last().unwrap().number;
    let mut reader = Reader::open(&server, &admin(&server), "", Some(last));
    seen.extend(reader.until(|told| told.is("order-created", &second)));
    server.kill();
    while let Some(told) = reader.next() {
        seen.push(told);
    }
    let server = Server::start(dir.path());
    let third = order(&mut server.client(), 3);
    let last = seen.last().unwrap().number;
    let mut reader = Reader::open(&server, &admin(&server), "", Some(last));
    seen.extend(reader.until(|told| told.is("order-confirmed", &third)));
    ascending(&seen);
    let mut all = Reader::open(&server, &admin(&server), "", Some(0));
    assert_eq!(all.until(|told| told.is("order-confirmed", &third)), seen);
}

#[test]
fn a_reader_asks_for_types_and_orders_and_is_told_what_there_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut client = server.client();
    let (one, two) = (order(&mut client, 4), order(&mut client, 5));
    let admin = admin(&server);
    let events = |query: &str, count: usize| {
        let mut reader = Reader::open(&server, &admin, query, Some(0));
        let told: Vec<Told> = (0..count).map(|_| reader.next().unwrap()).collect();
        told.iter()
            .map(|told| {
                (
                    told.event.clone(),
                    told.data["order_id"].as_str().unwrap().to_owned(),
                )
            })
            .collect::<Vec<_>>()
    };
    let created = |order: &String| ("order-created".to_owned(), order.clone());
    let paid = |order: &String| ("payment-confirmed".to_owned(), order.clone());
    assert_eq!(
        events("?types=order-created", 2),
        [created(&one), created(&two)]
    );
    let both = events("?types=order-created,payment-confirmed", 4);
    assert_eq!(both, [created(&one), paid(&one), created(&two), paid(&two)]);
    assert_eq!(
        events("?type=order-created&type=payment-confirmed", 4),
        both
    );
    let of_two = format!("?types=order-created,payment-confirmed&order_id={two}");
    assert_eq!(events(&of_two, 2), [created(&two), paid(&two)]);
    for (query, token, status) in [
        ("?types=order-makred", admin.as_str(), 422),
        ("?order_id=7", &admin, 422),
        ("?after=soon", &admin, 400),
        ("", "", 401),
        ("", "made-up", 401),
    ] {
        assert_eq!(
            Reader::try_open(&server, token, query, None).0,
            status,
            "{query}"
        );
    }
    let metrics = server.stranger().get("/metrics");
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(
        text.lines().any(|line| line == "redeliver_ready 1"),
        "{text}"
    );
}

#[test]
fn customers_see_their_own_and_nothing_of_others() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let password = "correct horse battery";
    let mut people = ["ada@example.com", "bob@example.com"].map(|email| {
        let mut client = server.stranger();
        let id = client.register(email, password);
        let token = token(&mut client, email, password);
        let reader = Reader::open(&server, &token, "?after=0", None);
        (id, client.as_user(email, password), reader)
    });
    let orders: Vec<String> = people
        .iter_mut()
        .map(|(_, client, _)| order(client, 6))
        .collect();
    for ((id, _, reader), own) in people.iter_mut().zip(&orders) {
        let told = reader.until(|told| told.is("order-confirmed", own));
        ascending(&told);
        for told in &told {
            let body = &told.data["body"];
            let mine =
                [&body["customer_id"], &body["user_id"]].contains(&&Value::from(id.as_str()));
            assert!(mine || told.data["order_id"] == **own, "{told:?}");
        }
        // Also what says for which order it is and not for whom.
        let reserved = told
            .iter()
            .any(|told| told.is("inventory-reservation-confirmed", own));
        assert!(reserved, "{told:?}");
    }
}

#[test]
fn a_stream_ends_when_its_reader_signs_out() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(dir.path(), &["--no-seed"], &[]);
    let mut client = server.client();
    let answer = client.log_in(common::ADMIN.0, common::ADMIN.1).expect(200);
    let token = answer["access_token"].as_str().unwrap();
    let mut reader = Reader::open(&server, token, "?types=product-viewed", None);
    let body = serde_json::json!({ "refresh_token": answer["refresh_token"] });
    let bearer = format!("Bearer {token}");
    let out = client.post_with("/api/v1/auth/logout", &[("authorization", &bearer)], &body);
    assert!((200..300).contains(&out.status), "{out:?}");
    assert_eq!(reader.next(), None);
}

#[test]
fn an_open_stream_does_not_hold_up_the_end_of_the_shop() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut reader = Reader::open(&server, &admin(&server), "?types=product-viewed", None);
    let ended = server.terminate();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(!ended.stderr.contains("cut off"), "{ended:?}");
    assert_eq!(reader.next(), None);
}
