//! Ending when somebody asks: an interrupt (Ctrl-C) or a request to end (SIGTERM, SIGHUP).
//!
//! A run that can be cancelled is asked to end; it keeps what is finished. If it has not ended within
//! [`PATIENCE`] (a store that hangs, a reader that does not read), or at a second signal, the program ends at once: a
//! vault and a restore bear that at any moment. Only a mount is given all the time it needs, because it would stay
//! behind. Without such a run the program ends at the first signal.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use backup::Progress;

use crate::exit;
use crate::output;

/// How long a run may take to end by itself; the promise is two seconds in all.
const PATIENCE: Duration = Duration::from_millis(1700);
/// How long a prompt may take to put the terminal right.
const PROMPT_PATIENCE: Duration = Duration::from_millis(300);

static RUNNING: Mutex<Option<Running>> = Mutex::new(None);
static ASKED: AtomicBool = AtomicBool::new(false);
static PROMPTING: AtomicBool = AtomicBool::new(false);

/// What a signal cancels.
#[derive(Clone)]
struct Running {
    progress: Arc<Progress>,
    /// How long it may take to end by itself; without a limit when `None`.
    patience: Option<Duration>,
}

/// Listens to signals from now on.
pub fn listen() {
    if let Err(error) = ctrlc::set_handler(on_signal) {
        output::note(&format!("note: an interrupt will end the program without cleaning up: {error}"));
    }
}

/// The run that a signal cancels from now on.
pub fn cancels(progress: &Arc<Progress>) {
    watch(progress, Some(PATIENCE));
}

/// The same for a run that has to clean up, however long that takes.
pub fn cancels_patiently(progress: &Arc<Progress>) {
    watch(progress, None);
}

fn watch(progress: &Arc<Progress>, patience: Option<Duration>) {
    let running = Running { progress: progress.clone(), patience };
    *RUNNING.lock().unwrap_or_else(PoisonError::into_inner) = Some(running);
    // The signal may have come between the start of the program and now.
    if ASKED.load(Ordering::SeqCst) {
        progress.cancel();
    }
}

/// Whether somebody asked the program to end.
pub fn was_asked() -> bool {
    ASKED.load(Ordering::SeqCst)
}

/// Runs a prompt, which has the terminal in a state that must not stay.
pub fn while_prompting<T>(prompt: impl FnOnce() -> T) -> T {
    PROMPTING.store(true, Ordering::SeqCst);
    let answer = prompt();
    PROMPTING.store(false, Ordering::SeqCst);
    answer
}

fn on_signal() {
    let again = ASKED.swap(true, Ordering::SeqCst);
    let running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match running {
        Some(Running { progress, patience }) if !again => {
            progress.cancel();
            let Some(patience) = patience else { return };
            // On a thread of its own: this one has to be free for a second signal.
            if thread::Builder::new().spawn(move || leave_after(patience)).is_err() {
                leave_after(Duration::ZERO);
            }
        }
        None if PROMPTING.load(Ordering::SeqCst) && !again => leave_after(PROMPT_PATIENCE),
        _ => leave_after(Duration::ZERO),
    }
}

fn leave_after(patience: Duration) {
    thread::sleep(patience);
    output::note("error: interrupted\nhint: run the same command again: what was finished is kept");
    std::process::exit(i32::from(exit::INTERRUPTED.0));
}
