//! The pipelines: a machine's files into a vault and back.
//!
//! Callers see plain functions that block; inside, bytes travel through threads with bounded queues, and the store is
//! driven by a runtime that belongs to the open [`Vault`]. Everything long-running reports to a [`Progress`] and can
//! be cancelled through it.

mod abilities;
mod check;
mod cleanup;
mod copy;
mod diff;
mod dump;
mod error;
mod file_map;
mod find;
mod forget;
mod locks;
mod mount;
mod opening;
mod pins;
mod progress;
mod reader;
mod recover;
mod regroup;
mod repair;
mod restore;
mod retention;
mod run;
mod seen;
mod settings;
mod slots;
mod snapshots;
mod stats;
mod tenure;
mod tree_walk;
mod vault_access;

pub use abilities::record_abilities;
pub use check::{CheckReport, Finding, ReadData, Severity, check, check_sealed};
pub use cleanup::{CleanupRequest, clean_up, clean_up_regrouping};
pub use content::body::{Body, Problem, ProblemKind, Statistics};
pub use content::secret::SecretText;
pub use content::segment::Compression;
pub use content::slot::{Credential, PassphraseCost, SlotKind};
pub use copy::{CopyRequest, copy, find_by_id};
pub use diff::{Change, ChangeKind, DiffSummary, Part, diff};
pub use dump::{DumpReport, dump_file, dump_tar};
pub use error::{Category, Error};
pub use find::{FindReport, FindRequest, Found, find};
pub use forget::{ForgetReport, forget, store_clock, undelete};
pub use locks::Protection;
pub use mount::mount;
pub use pins::{pin, unpin};
pub use progress::Progress;
pub use reader::{Entries, Reader};
pub use recover::recover;
pub use repair::{LostFile, RepairRequest, files_lost, repair};
pub use restore::{ColdPacks, Overwrite, PackCount, RestoreReport, RestoreRequest, restore, restore_during};
pub use retention::{GroupBy, Judged, judge};
pub use run::{BackupReport, BackupRequest, back_up, back_up_stream};
pub use settings::{DELETE_DELAY_MAX, FirstSettings, LOCK_PERIOD_MAX, VaultSettings};
pub use slots::{NewSlot, SlotInfo};
pub use snapshots::{Filter, InTrash, SealedSnapshot, Snapshot, SnapshotList};
pub use stats::{Amount, StoredBytes, VaultStats, stats};
pub use tenure::ReadingTenure;
pub use tree_walk::{TreeStep, TreeWalk, clean_path};
pub use vault::abilities::Abilities;
pub use vault::collect::{Held, Report as CleanupReport, Waiting};
pub use vault::copy::Report as CopyReport;
pub use vault::pins::{Pins, Until};
pub use vault::recover::{Back, Harm, Report as RecoveryReport};
pub use vault::repair::{How as RepairHow, Report as RepairReport};
pub use vault::retention::{Dropped, Policy, Reason, Verdict};
pub use vault::settings::{Delays, LockSetting};
pub use vault_access::Vault;
