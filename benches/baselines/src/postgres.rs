//! PostgreSQL: one connection that batches, arrays instead of rows, statements in a pipeline.
//!
//! One connection, because a commit for a thousand clients costs less than a thousand commits
//! that the server groups, and because no two of them wait for each other's rows.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tokio::runtime::Runtime;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Statement};

use crate::engine::{Ask, Engine, Failure};
use crate::order::{BATCH, Order, PRODUCTS, Receiver};

const SCHEMA: &str = "
    DROP SCHEMA IF EXISTS baseline CASCADE;
    CREATE SCHEMA baseline;
    SET search_path = baseline;
    SET synchronous_commit = on;
    CREATE TABLE counts (id int PRIMARY KEY, n bigint NOT NULL);
    INSERT INTO counts SELECT id, 0 FROM generate_series(0, 999) AS id;
    CREATE TABLE orders (id bigint PRIMARY KEY, state smallint NOT NULL, product bigint NOT NULL,
        quantity int NOT NULL, cents bigint NOT NULL, address text NOT NULL);
    CREATE TABLE reserved (product bigint PRIMARY KEY, quantity bigint NOT NULL);
    INSERT INTO reserved SELECT product, 0 FROM generate_series(0, 999) AS product;
    CREATE TABLE captured (id bigint PRIMARY KEY, cents bigint NOT NULL);
    CREATE TABLE shipments (id bigint PRIMARY KEY, address text NOT NULL);
    CREATE TABLE outbox (seq bigint PRIMARY KEY, receiver smallint NOT NULL, id bigint NOT NULL,
        product bigint NOT NULL, quantity int NOT NULL, cents bigint NOT NULL, address text NOT NULL);
    CREATE TABLE inbox (receiver smallint PRIMARY KEY, mark bigint NOT NULL);
    INSERT INTO inbox VALUES (0, 0), (1, 0), (2, 0), (3, 0);
";

/// A connection, and the server if it was started for it.
pub struct Postgres {
    runtime: Runtime,
    client: Client,
    on: Statements,
    sent: i64,
    moved: i64,
    _server: Option<Server>,
}

struct Statements {
    increment: Statement,
    place: Statement,
    send: Statement,
    take: Statement,
    reserve: Statement,
    capture: Statement,
    ship: Statement,
    complete: Statement,
    mark: Statement,
}

impl Postgres {
    /// `None` where there is no server and none can be started.
    pub fn open(dir: &Path) -> Result<Option<Postgres>, Failure> {
        let (address, server) = match std::env::var("DATABASE_URL") {
            Ok(address) => (address, None),
            Err(_) => match Server::start(dir)? {
                Some(server) => (server.address(), Some(server)),
                None => return Ok(None),
            },
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (client, on) = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&address, NoTls).await?;
            tokio::spawn(connection);
            client.batch_execute(SCHEMA).await?;
            let on = Statements::prepare(&client).await?;
            Ok::<_, Failure>((client, on))
        })?;
        Ok(Some(Postgres {
            runtime,
            client,
            on,
            sent: 0,
            moved: 0,
            _server: server,
        }))
    }
}

impl Statements {
    async fn prepare(client: &Client) -> Result<Statements, Failure> {
        let order = "unnest($2::bigint[], $3::bigint[], $4::int[], $5::bigint[], $6::text[])";
        Ok(Statements {
            increment: client
                .prepare(
                    "UPDATE counts SET n = n + asked.times
                     FROM (SELECT id, count(*) AS times FROM unnest($1::int[]) AS id GROUP BY id) AS asked
                     WHERE counts.id = asked.id RETURNING counts.id, n",
                )
                .await?,
            place: client
                .prepare(&format!(
                    "INSERT INTO orders SELECT id, $1::smallint, product, quantity, cents, address
                     FROM {order} AS o(id, product, quantity, cents, address)"
                ))
                .await?,
            send: client
                .prepare(
                    "INSERT INTO outbox SELECT * FROM unnest($1::bigint[], $2::smallint[],
                     $3::bigint[], $4::bigint[], $5::int[], $6::bigint[], $7::text[])",
                )
                .await?,
            // A message at or below its receiver's mark has been handled and only goes.
            take: client
                .prepare(
                    "WITH taken AS (DELETE FROM outbox WHERE seq > $1 AND seq <= $2 RETURNING *)
                     SELECT taken.* FROM taken JOIN inbox USING (receiver)
                     WHERE seq > mark ORDER BY seq",
                )
                .await?,
            reserve: client
                .prepare(
                    "UPDATE reserved SET quantity = reserved.quantity + asked.quantity
                     FROM (SELECT product, sum(quantity) AS quantity
                           FROM unnest($1::bigint[], $2::int[]) AS o(product, quantity)
                           GROUP BY product) AS asked
                     WHERE reserved.product = asked.product",
                )
                .await?,
            capture: client
                .prepare("INSERT INTO captured SELECT * FROM unnest($1::bigint[], $2::bigint[])")
                .await?,
            ship: client
                .prepare("INSERT INTO shipments SELECT * FROM unnest($1::bigint[], $2::text[])")
                .await?,
            complete: client
                .prepare("UPDATE orders SET state = 1 WHERE id = ANY ($1::bigint[])")
                .await?,
            mark: client
                .prepare("UPDATE inbox SET mark = $1")
                .await?,
        })
    }
}

/// Columns of orders.
#[derive(Default)]
struct Columns {
    id: Vec<i64>,
    product: Vec<i64>,
    quantity: Vec<i32>,
    cents: Vec<i64>,
    address: Vec<String>,
}

impl Columns {
    fn push(&mut self, order: &Order) {
        self.id.push(order.id as i64);
        self.product.push(order.product as i64);
        self.quantity.push(order.quantity as i32);
        self.cents.push(order.cents as i64);
        self.address.push(order.address.clone());
    }
}

/// Columns of the outbox.
#[derive(Default)]
struct Sent {
    sequence: Vec<i64>,
    receiver: Vec<i16>,
    orders: Columns,
}

impl Sent {
    fn push(&mut self, last: &mut i64, receiver: Receiver, order: &Order) {
        *last += 1;
        self.sequence.push(*last);
        self.receiver.push(receiver as i16);
        self.orders.push(order);
    }
}

impl Engine for Postgres {
    fn group(&mut self, asks: &[Ask]) -> Result<Vec<u64>, Failure> {
        let Postgres {
            runtime,
            client,
            on,
            ..
        } = self;
        let (mut last, mut moved) = (self.sent, self.moved);
        let up_to = last.min(moved + BATCH as i64);
        let mut done = Vec::new();
        let mut counters = Vec::new();
        let mut placed = Columns::default();
        let mut sent = Sent::default();
        for ask in asks {
            match *ask {
                Ask::Increment { ticket, counter } => {
                    counters.push(counter as i32);
                    done.push(ticket);
                }
                Ask::Place { ticket } => {
                    let order = Order::of(ticket);
                    placed.push(&order);
                    sent.push(&mut last, Receiver::Stock, &order);
                }
            }
        }
        runtime.block_on(async {
            let begin = client.batch_execute("BEGIN");
            let taking = async {
                match moved < up_to {
                    true => client.query(&on.take, &[&moved, &up_to]).await,
                    false => Ok(Vec::new()),
                }
            };
            let (_, taken) = tokio::try_join!(biased; begin, taking)?;
            moved = up_to;
            let mut by: [Columns; 4] = Default::default();
            for row in taken {
                let receiver = Receiver::of(row.get::<_, i16>(1).into());
                let mut order = Order {
                    id: row.get::<_, i64>(2) as u64,
                    product: row.get::<_, i64>(3) as u64,
                    quantity: row.get::<_, i32>(4) as u32,
                    cents: row.get::<_, i64>(5) as u64,
                    address: row.get(6),
                };
                match receiver.next() {
                    Some(next) => sent.push(&mut last, next, &order),
                    None => done.push(order.id),
                }
                if receiver == Receiver::Stock {
                    order.product %= PRODUCTS;
                }
                by[receiver as usize].push(&order);
            }
            let [stock, payments, shipments, orders] = &by;
            // Sent one behind the other and awaited together; what has nothing to do is left out.
            let state = 0_i16;
            let increment = when(client, &on.increment, !counters.is_empty(), vec![&counters]);
            let Columns { id, product, quantity, cents, address } = &placed;
            let values: Values = vec![&state, id, product, quantity, cents, address];
            let place = when(client, &on.place, !id.is_empty(), values);
            let values: Values = vec![&stock.product, &stock.quantity];
            let reserve = when(client, &on.reserve, !stock.id.is_empty(), values);
            let values: Values = vec![&payments.id, &payments.cents];
            let capture = when(client, &on.capture, !payments.id.is_empty(), values);
            let values: Values = vec![&shipments.id, &shipments.address];
            let ship = when(client, &on.ship, !shipments.id.is_empty(), values);
            let complete = when(client, &on.complete, !orders.id.is_empty(), vec![&orders.id]);
            let Sent { sequence, receiver, orders: carried } = &sent;
            let Columns { id, product, quantity, cents, address } = carried;
            let values: Values = vec![sequence, receiver, id, product, quantity, cents, address];
            let send = when(client, &on.send, !sequence.is_empty(), values);
            let mark = when(client, &on.mark, moved > self.moved, vec![&moved]);
            let commit = async { client.batch_execute("COMMIT").await.map(|()| 0) };
            tokio::try_join!(biased; increment, place, reserve, capture, ship, complete, send, mark, commit)?;
            Ok::<_, Failure>(())
        })?;
        (self.sent, self.moved) = (last, moved);
        Ok(done)
    }

    fn under_way(&self) -> bool {
        self.moved < self.sent
    }
}

type Values<'a> = Vec<&'a (dyn ToSql + Sync)>;

/// Executes a statement, unless there is nothing for it to do.
async fn when(
    client: &Client,
    statement: &Statement,
    wanted: bool,
    with: Values<'_>,
) -> Result<u64, tokio_postgres::Error> {
    match wanted {
        true => client.execute(statement, &with).await,
        false => Ok(0),
    }
}

/// A server of our own, over a directory that goes with it.
struct Server {
    dir: PathBuf,
    bin: PathBuf,
    as_root: bool,
}

impl Server {
    fn start(dir: &Path) -> Result<Option<Server>, Failure> {
        let Some(bin) = programs() else {
            return Ok(None);
        };
        let dir = std::env::current_dir()?.join(dir).join("postgres");
        std::fs::create_dir_all(&dir)?;
        let user = Command::new("id").arg("-u").output()?;
        let as_root = String::from_utf8_lossy(&user.stdout).trim() == "0";
        let server = Server { bin, dir, as_root };
        if as_root {
            // The server refuses to be root.
            run(Command::new("chown")
                .args(["-R", "postgres"])
                .arg(&server.dir))?;
            let above = server.dir.parent().unwrap_or(&server.dir);
            run(Command::new("chmod").arg("755").arg(above))?;
        }
        let data = server.dir.join("data");
        let mut init = server.program("initdb");
        run(init
            .arg("-D")
            .arg(&data)
            .args(["-A", "trust", "-U", "postgres", "-N"]))?;
        let options = format!(
            "-c listen_addresses='' -c unix_socket_directories='{}'",
            server.dir.display()
        );
        let mut start = server.program("pg_ctl");
        start
            .arg("-D")
            .arg(&data)
            .args(["-w", "-s", "-o", &options, "-l"]);
        run(start.arg(server.dir.join("log")).arg("start"))?;
        Ok(Some(server))
    }

    fn address(&self) -> String {
        format!(
            "host='{}' user=postgres dbname=postgres",
            self.dir.display()
        )
    }

    fn program(&self, name: &str) -> Command {
        let program = self.bin.join(name);
        if !self.as_root {
            return Command::new(program);
        }
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if !self.dir.join("data").join("postmaster.pid").exists() {
            return;
        }
        let mut stop = self.program("pg_ctl");
        stop.arg("-D").arg(self.dir.join("data"));
        if let Err(error) = run(stop.args(["-w", "-s", "-m", "immediate", "stop"])) {
            eprintln!("baselines: the server may still be running: {error}");
        }
    }
}

/// Where `pg_ctl` and `initdb` are.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let pg_ctl = std::env::split_paths(&path)
        .map(|dir| dir.join("pg_ctl"))
        .find(|file| file.exists())?;
    // It may be a link, with the other programs where it leads.
    let bin = pg_ctl.canonicalize().ok()?.parent()?.to_owned();
    bin.join("initdb").exists().then_some(bin)
}

fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()?;
    match status.success() {
        true => Ok(()),
        false => Err(format!("{command:?} ended with {status}").into()),
    }
}
