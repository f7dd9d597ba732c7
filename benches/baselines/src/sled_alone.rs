//! sled alone: one batch and one flush for a group. What its flush does not do (it asks the
//! kernel to write, not the disk to keep) is not done here either; that is what sled offers.

use std::collections::{HashMap, VecDeque};
use std::path::Path;

use sled::{Batch, Db};

use crate::engine::{Ask, Engine, Failure};
use crate::order::{BATCH, Order, PRODUCTS, Receiver};

/// One tree; the first byte of a key is its table.
pub struct SledAlone {
    db: Db,
    /// What is in the outbox, in its order; read from the tree at a start.
    waiting: VecDeque<(u64, Receiver, Order)>,
    sent: u64,
}

const COUNTS: u8 = b'n';
const ORDERS: u8 = b'o';
const RESERVED: u8 = b'r';
const CAPTURED: u8 = b'c';
const SHIPMENTS: u8 = b's';
const OUTBOX: u8 = b'x';
const INBOX: u8 = b'i';

impl SledAlone {
    pub fn open(dir: &Path) -> Result<SledAlone, Failure> {
        let config = sled::Config::new()
            .path(dir.join("sled"))
            .mode(sled::Mode::HighThroughput)
            .cache_capacity(64 << 20)
            .flush_every_ms(None);
        Ok(SledAlone {
            db: config.open()?,
            waiting: VecDeque::new(),
            sent: 0,
        })
    }

    fn send(&mut self, batch: &mut Batch, receiver: Receiver, order: Order) {
        self.sent += 1;
        let mut value = vec![receiver as u8];
        value.extend(bytes(&order, 0));
        batch.insert(key(OUTBOX, self.sent), value);
        self.waiting.push_back((self.sent, receiver, order));
    }
}

impl Engine for SledAlone {
    fn group(&mut self, asks: &[Ask]) -> Result<Vec<u64>, Failure> {
        let mut batch = Batch::default();
        let mut done = Vec::new();
        let on_its_way = self.waiting.len().min(BATCH);
        // A batch does not see itself.
        let mut sums: HashMap<Vec<u8>, u64> = HashMap::new();
        for ask in asks {
            match *ask {
                Ask::Increment { ticket, counter } => {
                    add(&self.db, &mut sums, key(COUNTS, counter.into()), 1)?;
                    done.push(ticket);
                }
                Ask::Place { ticket } => {
                    let order = Order::of(ticket);
                    batch.insert(key(ORDERS, ticket), bytes(&order, 0));
                    self.send(&mut batch, Receiver::Stock, order);
                }
            }
        }
        for _ in 0..on_its_way {
            let Some((sequence, receiver, order)) = self.waiting.pop_front() else {
                break;
            };
            batch.remove(key(OUTBOX, sequence));
            batch.insert(key(INBOX, receiver as u64), &sequence.to_be_bytes());
            match receiver {
                Receiver::Stock => {
                    let product = key(RESERVED, order.product % PRODUCTS);
                    add(&self.db, &mut sums, product, order.quantity.into())?;
                }
                Receiver::Payments => {
                    batch.insert(key(CAPTURED, order.id), &order.cents.to_be_bytes());
                }
                Receiver::Shipments => {
                    batch.insert(key(SHIPMENTS, order.id), order.address.as_bytes());
                }
                Receiver::Orders => {
                    batch.insert(key(ORDERS, order.id), bytes(&order, 1));
                    done.push(order.id);
                }
            }
            if let Some(next) = receiver.next() {
                self.send(&mut batch, next, order);
            }
        }
        for (key, sum) in sums {
            batch.insert(key, &sum.to_be_bytes());
        }
        self.db.apply_batch(batch)?;
        self.db.flush()?;
        Ok(done)
    }

    fn under_way(&self) -> bool {
        !self.waiting.is_empty()
    }
}

fn add(db: &Db, sums: &mut HashMap<Vec<u8>, u64>, key: Vec<u8>, more: u64) -> Result<(), Failure> {
    if let Some(sum) = sums.get_mut(&key) {
        *sum += more;
        return Ok(());
    }
    let stored = db.get(&key)?;
    let sum = match stored.as_deref().map(TryInto::try_into) {
        Some(bytes) => u64::from_be_bytes(bytes?),
        None => 0,
    };
    sums.insert(key, sum + more);
    Ok(())
}

fn key(table: u8, id: u64) -> Vec<u8> {
    [&[table][..], &id.to_be_bytes()].concat()
}

fn bytes(order: &Order, state: u8) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(29 + order.address.len());
    bytes.push(state);
    bytes.extend(order.id.to_be_bytes());
    bytes.extend(order.product.to_be_bytes());
    bytes.extend(order.quantity.to_be_bytes());
    bytes.extend(order.cents.to_be_bytes());
    bytes.extend(order.address.as_bytes());
    bytes
}
