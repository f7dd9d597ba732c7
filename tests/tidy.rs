//! House rules that a compiler does not know: who may import whom, and the one door of each
//! dependency (ARCHITECTURE.md has the reasons).
//!
//! The sources are read as tokens, without comments, literals, `#[cfg(test)]` items and files of
//! tests, so a rule breaks on what the code says and not on what it talks about.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// The layers, lowest first. A module imports from its own and from lower ones.
const LAYERS: [&[&str]; 8] = [
    // vocabulary
    &[
        "envelope",
        "codec",
        "clock",
        "error",
        "commit",
        "cursor",
        "key",
        "names",
        "json",
        "frugal",
        "config",
        "telemetry",
        "planted",
    ],
    // contracts
    &[
        "service",
        "declaration",
        "handlers",
        "hosted",
        "rejection",
        "span",
        "draft",
        "activity",
        "context",
        "table",
        "supervision",
        "call",
        "topology",
        // A saga's declaration builds the pure machine that drives it; they are one thing.
        "saga",
        "sagas",
    ],
    // pure decisions
    &[
        "turn",
        "shape",
        "timers",
        "parked",
        "messaging::retry",
        "actors::restart",
    ],
    &["persistence", "messaging"],
    &["actors"],
    &[
        "system",
        "handle",
        "feed",
        "report",
        "startup",
        "failpoints",
    ],
    &["http", "testing", "cli", "fuzzing"],
    &["bin"],
];

/// Neighbours in a layer that may not know each other.
const STRANGERS: [(&str, &str); 3] = [
    ("persistence", "messaging"),
    ("http", "testing"),
    ("cli", "testing"),
];

/// A path that only some files may name.
struct Door {
    /// How the path begins, or, with a leading `::`, what it contains.
    path: &'static str,
    /// Files and folders below `src/` that may.
    open_to: &'static [&'static str],
    why: &'static str,
}

const DOORS: &[Door] = &[
    door("ractor", &["actors/"], "actors are known only there"),
    door(
        "sled",
        &["persistence/sled.rs"],
        "the engine is replaceable",
    ),
    door(
        "crc32fast",
        &["persistence/sled_log.rs"],
        "checksums of our own are CRC32C",
    ),
    door("bincode", &["codec.rs"], "the codec is replaceable"),
    door(
        "smallvec",
        &["codec.rs"],
        "what is short of life is small there",
    ),
    door("warp", &["http/"], "http is known only there"),
    door("clap", &["cli/"], "arguments are known only there"),
    door("hyper", &["http/"], "http is known only there"),
    door("hyper_util", &["http/"], "http is known only there"),
    door(
        "futures_core",
        &["http/events.rs"],
        "bodies of answers are the only streams",
    ),
    door(
        "async_nats",
        &["messaging/nats.rs"],
        "nats is known only there",
    ),
    door(
        "::SystemTime::now",
        &["clock.rs"],
        "time comes from the clock",
    ),
    door("::Instant::now", &["clock.rs"], "time comes from the clock"),
    door(
        "getrandom",
        &["clock.rs"],
        "randomness comes from the clock",
    ),
    // A generator with a given seed is a pure function; one without is not.
    door(
        "::Rng::new",
        &["clock.rs"],
        "randomness comes from the clock",
    ),
    door("fastrand::Rng", &[""], "anybody may have a seeded one"),
    door(
        "fastrand",
        // Chance is what fail points are for, and no default build has them.
        &["clock.rs", "failpoints.rs"],
        "randomness comes from the clock",
    ),
    door(
        "::Uuid::new_v4",
        &["clock.rs"],
        "randomness comes from the clock",
    ),
    door(
        "std::fs",
        &["persistence/"],
        "files are opened only below the disk seam",
    ),
    door(
        "std::os::unix::fs",
        &["persistence/"],
        "files are opened only below the disk seam",
    ),
    door(
        "rustix",
        &["persistence/"],
        "files are opened only below the disk seam",
    ),
    door(
        "memmap2",
        &["persistence/running.rs"],
        "mapped memory is for the running file",
    ),
    door(
        "tokio::fs",
        &[],
        "it hides blocking threads behind await; use the disk seam",
    ),
];

const fn door(path: &'static str, open_to: &'static [&'static str], why: &'static str) -> Door {
    Door { path, open_to, why }
}

/// The one file that may be `unsafe`.
const UNSAFE: &str = "persistence/running.rs";

/// Types that make a `static` a global variable.
const MUTABLE: [&str; 9] = [
    "mut",
    "Mutex",
    "RwLock",
    "OnceLock",
    "OnceCell",
    "LazyLock",
    "Cell",
    "RefCell",
    "UnsafeCell",
];

#[test]
fn every_import_points_to_the_left_and_every_dependency_has_one_door() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root);
    assert!(files.len() > 10, "found only {} sources", files.len());
    let exports = exports(&fs::read_to_string(root.join("lib.rs")).unwrap());
    let complaints: Vec<String> = files
        .iter()
        .flat_map(|(file, text)| complaints(file, text, &exports))
        .collect();
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn commerce_sees_only_what_every_host_sees() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (file, text) in sources(&root.join("commerce/src")) {
        let code = words(&text);
        for reach in ["include", "include_str", "path"] {
            let found = code.iter().position(|word| word.text == reach);
            let hit = found.is_some_and(|at| {
                let next = code.get(at + 1).map(|word| word.text.as_str());
                next == Some("!") || (next == Some("=") && code[at - 1].text == "[")
            });
            // The workloads that the benches and the load driver share use the public API too.
            let shared = text.matches("#[path = ").count()
                == text
                    .matches("#[path = \"../../../benches/workloads/")
                    .count();
            let hit = hit && !(reach == "path" && shared);
            assert!(
                !hit,
                "commerce/src/{file} reaches around the public API by `{reach}`"
            );
        }
    }
    for (file, text) in sources(&root.join("src")) {
        let hidden = text.contains("#[doc(hidden)]");
        assert!(
            !hidden,
            "src/{file} hides something public; give it a name or make it private"
        );
    }
}

#[test]
fn a_planted_violation_is_found() {
    let exports = HashMap::from([("Table".to_owned(), vec!["table".to_owned()])]);
    let planted = [
        (
            "persistence/journal/mod.rs",
            "use crate::actors::Relay;",
            "actors",
        ),
        (
            "persistence/tables.rs",
            "use crate::{clock, messaging::routes};",
            "messaging",
        ),
        (
            "messaging/local.rs",
            "fn f() { crate::persistence::open() }",
            "persistence",
        ),
        (
            "messaging/retry.rs",
            "use super::routes::Routes;",
            "messaging",
        ),
        ("commit.rs", "use crate::Table;", "table"),
        ("codec.rs", "use super::service::Service;", "service"),
        (
            "turn.rs",
            "use crate::persistence::{Store as S};",
            "persistence",
        ),
        ("http/mod.rs", "use crate::testing::Kit;", "testing"),
        ("gateway.rs", "", "layer"),
        ("system.rs", "use ractor::Actor;", "ractor"),
        ("system.rs", "use {std::io, ::ractor as r};", "ractor"),
        ("persistence/engine.rs", "type T = sled::Tree;", "sled"),
        (
            "turn.rs",
            "fn f() { bincode::serde::encode_to_vec() }",
            "bincode",
        ),
        ("system.rs", "use warp::Filter;", "warp"),
        (
            "actors/mod.rs",
            "let t = std::time::Instant::now();",
            "Instant::now",
        ),
        (
            "context.rs",
            "let t = SystemTime::now();",
            "SystemTime::now",
        ),
        ("context.rs", "let n = fastrand::u64(..);", "fastrand"),
        ("turn.rs", "let r = fastrand::Rng::new();", "Rng::new"),
        ("envelope.rs", "let id = uuid::Uuid::new_v4();", "new_v4"),
        ("codec.rs", "use std::{fs, io};", "std::fs"),
        ("actors/mod.rs", "std::fs::read(p)", "std::fs"),
        (
            "persistence/disk.rs",
            "tokio::fs::read(p).await",
            "tokio::fs",
        ),
        (
            "clock.rs",
            "static LAST: Mutex<u64> = Mutex::new(0);",
            "static",
        ),
        (
            "clock.rs",
            "pub(crate) static N: AtomicU64 = AtomicU64::new(0);",
            "static",
        ),
        ("clock.rs", "static mut N: u64 = 0;", "static"),
        (
            "clock.rs",
            "thread_local! { static X: u8 = 1 }",
            "thread_local",
        ),
        ("codec.rs", "unsafe { f() }", "unsafe"),
        // What looks like a comment, a literal or a test but is not.
        ("turn.rs", "let s = \"//\"; use ractor::A;", "ractor"),
        (
            "turn.rs",
            "let c = '\"'; use ractor::A; let d = '\"';",
            "ractor",
        ),
        ("turn.rs", "let s = r#\"\"\"#; use ractor::A;", "ractor"),
        ("turn.rs", "/* /* */ */ use ractor::A;", "ractor"),
        (
            "turn.rs",
            "#[cfg(test)] mod t { use a::b; } use ractor::A;",
            "ractor",
        ),
        ("turn.rs", "#[cfg(test)] use a::b; use ractor::A;", "ractor"),
        (
            "turn.rs",
            "#[cfg(not(test))] mod t { use ractor::A; }",
            "ractor",
        ),
    ];
    for (file, text, about) in planted {
        let found = complaints(file, text, &exports);
        assert_eq!(found.len(), 1, "{file}: {text}: {found:?}");
        assert!(found[0].contains(about), "{file}: {text}: {found:?}");
    }
}

#[test]
fn what_is_allowed_or_only_talked_about_is_no_violation() {
    let exports = HashMap::from([("Table".to_owned(), vec!["table".to_owned()])]);
    let innocent = [
        (
            "actors/cell.rs",
            "use ractor::Actor; use crate::persistence::Store;",
        ),
        ("actors/restart.rs", "use crate::clock::Timestamp;"),
        (
            "service.rs",
            "use crate::Table; use super::context::Context;",
        ),
        (
            "persistence/sled.rs",
            "use sled::Db; use super::engine::Engine;",
        ),
        (
            "persistence/journal/writer.rs",
            "use super::super::disk::Disk; use std::fs::File;",
        ),
        (
            "persistence/running.rs",
            "unsafe { memmap2::MmapMut::map_mut(&file) }",
        ),
        (
            "http/server.rs",
            "use warp::Filter; use crate::clock::Clock;",
        ),
        ("context.rs", "let r = fastrand::Rng::with_seed(seed);"),
        (
            "clock.rs",
            "SystemTime::now(); fastrand::u64(..); getrandom::u64();",
        ),
        (
            "turn.rs",
            "// use ractor::Actor;\n/// `sled::Db`\n/* std::fs */",
        ),
        (
            "turn.rs",
            "let s = \"std::fs::read\"; let r = r##\"ractor::\"# sled::\"##;",
        ),
        (
            "turn.rs",
            "fn f<'a>(x: &'a str) -> &'a str { x } const N: &'static str = \"\";",
        ),
        ("turn.rs", "static NAME: &str = \"x\";"),
        (
            "turn.rs",
            "#[cfg(test)]\n#[allow(x)]\nmod tests { use ractor::A; unsafe { std::fs::x() } }",
        ),
        (
            "turn.rs",
            "let sledge = hyperbole::new(); self.sled(); x.ractor.y()",
        ),
        (
            "bin/redeliver/main.rs",
            "use redeliver::http; use crate::args::Args;",
        ),
    ];
    for (file, text) in innocent {
        let found = complaints(file, text, &exports);
        assert!(found.is_empty(), "{file}: {text}: {found:?}");
    }
}

/// What is wrong with one file, a line each.
fn complaints(file: &str, text: &str, exports: &HashMap<String, Vec<String>>) -> Vec<String> {
    let words = without_tests(words(text));
    let mut found = Vec::new();
    let module = module_of(file);
    // Files of tests, which `#[cfg(test)] mod` brings in.
    let last = module.last().map_or("", String::as_str);
    if last == "tests" || last.ends_with("_tests") {
        return found;
    }
    // The crate's roots introduce everybody to everybody.
    let root = ["lib.rs", "prelude.rs"].contains(&file);
    let own = layer(&module);
    if own.is_none() && !root {
        let place = "tests/tidy.rs and ARCHITECTURE.md";
        return vec![format!("src/{file} is in no layer; give it one in {place}")];
    }
    for (line, path) in paths(&words) {
        let mut complain = |what: String| found.push(format!("src/{file}:{line}: {what}"));
        if let Some(door) = closed_door(file, &path) {
            let path = path.join("::");
            complain(format!("`{path}` is not for this file: {}", door.why));
        }
        let Some(target) = resolve(&path, &module, exports).filter(|_| !root) else {
            continue;
        };
        let (Some((own_name, own_layer)), Some((name, layer))) = (own, layer(&target)) else {
            continue;
        };
        let strangers = STRANGERS
            .iter()
            .any(|pair| *pair == (own_name, name) || *pair == (name, own_name));
        // A binary's `crate` is itself.
        if (layer > own_layer || strangers) && own_name != "bin" {
            complain(format!(
                "`{own_name}` may not know `{name}` ({})",
                path.join("::")
            ));
        }
    }
    for (at, word) in words.iter().enumerate() {
        let mut complain = |what: &str| found.push(format!("src/{file}:{}: {what}", word.line));
        if word.text == "unsafe" && file != UNSAFE {
            complain("`unsafe` is only for persistence/running.rs");
        }
        if word.text == "thread_local" {
            complain("a `thread_local` is a global; pass the value to who needs it");
            break;
        }
        let declaration = words[at..].iter().take_while(|word| word.text != "=");
        let mutable =
            |word: &Word| MUTABLE.contains(&word.text.as_str()) || word.text.starts_with("Atomic");
        if word.text == "static" && declaration.clone().any(mutable) {
            complain("a `static` that changes is a global; pass the value to who needs it");
        }
    }
    found
}

fn closed_door(file: &str, path: &[String]) -> Option<&'static Door> {
    let joined = path.join("::");
    // The first door that fits decides, so a narrower one stands before a wider one.
    let door = DOORS
        .iter()
        .find(|door| match door.path.strip_prefix("::") {
            Some(inner) => format!("::{joined}::").contains(&format!("::{inner}::")),
            None => joined == door.path || joined.starts_with(&format!("{}::", door.path)),
        })?;
    let open = door.open_to.iter().any(|place| {
        file == *place || (file.starts_with(place) && (place.is_empty() || place.ends_with('/')))
    });
    (!open).then_some(door)
}

/// `actors/restart.rs` is `actors::restart`.
fn module_of(file: &str) -> Vec<String> {
    let mut module: Vec<String> = file
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// The most special entry of `LAYERS` that a module belongs to, and its height.
fn layer(module: &[String]) -> Option<(&'static str, usize)> {
    let joined = module.join("::");
    let all = LAYERS
        .iter()
        .enumerate()
        .flat_map(|(height, names)| names.iter().map(move |name| (*name, height)));
    all.filter(|(name, _)| joined == *name || joined.starts_with(&format!("{name}::")))
        .max_by_key(|(name, _)| name.len())
}

/// The module-relative path from the crate's root; `None` for paths into other crates and for
/// names in scope, which a `use` brought there.
fn resolve(
    path: &[String],
    module: &[String],
    exports: &HashMap<String, Vec<String>>,
) -> Option<Vec<String>> {
    let (first, rest) = path.split_first()?;
    let mut base = match first.as_str() {
        "crate" => match rest.split_first() {
            Some((name, _)) if exports.contains_key(name) => return exports.get(name).cloned(),
            _ => Vec::new(),
        },
        "self" => module.to_vec(),
        "super" => module[..module.len().saturating_sub(1)].to_vec(),
        _ => return None,
    };
    for segment in rest {
        if segment == "super" {
            base.pop();
        } else {
            base.push(segment.clone());
        }
    }
    Some(base)
}

/// What the crate's root exports, and from which module.
fn exports(lib: &str) -> HashMap<String, Vec<String>> {
    let exported = paths(&words(lib))
        .into_iter()
        .filter(|(_, path)| path.len() > 1);
    exported
        .filter_map(|(_, mut path)| {
            let name = path.pop()?;
            Some((name, path))
        })
        .collect()
}

/// Every path in the code with its line; the trees of `use` written out.
fn paths(words: &[Word]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < words.len() {
        // `use<'a>` lists what a type captures.
        let captures = words.get(at + 1).is_some_and(|next| next.text == "<");
        let after_use = words[at].text == "use" && !captures;
        let after_dot = at > 0 && words[at - 1].text == ".";
        if after_use {
            at = tree(words, at + 1, &mut Vec::new(), &mut found);
        } else if words[at].is_name() && !after_dot {
            let line = words[at].line;
            let mut path = vec![words[at].text.clone()];
            while at + 2 < words.len() && words[at + 1].text == "::" && words[at + 2].is_name() {
                path.push(words[at + 2].text.clone());
                at += 2;
            }
            at += 1;
            if path.len() > 1 {
                found.push((line, path));
            }
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one branch of a `use` and returns where it ends.
fn tree(
    words: &[Word],
    mut at: usize,
    prefix: &mut Vec<String>,
    found: &mut Vec<(usize, Vec<String>)>,
) -> usize {
    let depth = prefix.len();
    let line = words.get(at).map_or(0, |word| word.line);
    while let Some(word) = words.get(at) {
        match word.text.as_str() {
            "::" => at += 1,
            "{" => {
                at += 1;
                while words.get(at).is_some_and(|word| word.text != "}") {
                    let start = at;
                    at = tree(words, at, prefix, found);
                    assert!(
                        at > start || words[at].text == ",",
                        "not a `use`: {words:?}"
                    );
                    if words.get(at).is_some_and(|word| word.text == ",") {
                        at += 1;
                    }
                }
                prefix.truncate(depth);
                return at + 1;
            }
            "as" => at += 2,
            "," | "}" | ";" => break,
            name => {
                prefix.push(name.to_owned());
                at += 1;
            }
        }
    }
    let mut path = prefix.clone();
    if path.len() > depth {
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        found.push((line, path));
    }
    prefix.truncate(depth);
    at
}

#[derive(Debug, Clone)]
struct Word {
    text: String,
    line: usize,
}

impl Word {
    fn is_name(&self) -> bool {
        self.text
            .starts_with(|c: char| c.is_alphabetic() || c == '_')
    }
}

/// The code's names and signs, without comments and literals.
fn words(text: &str) -> Vec<Word> {
    let chars: Vec<char> = text.chars().collect();
    let mut found: Vec<Word> = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let start = at;
        let next = chars.get(at + 1).copied();
        match chars[at] {
            '/' if next == Some('/') => at = past(&chars, at, |rest| rest[0] == '\n'),
            '/' if next == Some('*') => at = past_comment(&chars, at),
            '"' => at = past_string(&chars, at + 1),
            '\'' if next == Some('\\') => at = past(&chars, at + 3, |rest| rest[0] == '\'') + 1,
            '\'' if chars.get(at + 2) == Some(&'\'') => at += 3,
            // A lifetime: its name is no path.
            '\'' => at = past(&chars, at + 1, |rest| !is_name_part(rest[0])),
            c if is_name_part(c) => {
                at = past(&chars, at, |rest| !is_name_part(rest[0]));
                let name: String = chars[start..at].iter().collect();
                let raw = name.ends_with('r') && name.len() <= 2;
                match chars.get(at) {
                    Some('"') if raw => at = past_raw(&chars, at),
                    Some('#') if raw && matches!(chars.get(at + 1), Some('"' | '#')) => {
                        at = past_raw(&chars, at);
                    }
                    _ => found.push(Word { text: name, line }),
                }
            }
            ':' if next == Some(':') => {
                at += 2;
                let text = "::".to_owned();
                found.push(Word { text, line });
            }
            c => {
                at += 1;
                if !c.is_whitespace() {
                    let text = c.to_string();
                    found.push(Word { text, line });
                }
            }
        }
        line += chars[start..at.min(chars.len())]
            .iter()
            .filter(|c| **c == '\n')
            .count();
    }
    found
}

fn is_name_part(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn past(chars: &[char], from: usize, ends: impl Fn(&[char]) -> bool) -> usize {
    (from..chars.len())
        .find(|at| ends(&chars[*at..]))
        .unwrap_or(chars.len())
}

fn past_comment(chars: &[char], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0);
    while at < chars.len() {
        if chars[at..].starts_with(&['/', '*']) {
            depth += 1;
            at += 2;
        } else if chars[at..].starts_with(&['*', '/']) {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn past_string(chars: &[char], from: usize) -> usize {
    let mut at = from;
    while at < chars.len() && chars[at] != '"' {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

fn past_raw(chars: &[char], from: usize) -> usize {
    let quote = past(chars, from, |rest| rest[0] == '"');
    let mut end = vec!['"'];
    end.extend(std::iter::repeat_n('#', quote - from));
    past(chars, quote + 1, |rest| rest.starts_with(&end)) + end.len()
}

/// Leaves out every item that stands under `#[cfg(test)]`.
fn without_tests(words: Vec<Word>) -> Vec<Word> {
    let marker = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let here = words[at..].iter().map(|word| word.text.as_str());
        if !here.take(marker.len()).eq(marker) {
            kept.push(words[at].clone());
            at += 1;
            continue;
        }
        at = past_item(&words, at + marker.len());
    }
    kept
}

/// Past the next `;` or block, whichever comes first outside of brackets.
fn past_item(words: &[Word], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0_i32);
    let mut in_use = false;
    while let Some(word) = words.get(at) {
        at += 1;
        match word.text.as_str() {
            "use" if depth == 0 => in_use = true,
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth <= 0 && !in_use {
                    return at;
                }
            }
            ";" if depth == 0 => return at,
            _ => {}
        }
    }
    at
}

/// Every source below `root` by its path from there, sorted.
fn sources(root: &Path) -> Vec<(String, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap();
                files.push((name.replace('\\', "/"), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    files.sort();
    files
}
