//! The seam to the operating system: every system call of this crate is made below this module.
//!
//! Another system joins by offering the same functions over its own handles; nothing above may name
//! a system's types other than [`Handle`].

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub(crate) use linux::*;
