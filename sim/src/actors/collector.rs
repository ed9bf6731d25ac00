//! The collector: a cleanup with options as they come.

use std::sync::Arc;
use std::time::Duration;

use store::Store;
use vault::check::Unwatched;
use vault::collect::{CleanupError, Options, Owner, Report, cleanup, cleanup_with};

use super::Actor;
use super::owner::KeyHolder;
use crate::toy::VAULT;
use crate::world::lock;

/// Cleans up once, as a user would: whatever comes of it.
pub async fn collect(actor: Actor) {
    collect_with(actor, None).await;
}

/// The same for whoever has a key: what is mostly dead is regrouped. Where the store is in order at once, what was closed
/// is looked at again right away, as a user's one command does.
pub async fn regroup(actor: Actor) {
    let mut owner = KeyHolder::new(&actor);
    let closed = collect_with(actor.clone(), Some(&mut owner)).await;
    if closed > 0 && lock(&actor.world).settle == 0 {
        collect_with(actor, Some(&mut owner)).await;
    }
}

/// How many packs it closed.
async fn collect_with(actor: Actor, owner: Option<&mut dyn Owner>) -> u64 {
    let mut options = options(&actor);
    {
        let random = &mut lock(&actor.world).random;
        options.max_unused = random.pick(&[0.0, 0.05, 0.3, 1.0]).copied().unwrap_or_default();
        options.max_move = random.permille(200).then(|| random.below(30_000));
        options.dry_run = random.permille(30);
    }
    let (store, random) = (actor.store(), &mut || actor.identity());
    let outcome = cleanup_with(&store, VAULT, &options, owner, random, &Unwatched).await;
    count(&actor, &outcome);
    actor.note(|| match &outcome {
        Ok(report) => format!(
            "cleanup: condemned {}+{}, deleted {}+{}, moved {}, closed {}, regrouped {}, kept {}, waiting {}",
            report.snapshots_condemned,
            report.packs_condemned,
            report.snapshots_deleted,
            report.packs_deleted,
            report.segments_moved,
            report.packs_closed,
            report.packs_regrouped,
            report.kept,
            report.waiting.len()
        ),
        Err(error) => format!("cleanup: {error}"),
    });
    outcome.map_or(0, |report| report.packs_closed)
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
            world.count("packs closed", report.packs_closed);
            world.count("packs regrouped", report.packs_regrouped);
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

    /// Regroups whatever is worth it, with the usual options.
    pub async fn regroup_usually(&self) -> Result<Report, CleanupError> {
        let (mut owner, random) = (KeyHolder::new(self), &mut || self.identity());
        let outcome =
            cleanup_with(&self.store(), VAULT, &options(self), Some(&mut owner), random, &Unwatched).await;
        count(self, &outcome);
        outcome
    }
}
