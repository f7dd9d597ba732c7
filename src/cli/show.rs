//! What the commands say to people.

use std::fmt::Write;

use crate::persistence::backup::BackupInfo;
use crate::persistence::content::Content;
use crate::persistence::restore::Restored;
use crate::persistence::verify::{BackupReport, CellReport, DirectoryReport, Verified};

pub(super) fn verified(verified: &Verified) -> String {
    match verified {
        Verified::DataDirectory(report) => directory(report),
        Verified::Backup(report) => backup(report),
    }
}

pub(super) fn backed_up(info: &BackupInfo) -> String {
    let mut text = format!("backup {}\n", info.path.display());
    backup_rows(&mut text, info);
    text
}

pub(super) fn restored(restored: &Restored) -> String {
    let backup = &restored.backup;
    let mut text = format!(
        "data directory {} restored from {}\n",
        restored.path.display(),
        backup.path.display()
    );
    row(&mut text, "incarnation", &restored.incarnation);
    row(&mut text, "predecessor", &backup.incarnation);
    let last = format!(
        "{} with event {}, of {}",
        backup.position, backup.last_event, backup.taken_at
    );
    row(&mut text, "up to commit", &last);
    content(&mut text, &backup.content);
    let activities = match backup.content.activities {
        0 => "none was under way".to_owned(),
        n => format!("{n} under way are unknown: the first start asks before it runs them again"),
    };
    row(&mut text, "activities", &activities);
    text
}

fn directory(report: &DirectoryReport) -> String {
    let verdict = match report.problems.len() {
        0 => "ok".to_owned(),
        1 => "1 problem".to_owned(),
        n => format!("{n} problems"),
    };
    let mut text = format!("data directory {}: {verdict}\n", report.path.display());
    for found in &report.cells {
        cell(&mut text, found);
    }
    if !report.others.is_empty() {
        let _ = writeln!(
            text,
            "not verified and in no backup, the host's: {}",
            report.others.join(", ")
        );
    }
    problems(&mut text, &report.problems);
    text
}

fn cell(text: &mut String, cell: &CellReport) {
    let unknown = || "unknown".to_owned();
    let _ = writeln!(text, "cell {}", cell.name);
    row(
        text,
        "incarnation",
        &cell.incarnation.clone().unwrap_or_else(unknown),
    );
    if let Some(from) = &cell.restored {
        let from = format!(
            "at {} from a backup of {}: commit {} and event {} of {}",
            from.restored_at, from.taken_at, from.position, from.last_event, from.predecessor
        );
        row(text, "restored", &from);
    }
    let end = match (cell.clean, cell.torn_bytes) {
        (true, _) => "ended in good order".to_owned(),
        (false, 0) => "ended without a goodbye".to_owned(),
        (false, torn) => format!("ended in a write: {torn} bytes nobody was told of will be cut"),
    };
    match cell.position {
        Some(position) => row(text, "last commit", &format!("{position}, {end}")),
        None => row(text, "last commit", "unknown"),
    }
    let checkpoint = cell
        .checkpoint
        .map_or_else(|| "none".to_owned(), |at| at.to_string());
    row(text, "checkpoint", &checkpoint);
    for segment in &cell.journal {
        let commits = match segment.last {
            None => format!("from commit {}", segment.first),
            Some(last) if last < segment.first => "no commits".to_owned(),
            Some(last) => format!("commits {} to {last}", segment.first),
        };
        let said = format!("{}  {commits}, {}", segment.file, bytes(segment.bytes));
        row(text, "journal", &said);
    }
    for snapshot in &cell.snapshots {
        let rows = match snapshot.content {
            Some(_) => format!("{} rows", snapshot.rows),
            None => "cannot be read".to_owned(),
        };
        let said = format!("{}  {rows}, {}", snapshot.file, bytes(snapshot.bytes));
        row(text, "snapshot", &said);
    }
    if cell.spilled.files > 0 {
        let said = format!(
            "{} files, {}",
            cell.spilled.files,
            bytes(cell.spilled.bytes)
        );
        row(text, "spilled", &said);
    }
    let events = &cell.events;
    let kept = match events.first {
        Some(first) => format!(
            "{first} to {} in {} files, {}",
            events.last,
            events.segments,
            bytes(events.bytes)
        ),
        None => "none in files".to_owned(),
    };
    row(text, "events", &kept);
    let engine = match cell.engine.present {
        true => format!("{}, not read", bytes(cell.engine.bytes)),
        false => "missing".to_owned(),
    };
    let rebuild = match (cell.rebuild.possible, cell.rebuild.snapshot) {
        (false, _) => "could not be made again".to_owned(),
        (true, None) => format!(
            "if it is lost or garbled, the next start makes it from {} commits",
            cell.rebuild.commits
        ),
        (true, Some(at)) => format!(
            "if it is lost or garbled, the next start makes it from snapshot {at} and {} commits",
            cell.rebuild.commits
        ),
    };
    row(text, "sled", &format!("{engine}; {rebuild}"));
    if !cell.unfinished.is_empty() {
        row(text, "left over", &cell.unfinished.join(", "));
    }
    if !cell.unknown.is_empty() {
        row(text, "unknown", &cell.unknown.join(", "));
    }
}

fn backup(report: &BackupReport) -> String {
    let verdict = match report.backup {
        Some(_) => "ok",
        None => "cannot be restored",
    };
    let mut text = format!("backup {}: {verdict}\n", report.path.display());
    if let Some(info) = &report.backup {
        backup_rows(&mut text, info);
    }
    problems(&mut text, &report.problems);
    text
}

fn backup_rows(text: &mut String, info: &BackupInfo) {
    row(text, "cell", &info.cell);
    row(text, "incarnation", &info.incarnation);
    row(text, "taken at", &info.taken_at);
    let last = format!("{} with event {}", info.position, info.last_event);
    row(text, "up to commit", &last);
    let size = format!(
        "{} in {} rows and {} files",
        bytes(info.bytes),
        info.rows,
        info.files
    );
    row(text, "size", &size);
    content(text, &info.content);
}

fn content(text: &mut String, content: &Content) {
    for service in &content.services {
        row(
            text,
            "service",
            &format!("{}  {} rows", service.name, service.rows),
        );
    }
    let under_way = format!(
        "{} messages, {} timers, {} activities, {} parked, {} dead letters",
        content.messages, content.timers, content.activities, content.parked, content.dead_letters
    );
    row(text, "under way", &under_way);
}

fn problems(text: &mut String, problems: &[crate::persistence::verify::Problem]) {
    for problem in problems {
        let _ = writeln!(text, "problem: {}", problem.sentence);
    }
}

fn row(text: &mut String, name: &str, value: &str) {
    let _ = writeln!(text, "  {name:<14}{value}");
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} bytes");
    }
    let mut scaled = count as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}
