//! A shop of services on `redeliver`: what each service owns, says and decides.
//!
//! Each folder is one service. It shows its messages, then its tables, then its decisions (pure
//! functions over values); its handlers only connect them. A service knows the others by their
//! messages and by nothing else. Around them stand the gateway ([`http`]), the configuration and
//! the command line.

#[macro_use]
mod wire;

pub mod ids;
pub mod money;
pub mod page;
pub mod privacy;
pub mod time;
pub mod version;

pub mod app;
pub mod bench;
pub mod cli;
pub mod config;
pub mod currency_note;
pub mod demo;
pub mod demo_report;
pub mod http;
pub mod seed;
pub mod serve;
#[cfg(any(test, feature = "simulate"))]
pub mod simulate;
pub mod syncs;

pub mod analytics;
pub mod catalog;
pub mod identity;
pub mod inventory;
pub mod notification;
pub mod order;
pub mod payment;
pub mod shipping;
