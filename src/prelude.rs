//! What most hosts need, for `use redeliver::prelude::*`.

pub use crate::{
    Activity, ActivityContext, ActivityError, ActivityPolicy, CancelAnswer, Command, Context,
    Event, Failure, Finished, Handlers, Index, Key, Message, Outcome, Query, Reconciled, Rejection,
    Replied, Resolve, ResolveAnswer, RetryAnswer, Saga, SagaOutcome, SagaState, Service, Span,
    Steps, Supervision, Table, TableKey, Timestamp, View, days, hours, minutes, seconds,
};
pub use serde::{Deserialize, Serialize};
