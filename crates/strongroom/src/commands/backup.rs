//! `backup`: files and folders into a new snapshot.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use ::backup::{BackupReport, BackupRequest, Compression, Credential, Vault, back_up, back_up_stream};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::access::{self, Limits};
use crate::cli::Global;
use crate::exit::{self, Code};
use crate::output::{self, Failure, Output};
use crate::progress_bar::{Shown, duration};
use crate::settings;

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

/// Backs files and folders up into a new snapshot. What did not change since the last one is not read again; what the
/// vault has already is not stored again.
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
    #[arg(long, value_name = "N")]
    parallelism: Option<usize>,
    /// Store no more than this per second, such as 5M
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    limit_upload: Option<u64>,
}

/// Bytes with an optional unit: K, M, G, T (binary, with or without iB).
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let split = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(format!("{unit:?} is not a unit; use K, M, G or T")),
    };
    let value: f64 = number.parse().map_err(|_| format!("{text:?} is not a size such as 500M"))?;
    let bytes = value * factor as f64;
    if bytes >= 1.0 && bytes < u64::MAX as f64 {
        Ok(bytes as u64)
    } else {
        Err("the size is out of range".into())
    }
}

impl Backup {
    pub fn run(&self, global: &Global, output: &Output) -> Result<Code, Failure> {
        let vault = self.vault(global, output)?;
        let request = self.request(global)?;
        let shown = Shown::start(output);
        let report = match &self.stdin_from_command {
            Some(name) => self.run_command(&vault, &request, name, &shown)?,
            None => back_up(&vault, &request, shown.progress())?,
        };
        drop(shown);
        tell(output, &report);
        let partial = report.problems.iter().any(|problem| problem.kind.is_error());
        Ok(if partial { exit::PARTIAL } else { exit::DONE })
    }

    /// The vault that is configured; with nothing configured, the default one, made when it is missing.
    fn vault(&self, global: &Global, output: &Output) -> Result<Arc<Vault>, Failure> {
        let limits = Limits { upload: self.limit_upload };
        if global.vault.is_none()
            && let (Some(folder), Some(key_file)) = (settings::default_vault(), settings::default_key_file())
            && !folder.join(vault::name::DESCRIPTOR).exists()
        {
            if let Some(parent) = folder.parent() {
                settings::make_private(parent)?;
            }
            // A key without its vault may be the last key to a vault that is only out of reach.
            if key_file.exists() {
                let message =
                    format!("there is a key in {} but no vault in {}", key_file.display(), folder.display());
                return Err(Failure::plain(
                    message,
                    "bring the vault back, or move the key away to start anew",
                ));
            }
            let key = Credential::new_key_file();
            settings::write_key(&key_file, &key)?;
            let location = folder.display().to_string();
            let made = access::create_vault(global, output, &location, key, "key file of this machine");
            if made.is_err() {
                let _ = std::fs::remove_file(&key_file);
            }
            let vault = made?;
            output.line(&format!("Its key is in {}, readable by you alone.", key_file.display()));
            output.line("");
            if limits.upload.is_none() {
                return Ok(vault);
            }
        }
        access::open_limited(global, limits)
    }

    fn request(&self, global: &Global) -> Result<BackupRequest, Failure> {
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
            skip: own_folders(global),
            parent: None,
        })
    }

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
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| Failure::file(program.as_ref(), "run", error))?;
        let Some(mut input) = child.stdout.take() else {
            return Err(Failure::plain("the command has no output".into(), ""));
        };
        let program = program.to_string_lossy().into_owned();
        let mut finish = || match child.wait() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{program} ended with {status}: nothing was kept")),
            Err(error) => Err(format!("{program} could not be waited for: {error}")),
        };
        let outcome = back_up_stream(vault, request, name, &mut input, &mut finish, shown.progress());
        if outcome.is_err() {
            // It may still be writing to a pipe that nobody reads.
            let _ = child.kill();
            let _ = child.wait();
        }
        Ok(outcome?)
    }
}

/// The vault and the cache, so that a backup does not take itself in.
fn own_folders(global: &Global) -> Vec<(u64, u64)> {
    let vault = access::location(global)
        .ok()
        .map(|location| PathBuf::from(location.strip_prefix("file://").unwrap_or(&location)));
    let cache = settings::cache(global).ok();
    let folders = [vault, cache].into_iter().flatten();
    folders.filter_map(|folder| folder.metadata().ok()).map(|stat| (stat.dev(), stat.ino())).collect()
}

fn tell(output: &Output, report: &BackupReport) {
    report.problems.iter().for_each(|problem| output.problem(problem));
    let numbers = &report.statistics;
    let took = duration(report.duration);
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
        numbers.files_new,
        numbers.files_changed,
        numbers.files_unchanged
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
        output.say(&format!("  {what}, listed above; see them again with `strongroom snapshots --problems`"));
    }
    output.event(&json!({
        "type": "summary",
        "verb": "backup",
        "snapshot": report.snapshot.map(|id| id.to_string()),
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
    }));
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        assert_eq!(parse_size("500"), Ok(500));
        assert_eq!(parse_size("1.5K"), Ok(1536));
        assert_eq!(parse_size("2 GiB"), Ok(2 << 30));
        assert!(parse_size("lots").is_err() && parse_size("5 parsecs").is_err() && parse_size("0").is_err());
    }
}
