//! The verbs, each in its own file.

mod abilities;
pub mod backup;
pub mod check;
pub mod cleanup;
mod command_output;
pub mod copy;
pub mod diff;
pub mod dump;
pub mod find;
pub mod forget;
pub mod generate;
pub mod init;
pub mod key;
pub mod ls;
pub mod mount;
pub mod pin;
pub mod repair;
pub mod restore;
pub mod settings;
pub mod snapshots;
pub mod stats;
pub mod store;
pub mod undelete;
mod units;
mod warming;
