//! Showing how far a run is: a line that is drawn again and again on a terminal, or an event a second for programs.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use backup::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::interrupt;
use crate::output::{self, Output};

const DRAW_EVERY: Duration = Duration::from_millis(150);
const EVENT_EVERY: Duration = Duration::from_secs(1);
/// What a file costs beside its bytes, in bytes, when the rest is estimated.
const FILE_COST: u64 = 4096;
/// The rest is not estimated before this.
const ESTIMATE_AFTER: Duration = Duration::from_secs(2);

/// Shows a run until it is dropped.
#[derive(Debug)]
pub struct Shown {
    progress: Arc<Progress>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Shown {
    /// Starts to show a run, which a signal cancels from now on.
    pub fn start(output: &Output) -> Self {
        let mut shown = Self::hidden();
        let show: fn(&Progress, &AtomicBool, &Output) = match output.json {
            true => send_events,
            false if output.quiet || !std::io::stderr().is_terminal() => return shown,
            false => draw,
        };
        let (progress, ended, output) = (shown.progress.clone(), shown.ended.clone(), output.clone());
        // Without a thread for it the run goes on unseen.
        shown.thread = thread::Builder::new().spawn(move || show(&progress, &ended, &output)).ok();
        shown
    }

    /// A run that a signal cancels and nobody sees.
    pub fn hidden() -> Self {
        let progress = Arc::new(Progress::new());
        interrupt::cancels(&progress);
        Self { progress, ended: Arc::default(), thread: None }
    }

    /// The run's counters.
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Ends showing.
    pub fn end(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.stop();
    }
}

fn draw(progress: &Progress, ended: &AtomicBool, _: &Output) {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}\n  {prefix}") {
        bar.set_style(style);
    }
    let begun = Instant::now();
    while !ended.load(Ordering::Relaxed) {
        bar.set_message(describe(progress, begun.elapsed()));
        let (_, width) = console::Term::stderr().size();
        bar.set_prefix(tail(&output::path(&progress.current()), usize::from(width).saturating_sub(3)));
        bar.tick();
        thread::park_timeout(DRAW_EVERY);
    }
    bar.finish_and_clear();
}

/// The end of a text, which says more of a path than its beginning.
fn tail(text: &str, width: usize) -> String {
    let letters = text.chars().count();
    if letters <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(letters - width.saturating_sub(1)).collect();
    format!("…{kept}")
}

/// How far it is, in one line.
fn describe(progress: &Progress, elapsed: Duration) -> String {
    let bytes = progress.bytes();
    let seconds = elapsed.as_secs_f64().max(0.001);
    let stage = progress.stage();
    let mut text = if stage.is_empty() { "starting".to_owned() } else { stage.to_owned() };
    text.push_str(": ");
    if progress.files() > 0 {
        // Whoever keeps a vault without a key sees none.
        text.push_str(&format!("{}, ", output::count(progress.files(), "file")));
    }
    text.push_str(&output::size(bytes));
    if progress.bytes_total() > 0 {
        text.push_str(&format!(" of {}", output::size(progress.bytes_total().max(bytes))));
    }
    text.push_str(&format!(", {}/s", output::size((bytes as f64 / seconds) as u64)));
    if let Some(rest) = rest(progress, elapsed) {
        text.push_str(&format!(", about {} left", output::duration(rest)));
    }
    if progress.problems() > 0 {
        text.push_str(&format!(", {}", output::count(progress.problems(), "problem")));
    }
    text
}

/// How long it may still take, if the total is known.
fn rest(progress: &Progress, elapsed: Duration) -> Option<Duration> {
    let cost = |files: u64, bytes: u64| bytes.saturating_add(files.saturating_mul(FILE_COST));
    let done = cost(progress.files(), progress.bytes());
    let total = cost(progress.files_total(), progress.bytes_total());
    estimate(done, total, elapsed).filter(|_| progress.bytes_total() > 0)
}

fn estimate(done: u64, total: u64, elapsed: Duration) -> Option<Duration> {
    if done == 0 || elapsed < ESTIMATE_AFTER {
        return None;
    }
    let factor = total.saturating_sub(done) as f64 / done as f64;
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * factor).ok()
}

fn send_events(progress: &Progress, ended: &AtomicBool, output: &Output) {
    let begun = Instant::now();
    let mut next = EVENT_EVERY;
    while !ended.load(Ordering::Relaxed) {
        thread::park_timeout(next.saturating_sub(begun.elapsed()));
        if begun.elapsed() >= next && !ended.load(Ordering::Relaxed) {
            output.event(&event(progress, begun.elapsed()));
            next += EVENT_EVERY;
        }
    }
    // So that a short run has one too.
    output.event(&event(progress, begun.elapsed()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_follows_from_what_is_done() {
        let seconds = Duration::from_secs;
        assert_eq!(estimate(100, 400, seconds(10)), Some(seconds(30)));
        assert_eq!(estimate(500, 400, seconds(10)), Some(seconds(0)));
        assert_eq!(estimate(0, 400, seconds(10)), None);
        assert_eq!(estimate(100, 400, seconds(1)), None);
        assert!(estimate(1, u64::MAX, Duration::MAX).is_none());
    }

    #[test]
    fn a_long_path_shows_its_end() {
        assert_eq!(tail("/a/b", 10), "/a/b");
        assert_eq!(tail("/größe/der/dinge", 6), "…dinge");
        assert_eq!(tail("/a/b", 1), "…");
    }
}
