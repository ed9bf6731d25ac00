//! This process and this machine: user, limits, names.

use std::sync::OnceLock;

use nix::unistd::{Group, User};
use rustix::process::{Resource, Rlimit};

/// This machine's name.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The user whose rights count for this process.
pub(crate) fn effective_user() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Permission bits that the system takes away from new files; `None` when it cannot be known without
/// changing it (the only system call for it sets a new one, for all threads).
pub(crate) fn creation_mask() -> Option<u32> {
    static MASK: OnceLock<Option<u32>> = OnceLock::new();
    *MASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let value = status.lines().find_map(|line| line.strip_prefix("Umask:"))?;
        u32::from_str_radix(value.trim(), 8).ok()
    })
}

/// Allows as many open files as the system lets us, and says how many those are.
pub(crate) fn raise_open_file_limit() -> u64 {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // When raising fails the old limit simply stays.
    let now = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    now.unwrap_or(u64::MAX)
}

/// A user's name for the number.
pub(crate) fn user_name(uid: u32) -> Option<Vec<u8>> {
    whole(User::from_uid(uid.into()).ok()??.name)
}

/// A group's name for the number.
pub(crate) fn group_name(gid: u32) -> Option<Vec<u8>> {
    whole(Group::from_gid(gid.into()).ok()??.name)
}

/// A user's number for the name.
pub(crate) fn user_number(name: &[u8]) -> Option<u32> {
    Some(User::from_name(std::str::from_utf8(name).ok()?).ok()??.uid.as_raw())
}

/// A group's number for the name.
pub(crate) fn group_number(name: &[u8]) -> Option<u32> {
    Some(Group::from_name(std::str::from_utf8(name).ok()?).ok()??.gid.as_raw())
}

/// The library replaces bytes that are not UTF-8; a name changed so would be a lie.
fn whole(name: String) -> Option<Vec<u8>> {
    (!name.contains(char::REPLACEMENT_CHARACTER)).then(|| name.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_on_open_files_is_raised_to_the_hard_one() {
        let limit = rustix::process::getrlimit(Resource::Nofile);
        let hard = limit.maximum.expect("open files are limited on every system");
        // Only a little lower: other tests run at the same time and need files.
        let lower = Rlimit { current: Some(hard - 1), maximum: Some(hard) };
        rustix::process::setrlimit(Resource::Nofile, lower).unwrap();
        assert_eq!(raise_open_file_limit(), hard);
    }
}
