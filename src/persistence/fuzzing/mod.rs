//! The decoders of what stands on the disk, as [`fuzzing`](crate::fuzzing) tries them.
#![allow(clippy::unwrap_used)] // A panic is how a target reports.

pub(crate) mod files;
pub(crate) mod journal;
