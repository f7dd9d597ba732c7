//! Tries decoders with mutated bytes, on a stable compiler and without a network.
//!
//! There is no coverage to go by, so bytes are kept that a decoder answers in a way it has not
//! answered before: what it says about them, without the figures, is the coverage.
//!
//! `fuzz/run` builds and starts it; `--help` says how.

mod mutate;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, fs};

use fastrand::Rng;
use redeliver::fuzzing::{Target, Verdict};
use redeliver_fuzz::targets;

const HELP: &str = "\
usage: drive TARGET|all [SECONDS] [--seed N] [--keep]   try a decoder, or each (default 10 s each)
       drive TARGET FILE…                               try it with the bytes of files
       drive list                                       the decoders

--seed N   another sequence of mutations (default 1)
--keep     write bytes of up to 1 KiB that are answered in a new way to fuzz/corpus

With all, the last line is JSON and has the figures.
Bytes that break a promise are written to fuzz/artifacts; the exit code is then 1.";

/// An input should never take this long.
const SLOW: Duration = Duration::from_secs(1);
/// Larger inputs are not worth keeping.
const KEPT_BYTES_MAX: usize = 1024;

/// Answers that are told from each other; more are the input's own words.
const ANSWERS_MAX: usize = 500;

/// What the last panic said.
static PANIC: Mutex<String> = Mutex::new(String::new());

struct Options {
    seconds: u64,
    seed: u64,
    keep: bool,
}

fn main() -> ExitCode {
    let mut names = Vec::new();
    let mut options = Options {
        seconds: 10,
        seed: 1,
        keep: false,
    };
    let mut arguments = env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--keep" => options.keep = true,
            "--seed" => match arguments.next().and_then(|seed| seed.parse().ok()) {
                Some(seed) => options.seed = seed,
                None => return usage(),
            },
            _ => names.push(argument),
        }
    }
    set_hook(Box::new(|panic| {
        if let Ok(mut said) = PANIC.lock() {
            *said = panic.to_string();
        }
    }));
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (name, rest) = match names.as_slice() {
        ["list"] => {
            targets().for_each(|target| println!("{}", target.name));
            return ExitCode::SUCCESS;
        }
        [name, rest @ ..] => (*name, rest),
        [] => return usage(),
    };
    let chosen: Vec<&Target> = targets()
        .filter(|target| name == "all" || target.name == name)
        .collect();
    if chosen.is_empty() {
        eprintln!("{name} is no decoder; `drive list` names them");
        return ExitCode::from(2);
    }
    match rest {
        [] => {}
        [seconds] if seconds.parse::<u64>().is_ok() => {
            options.seconds = seconds.parse().unwrap_or(10);
        }
        files => return replay(&chosen, files),
    }
    let (mut broken, mut executions) = (0, 0);
    println!("target                executions   per s  kept  found");
    for target in &chosen {
        let driven = drive(target, &options);
        executions += driven.executions;
        broken += usize::from(driven.is_broken);
    }
    if name == "all" {
        println!(
            r#"{{"campaign":"fuzz","decoders":{},"seconds_per_decoder":{},"seed":{},"executions":{executions},"broken":{broken}}}"#,
            chosen.len(),
            options.seconds,
            options.seed
        );
    }
    match broken {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn usage() -> ExitCode {
    eprintln!("{HELP}");
    ExitCode::from(2)
}

fn replay(chosen: &[&Target], files: &[&str]) -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for target in chosen {
        for file in files {
            let data = match fs::read(file) {
                Ok(data) => data,
                Err(error) => {
                    eprintln!("{file} cannot be read: {error}");
                    return ExitCode::from(2);
                }
            };
            match attempt(target, &data, &mut Rng::with_seed(1)) {
                Ok(answer) => println!("{} {file}: {answer}", target.name),
                Err(broken) => {
                    println!("{} {file}: {broken}", target.name);
                    code = ExitCode::FAILURE;
                }
            }
        }
    }
    code
}

/// How trying a decoder has ended.
struct Driven {
    executions: u64,
    /// It has broken a promise.
    is_broken: bool,
}

/// Tries a decoder until its time is over or it breaks a promise.
fn drive(target: &Target, options: &Options) -> Driven {
    let mut rng = Rng::with_seed(options.seed);
    let mut pool = (target.seeds)();
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus = dir.join("corpus").join(target.name);
    for path in files_of(&corpus) {
        pool.extend(fs::read(path).ok());
    }
    let mut answers = HashSet::new();
    let mut executions = 0u64;
    let mut kept = 0;
    let mut broken = None;
    let start = Instant::now();
    for data in &pool {
        executions += 1;
        match attempt(target, data, &mut rng) {
            Ok(answer) => drop(answers.insert(answer)),
            Err(said) => broken = Some((data.clone(), said)),
        }
    }
    while broken.is_none() && start.elapsed() < Duration::from_secs(options.seconds) {
        let mut data = pool[rng.usize(..pool.len())].clone();
        let other = rng.usize(..pool.len());
        mutate::mutate(&mut data, &pool[other], &mut rng);
        executions += 1;
        match attempt(target, &data, &mut rng) {
            Ok(answer) if answers.contains(&answer) || answers.len() >= ANSWERS_MAX => {}
            Ok(answer) => {
                let data = smaller(data, |data| {
                    attempt(target, data, &mut Rng::with_seed(1)).as_ref() == Ok(&answer)
                });
                if options.keep && data.len() <= KEPT_BYTES_MAX {
                    save(&corpus, &data);
                }
                kept += 1;
                answers.insert(answer);
                pool.push(data);
            }
            Err(said) => broken = Some((data, said)),
        }
    }
    let per_second = executions as f64 / start.elapsed().as_secs_f64().max(0.001);
    print!(
        "{:<21} {executions:>10} {per_second:>7.0} {kept:>5}",
        target.name
    );
    let Some((data, said)) = broken else {
        println!("  nothing");
        return Driven {
            executions,
            is_broken: false,
        };
    };
    let data = smaller(data, |data| {
        attempt(target, data, &mut Rng::with_seed(1)).is_err()
    });
    let path = save(&dir.join("artifacts").join(target.name), &data);
    println!("  {said}");
    println!("    again: fuzz/run {} {}", target.name, path.display());
    Driven {
        executions,
        is_broken: true,
    }
}

/// One execution: what the decoder answers, without the figures, or which promise it broke.
fn attempt(target: &Target, data: &[u8], rng: &mut Rng) -> Result<String, String> {
    let flip = rng.usize(..);
    let began = Instant::now();
    let mut answer = Err(String::new());
    let held = allocation_counter::measure(|| {
        answer = catch_unwind(AssertUnwindSafe(|| {
            let (plain, mended) = target.run(data);
            format!(
                "{} | {}",
                shown(&plain),
                mended.as_ref().map_or_else(String::new, shown)
            )
        }))
        .map_err(|_| PANIC.lock().map(|said| said.clone()).unwrap_or_default());
    });
    let answer = answer?;
    let most = target.allocation_max(data.len()) as u64;
    if held.bytes_max > most {
        let length = data.len();
        let bytes = held.bytes_max;
        return Err(format!(
            "held {bytes} bytes for an input of {length}, at most {most}"
        ));
    }
    // On a busy machine anything may have to wait; not three times.
    let is_slow_again = || {
        let began = Instant::now();
        let _ = target.run(data);
        began.elapsed() > SLOW
    };
    if began.elapsed() > SLOW && is_slow_again() && is_slow_again() {
        return Err(format!("takes more than {} ms", SLOW.as_millis()));
    }
    if target.is_sealed && !data.is_empty() {
        let mut sealed = data.to_vec();
        if let Some(mend) = target.mend {
            mend(&mut sealed);
        }
        let bit = flip % (sealed.len() * 8);
        let is_accepted = |data: &[u8]| {
            catch_unwind(AssertUnwindSafe(|| (target.decode)(data).is_ok())).unwrap_or(true)
        };
        if is_accepted(&sealed) {
            sealed[bit / 8] ^= 1 << (bit % 8);
            if is_accepted(&sealed) {
                return Err(format!("bit {bit} was flipped and not noticed"));
            }
        }
    }
    Ok(answer)
}

/// What is said, without what differs from one input to the next.
fn shown(verdict: &Verdict) -> String {
    match verdict {
        Ok(()) => "sound".to_owned(),
        Err(said) => {
            // What stands in quotes is a piece of the input.
            let said = said.split(['`', '"', '\'']).step_by(2).flat_map(str::chars);
            let letters = said.filter(|c| !c.is_ascii_digit());
            letters.take(100).collect()
        }
    }
}

/// The smallest bytes that still do, by leaving out pieces.
fn smaller(mut data: Vec<u8>, mut still: impl FnMut(&[u8]) -> bool) -> Vec<u8> {
    let mut piece = data.len() / 2;
    while piece > 0 {
        let mut at = 0;
        while at < data.len() {
            let mut less = data.clone();
            less.drain(at..(at + piece).min(data.len()));
            match still(&less) {
                true => data = less,
                false => at += piece,
            }
        }
        piece /= 2;
    }
    data
}

/// Writes bytes under a name that follows from them.
fn save(dir: &Path, data: &[u8]) -> PathBuf {
    // FNV-1a: the same name on every machine.
    let hash = data.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let path = dir.join(format!("{hash:016x}"));
    if let Err(error) = fs::create_dir_all(dir).and_then(|()| fs::write(&path, data)) {
        eprintln!("{} cannot be written: {error}", path.display());
    }
    path
}

fn files_of(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten();
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
}
