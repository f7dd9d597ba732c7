//! A service's names resolved to numbers, once at start, so that a turn looks nothing up by text.

use crate::commit::{ServiceId, TableId};
use crate::draft::Shape;
use crate::envelope::Kind;
use crate::hosted::Hosted;
use crate::names::Names;
use crate::planted::Planted;
use crate::turn::{PLANS, TIMERS};

/// Where the names of one service lead, as its surroundings know them.
pub(crate) trait Surroundings {
    /// The durable number of one of the service's tables or indexes.
    fn table(&mut self, name: &'static str) -> TableId;
    /// Who subscribes to an event, the service itself included.
    fn subscribers(&self, event: &'static str) -> Vec<ServiceId>;
    /// Who is behind a service's name; `None` leaves commands to it undeclared.
    fn service(&self, name: &'static str) -> Option<ServiceId>;
}

impl Shape {
    /// The shape of a service with this number among `around`.
    pub(crate) fn of(hosted: &dyn Hosted, id: ServiceId, around: &mut dyn Surroundings) -> Shape {
        let declaration = hosted.declaration();
        let tables: Names<_> = declaration
            .tables
            .iter()
            .map(|(name, _)| (*name, around.table(name)))
            .collect();
        let number = |name: &&'static str| tables.get(*name).copied();
        let indexes = hosted
            .indexes()
            .iter()
            .map(|(table, indexes)| {
                let resolved = indexes
                    .iter()
                    .filter_map(|(name, keys)| Some((number(name)?, keys.clone())))
                    .collect();
                (*table, resolved)
            })
            .collect();
        let events = declaration
            .publishes
            .iter()
            .map(|published| (published.message, around.subscribers(published.message)))
            .collect();
        let commands = declaration
            .sends
            .iter()
            .filter_map(|sent| {
                let wants_reply = hosted.current_name(Kind::Reply, sent.message).is_some();
                let receiver = around.service(sent.to)?;
                Some(((sent.to, sent.message), (receiver, wants_reply)))
            })
            .collect();
        Shape {
            name: declaration.name,
            id,
            indexes,
            events,
            commands,
            activities: declaration
                .activities
                .iter()
                .map(|(name, _)| *name)
                .collect(),
            wakes: declaration
                .handles
                .iter()
                .filter(|handled| handled.kind == Kind::Timer)
                .map(|handled| handled.message)
                .collect(),
            timers: around.table(TIMERS),
            plans: around.table(PLANS),
            tables,
            planted: Planted::default(),
        }
    }

    /// The shape of a service that is alone in the world: its events go to itself, if it handles
    /// them, and to nobody else; its commands go to a receiver that is not there.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn lone(hosted: &dyn Hosted) -> Shape {
        let own_events = hosted
            .declaration()
            .handles
            .iter()
            .filter(|handled| handled.kind == Kind::Event)
            .map(|handled| handled.message)
            .collect();
        Shape::of(
            hosted,
            ServiceId(1),
            &mut Alone {
                tables: 0,
                own_events,
            },
        )
    }
}

#[cfg(any(test, feature = "testing"))]
struct Alone {
    tables: u32,
    own_events: Vec<&'static str>,
}

#[cfg(any(test, feature = "testing"))]
impl Surroundings for Alone {
    fn table(&mut self, _name: &'static str) -> TableId {
        self.tables += 1;
        TableId(self.tables)
    }

    fn subscribers(&self, event: &'static str) -> Vec<ServiceId> {
        if self.own_events.contains(&event) {
            vec![ServiceId(1)]
        } else {
            Vec::new()
        }
    }

    fn service(&self, _name: &'static str) -> Option<ServiceId> {
        Some(ServiceId(2))
    }
}
