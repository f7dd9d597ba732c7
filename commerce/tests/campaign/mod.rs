//! Campaigns against the real program: shoppers and a warehouse work over HTTP while the process
//! is killed again and again, then everything is checked from outside.
//!
//! ```text
//! rounds ─ starts, kills ─▶ process        shoppers ─ work over HTTP ─▶ told (what was answered)
//!                                                                         │
//!                           world (what the shop and the provider say) ─▶ checks
//! ```

#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

pub mod chance;
pub mod checks;
pub mod directory;
pub mod patient;
pub mod process;
pub mod rounds;
pub mod shopper;
pub mod told;
pub mod world;
