//! Where we run: the machine's name, the current user, and the folders kept for programs.

use std::env;
use std::path::PathBuf;

use crate::platform;

/// This machine's name as the system knows it.
pub fn host_name() -> String {
    platform::host_name()
}

/// The user this process acts as, as a number.
pub fn user_id() -> u32 {
    platform::effective_user()
}

/// Whether this process acts as the superuser, so that owners can be restored.
pub fn is_root() -> bool {
    user_id() == 0
}

/// The folder where programs keep their data: `$XDG_DATA_HOME`, else `~/.local/share`. `None` when
/// neither that nor a home folder is known.
pub fn data_folder() -> Option<PathBuf> {
    folder("XDG_DATA_HOME", ".local/share", &environment)
}

/// The folder for what can be made again: `$XDG_CACHE_HOME`, else `~/.cache`.
pub fn cache_folder() -> Option<PathBuf> {
    folder("XDG_CACHE_HOME", ".cache", &environment)
}

/// The folder for settings: `$XDG_CONFIG_HOME`, else `~/.config`.
pub fn config_folder() -> Option<PathBuf> {
    folder("XDG_CONFIG_HOME", ".config", &environment)
}

fn environment(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from)
}

/// The XDG rule: a variable that is unset, empty or relative does not count.
fn folder(variable: &str, below_home: &str, lookup: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    let absolute = |name: &str| lookup(name).filter(|path| path.is_absolute());
    absolute(variable).or_else(|| {
        let home = absolute("HOME").or_else(|| env::home_dir().filter(|path| path.is_absolute()))?;
        Some(home.join(below_home))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_win_over_home_unless_empty_or_relative() {
        let cases = [
            (Some("/data"), "/data"),
            (Some("relative"), "/home/ada/.local/share"),
            (Some(""), "/home/ada/.local/share"),
            (None, "/home/ada/.local/share"),
        ];
        for (value, expected) in cases {
            let lookup = |name: &str| match name {
                "XDG_DATA_HOME" => value.map(PathBuf::from),
                "HOME" => Some(PathBuf::from("/home/ada")),
                _ => None,
            };
            assert_eq!(
                folder("XDG_DATA_HOME", ".local/share", &lookup),
                Some(PathBuf::from(expected)),
                "with XDG_DATA_HOME={value:?}"
            );
        }
    }

    #[test]
    fn host_name_is_the_kernels() {
        let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(host_name(), kernel.trim_end());
    }
}
