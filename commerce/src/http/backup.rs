//! Backups of the running shop: told of here, taken by the library's own route.

use utoipa::ToSchema;
use warp::http::StatusCode;

use super::table::{Access, Table};
use crate::identity::Role;

/// Tells of the route.
pub(super) fn tell_of_it(on: &mut Table) {
    on.elsewhere_post("/admin/backup", Access::Only(Role::Operator))
        .about("Takes a backup of the running shop into the configured directory.")
        .takes::<BackupAsked>()
        .answers::<BackupTaken>(StatusCode::CREATED);
}

/// A backup to take.
#[derive(ToSchema)]
#[allow(dead_code)]
struct BackupAsked {
    /// The name of its file; none of this name may be there.
    to: String,
}

/// A backup that was taken, and what it holds.
#[derive(ToSchema)]
#[allow(dead_code)]
struct BackupTaken {
    /// The file.
    path: String,
    /// How long it is.
    bytes: u64,
    /// The cell it was taken of.
    cell: String,
    /// The cell's incarnation.
    incarnation: String,
    /// The last commit in it.
    position: u64,
    /// The last event in it.
    last_event: u64,
    /// When it was taken.
    taken_at: String,
    /// All rows in it.
    rows: u64,
    /// Files beside the rows, such as segments of the event log.
    files: u64,
    content: BackupContent,
}

/// What the rows of a backup are.
#[derive(ToSchema)]
#[allow(dead_code)]
struct BackupContent {
    services: Vec<ServiceContent>,
    /// Messages on their way between services.
    messages: u64,
    /// Timers that are set.
    timers: u64,
    /// Activities without a recorded result.
    activities: u64,
    /// Messages that wait for another attempt.
    parked: u64,
    /// Messages given up and kept.
    dead_letters: u64,
}

/// What a backup holds of a service.
#[derive(ToSchema)]
#[allow(dead_code)]
struct ServiceContent {
    name: String,
    /// Rows of its own tables.
    rows: u64,
}
