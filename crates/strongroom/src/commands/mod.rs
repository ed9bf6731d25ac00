//! The verbs, each in its own file.

pub mod backup;
pub mod check;
mod command_output;
pub mod copy;
pub mod diff;
pub mod dump;
pub mod find;
pub mod generate;
pub mod init;
pub mod key;
pub mod ls;
pub mod mount;
pub mod restore;
pub mod snapshots;
pub mod stats;
pub mod store;
mod units;
