//! `backup`: files and folders into a new snapshot.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use ::backup::{
    BackupReport, BackupRequest, Compression, Credential, FirstSettings, Vault, back_up, back_up_stream,
};
use clap::{Args, ValueEnum};
use serde_json::json;

use super::command_output::Source;
use super::units::{parse_size, parse_threads};
use crate::access::{self, Limits, Place};
use crate::exit::{self, Code};
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{self, Output};
use crate::progress_bar::Shown;
use crate::{interrupt, passphrase, settings};

/// How hard to compress.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Effort {
    /// Not at all
    Off,
    /// As little time as possible
    Fast,
    /// What two cores do beside a disk or a network
    Default,
    /// As few bytes as possible
    Max,
}

impl From<Effort> for Compression {
    fn from(effort: Effort) -> Self {
        match effort {
            Effort::Off => Self::Off,
            Effort::Fast => Self::Fast,
            Effort::Default => Self::Default,
            Effort::Max => Self::Max,
        }
    }
}

/// Back files and folders up
///
/// Makes a new snapshot. What did not change since the last one is not read again; what the vault has already is not
/// stored again. Exit code 3 means that the snapshot is there and some files, which are listed, are not in it.
#[derive(Args, Debug)]
pub struct Backup {
    /// Files and folders
    #[arg(value_name = "PATH", required_unless_present = "stdin_from_command")]
    paths: Vec<PathBuf>,
    /// Leave out what fits this pattern: a name anywhere, or a path with a slash (repeatable)
    #[arg(long, value_name = "PATTERN", help_heading = "What to leave out")]
    exclude: Vec<std::ffi::OsString>,
    /// Patterns from a file, a line each; # comments; !PATTERN takes back in
    #[arg(long, value_name = "FILE", help_heading = "What to leave out")]
    exclude_from: Vec<PathBuf>,
    /// Leave out the contents of folders that hold a file of this name
    #[arg(long, value_name = "NAME", help_heading = "What to leave out")]
    exclude_if_present: Vec<std::ffi::OsString>,
    /// Leave out files larger than this, such as 500M or 2GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "What to leave out")]
    exclude_larger_than: Option<u64>,
    /// Leave out the contents of folders that are tagged as caches (CACHEDIR.TAG)
    #[arg(long, help_heading = "What to leave out")]
    exclude_caches: bool,
    /// Stay on the file systems of the paths
    #[arg(long, short = 'x', help_heading = "What to leave out")]
    one_file_system: bool,
    /// Put a label on the snapshot (repeatable)
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// The machine's name in the snapshot, if not its own
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    /// Look and count, store nothing
    #[arg(long)]
    dry_run: bool,
    /// Run the command after `--` and back up what it writes, as a file of this name. If it fails there is no snapshot
    #[arg(long, value_name = "NAME", requires = "command")]
    stdin_from_command: Option<String>,
    /// The command, after `--`
    #[arg(last = true, value_name = "COMMAND", requires = "stdin_from_command")]
    command: Vec<std::ffi::OsString>,
    /// How hard to compress
    #[arg(long, value_enum, default_value = "default", value_name = "EFFORT")]
    compression: Effort,
    /// Read every file, changed or not
    #[arg(long)]
    force_read: bool,
    /// How many threads read, and how many compress
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    parallelism: Option<usize>,
    /// Store no more than this per second, such as 5M
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    limit_upload: Option<u64>,
}

impl Backup {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let place = Place::of(global)?;
        let request = self.request(global, &place)?;
        let vault = self.vault(global, output, &place)?;
        // What was made just now is skipped too.
        let request = BackupRequest { skip: own_folders(global, &place), ..request };
        let shown = Shown::start(output);
        let report = match &self.stdin_from_command {
            Some(name) => self.run_command(&vault, &request, name, &shown)?,
            None => back_up(&vault, &request, shown.progress())?,
        };
        shown.end();
        let partial = report.problems.iter().any(|problem| problem.kind.is_error());
        let code = if partial { exit::PARTIAL } else { exit::DONE };
        self.tell(output, &report, code);
        Ok(code)
    }

    /// The vault that is configured; the default one is made when it is missing.
    fn vault(&self, global: &Global, output: &Output, place: &Place) -> Result<Arc<Vault>, Failure> {
        if place.is_default() && !place.has_vault()? {
            if self.dry_run {
                let message = format!("there is no vault in {} yet, and a dry run makes none", place.shown());
                let hint = "run it without --dry-run, or make a vault with `strongroom init`";
                return Err(Failure::plain(message, hint));
            }
            make_default_vault(global, output, place)?;
        }
        access::open_remembered(global, Limits { upload: self.limit_upload, download: None })
    }

    fn request(&self, global: &Global, place: &Place) -> Result<BackupRequest, Failure> {
        let mut options = Vec::new();
        let mut keep = |name: &str, value: String| options.push((name.to_owned(), value));
        let mut rules = files::Rules::builder();
        let bad =
            |error: &files::RuleError| Failure::of(error, "see `strongroom backup --help` for patterns");
        for file in &self.exclude_from {
            rules.exclude_from(file).map_err(|error| bad(&error))?;
            keep("exclude-from", file.display().to_string());
        }
        for pattern in &self.exclude {
            rules.exclude(pattern.as_encoded_bytes()).map_err(|error| bad(&error))?;
            keep("exclude", pattern.to_string_lossy().into_owned());
        }
        for name in &self.exclude_if_present {
            rules.exclude_if_present(name.as_encoded_bytes()).map_err(|error| bad(&error))?;
            keep("exclude-if-present", name.to_string_lossy().into_owned());
        }
        if let Some(bytes) = self.exclude_larger_than {
            rules.exclude_larger_than(bytes);
            keep("exclude-larger-than", bytes.to_string());
        }
        if self.exclude_caches {
            rules.exclude_caches(true);
            keep("exclude-caches", String::new());
        }
        if self.one_file_system {
            keep("one-file-system", String::new());
        }
        Ok(BackupRequest {
            paths: self.paths.clone(),
            rules: rules.build().map_err(|error| bad(&error))?,
            one_file_system: self.one_file_system,
            tags: self.tag.clone(),
            options,
            dry_run: self.dry_run,
            compression: self.compression.into(),
            force_read: self.force_read,
            parallelism: self.parallelism,
            host: self.host.clone().unwrap_or_else(files::machine::host_name),
            skip: own_folders(global, place),
            parent: None,
        })
    }

    /// Backs up what the command writes.
    fn run_command(
        &self,
        vault: &Arc<Vault>,
        request: &BackupRequest,
        name: &str,
        shown: &Shown,
    ) -> Result<BackupReport, Failure> {
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(Failure::usage("there is no command to run", "put it after `--`"));
        };
        let mut source = Source::start(program, arguments, shown.progress())?;
        let Some(mut bytes) = source.output() else {
            return Err(Failure::plain("the command has no output", "run it by hand to see why"));
        };
        let mut finish = || source.wait();
        let outcome = back_up_stream(vault, request, name, &mut bytes, &mut finish, shown.progress());
        // A command that was killed because somebody interrupted us did not fail by itself.
        outcome.map_err(|error| if interrupt::was_asked() { Failure::interrupted() } else { error.into() })
    }

    fn tell(&self, output: &Output, report: &BackupReport, code: Code) {
        report.problems.iter().for_each(|problem| output.problem(problem));
        let numbers = &report.statistics;
        let took = output::duration(report.duration);
        match &report.snapshot {
            Some(id) => output.say(&format!("Saved snapshot {} in {took}.", id.short())),
            None => output.say(&format!("Looked in {took}; nothing was stored, as asked.")),
        }
        let files = numbers.files_new + numbers.files_changed + numbers.files_unchanged;
        output.say(&format!(
            "  {} ({}) in {}: {} new, {} changed, {} unchanged",
            output::count(files, "file"),
            output::size(numbers.bytes_total),
            output::count(numbers.directories, "directory"),
            output::number(numbers.files_new),
            output::number(numbers.files_changed),
            output::number(numbers.files_unchanged)
        ));
        output.say(&format!(
            "  {} read, {} of it new to the vault, {} stored",
            output::size(numbers.bytes_read),
            output::size(numbers.bytes_new),
            output::size(numbers.bytes_stored)
        ));
        let errors = report.problems.iter().filter(|problem| problem.kind.is_error()).count() as u64;
        if errors > 0 {
            let what = output::count(errors, "problem");
            let later = match report.snapshot {
                Some(_) => "; see them again with `strongroom snapshots --problems`",
                None => "",
            };
            output.say(&format!("  {what}, listed above{later}"));
        }
        output.summary(
            "backup",
            code,
            json!({
                "snapshot": report.snapshot.map(|id| id.to_string()),
                "dry_run": self.dry_run,
                "seconds": report.duration.as_secs_f64(),
                "files_new": numbers.files_new,
                "files_changed": numbers.files_changed,
                "files_unchanged": numbers.files_unchanged,
                "directories": numbers.directories,
                "bytes_total": numbers.bytes_total,
                "bytes_read": numbers.bytes_read,
                "bytes_new": numbers.bytes_new,
                "bytes_stored": numbers.bytes_stored,
                "chunks_new": numbers.chunks_new,
                "chunks_known": numbers.chunks_known,
                "packs_new": numbers.packs_new,
                "problems": errors,
            }),
        );
    }
}

/// Makes the default vault. It opens with the passphrase that was given; with nothing given, with a random key in a
/// file of its own.
fn make_default_vault(global: &Global, output: &Output, place: &Place) -> Result<(), Failure> {
    if let Some(credential) = passphrase::given(global)? {
        access::create_vault(global, output, place, credential, "passphrase", &FirstSettings::default())?;
        return Ok(());
    }
    let missing = || Failure::usage("there is no home folder for a key", "set STRONGROOM_PASSPHRASE");
    let key_file = settings::default_key_file().ok_or_else(missing)?;
    // A key without its vault may be the last key to a vault that is only out of reach.
    if key_file.exists() {
        let (key, vault) = (key_file.display(), place.shown());
        return Err(Failure::plain(
            format!("there is a key in {key} but no vault in {vault}"),
            "bring the vault back, or move the key away to start anew",
        ));
    }
    let key = Credential::new_key_file();
    settings::write_key(&key_file, &key)?;
    let first = FirstSettings::default();
    let made = access::create_vault(global, output, place, key, "key file of this machine", &first);
    // If the vault was made after all, its key must stay.
    if made.is_err() && matches!(place.has_vault(), Ok(false)) {
        let _ = std::fs::remove_file(&key_file);
    }
    made?;
    output.event(&json!({ "type": "key_file", "file": key_file.display().to_string() }));
    output.line(&format!("Its key is in {}, readable by you alone.", key_file.display()));
    output
        .line("Another disk is a better place for a vault: `strongroom init --vault PATH` makes one there.");
    output.line("");
    Ok(())
}

/// The vault and the cache, so that a backup does not take itself in.
fn own_folders(global: &Global, place: &Place) -> Vec<(u64, u64)> {
    let folders = [place.folder().cloned(), settings::cache(global).ok()];
    let stats = folders.into_iter().flatten().filter_map(|folder| folder.metadata().ok());
    stats.map(|stat| (stat.dev(), stat.ino())).collect()
}
