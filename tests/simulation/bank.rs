//! A bank to simulate: tills take money in, books add it up, letters go out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redeliver::ActivityError;
use redeliver::prelude::*;
use redeliver::testing::{Client, Simulation};

pub type Account = u64;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pay {
    pub account: Account,
    pub amount: u64,
}
impl Message for Pay {
    const NAME: &'static str = "pay";
}
impl Command for Pay {
    /// What was paid in at this till so far.
    type Reply = u64;
}

/// Money came in, the `number`-th time for its account.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Paid {
    pub account: Account,
    pub amount: u64,
    pub number: u64,
}
impl Message for Paid {
    const NAME: &'static str = "paid";
    fn key(&self) -> Key {
        Key::of(&self.account)
    }
}
impl Event for Paid {}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Remind {
    account: Account,
    due: i64,
}
impl Message for Remind {
    const NAME: &'static str = "remind";
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BookOf {
    pub account: Account,
}
impl Message for BookOf {
    const NAME: &'static str = "book-of";
}
impl Query for BookOf {
    type Answer = Book;
}

/// What is known of an account.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Book {
    pub balance: u64,
    pub payments: u64,
    pub letters: u64,
    pub reminders: u64,
    /// What should never have been.
    pub odd: Vec<String>,
}

const TAKEN: Table<Account, (u64, u64)> = Table::new("taken");
const BOOKS: Table<Account, Book> = Table::new("books");

/// Takes money in. Whoever forgets the payments is a bug that a test has planted.
#[derive(Clone, Default)]
pub struct Till {
    pub forgets_every: Option<u64>,
}

impl Service for Till {
    const NAME: &'static str = "till";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(TAKEN)
            .command(|till: &Self, pay: Pay, cx: &mut Context<Self>| {
                let (number, sum) = cx.get(TAKEN, &pay.account)?.unwrap_or_default();
                let (number, sum) = (number + 1, sum + pay.amount);
                cx.put(TAKEN, &pay.account, &(number, sum))?;
                let forgotten = till
                    .forgets_every
                    .is_some_and(|every| number.is_multiple_of(every));
                if !forgotten {
                    cx.publish(Paid {
                        account: pay.account,
                        amount: pay.amount,
                        number,
                    });
                }
                Ok(sum)
            })
            .publishes_outside::<Paid>();
    }
}

#[derive(Clone)]
pub struct Books;

impl Service for Books {
    const NAME: &'static str = "books";
    fn handlers(on: &mut Handlers<Self>) {
        on.table(BOOKS)
            .event(|_: &Self, paid: Paid, cx: &mut Context<Self>| {
                let mut book = cx.get(BOOKS, &paid.account)?.unwrap_or_default();
                book.balance += paid.amount;
                book.payments += 1;
                if paid.number != book.payments {
                    book.odd
                        .push(format!("payment {} came as {}", paid.number, book.payments));
                }
                cx.put(BOOKS, &paid.account, &book)?;
                let wait = Duration::from_millis(cx.random() % 60_000);
                let due = cx.now().plus(wait).0;
                cx.after(
                    wait,
                    Remind {
                        account: paid.account,
                        due,
                    },
                );
                cx.plan(Post {
                    account: paid.account,
                });
                Ok(())
            })
            .timer(|_: &Self, remind: Remind, cx: &mut Context<Self>| {
                let mut book = cx.get(BOOKS, &remind.account)?.unwrap_or_default();
                book.reminders += 1;
                if cx.now().0 < remind.due {
                    book.odd.push("reminded too early".to_owned());
                }
                cx.put(BOOKS, &remind.account, &book)?;
                Ok(())
            })
            .activity::<Post>(|_: &Self, ended, cx: &mut Context<Self>| {
                let account = ended.input.account;
                let mut book = cx.get(BOOKS, &account)?.unwrap_or_default();
                book.letters += 1;
                cx.put(BOOKS, &account, &book)?;
                Ok(())
            })
            .query(|_: &Self, of: BookOf, view: &View<Self>| {
                Ok(view.get(BOOKS, &of.account)?.unwrap_or_default())
            });
    }
}

#[derive(Serialize, Deserialize)]
pub struct Post {
    account: Account,
}
impl Activity<Books> for Post {
    const NAME: &'static str = "post";
    const DESTINATION: &'static str = "post";
    const IDEMPOTENT: bool = true;
    type Output = ();
    async fn run(self, _: Arc<Books>, _: ActivityContext) -> Result<(), ActivityError> {
        tokio::time::sleep(Duration::from_millis(self.account)).await;
        Ok(())
    }
}

/// What customers were told: how much and how often they paid, by account.
pub type Told = Mutex<BTreeMap<Account, (u64, u64)>>;

pub async fn customer(client: Client, told: Arc<Told>) {
    while !client.is_over() {
        client.sleep(client.up_to(seconds(5))).await;
        let pay = Pay {
            account: client.below(4),
            amount: 1 + client.below(100),
        };
        client.call::<Till, _>(pay.clone()).await.unwrap();
        let mut told = told.lock().unwrap();
        let (sum, number) = told.entry(pay.account).or_default();
        *sum += pay.amount;
        *number += 1;
    }
}

pub async fn the_books_are_right(client: Client, told: Arc<Told>) -> Result<(), String> {
    let told = told.lock().unwrap().clone();
    for (account, (balance, payments)) in told {
        let book = client
            .query::<Books, _>(BookOf { account })
            .await
            .map_err(|no| no.to_string())?;
        let right = Book {
            balance,
            payments,
            letters: payments,
            reminders: payments,
            odd: Vec::new(),
        };
        if book != right {
            return Err(format!("account {account} has {book:?}, not {right:?}"));
        }
    }
    Ok(())
}

/// A bank whose till may have a bug.
pub fn with(seed: u64, till: Till) -> Simulation<Told> {
    Simulation::new(seed)
        .history(|_| Told::default())
        .service(till)
        .service(Books)
        .workload("customer", 3, customer)
        .check("the_books_are_right", the_books_are_right)
        .settle(minutes(2))
}

pub fn bank(seed: u64) -> Simulation<Told> {
    with(seed, Till::default())
}

/// The bank for some minutes; `REDELIVER_SIM_SEED`, `REDELIVER_SIM_SEEDS` and `REDELIVER_SIM_HOURS`
/// want more of it.
#[test]
fn a_bank_keeps_its_books_whatever_goes_wrong() {
    bank(1).run(minutes(10));
}
