//! What `benches/run` has measured, as a table and as plots: SVG that is written directly.
//!
//! ```text
//! plot table RESULTS.jsonl          Markdown on standard output
//! plot draw  RESULTS.jsonl DIR      bench-throughput.svg, bench-latency.svg, bench-growth.svg
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["table", results] => read(results).map(|lines| print!("{}", table(&lines))),
        ["draw", results, dir] => read(results).and_then(|lines| draw(&lines, Path::new(dir))),
        _ => {
            eprintln!("plot table RESULTS | plot draw RESULTS DIR");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plot: {error}");
            ExitCode::FAILURE
        }
    }
}

fn read(results: &str) -> Outcome<Vec<Value>> {
    let text = std::fs::read_to_string(results)?;
    let lines = text.lines().map(serde_json::from_str);
    Ok(lines.collect::<Result<_, _>>()?)
}

fn word<'a>(line: &'a Value, name: &str) -> &'a str {
    line[name].as_str().unwrap_or_default()
}

fn number(line: &Value, name: &str) -> Option<f64> {
    line[name].as_f64()
}

/// Who did it: our own way over process or HTTP, or another engine.
fn who(line: &Value) -> String {
    match word(line, "engine") {
        "" => format!("redeliver, {}", word(line, "over")),
        engine => engine.to_owned(),
    }
}

fn table(lines: &[Value]) -> String {
    let mut text = String::from(
        "| workload | who | clients | ops/s | p50 µs | p99 µs | p99.9 µs | syncs/op | bytes/op | rss MiB | fdatasync µs | of bare journal | of warp |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let shown = |line: &Value, name: &str, digits: usize| {
        number(line, name).map_or_else(|| "–".to_owned(), |number| format!("{number:.digits$}"))
    };
    for line in lines.iter().filter(|line| is_load(line)) {
        let each = |name: &str, digits: usize| match (number(line, name), number(line, "ops")) {
            (Some(total), Some(ops)) if ops > 0.0 => format!("{:.digits$}", total / ops),
            _ => "–".to_owned(),
        };
        let share = |name: &str| match (number(line, "ops_s"), number(line, name)) {
            (Some(rate), Some(ceiling)) if ceiling > 0.0 => {
                format!("{:.0} %", 100.0 * rate / ceiling)
            }
            _ => "–".to_owned(),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            word(line, "workload"),
            who(line),
            shown(line, "clients", 0),
            shown(line, "ops_s", 0),
            shown(line, "p50_us", 0),
            shown(line, "p99_us", 0),
            shown(line, "p999_us", 0),
            each("fsyncs", 2),
            each("bytes_written", 0),
            shown(line, "rss_mib", 0),
            shown(line, "fdatasync_p50_us", 0),
            share("journal_ceiling_ops_s"),
            share("http_ceiling_ops_s"),
        );
    }
    text.push_str("\n| mark | figures |\n|---|---|\n");
    let others = lines
        .iter()
        .filter(|line| !is_load(line) && line["machine"].is_null());
    for line in others {
        let skipped = ["workload", "small", "engine"];
        let figures: Vec<String> = line
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(name, _)| !skipped.contains(&name.as_str()))
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        let name = match word(line, "engine") {
            "" => word(line, "workload").to_owned(),
            engine => format!("{} {engine}", word(line, "workload")),
        };
        let _ = writeln!(text, "| {name} | {} |", figures.join(", "));
    }
    text
}

fn is_load(line: &Value) -> bool {
    ["w1", "w2", "w3"].contains(&word(line, "workload")) && line["ops_s"].is_number()
}

/// A curve: its name and its points.
type Curves = BTreeMap<String, Vec<(f64, f64)>>;

fn draw(lines: &[Value], dir: &Path) -> Outcome<()> {
    let of = |workload: &str, over: &[&str], names: &[(&str, &str)]| {
        let mut curves = Curves::new();
        let chosen = lines
            .iter()
            .filter(|line| is_load(line) && word(line, "workload") == workload)
            .filter(|line| {
                over.is_empty()
                    || word(line, "engine").is_empty() && over.contains(&word(line, "over"))
            });
        for line in chosen {
            for (name, what) in names {
                if let (Some(x), Some(y)) = (number(line, "clients"), number(line, name)) {
                    let curve = match *what {
                        "" => who(line),
                        what => what.to_owned(),
                    };
                    curves.entry(curve).or_default().push((x, y));
                }
            }
        }
        curves
    };
    let ceiling = |mut curves: Curves, workload: &str| {
        let bare = of(
            workload,
            &["process"],
            &[("journal_ceiling_ops_s", "bare journal")],
        );
        curves.extend(bare);
        curves.extend(of(
            workload,
            &["http"],
            &[("http_ceiling_ops_s", "warp alone")],
        ));
        curves
    };
    let rates = [("ops_s", "")];
    let panels = ["w1", "w2", "w3"].map(|workload| Panel {
        title: format!("{}: operations/s", workload.to_uppercase()),
        x: "clients",
        curves: ceiling(of(workload, &[], &rates), workload),
    });
    std::fs::write(dir.join("bench-throughput.svg"), svg(&panels))?;
    let quantiles = [("p50_us", "p50"), ("p99_us", "p99"), ("p999_us", "p99.9")];
    let panels = ["w1", "w2", "w3"].map(|workload| Panel {
        title: format!("{} in process: latency, µs", workload.to_uppercase()),
        x: "clients",
        curves: of(workload, &["process"], &quantiles),
    });
    std::fs::write(dir.join("bench-latency.svg"), svg(&panels))?;
    let mut growth = Curves::new();
    let mut rss = Curves::new();
    for (workload, amount) in [
        ("rows", "rows"),
        ("backlog", "messages"),
        ("timers", "timers"),
        ("sagas", "sagas"),
        ("services", "services"),
    ] {
        for line in lines
            .iter()
            .filter(|line| word(line, "workload") == workload)
        {
            let Some(x) = number(line, amount) else {
                continue;
            };
            if let Some(ratio) = number(line, "ratio_to_small") {
                let percent = (ratio * 100.0).max(1.0);
                growth
                    .entry(workload.to_owned())
                    .or_default()
                    .push((x, percent));
            }
            if let Some(mib) = number(line, "rss_mib") {
                rss.entry(workload.to_owned()).or_default().push((x, mib));
            }
        }
    }
    let panels = [
        Panel {
            title: "W1 beside much of it: % of W1 without".to_owned(),
            x: "how much of it",
            curves: growth,
        },
        Panel {
            title: "resident memory, MiB".to_owned(),
            x: "how much of it",
            curves: rss,
        },
    ];
    std::fs::write(dir.join("bench-growth.svg"), svg(&panels))?;
    Ok(())
}

/// One diagram: both axes logarithmic.
struct Panel {
    title: String,
    x: &'static str,
    curves: Curves,
}

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 340.0;
/// Around the area: left, right, top, bottom with the names of the curves below.
const LEFT: f64 = 62.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 46.0;
const LEGEND_LINE: f64 = 16.0;
/// Told apart also by those who see few colours (Okabe and Ito).
const COLOURS: [&str; 8] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#000000",
];

fn svg(panels: &[Panel]) -> String {
    let names = panels.iter().map(|panel| panel.curves.len()).max();
    let height = HEIGHT + LEGEND_LINE * names.unwrap_or_default().div_ceil(2) as f64;
    let width = WIDTH * panels.len() as f64;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
    );
    for (nth, panel) in panels.iter().enumerate() {
        let _ = writeln!(out, "<g transform=\"translate({},0)\">", WIDTH * nth as f64);
        panel.draw(&mut out);
        out.push_str("</g>\n");
    }
    out.push_str("</svg>\n");
    out
}

impl Panel {
    fn draw(&self, out: &mut String) {
        let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        let middle = (LEFT + right) / 2.0;
        let text = |out: &mut String, x: f64, y: f64, anchor: &str, says: &str| {
            let _ = writeln!(
                out,
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222\">{says}</text>"
            );
        };
        text(out, middle, 20.0, "middle", &self.title);
        let points = || {
            self.curves
                .values()
                .flatten()
                .filter(|(x, y)| *x > 0.0 && *y > 0.0)
        };
        let Some(xs) = Axis::of(points().map(|(x, _)| *x), LEFT, right) else {
            text(out, middle, HEIGHT / 2.0, "middle", "not measured");
            return;
        };
        let Some(ys) = Axis::of(points().map(|(_, y)| *y), bottom, TOP) else {
            return;
        };
        for (at, says) in xs.ticks() {
            let _ = writeln!(
                out,
                "<path d=\"M{at:.1} {bottom}V{TOP}\" stroke=\"#e4e4e4\"/>"
            );
            text(out, at, bottom + 15.0, "middle", &says);
        }
        for (at, says) in ys.ticks() {
            let _ = writeln!(
                out,
                "<path d=\"M{LEFT} {at:.1}H{right}\" stroke=\"#e4e4e4\"/>"
            );
            text(out, LEFT - 6.0, at + 4.0, "end", &says);
        }
        text(out, middle, bottom + 31.0, "middle", self.x);
        for (nth, (name, curve)) in self.curves.iter().enumerate() {
            let colour = COLOURS[nth % COLOURS.len()];
            let mut curve: Vec<_> = curve.iter().filter(|(x, y)| *x > 0.0 && *y > 0.0).collect();
            curve.sort_by(|a, b| a.0.total_cmp(&b.0));
            let at: Vec<(f64, f64)> = curve.iter().map(|(x, y)| (xs.at(*x), ys.at(*y))).collect();
            let line: Vec<String> = at.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = writeln!(
                out,
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
                line.join(" ")
            );
            for (x, y) in at {
                let _ = writeln!(
                    out,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"
                );
            }
            let (column, row) = ((nth % 2) as f64, (nth / 2) as f64);
            let (x, y) = (LEFT + column * 190.0, HEIGHT + row * LEGEND_LINE);
            let _ = writeln!(
                out,
                "<path d=\"M{x:.1} {:.1}h18\" stroke=\"{colour}\" stroke-width=\"3\"/>",
                y - 4.0
            );
            text(out, x + 24.0, y, "start", name);
        }
    }
}

/// A logarithmic axis over whole powers of ten, from one end of the area to the other.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Option<Axis> {
        let (low, high) = values
            .map(f64::log10)
            .fold((f64::MAX, f64::MIN), |(low, high), at| {
                (low.min(at), high.max(at))
            });
        (low <= high).then(|| Axis {
            low: low.floor(),
            // A thousand and twenty-four need no further decade.
            high: if high - high.floor() < 0.05 {
                high
            } else {
                high.ceil()
            }
            .max(low.floor() + 1.0),
            from,
            to,
        })
    }

    fn at(&self, value: f64) -> f64 {
        let share = (value.log10() - self.low) / (self.high - self.low);
        self.from + share * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        (self.low as i32..=self.high.floor() as i32)
            .map(|power| {
                let value = 10_f64.powi(power);
                let says = match power {
                    6.. => format!("{}M", value / 1e6),
                    3..6 => format!("{}k", value / 1e3),
                    _ => format!("{value}"),
                };
                (self.at(value), says)
            })
            .collect()
    }
}
