//! What a build says while it runs: lines that move on a terminal, plain lines elsewhere, JSON for programs.

mod events;
mod fancy;
mod plain;

pub use events::emit;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ibuild::graph::{BuildError, DirtyReason, Event, Observer, Outcome, StageGraph, StageId, StageReport};
use ibuild::stages::packages::{FetchEnd, FetchObserver};
use ibuild::stages::{BootOutcome, StageError, StageObserver};
use ibuild::{BuildObserver, BuiltTarget};
use serde_json::json;

use crate::cli::Global;
use crate::terminal;

/// A way of saying things.
pub trait Voice: Send {
    /// So many stages are to be settled.
    fn begin(&mut self, total: usize);
    /// A stage runs.
    fn started(&mut self, stage: &str, reason: &DirtyReason);
    /// A stage is settled; if it failed, for this reason.
    fn finished(&mut self, stage: &str, report: &StageReport, failure: Option<&Failure>);
    /// What a stage made is remembered, and durable.
    fn kept(&mut self, _stage: &str) {}
    /// So many stages that were settled are to be settled once more.
    fn again(&mut self, stages: usize);
    /// A stage has done so many bytes of so many.
    fn progress(&mut self, stage: &str, done: u64, total: u64);
    /// An image has so many compressed grains; so many of them are new.
    fn packed(&mut self, _stage: &str, _grains: u64, _compressed: u64) {}
    /// The disk of an image has its boot loader.
    fn boot_loader(&mut self, _stage: &str, _outcome: BootOutcome) {}
    /// So many downloads run, so many bytes have come in all.
    fn downloads(&mut self, running: usize, bytes: u64);
    /// Something to know.
    fn note(&mut self, stage: &str, text: &str);
    /// A stage leaves these files of the project out.
    fn ignored(&mut self, stage: &str, files: &[String]) {
        self.note(stage, &ignored_line(files));
    }
    /// A stage made something else than the very same action had made before.
    fn nondeterministic(&mut self, stage: &str, paths: &[String]) {
        for path in paths.iter().take(PATHS_SHOWN) {
            self.note(stage, &format!("nondeterministic: `{}`", path.escape_debug()));
        }
        if paths.len() > PATHS_SHOWN {
            self.note(stage, &format!("nondeterministic: {} more", paths.len() - PATHS_SHOWN));
        }
    }
    /// The last words: nothing moves any more, and so many bytes were fetched.
    fn end(&mut self, fetched: u64);
}

/// The most lines about files that differ for no reason.
const PATHS_SHOWN: usize = 20;

/// Why a stage failed, and where all that it said is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub reason: String,
    pub log: Option<PathBuf>,
}

impl Failure {
    /// Of what the engine says went wrong.
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        match error.downcast_ref::<BuildError<StageError>>() {
            Some(BuildError::Stage { source, .. }) => {
                let log = source.transcript().map(|(_, log)| log.to_owned());
                Self { reason: source.in_a_line(), log }
            }
            _ => Self { reason: error.to_string(), log: None },
        }
    }
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Quiet,
    Normal,
    Json,
}

/// Everything that listens to a build, in front of one voice.
#[derive(Clone)]
pub struct Ui {
    voice: Arc<Mutex<Box<dyn Voice>>>,
    names: Arc<Vec<(StageId, String)>>,
    downloads: Arc<Mutex<(usize, u64)>>,
    mode: Mode,
    start: Instant,
}

impl Ui {
    /// The voice for a mode, for what was asked for, and for what standard error is.
    pub fn new(mode: Mode, global: &Global, graph: &StageGraph) -> Self {
        let voice: Box<dyn Voice> = match mode {
            Mode::Json => Box::new(events::Events),
            Mode::Quiet => Box::new(plain::Plain::quiet()),
            Mode::Normal if terminal::moves_cursor(global) => {
                Box::new(fancy::Fancy::new(terminal::style(global.color)))
            }
            Mode::Normal => Box::new(plain::Plain::new()),
        };
        let names = graph.in_build_order().map(|stage| (stage, graph.name(stage).to_string()));
        Self {
            voice: Arc::new(Mutex::new(voice)),
            names: Arc::new(names.collect()),
            downloads: Arc::default(),
            mode,
            start: Instant::now(),
        }
    }

    fn say(&self, say: impl FnOnce(&mut dyn Voice)) {
        say(&mut **self.voice.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn name(&self, stage: StageId) -> &str {
        self.names.iter().find(|(id, _)| *id == stage).map_or("?", |(_, name)| name)
    }
}

impl BuildObserver for Ui {
    fn begin(&self, stages: usize) {
        self.say(|voice| voice.begin(stages));
    }

    fn note(&self, about: &str, text: &str) {
        self.say(|voice| voice.note(about, &terminal::harmless(text)));
    }

    fn end(&self) {
        let fetched = self.downloads.lock().unwrap_or_else(PoisonError::into_inner).1;
        self.say(|voice| voice.end(fetched));
    }

    fn built(&self, built: BuiltTarget<'_>) {
        let BuiltTarget { target, artifact, path, ran, cached } = built;
        let elapsed = self.start.elapsed();
        match self.mode {
            Mode::Json => emit(json!({
                "event": "built",
                "target": target.to_string(),
                "path": path,
                "blake3": artifact.blob.hex(),
                "size": artifact.size,
                "run": ran,
                "cached": cached,
                "seconds": elapsed.as_secs_f64(),
            })),
            Mode::Normal => terminal::report(&format!(
                "built {target}  {}  {}  {ran} run, {cached} cached  {}\n",
                artifact.blob,
                bytes(artifact.size),
                seconds(elapsed)
            )),
            Mode::Quiet => {}
        }
    }
}

impl Observer for Ui {
    fn event(&self, event: Event<'_>) {
        match event {
            Event::Started { stage, reason } => self.say(|voice| voice.started(self.name(stage), reason)),
            Event::Finished { report, error } => self.say(|voice| {
                voice.finished(self.name(report.stage), report, error.map(Failure::of).as_ref());
                match &report.outcome {
                    Outcome::Ran { nondeterministic, .. } if !nondeterministic.is_empty() => {
                        voice.nondeterministic(self.name(report.stage), nondeterministic);
                    }
                    _ => {}
                }
            }),
            Event::Committed { stage } => self.say(|voice| voice.kept(self.name(stage))),
            Event::Again { stage, stages } => {
                self.note(self.name(stage), "what it stands on is damaged in the store, and is made again");
                self.say(|voice| voice.again(stages));
            }
        }
    }
}

impl StageObserver for Ui {
    fn progress(&self, stage: &str, done: u64, total: u64) {
        self.say(|voice| voice.progress(stage, done, total));
    }

    fn packed(&self, stage: &str, grains: u64, compressed: u64) {
        self.say(|voice| voice.packed(stage, grains, compressed));
    }

    fn boot_loader(&self, stage: &str, outcome: BootOutcome) {
        self.say(|voice| voice.boot_loader(stage, outcome));
    }

    fn warning(&self, stage: &str, text: &str) {
        self.note(stage, text);
    }

    fn waiting(&self, stage: &str, holder: Option<u32>) {
        let who = holder.map_or_else(String::new, |pid| format!(" (process {pid})"));
        self.note(stage, &format!("waits for another ibuild that builds the same{who}"));
    }

    fn ignored(&self, stage: &str, files: &[String]) {
        self.say(|voice| voice.ignored(stage, files));
    }
}

impl FetchObserver for Ui {
    fn started(&self, _: &str) {
        self.count(1, 0);
    }

    fn received(&self, _: &str, bytes: u64) {
        self.count(0, bytes);
    }

    fn finished(&self, _: &str, _: FetchEnd) {
        self.count(-1, 0);
    }
}

impl Ui {
    fn count(&self, started: isize, bytes: u64) {
        let (running, total) = {
            let mut downloads = self.downloads.lock().unwrap_or_else(PoisonError::into_inner);
            downloads.0 = downloads.0.saturating_add_signed(started);
            downloads.1 += bytes;
            *downloads
        };
        self.say(|voice| voice.downloads(running, total));
    }
}

/// The longest list of files that is shown on a line.
const FILES_SHOWN: usize = 3;

fn ignored_line(files: &[String]) -> String {
    let shown = files.iter().take(FILES_SHOWN).map(|file| format!("`{}`", file.escape_debug()));
    let more = if files.len() > FILES_SHOWN { ", ..." } else { "" };
    let directories = files.iter().filter(|file| file.ends_with('/')).count();
    let counts = [(files.len() - directories, "file", "files"), (directories, "directory", "directories")];
    let counts = counts.iter().filter(|(count, ..)| *count > 0).map(|(count, one, many)| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    });
    let counts = counts.collect::<Vec<_>>().join(" and ");
    format!("ignored {counts}: {}{more}", shown.collect::<Vec<_>>().join(", "))
}

/// What is said of a stage that was to run, and for which a result was found after all: another process made it, or an earlier
/// run that differs in the archive's state alone.
const FOUND: &str = "  a result was found, so it did not run";

/// What became of a stage, in a word.
fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Hit => "cached",
        Outcome::Ran { .. } => "ran",
        Outcome::Failed => "failed",
        Outcome::Interrupted => "interrupted",
        Outcome::Skipped => "skipped",
    }
}

/// A number with the word for what is counted.
pub fn counted(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Seconds as people read them.
pub fn seconds(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    match seconds {
        s if s < 0.1 => format!("{:.0} ms", s * 1000.0),
        s if s < 100.0 => format!("{s:.1} s"),
        s => format!("{} min {} s", s.round() as u64 / 60, s.round() as u64 % 60),
    }
}

/// Bytes as people read them.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut size, mut unit) = (bytes as f64 / 1024.0, 0);
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if size < 10.0 { format!("{size:.1} {}", UNITS[unit]) } else { format!("{size:.0} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_files_are_counted_and_some_named() {
        let files = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(ignored_line(&files(&["a~"])), "ignored 1 file: `a~`");
        let many = files(&["a~", "b~", "c~", "d\n~"]);
        assert_eq!(ignored_line(&many), "ignored 4 files: `a~`, `b~`, `c~`, ...");
        assert_eq!(ignored_line(&files(&["a~", "out/"])), "ignored 1 file and 1 directory: `a~`, `out/`");
        assert_eq!(ignored_line(&files(&["a/", "b/"])), "ignored 2 directories: `a/`, `b/`");
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(412 << 20), "412 MiB");
        assert_eq!(seconds(Duration::from_millis(42)), "42 ms");
        assert_eq!(seconds(Duration::from_millis(7234)), "7.2 s");
        assert_eq!(seconds(Duration::from_secs(125)), "2 min 5 s");
        assert_eq!(seconds(Duration::from_millis(239_700)), "4 min 0 s");
        assert_eq!(seconds(Duration::from_millis(99_970)), "100.0 s");
    }
}
