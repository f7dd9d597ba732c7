//! The analytics service: figures, counted from what the other services say.
//!
//! Each event becomes one *fact*, and the figures are a fold over the facts:
//!
//! ```text
//! event ─▶ fact (kept for ever) ─▶ days, months, products, customers, stock
//!             │                     of the live generation
//!             ╰──rebuild: all again, batch by batch──▶ the next generation
//! ```
//!
//! The runtime gives each event one turn, so it is counted once. It is counted by its own time, in
//! its own UTC day, however late it comes. Folding is a matter of sums and of the latest name of a
//! product, so the order of the facts does not matter, and folding them again gives the same rows
//! to the byte.
//!
//! Facts are the record: the event log may be trimmed, they are not. A fact takes 30 to 90 bytes;
//! an order of one line, viewed, put into a cart, sent and delivered, leaves eight, of less than
//! 500 bytes together (a test measures it). They are not summed up with age: sums of a day would
//! give today's figures to the byte, but not those that somebody will want next year.
//!
//! Facts know users by their id alone. What a deleted user has paid stays in the books.

pub mod calendar;
pub mod facts;
pub mod figures;
pub mod messages;
mod projection;
mod queries;
pub mod rebuild;
mod service;
pub mod tables;
#[cfg(test)]
mod tests;

pub use calendar::{Day, Month, Range};
pub use messages::{
    ConversionFunnel, Dashboard, DashboardView, FunnelView, LifetimeValue, LifetimeValueView,
    OrdersSummary, Rebuild, RebuildProgress, RebuildView, RevenueByDay, RevenueByMonth,
    RevenueView, SalesOrder, SalesView, StockLevelView, StockLevels, SummaryView, TopSelling,
};
pub use service::Analytics;
