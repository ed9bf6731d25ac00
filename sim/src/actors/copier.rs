//! Who copies the vault to another store.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use vault::SnapshotId;
use vault::check::Unwatched;
use vault::copy::{Alarm, Due, Options, Report};
use vault::snapshot::PackNeed;

use super::Actor;
use crate::actor_store::pause;
use crate::oracle::Content;
use crate::toy::Spot;
use crate::world::{Place, World, lock};

/// What a copy said at its end, for whoever asks.
pub type Arrivals = Arc<Mutex<Option<Result<Report, String>>>>;

/// Copies all that is there. What it says to have arrived must be whole at the target from then on.
pub async fn copy(actor: Actor, arrivals: Arrivals) {
    let (source, target) = (actor.at(Place::Vault).store(), actor.at(Place::Copy).store());
    let third = actor.rules.lease / 3;
    let (world, number) = (actor.world.clone(), actor.number);
    let timer = move || -> Alarm {
        let world = world.clone();
        Box::pin(async move {
            pause(&world, number, third).await;
            Due::Renewal
        })
    };
    let options = Options {
        verify: actor.chance(300),
        lease: Duration::from_millis(actor.rules.lease),
        ..Options::default()
    };
    let random = &mut || actor.identity();
    let outcome = vault::copy::copy(&source, &target, &options, &timer, random, &Unwatched).await;
    actor.note(|| match &outcome {
        Ok(report) => format!(
            "copy: {} arrived, {} there, {} left behind, {} packs, {} segments moved, {:?}",
            report.copied.len(),
            report.present,
            report.left_behind.len(),
            report.packs_copied,
            report.segments_moved,
            report.faults
        ),
        Err(error) => format!("copy: {error}"),
    });
    if let Ok(report) = &outcome {
        promise(&actor, report);
    }
    let mut arrivals = arrivals.lock().unwrap_or_else(PoisonError::into_inner);
    *arrivals = Some(outcome.map_err(|error| error.to_string()));
}

/// What a copy says has arrived is promised at the target; and all that is there when it says that nothing is missing.
fn promise(actor: &Actor, report: &Report) {
    let mut world = lock(&actor.world);
    world.count("copies", 1);
    world.count("snapshots copied", report.copied.len() as u64);
    world.count("packs copied", report.packs_copied);
    world.count("segments moved by copies", report.segments_moved);
    let World { oracle, copy, now, .. } = &mut *world;
    let mut arrived = report.copied.clone();
    if report.is_complete() {
        let known = oracle.promised(*now);
        arrived.extend(known.into_iter().filter(|id| copy.objects.current(&id.snapshot_name()).is_some()));
    }
    for id in arrived {
        let Some((needs, contents)) = oracle.expected(id) else { continue };
        let (needs, contents): (Vec<PackNeed>, Vec<_>) = (needs.to_vec(), contents.to_vec());
        promise_once(&mut copy.oracle, id, needs, contents, *now, &copy.objects);
    }
    world.hear_of_the_copy();
}

fn promise_once(
    oracle: &mut crate::oracle::Oracle,
    id: SnapshotId,
    needs: Vec<PackNeed>,
    contents: Vec<(vault::PackId, Spot, Content)>,
    now: crate::objects::Millis,
    objects: &crate::objects::Objects,
) {
    // What was promised, forgotten and gone is not promised again by an old report.
    if oracle.expected(id).is_none() {
        oracle.promise(id, needs, contents, now, objects);
    }
}
