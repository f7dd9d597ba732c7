//! The topology: who publishes what to whom, checked before anything starts.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::declaration::Declaration;
use crate::envelope::Kind;

/// The registered services do not fit together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TopologyError {
    /// Two services have one name.
    #[error("two services are called `{name}`; give one of them another `NAME`")]
    ServiceTwice {
        /// The name.
        name: String,
    },
    /// A service registers something twice.
    #[error("service `{service}` registers {what} twice; remove one registration")]
    Twice {
        /// The service.
        service: String,
        /// Handler, table, query, activity or event.
        what: String,
    },
    /// A name that the library keeps for itself, or an empty one.
    #[error(
        "`{name}` of service `{service}` cannot be used as a name; use letters, digits, `-`, `_` and `.`"
    )]
    BadName {
        /// The service.
        service: String,
        /// The name.
        name: String,
    },
    /// One name stands for two services, because one was called so formerly.
    #[error(
        "`{name}` is a former name of service `{service}` and in use elsewhere; stored data would be taken for the wrong service, give the other one a new name"
    )]
    Claimed {
        /// The service that lists the name in `FORMERLY`.
        service: String,
        /// The name.
        name: String,
    },
    /// Nobody hears a published event.
    #[error(
        "service `{service}` publishes `{event}` but no service handles it; handle it, or declare it with `publishes_outside`"
    )]
    Unheard {
        /// The publisher.
        service: String,
        /// The event.
        event: String,
    },
    /// Nobody publishes a handled event.
    #[error(
        "service `{service}` handles `{event}` but no service publishes it; add the publisher or remove the handler"
    )]
    Unproduced {
        /// The subscriber.
        service: String,
        /// The event.
        event: String,
    },
    /// A command is sent to a service that does not exist or does not handle it.
    #[error(
        "service `{service}` sends `{command}` to `{to}`, which does not handle it; register its handler there"
    )]
    UnhandledCommand {
        /// The sender.
        service: String,
        /// The command.
        command: String,
        /// The receiver.
        to: String,
    },
    /// A reply is handled for a command that is not sent.
    #[error(
        "service `{service}` handles replies to `{command}` but does not declare that it sends it; add `sends`"
    )]
    ReplyWithoutCommand {
        /// The service.
        service: String,
        /// The command.
        command: String,
    },
}

/// The registered services and the ways between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Topology {
    /// The services in order of registration.
    pub services: Vec<ServiceTopology>,
}

/// One service of a [`Topology`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServiceTopology {
    /// Its name.
    pub name: String,
    /// Its tables and indexes.
    pub tables: Vec<String>,
    /// The events it publishes and the commands it sends.
    pub publishes: Vec<PublishedMessage>,
    /// The messages of services that it handles.
    pub handles: Vec<HandledFrom>,
    /// The commands it answers, from outside or from services.
    pub commands: Vec<String>,
    /// The queries it answers.
    pub queries: Vec<String>,
    /// The timers it sets for itself.
    pub timers: Vec<String>,
    /// The activities it plans.
    pub activities: Vec<PlannedActivity>,
}

/// An event that a service publishes, or a command that it sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PublishedMessage {
    /// Wire name.
    pub message: String,
    /// Version written.
    pub version: u16,
    /// The services that handle it.
    pub to: Vec<String>,
    /// Whether it is also meant for listeners outside of the system.
    pub outside: bool,
}

/// A message that a service handles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HandledFrom {
    /// Wire name.
    pub message: String,
    /// Newest version read.
    pub version: u16,
    /// The services it comes from.
    pub from: Vec<String>,
}

/// An activity and its destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedActivity {
    /// The activity.
    pub activity: String,
    /// What it talks to.
    pub destination: String,
}

impl Topology {
    /// Checks that the declarations fit together, and draws the ways between them.
    pub(crate) fn check(services: &[(&Declaration, &[String])]) -> Result<Topology, TopologyError> {
        let declarations: Vec<&Declaration> = services
            .iter()
            .map(|(declaration, _)| *declaration)
            .collect();
        let mut names = BTreeSet::new();
        for (declaration, twice) in services {
            check_names(declaration)?;
            if !names.insert(declaration.name) {
                return Err(TopologyError::ServiceTwice {
                    name: declaration.name.to_owned(),
                });
            }
            if let Some(what) = twice.first() {
                return Err(TopologyError::Twice {
                    service: declaration.name.to_owned(),
                    what: what.clone(),
                });
            }
        }
        for declaration in &declarations {
            for former in declaration.formerly {
                let used = |other: &&Declaration| {
                    other.name == *former
                        || other.name != declaration.name && other.formerly.contains(former)
                };
                if declarations.iter().any(used) {
                    return Err(TopologyError::Claimed {
                        service: declaration.name.to_owned(),
                        name: (*former).to_owned(),
                    });
                }
            }
        }
        let ways = Ways::of(&declarations);
        for declaration in &declarations {
            ways.check(declaration)?;
        }
        let services = declarations
            .iter()
            .map(|declaration| ways.draw(declaration))
            .collect();
        Ok(Topology { services })
    }
}

/// Who publishes, subscribes, sends and answers what.
struct Ways {
    publishers: BTreeMap<&'static str, Vec<&'static str>>,
    subscribers: BTreeMap<&'static str, Vec<&'static str>>,
    senders: BTreeMap<(&'static str, &'static str), Vec<&'static str>>,
    answers: BTreeSet<(&'static str, &'static str)>,
}

impl Ways {
    fn of(declarations: &[&Declaration]) -> Ways {
        let mut ways = Ways {
            publishers: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            senders: BTreeMap::new(),
            answers: BTreeSet::new(),
        };
        for declaration in declarations {
            for published in &declaration.publishes {
                ways.publishers
                    .entry(published.message)
                    .or_default()
                    .push(declaration.name);
            }
            for sent in &declaration.sends {
                ways.senders
                    .entry((sent.to, sent.message))
                    .or_default()
                    .push(declaration.name);
            }
            for handled in &declaration.handles {
                match handled.kind {
                    Kind::Event => ways
                        .subscribers
                        .entry(handled.message)
                        .or_default()
                        .push(declaration.name),
                    Kind::Command => {
                        ways.answers.insert((declaration.name, handled.message));
                    }
                    Kind::Reply | Kind::Timer | Kind::Activity => {}
                }
            }
        }
        ways
    }

    fn check(&self, declaration: &Declaration) -> Result<(), TopologyError> {
        let service = || declaration.name.to_owned();
        for published in &declaration.publishes {
            if !published.outside && !self.subscribers.contains_key(published.message) {
                return Err(TopologyError::Unheard {
                    service: service(),
                    event: published.message.to_owned(),
                });
            }
        }
        for sent in &declaration.sends {
            if !self.answers.contains(&(sent.to, sent.message)) {
                return Err(TopologyError::UnhandledCommand {
                    service: service(),
                    command: sent.message.to_owned(),
                    to: sent.to.to_owned(),
                });
            }
        }
        for handled in &declaration.handles {
            match handled.kind {
                Kind::Event if !self.publishers.contains_key(handled.message) => {
                    return Err(TopologyError::Unproduced {
                        service: service(),
                        event: handled.message.to_owned(),
                    });
                }
                Kind::Reply
                    if !declaration
                        .sends
                        .iter()
                        .any(|sent| sent.message == handled.message) =>
                {
                    return Err(TopologyError::ReplyWithoutCommand {
                        service: service(),
                        command: handled.message.to_owned(),
                    });
                }
                Kind::Event | Kind::Reply | Kind::Command | Kind::Timer | Kind::Activity => {}
            }
        }
        Ok(())
    }

    fn draw(&self, declaration: &Declaration) -> ServiceTopology {
        let owned = |names: Option<&Vec<&'static str>>| -> Vec<String> {
            names
                .into_iter()
                .flatten()
                .map(|name| (*name).to_owned())
                .collect()
        };
        let of_kind = |kind: Kind| {
            declaration
                .handles
                .iter()
                .filter(move |handled| handled.kind == kind)
        };
        let events = declaration
            .publishes
            .iter()
            .map(|published| PublishedMessage {
                message: published.message.to_owned(),
                version: published.version,
                to: owned(self.subscribers.get(published.message)),
                outside: published.outside,
            });
        let commands = declaration.sends.iter().map(|sent| PublishedMessage {
            message: sent.message.to_owned(),
            version: 1,
            to: vec![sent.to.to_owned()],
            outside: false,
        });
        let heard = of_kind(Kind::Event).map(|handled| HandledFrom {
            message: handled.message.to_owned(),
            version: handled.version,
            from: owned(self.publishers.get(handled.message)),
        });
        let asked = of_kind(Kind::Command)
            .filter_map(|handled| {
                Some((
                    handled,
                    self.senders.get(&(declaration.name, handled.message))?,
                ))
            })
            .map(|(handled, senders)| HandledFrom {
                message: handled.message.to_owned(),
                version: handled.version,
                from: owned(Some(senders)),
            });
        ServiceTopology {
            name: declaration.name.to_owned(),
            tables: declaration
                .tables
                .iter()
                .map(|(name, _)| (*name).to_owned())
                .collect(),
            publishes: events.chain(commands).collect(),
            handles: heard.chain(asked).collect(),
            commands: of_kind(Kind::Command)
                .map(|handled| handled.message.to_owned())
                .collect(),
            queries: declaration
                .queries
                .iter()
                .map(|name| (*name).to_owned())
                .collect(),
            timers: of_kind(Kind::Timer)
                .map(|handled| handled.message.to_owned())
                .collect(),
            activities: declaration
                .activities
                .iter()
                .map(|(activity, destination)| PlannedActivity {
                    activity: (*activity).to_owned(),
                    destination: (*destination).to_owned(),
                })
                .collect(),
        }
    }
}

fn check_names(declaration: &Declaration) -> Result<(), TopologyError> {
    let tables = declaration.tables.iter().map(|(name, _)| *name);
    let messages = declaration.handles.iter().map(|handled| handled.message);
    let published = declaration
        .publishes
        .iter()
        .map(|published| published.message);
    for name in std::iter::once(declaration.name)
        .chain(tables)
        .chain(messages)
        .chain(published)
    {
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > 100 || !name.bytes().all(usable) {
            return Err(TopologyError::BadName {
                service: declaration.name.to_owned(),
                name: name.to_owned(),
            });
        }
    }
    Ok(())
}
