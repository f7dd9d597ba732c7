//! The rebuild: all facts folded again, into the next generation of the figures.
//!
//! ```text
//! facts        0 ─────────── cursor ─────────── next
//! generation n  counted: all of them, and each new one   ◀── answers
//! generation n+1 counted: those below the cursor
//! ```
//!
//! It goes on in steps of a bounded number of facts, each a turn of its own that a timer sets off;
//! between two of them the service takes other turns. A new fact has the number `next`, which the
//! cursor has not passed: it is counted live and meets the cursor later. The step in which the
//! cursor reaches `next` makes the new generation the live one, and further steps remove the old
//! one's rows.
//!
//! If a step fails for good, the live figures go on; `restart` begins again.

use std::time::Duration;

use redeliver::prelude::*;

use super::messages::{Rebuild, RebuildProgress, RebuildView};
use super::projection::fold;
use super::service::Analytics;
use super::tables::{
    ACCOUNTS, BOOKS, Books, DAYS, FACTS, Generation, LEVELS, MONTHS, Rebuilding, SALES,
    SALES_OF_DAYS, SALES_OF_MONTHS,
};

/// Facts that a step folds, or rows that it removes.
pub(super) const STEP_ROWS: usize = 256;

/// Between two steps. Due timers go before other turns, so a step must be over by then.
const PAUSE: Duration = Duration::from_millis(20);

/// The rebuild, or the removal of what it has replaced, goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildStep {
    /// Whether it is still this one's turn.
    pub chain: u32,
}

timer!(RebuildStep, "analytics-rebuild-step", chain);

impl Analytics {
    pub(super) fn rebuild(
        &self,
        ask: Rebuild,
        cx: &mut Context<Self>,
    ) -> Result<RebuildView, Rejection> {
        let mut books = self.books(cx)?;
        if books.rebuild.is_none() || ask.restart {
            books.begin(cx.now())?;
            let chain = books.chain;
            cx.after(PAUSE, RebuildStep { chain });
            cx.put(BOOKS, &(), &books)?;
        }
        Ok(books.view())
    }

    pub(super) fn rebuild_step(
        &self,
        step: RebuildStep,
        cx: &mut Context<Self>,
    ) -> Result<(), Rejection> {
        let mut books = self.books(cx)?;
        if step.chain != books.chain {
            return Ok(());
        }
        if books.clearing {
            books.clearing = clear(&books, cx)?;
        } else if let Some(rebuild) = &mut books.rebuild {
            fold_some(rebuild, books.next, cx)?;
            if rebuild.cursor == books.next {
                books.switch(cx.now());
            }
        }
        if books.clearing || books.rebuild.is_some() {
            cx.after(PAUSE, step);
        }
        cx.put(BOOKS, &(), &books)?;
        Ok(())
    }

    pub(super) fn rebuild_progress(
        &self,
        _: RebuildProgress,
        view: &View<Self>,
    ) -> Result<RebuildView, Rejection> {
        Ok(self.books(view)?.view())
    }
}

impl Books {
    /// Begins a rebuild. Rows of one that was given up go first.
    fn begin(&mut self, at: Timestamp) -> Result<(), Rejection> {
        let given_up = self.rebuild.take();
        let last = given_up
            .as_ref()
            .map_or(self.live, |rebuild| rebuild.generation);
        let (Some(next), Some(chain)) = (last.0.checked_add(1), self.chain.checked_add(1)) else {
            return Err(Rejection::conflict(
                "too_many_rebuilds",
                "the books have been rebuilt as often as can be counted; restore a backup",
            ));
        };
        self.clearing |= given_up.is_some();
        self.chain = chain;
        self.rebuild = Some(Rebuilding {
            generation: Generation(next),
            cursor: 0,
            started_at: at,
        });
        Ok(())
    }

    /// Lets the generation that was made answer from now on.
    fn switch(&mut self, at: Timestamp) {
        if let Some(made) = self.rebuild.take() {
            self.live = made.generation;
            self.rebuilt = Some((made.started_at, at));
            self.clearing = true;
        }
    }

    fn view(&self) -> RebuildView {
        let begun = self.rebuild.as_ref().map(|rebuild| rebuild.started_at);
        let before = self.rebuilt.map(|(started_at, _)| started_at);
        let finished = self.rebuilt.map(|(_, finished_at)| finished_at);
        RebuildView {
            running: self.rebuild.is_some(),
            generation: self.live.0,
            facts: self.next,
            folded: self.rebuild.as_ref().map_or(0, |rebuild| rebuild.cursor),
            clearing: self.clearing,
            started_at: begun.or(before),
            finished_at: finished.filter(|_| self.rebuild.is_none()),
        }
    }
}

/// Folds the next facts.
fn fold_some(
    rebuild: &mut Rebuilding,
    next: u64,
    cx: &mut Context<Analytics>,
) -> Result<(), Rejection> {
    let facts = cx.scan(FACTS, &Span::all().from(&rebuild.cursor).limit(STEP_ROWS))?;
    let expected = (rebuild.cursor..next).take(STEP_ROWS);
    // A gap would make figures that are too small and look right.
    if !facts.iter().map(|(number, _)| *number).eq(expected) {
        return Err(Rejection::conflict(
            "facts_missing",
            format!(
                "facts from {} on are not complete; restore a backup, the figures from before stay",
                rebuild.cursor
            ),
        ));
    }
    for (number, fact) in facts {
        fold(rebuild.generation, &fact, cx)?;
        rebuild.cursor = number + 1;
    }
    Ok(())
}

/// Removes rows of generations that neither answer nor are being made; whether there may be more.
fn clear(books: &Books, cx: &mut Context<Analytics>) -> Result<bool, Rejection> {
    let mut left = STEP_ROWS;
    clear_table(DAYS, books, &mut left, cx)?;
    clear_table(MONTHS, books, &mut left, cx)?;
    clear_table(SALES, books, &mut left, cx)?;
    clear_table(SALES_OF_DAYS, books, &mut left, cx)?;
    clear_table(SALES_OF_MONTHS, books, &mut left, cx)?;
    clear_table(ACCOUNTS, books, &mut left, cx)?;
    clear_table(LEVELS, books, &mut left, cx)?;
    Ok(left == 0)
}

fn clear_table<K, V>(
    table: Table<(Generation, K), V>,
    books: &Books,
    left: &mut usize,
    cx: &mut Context<Analytics>,
) -> Result<(), Rejection>
where
    K: TableKey + 'static,
    V: Serialize + serde::de::DeserializeOwned + 'static,
{
    let after_live = Generation(books.live.0.saturating_add(1));
    let made = books
        .rebuild
        .as_ref()
        .map_or(after_live, |made| made.generation);
    let before = Span::all().below(&books.live);
    let between = Span::all().from(&after_live).below(&made);
    for span in [before, between] {
        for (key, _) in cx.scan(table, &span.limit(*left))? {
            cx.remove(table, &key)?;
            *left -= 1;
        }
    }
    Ok(())
}
