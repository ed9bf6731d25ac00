//! A command whose output is backed up.

use std::ffi::{OsStr, OsString};
use std::io;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use backup::Progress;

use crate::failure::Failure;
use crate::output;
use crate::passphrase;

/// How often is looked whether the command ended, or is to end.
const LOOK: Duration = Duration::from_millis(20);

/// A running command, which does not outlive this.
#[derive(Debug)]
pub struct Source {
    program: String,
    output: Option<ChildStdout>,
    child: Arc<Mutex<Child>>,
    guard: Option<JoinHandle<()>>,
}

impl Source {
    /// Starts it. When the run is cancelled the command is killed: whoever reads its output may be waiting for more,
    /// and would not notice otherwise.
    pub fn start(program: &OsStr, arguments: &[OsString], progress: &Arc<Progress>) -> Result<Self, Failure> {
        let fail = |error: io::Error| Failure::file(program.as_ref(), "run", &error);
        let mut command = passphrase::without_secrets(Command::new(program));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(fail)?;
        let output = child.stdout.take();
        let child = Arc::new(Mutex::new(child));
        let mut source =
            Self { program: output::path(program.as_encoded_bytes()), output, child, guard: None };
        let (child, progress) = (source.child.clone(), progress.clone());
        let guard = thread::Builder::new().spawn(move || {
            while matches!(lock(&child).try_wait(), Ok(None)) {
                if progress.is_cancelled() {
                    let _ = lock(&child).kill();
                }
                thread::sleep(LOOK);
            }
        });
        source.guard = Some(guard.map_err(fail)?);
        Ok(source)
    }

    /// What it writes; `None` the second time.
    pub fn output(&mut self) -> Option<ChildStdout> {
        self.output.take()
    }

    /// Waits until it ended; why what it wrote is not to be kept, if it failed.
    pub fn wait(&mut self) -> Result<(), String> {
        match self.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{} ended with {status}: nothing was kept", self.program)),
            Err(error) => Err(format!("{} could not be waited for: {error}", self.program)),
        }
    }

    fn status(&mut self) -> io::Result<ExitStatus> {
        // The guard looks now and then and holds no lock between; waiting here would keep it from killing.
        if let Some(guard) = self.guard.take() {
            let _ = guard.join();
        }
        lock(&self.child).wait()
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        // It may still be writing to a pipe that nobody reads. One that has ended is not killed again.
        let _ = lock(&self.child).kill();
        let _ = self.status();
    }
}

fn lock(child: &Mutex<Child>) -> MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}
