//! The collector: a cleanup with options as they come.

use std::sync::Arc;
use std::time::Duration;

use store::Store;
use vault::check::Unwatched;
use vault::collect::{CleanupError, Options, Report, cleanup};

use super::Actor;
use crate::toy::VAULT;
use crate::world::lock;

/// Cleans up once, as a user would: whatever comes of it.
pub async fn collect(actor: Actor) {
    let mut options = options(&actor);
    {
        let random = &mut lock(&actor.world).random;
        options.max_unused = random.pick(&[0.0, 0.05, 0.3, 1.0]).copied().unwrap_or_default();
        options.max_move = random.permille(200).then(|| random.below(30_000));
        options.dry_run = random.permille(30);
    }
    let outcome = clean(&actor, &actor.store(), &options).await;
    count(&actor, &outcome);
    actor.note(|| match outcome {
        Ok(report) => format!(
            "cleanup: condemned {}+{}, deleted {}+{}, moved {}, kept {}, waiting {}",
            report.snapshots_condemned,
            report.packs_condemned,
            report.snapshots_deleted,
            report.packs_deleted,
            report.segments_moved,
            report.kept,
            report.waiting.len()
        ),
        Err(error) => format!("cleanup: {error}"),
    });
}

fn count(actor: &Actor, outcome: &Result<Report, CleanupError>) {
    let mut world = lock(&actor.world);
    match outcome {
        Ok(report) => {
            world.count("cleanups", 1);
            world.count("packs condemned", report.packs_condemned);
            world.count("packs deleted", report.packs_deleted);
            world.count("snapshots deleted", report.snapshots_deleted);
            world.count("segments moved", report.segments_moved);
            world.count("kept though condemned", report.kept);
        }
        Err(CleanupError::Busy { .. }) => world.count("cleanups that met another", 1),
        Err(CleanupError::Overslept) => world.count("cleanups that overslept", 1),
        Err(_) => world.count("cleanups that failed", 1),
    }
}

fn options(actor: &Actor) -> Options {
    let mut options = Options::new(Duration::from_millis(actor.rules.delay), true);
    options.settle = Duration::from_millis(lock(&actor.world).settle);
    options.unfinished = Duration::from_millis(actor.rules.unfinished);
    options.lease = Duration::from_millis(actor.rules.lease);
    options
}

/// Cleans up once.
pub async fn clean(actor: &Actor, store: &Arc<dyn Store>, options: &Options) -> Result<Report, CleanupError> {
    cleanup(store, VAULT, options, &mut || actor.identity(), &Unwatched).await
}

impl Actor {
    /// Cleans up with the usual options.
    pub async fn clean_usually(&self) -> Result<Report, CleanupError> {
        clean(self, &self.store(), &options(self)).await
    }
}
