//! The shopper: begins a story of the mix whenever it is time, as far as there is room.

use std::collections::BTreeSet;

use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval};

use super::chance::Chance;
use super::customers::{CUSTOMERS_MAX, Customer};
use super::floor::{Floor, Obstacle};
use super::mix::{Deck, STORIES, Story};
use super::story::Teller;
use crate::identity::requests::DeleteUser;
use crate::ids::ProductId;

/// Stories at a time. One begins when another has ended.
const UNDER_WAY_MAX: usize = 64;
/// Stories after which the shelves are looked at anew.
const LOOK_EVERY: u64 = 50;

/// Shops for as long as it is let.
pub(super) async fn shop(floor: Floor, seed: u64) {
    let mut shopper = Shopper {
        deck: Deck::new(&STORIES),
        chance: Chance::new(seed, 1),
        customers: Vec::new(),
        taken: BTreeSet::new(),
        products: Vec::new(),
        begun: 0,
        floor,
    };
    let mut due = interval(shopper.floor.interval);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stories = JoinSet::new();
    loop {
        tokio::select! {
            Some(ended) = stories.join_next() => note(ended),
            _ = due.tick() => {
                if stories.len() < UNDER_WAY_MAX {
                    match shopper.begin(&mut stories).await {
                        Ok(()) => {}
                        Err(obstacle) => {
                            tracing::debug!(%obstacle, "demo shopper comes back later");
                            tokio::time::sleep(shopper.floor.step).await;
                        }
                    }
                }
            }
        }
    }
}

type Ended = (Story, Result<(), Obstacle>);

fn note(ended: Result<Ended, JoinError>) {
    match ended {
        Ok((story, Ok(()))) => tracing::debug!(?story, "demo story told"),
        Ok((story, Err(obstacle))) => tracing::debug!(?story, %obstacle, "demo story broken off"),
        Err(error) => tracing::warn!(%error, "demo story ended badly"),
    }
}

struct Shopper {
    floor: Floor,
    deck: Deck<Story>,
    chance: Chance,
    customers: Vec<Customer>,
    /// Numbers whose address somebody else has.
    taken: BTreeSet<u32>,
    products: Vec<ProductId>,
    begun: u64,
}

impl Shopper {
    async fn begin(&mut self, stories: &mut JoinSet<Ended>) -> Result<(), Obstacle> {
        if self.begun.is_multiple_of(LOOK_EVERY) || self.products.is_empty() {
            self.floor.put_out().await?;
            self.products = self.floor.products().await?;
        }
        self.let_one_in().await?;
        let Some(customer) = self.chance.one_of(&self.customers) else {
            return Ok(());
        };
        let Some(story) = self.deck.draw(&mut self.chance) else {
            return Ok(());
        };
        self.begun += 1;
        if story == Story::Departure {
            // Here, so that no story begins with somebody who is gone.
            self.customers.retain(|one| *one != customer);
            let delete = DeleteUser {
                user_id: customer.id,
                if_version: None,
            };
            let gone = self.floor.tell(self.floor.shop.identity(), delete).await;
            note(Ok((story, gone)));
            return Ok(());
        }
        let teller = Teller {
            floor: self.floor.clone(),
            customer,
            products: self.products.clone(),
            chance: Chance::new(self.chance.number(), self.begun),
        };
        stories.spawn(async move { (story, teller.tell(story).await) });
        Ok(())
    }

    /// One customer more, until there are enough.
    async fn let_one_in(&mut self) -> Result<(), Obstacle> {
        let is_free = |number: &u32| {
            !self.taken.contains(number) && self.customers.iter().all(|one| one.number != *number)
        };
        let Some(number) = (1..=CUSTOMERS_MAX).find(is_free) else {
            return Ok(());
        };
        match Customer::arrive(&self.floor, number).await? {
            Some(customer) => self.customers.push(customer),
            None => {
                self.taken.insert(number);
            }
        }
        Ok(())
    }
}
