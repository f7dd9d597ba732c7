//! Tools to test services with: the same ones the library tests itself with.
//!
//! [`ServiceKit`] runs the handlers of one service: given this state, when this message comes,
//! then these rows, messages, timers and activities follow. No disk, no actors, no real time.
//!
//! ```
//! use redeliver::prelude::*;
//! use redeliver::testing::ServiceKit;
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Lent { book: u64 }
//! impl Message for Lent { const NAME: &'static str = "lent"; }
//! impl Event for Lent {}
//!
//! #[derive(Serialize, Deserialize)]
//! struct Lend { book: u64 }
//! impl Message for Lend { const NAME: &'static str = "lend"; }
//! impl Command for Lend { type Reply = u32; }
//!
//! #[derive(Debug, PartialEq, Serialize, Deserialize)]
//! struct Overdue { book: u64 }
//! impl Message for Overdue { const NAME: &'static str = "overdue"; }
//!
//! const COPIES: Table<u64, u32> = Table::new("copies");
//!
//! struct Library;
//! impl Service for Library {
//!     const NAME: &'static str = "library";
//!     fn handlers(on: &mut Handlers<Self>) {
//!         on.table(COPIES).command(Self::lend).timer(Self::overdue).publishes_outside::<Lent>();
//!     }
//! }
//! impl Library {
//!     fn lend(&self, lend: Lend, cx: &mut Context<Self>) -> Result<u32, Rejection> {
//!         let left = cx.get(COPIES, &lend.book)?.unwrap_or(0);
//!         let Some(left) = left.checked_sub(1) else {
//!             return Err(Rejection::conflict("none_left", "all copies are lent"));
//!         };
//!         cx.put(COPIES, &lend.book, &left)?;
//!         cx.publish(Lent { book: lend.book });
//!         cx.after(days(28), Overdue { book: lend.book });
//!         Ok(left)
//!     }
//!     fn overdue(&self, _: Overdue, _: &mut Context<Self>) -> Result<(), Rejection> { Ok(()) }
//! }
//!
//! let mut kit = ServiceKit::of(Library);
//! kit.given(COPIES, &7, &1);
//!
//! let turn = kit.command(Lend { book: 7 });
//! assert_eq!(turn.reply(), &0);
//! assert_eq!(turn.published::<Lent>(), [Lent { book: 7 }]);
//! assert_eq!(turn.timers::<Overdue>(), [(kit.now().plus(days(28)), Overdue { book: 7 })]);
//! assert_eq!(kit.get(COPIES, &7), Some(0));
//!
//! let turn = kit.command(Lend { book: 7 });
//! assert_eq!(turn.rejection().code, "none_left");
//!
//! kit.advance(days(28));
//! assert_eq!(kit.fire_due_timers().len(), 1);
//! ```

mod decided;
mod kit;
mod rows;
mod simulation;
mod system;
#[cfg(test)]
mod tests;
mod transport;

pub use decided::Decided;
pub use kit::ServiceKit;
pub use simulation::{Client, Simulated, Simulation, Violation};
pub use system::{Child, TEST_EPOCH, TestSystem};
pub use transport::TransportFaults;

pub use crate::clock::VirtualClock;
pub use crate::persistence::sim_disk::{Fault, Operation, SimDisk};
pub use crate::persistence::sim_engine::{Corruption, SimEngine};
#[cfg(feature = "planted")]
pub use crate::planted::{PlantedBug, UnknownBug};
