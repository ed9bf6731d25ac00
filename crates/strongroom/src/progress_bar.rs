//! Showing how far a run is, and stopping it when somebody asks.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use backup::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::exit;
use crate::output::{self, Output};

const DRAW_EVERY: Duration = Duration::from_millis(150);
const EVENT_EVERY: Duration = Duration::from_secs(1);

/// The run that a signal stops.
static RUNNING: OnceLock<Mutex<Option<Arc<Progress>>>> = OnceLock::new();
static SIGNALS: AtomicU32 = AtomicU32::new(0);

/// Makes an interrupt or a request to end stop the run; a second one ends the program at once.
fn stop_on_signals(progress: &Arc<Progress>) {
    let running = RUNNING.get_or_init(|| {
        let handler = || {
            if SIGNALS.fetch_add(1, Ordering::Relaxed) > 0 {
                std::process::exit(i32::from(exit::INTERRUPTED.0));
            }
            let running = RUNNING.get().map(|running| running.lock().unwrap_or_else(PoisonError::into_inner));
            match running.as_deref() {
                Some(Some(progress)) => progress.cancel(),
                _ => std::process::exit(i32::from(exit::INTERRUPTED.0)),
            }
        };
        if let Err(error) = ctrlc::set_handler(handler) {
            output::note(&format!("note: an interrupt will end the program at once: {error}"));
        }
        Mutex::new(None)
    });
    *running.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress.clone());
}

/// Shows a run until it is dropped.
#[derive(Debug)]
pub struct Shown {
    progress: Arc<Progress>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Shown {
    /// Starts to show a run.
    pub fn start(output: &Output) -> Self {
        let progress = Arc::new(Progress::new());
        stop_on_signals(&progress);
        let ended = Arc::new(AtomicBool::new(false));
        let draw = std::io::stderr().is_terminal() && !output.json && !output.quiet;
        let thread = (draw || output.json).then(|| {
            let (progress, ended) = (progress.clone(), ended.clone());
            let json = output.json;
            thread::spawn(
                move || if json { send_events(&progress, &ended) } else { draw_bar(&progress, &ended) },
            )
        });
        Self { progress, ended, thread }
    }

    /// The run's counters.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

fn draw_bar(progress: &Progress, ended: &AtomicBool) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}\n  {prefix}") {
        bar.set_style(style);
    }
    let begun = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        bar.set_message(describe(progress, begun.elapsed()));
        let current = output::path(&progress.current());
        let tail: String = current.chars().rev().take(70).collect::<Vec<_>>().into_iter().rev().collect();
        bar.set_prefix(tail);
        bar.tick();
        thread::park_timeout(DRAW_EVERY);
    }
    bar.finish_and_clear();
}

/// How far it is, in one line.
fn describe(progress: &Progress, elapsed: Duration) -> String {
    let (files, bytes) = (progress.files(), progress.bytes());
    let seconds = elapsed.as_secs_f64().max(0.001);
    let mut text = format!(
        "{}: {}, {}, {}/s",
        progress.stage(),
        output::count(files, "file"),
        output::size(bytes),
        output::size((bytes as f64 / seconds) as u64)
    );
    if let Some(rest) = rest(progress, elapsed) {
        text.push_str(&format!(", about {} left", duration(rest)));
    }
    if progress.problems() > 0 {
        text.push_str(&format!(", {}", output::count(progress.problems(), "problem")));
    }
    text
}

/// How long it may still take, if the total is known.
fn rest(progress: &Progress, elapsed: Duration) -> Option<Duration> {
    let (done, total) =
        (progress.bytes() + progress.files() * 4096, progress.bytes_total() + progress.files_total() * 4096);
    if progress.bytes_total() == 0 || done == 0 || elapsed < Duration::from_secs(2) {
        return None;
    }
    Some(elapsed.mul_f64(total.saturating_sub(done) as f64 / done as f64))
}

/// A duration for people.
pub fn duration(duration: Duration) -> String {
    match duration.as_secs() {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        seconds @ 10..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn send_events(progress: &Progress, ended: &AtomicBool) {
    let output = Output { json: true, quiet: true };
    let begun = Instant::now();
    let mut next = EVENT_EVERY;
    while !ended.load(Ordering::Relaxed) {
        thread::park_timeout(next.saturating_sub(begun.elapsed()));
        if begun.elapsed() >= next && !ended.load(Ordering::Relaxed) {
            output.event(&event(progress, begun.elapsed()));
            next += EVENT_EVERY;
        }
    }
}

fn event(progress: &Progress, elapsed: Duration) -> Value {
    let known = |total: u64| if total == 0 { Value::Null } else { total.into() };
    let event = json!({
        "type": "progress",
        "stage": progress.stage(),
        "seconds": elapsed.as_secs_f64(),
        "files": progress.files(),
        "files_total": known(progress.files_total()),
        "bytes": progress.bytes(),
        "bytes_total": known(progress.bytes_total()),
        "bytes_read": progress.bytes_read(),
        "bytes_stored": progress.bytes_stored(),
        "problems": progress.problems(),
        "seconds_left": rest(progress, elapsed).map(|rest| rest.as_secs_f64()),
    });
    output::with(event, output::json_path(&progress.current()))
}
