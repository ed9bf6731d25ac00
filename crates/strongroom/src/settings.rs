//! Where things are when nobody says: the default vault, its key, and the cache.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use backup::Credential;
use store::Patience;

use crate::failure::Failure;
use crate::global::Global;

/// How long a store that does not answer is asked again: what `STRONGROOM_PATIENCE` says in seconds, or a quarter of an
/// hour.
pub fn patience() -> Result<Patience, Failure> {
    let Some(text) = std::env::var_os("STRONGROOM_PATIENCE").filter(|text| !text.is_empty()) else {
        return Ok(Patience::default());
    };
    let seconds = text.to_str().and_then(|text| text.parse().ok());
    let seconds = seconds.ok_or_else(|| {
        Failure::usage(
            "STRONGROOM_PATIENCE is no number of seconds",
            "set it to one such as 900, or not at all",
        )
    })?;
    Ok(Patience::lasting(Duration::from_secs(seconds)))
}

/// The folder under which each vault has its cache.
pub fn cache(global: &Global) -> Result<PathBuf, Failure> {
    let named = global.cache.clone().filter(|folder| !folder.as_os_str().is_empty());
    let folder = named.or_else(|| files::machine::cache_folder().map(|dir| dir.join("strongroom")));
    folder.ok_or_else(|| {
        Failure::usage("there is no home folder for a cache", "give one with --cache or STRONGROOM_CACHE")
    })
}

/// The vault that is used when none is named.
pub fn default_vault() -> Option<PathBuf> {
    files::machine::data_folder().map(|dir| dir.join("strongroom/vault"))
}

/// The key of the default vault.
pub fn default_key_file() -> Option<PathBuf> {
    files::machine::config_folder().map(|dir| dir.join("strongroom/key"))
}

/// Makes a folder, and those above it, for its owner alone.
pub fn make_private(folder: &Path) -> Result<(), Failure> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| Failure::file(folder, "made", &error))
}

/// Writes a key into a new file that only its owner can read, durably. A file that is there is never overwritten.
pub fn write_key(path: &Path, key: &Credential) -> Result<(), Failure> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_private(folder)?;
    let fail = |error| Failure::file(path, "written", &error);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(fail)?;
    let written = writeln!(file, "{}", key.text().expose())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::File::open(folder)?.sync_all());
    written.map_err(|error| {
        // Half a key opens nothing, and would stand in the way of a whole one.
        let _ = std::fs::remove_file(path);
        fail(error)
    })
}
