//! Declarations: everything a service owns, hears and says, as data.

use crate::envelope::Kind;
use crate::supervision::Supervision;

/// What becomes of the messages parked behind a dead letter (same stream, same ordering key).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterDeadLetter {
    /// They go on without it.
    #[default]
    Release,
    /// They wait until an operator redrives or discards it.
    Hold,
}

/// A message that a service publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Wire name.
    pub message: &'static str,
    /// Version written.
    pub version: u16,
    /// Whether listeners outside of the system may be its only readers.
    pub outside: bool,
}

/// A command that a service sends to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// Name of the service it goes to.
    pub to: &'static str,
    /// Wire name.
    pub message: &'static str,
}

/// A message that a service handles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandledMessage {
    /// How it arrives.
    pub kind: Kind,
    /// Wire name.
    pub message: &'static str,
    /// Newest version read.
    pub version: u16,
    /// Older wire names.
    pub formerly: &'static [&'static str],
    /// What becomes of its followers after a dead letter.
    pub after_dead_letter: AfterDeadLetter,
}

/// A saga that a service leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeclaredSaga {
    /// Its name; also that of its table and its timers.
    pub name: &'static str,
    /// Names of its steps, in order.
    pub steps: Vec<&'static str>,
}

/// Everything a service declares, as data: the input of the topology check.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// The service's name.
    pub name: &'static str,
    /// Older names.
    pub formerly: &'static [&'static str],
    /// Tables and indexes with their older names.
    pub tables: Vec<(&'static str, &'static [&'static str])>,
    /// Messages handled, in the order of registration.
    pub handles: Vec<HandledMessage>,
    /// Queries answered.
    pub queries: Vec<&'static str>,
    /// Events published.
    pub publishes: Vec<Published>,
    /// Commands sent to other services.
    pub sends: Vec<Sent>,
    /// Activities with their destinations.
    pub activities: Vec<(&'static str, &'static str)>,
    /// Sagas that it leads.
    pub sagas: Vec<DeclaredSaga>,
    /// Wire names whose stored messages may be dropped as dead letters.
    pub retired: Vec<&'static str>,
    /// How its tree is supervised.
    pub supervision: Supervision,
    /// Whether nobody waits for what it does with the messages of others.
    pub in_background: bool,
}
