//! The journal: the append-only, checksummed log of commits, and the point of durability.
//!
//! ```text
//! journal/0000000000000001.seg   header | record | record | trailer | record | … | zeros
//! journal/0000000000000002.seg   header | record | …
//! ```
//!
//! Every opening starts a new segment, so a segment never mixes openings and nothing is ever
//! written behind a torn tail. A segment appears under its name only when its header (and any
//! records rescued from an earlier tail) are durable.

pub(crate) mod body;
pub(crate) mod reader;
pub(crate) mod record;
pub(crate) mod segment;
pub(crate) mod writer;
