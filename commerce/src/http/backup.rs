//! Backups of the running shop: told of here, taken by the library's own route.

use std::fs;
use std::path::{Path, PathBuf};

use redeliver::System;
use redeliver::http::{self as server, Problem};
use utoipa::ToSchema;
use warp::http::{Method, StatusCode};
use warp::path::FullPath;
use warp::{Filter, Rejection, Reply};

use super::table::{Access, Table};
use crate::identity::Role;

/// Where the route is.
const PATH: &str = "/admin/backup";

/// The library's route, into a directory that is made when it is first needed: one that is
/// configured and not there is a new shop's.
pub(super) fn into(
    system: System,
    dir: Option<PathBuf>,
) -> impl Filter<Extract = (impl Reply,), Error = Rejection> + Clone {
    let made = dir.clone();
    warp::path::full()
        .and(warp::method())
        .and_then(move |path: FullPath, method: Method| {
            let dir = made.clone();
            async move {
                match dir {
                    Some(dir) if path.as_str() == PATH && method == Method::POST => {
                        // It waits for the disk.
                        let made = tokio::task::spawn_blocking(move || make(&dir)).await;
                        let made = made.unwrap_or_else(|error| {
                            tracing::error!(%error, "making the directory for backups panicked");
                            Err(Problem::internal())
                        });
                        made.map_err(warp::reject::custom)
                    }
                    Some(_) | None => Ok(()),
                }
            }
        })
        .untuple_one()
        .and(server::backups(system, dir))
}

fn make(dir: &Path) -> Result<(), Problem> {
    fs::create_dir_all(dir).map_err(|error| {
        let dir = dir.display();
        tracing::error!(%error, %dir, "the directory for backups cannot be made");
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "no-backup-directory",
            "The directory for backups is not there",
        )
        .detail(format!(
            "the directory for backups {dir} is not there and cannot be made ({error}); make it and \
             give the shop write access, or configure another one as http.backup_dir"
        ))
    })
}

/// Tells of the route.
pub(super) fn tell_of_it(on: &mut Table) {
    on.elsewhere_post(PATH, Access::Only(Role::Operator))
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
