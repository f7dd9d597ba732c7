//! SQLite: write-ahead log, synchronous=FULL, prepared statements, outbox and inbox in tables.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::engine::{Ask, Engine, Failure};
use crate::order::{BATCH, Order, PRODUCTS, Receiver};

const SCHEMA: &str = "
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -65536;
    PRAGMA temp_store = MEMORY;
    PRAGMA wal_autocheckpoint = 10000;
    CREATE TABLE counts (id INTEGER PRIMARY KEY, n INTEGER NOT NULL);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, state INTEGER NOT NULL, product INTEGER NOT NULL,
        quantity INTEGER NOT NULL, cents INTEGER NOT NULL, address TEXT NOT NULL);
    CREATE TABLE reserved (product INTEGER PRIMARY KEY, quantity INTEGER NOT NULL);
    CREATE TABLE captured (id INTEGER PRIMARY KEY, cents INTEGER NOT NULL);
    CREATE TABLE shipments (id INTEGER PRIMARY KEY, address TEXT NOT NULL);
    CREATE TABLE outbox (seq INTEGER PRIMARY KEY, receiver INTEGER NOT NULL, id INTEGER NOT NULL,
        product INTEGER NOT NULL, quantity INTEGER NOT NULL, cents INTEGER NOT NULL,
        address TEXT NOT NULL);
    CREATE TABLE inbox (receiver INTEGER PRIMARY KEY, mark INTEGER NOT NULL);
    INSERT INTO inbox VALUES (0, 0), (1, 0), (2, 0), (3, 0);
";

/// One connection, which is the only writer.
pub struct Sqlite {
    db: Connection,
    /// Number of the newest message, and of the newest that was moved on.
    sent: i64,
    moved: i64,
}

impl Sqlite {
    pub fn open(dir: &Path) -> Result<Sqlite, Failure> {
        let db = Connection::open(dir.join("sqlite"))?;
        db.set_prepared_statement_cache_capacity(64);
        db.execute_batch(SCHEMA)?;
        Ok(Sqlite {
            db,
            sent: 0,
            moved: 0,
        })
    }
}

impl Engine for Sqlite {
    fn group(&mut self, asks: &[Ask]) -> Result<Vec<u64>, Failure> {
        let mut done = Vec::new();
        let tx = self
            .db
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let before = self.sent;
        {
            let mut send =
                tx.prepare_cached("INSERT INTO outbox VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
            let mut increment = tx.prepare_cached(
                "INSERT INTO counts VALUES (?1, 1) ON CONFLICT DO UPDATE SET n = n + 1 RETURNING n",
            )?;
            let mut place =
                tx.prepare_cached("INSERT INTO orders VALUES (?1, 0, ?2, ?3, ?4, ?5)")?;
            for ask in asks {
                match *ask {
                    Ask::Increment { ticket, counter } => {
                        increment.query_row([counter], |row| row.get::<_, i64>(0))?;
                        done.push(ticket);
                    }
                    Ask::Place { ticket } => {
                        let order = Order::of(ticket);
                        place.execute(params![
                            order.id as i64,
                            order.product as i64,
                            order.quantity,
                            order.cents as i64,
                            order.address
                        ])?;
                        self.sent += 1;
                        send.execute(params![
                            self.sent,
                            Receiver::Stock as i64,
                            order.id as i64,
                            order.product as i64,
                            order.quantity,
                            order.cents as i64,
                            order.address
                        ])?;
                    }
                }
            }
            if self.moved < before {
                let up_to = before.min(self.moved + BATCH as i64);
                let mut read = tx.prepare_cached(
                    "SELECT seq, receiver, id, product, quantity, cents, address FROM outbox
                     WHERE seq > ?1 AND seq <= ?2 ORDER BY seq",
                )?;
                let mut reserve = tx.prepare_cached(
                    "INSERT INTO reserved VALUES (?1, ?2)
                     ON CONFLICT DO UPDATE SET quantity = quantity + ?2",
                )?;
                let mut capture = tx.prepare_cached("INSERT INTO captured VALUES (?1, ?2)")?;
                let mut ship = tx.prepare_cached("INSERT INTO shipments VALUES (?1, ?2)")?;
                let mut complete =
                    tx.prepare_cached("UPDATE orders SET state = 1 WHERE id = ?1")?;
                let mut marks = [0_i64; 4];
                {
                    let mut mark = tx.prepare_cached("SELECT receiver, mark FROM inbox")?;
                    let mut rows = mark.query([])?;
                    while let Some(row) = rows.next()? {
                        marks[row.get::<_, usize>(0)?] = row.get(1)?;
                    }
                }
                let mut rows = read.query([self.moved, up_to])?;
                while let Some(row) = rows.next()? {
                    let (seq, receiver) = (row.get::<_, i64>(0)?, Receiver::of(row.get(1)?));
                    // A message that this receiver has had is not handled again.
                    if seq <= marks[receiver as usize] {
                        continue;
                    }
                    marks[receiver as usize] = seq;
                    let order = Order {
                        id: row.get::<_, i64>(2)? as u64,
                        product: row.get::<_, i64>(3)? as u64,
                        quantity: row.get(4)?,
                        cents: row.get::<_, i64>(5)? as u64,
                        address: row.get(6)?,
                    };
                    match receiver {
                        Receiver::Stock => {
                            let product = (order.product % PRODUCTS) as i64;
                            reserve.execute(params![product, order.quantity])?;
                        }
                        Receiver::Payments => {
                            capture.execute(params![order.id as i64, order.cents as i64])?;
                        }
                        Receiver::Shipments => {
                            ship.execute(params![order.id as i64, order.address])?;
                        }
                        Receiver::Orders => {
                            complete.execute([order.id as i64])?;
                            done.push(order.id);
                        }
                    }
                    if let Some(next) = receiver.next() {
                        self.sent += 1;
                        send.execute(params![
                            self.sent,
                            next as i64,
                            order.id as i64,
                            order.product as i64,
                            order.quantity,
                            order.cents as i64,
                            order.address
                        ])?;
                    }
                }
                drop(rows);
                let mut remember =
                    tx.prepare_cached("UPDATE inbox SET mark = ?2 WHERE receiver = ?1")?;
                for (receiver, mark) in marks.iter().enumerate() {
                    remember.execute(params![receiver as i64, mark])?;
                }
                tx.prepare_cached("DELETE FROM outbox WHERE seq > ?1 AND seq <= ?2")?
                    .execute([self.moved, up_to])?;
                self.moved = up_to;
            }
        }
        tx.commit()?;
        Ok(done)
    }

    fn under_way(&self) -> bool {
        self.moved < self.sent
    }
}
