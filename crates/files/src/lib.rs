//! A machine's files: walking them in order, reading them, and writing them back exactly.
//!
//! - [`walk`]: [`Walk`] yields every entry under some roots in path order while threads look ahead;
//!   each [`Entry`] opens, reads and describes itself relative to its folder's open handle.
//! - [`rules`] decide what a walk leaves out; [`selection`] decides what a restore takes.
//! - [`target`]: [`Target`] writes files, links and devices back with their metadata, and never
//!   lets a name from a snapshot reach outside the folder it was given.
//! - [`owner`] turns user and group numbers into names and back; [`machine`] says where we run.
//!
//! Names are bytes throughout: a file system does not promise UTF-8. Everything that talks to the
//! operating system is in `platform`; this crate knows nothing of backups or vaults.

pub mod machine;
pub mod owner;
mod pattern;
mod platform;
pub mod rules;
pub mod selection;
mod source;
mod stat;
pub mod target;
pub mod walk;

pub use rules::{RuleError, Rules, RulesBuilder};
pub use selection::{Selection, Verdict};
pub use source::{Entry, SourceFile, SourceFolder};
pub use stat::{Details, Kind, Stat, Timestamp};
pub use target::{ApplyOptions, Attribute, MetadataProblem, Target, TargetError, TargetFile, TargetFolder};
pub use walk::{Counts, Step, Walk, WalkError, WalkOptions};

#[cfg(test)]
mod tests {
    use super::*;

    /// Compiles only while what pipelines pass between threads can be passed.
    #[test]
    fn walks_entries_and_targets_can_change_threads() {
        fn passed<T: Send>() {}
        fn shared<T: Send + Sync>() {}
        passed::<Walk>();
        shared::<Entry>();
        shared::<SourceFile>();
        shared::<Target>();
        shared::<TargetFolder>();
        shared::<TargetFile>();
        shared::<Rules>();
        shared::<Selection>();
        shared::<owner::Names>();
    }
}
