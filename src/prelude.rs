//! What most hosts need, for `use redeliver::prelude::*`.

pub use crate::{
    Activity, ActivityContext, ActivityError, ActivityPolicy, Command, Context, Event, Finished,
    Handlers, Index, Key, Message, Outcome, Query, Reconciled, Rejection, Replied, Service, Span,
    Supervision, Table, TableKey, Timestamp, View, days, hours, minutes, seconds,
};
pub use serde::{Deserialize, Serialize};
