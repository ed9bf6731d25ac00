//! A thief who took over a machine that only adds.
//!
//! `docs/threat-model.md` says that whoever holds the store's own credential can delete, and that keeping a machine from
//! that needs a server between it and the store. What is played here is that server's promise: a credential that creates
//! packs, fragments, snapshots and leases, replaces its own leases, and neither deletes anything nor writes marks,
//! condemnations or relocations. With the write secret the thief signs snapshots as the owner does.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use store::Store;
use vault::fragment::{self, PackRecord};
use vault::lease::{Lease, Role};
use vault::pack::{PackKind, read_trailer};
use vault::snapshot::{self, PackNeed, SNAPSHOT_MAX};
use vault::{ObjectHash, PackId, SystemId, VaultError, name};

use super::Actor;
use crate::toy::{self, VAULT};
use crate::world::lock;

/// Does harm for a while.
pub async fn steal(actor: Actor) {
    let deeds = {
        let mut world = lock(&actor.world);
        world.oracle.was_robbed = true;
        world.random.between(1, 6)
    };
    for _ in 0..deeds {
        let outcome = harm(&actor).await;
        lock(&actor.world).count("misdeeds", 1);
        actor.note(|| format!("thief: {:?}", outcome.map_err(|error| error.to_string())));
    }
}

async fn harm(actor: &Actor) -> Result<(), VaultError> {
    let store = actor.store_of_an_agent();
    let store = store.as_ref();
    let deed = lock(&actor.world).random.below(9);
    match deed {
        0 => garbage(actor, store).await,
        1 => forge_snapshot(actor, store).await,
        2 => replay(actor, store).await,
        3 => lease_for_ever(actor).await,
        4 => false_pack(actor, store).await,
        5 => wrong_fragment(actor, store).await,
        6 => try_what_is_forbidden(actor, store).await,
        7 => lying_fragment(actor, store).await,
        _ => false_pack_with_snapshot(actor, store).await,
    }
}

/// Bytes that are nothing, under a name that could be something.
async fn garbage(actor: &Actor, store: &dyn Store) -> Result<(), VaultError> {
    let bytes = Bytes::copy_from_slice(&actor.identity());
    let hash = ObjectHash::of(&bytes);
    let names = [
        hash.pack_name(),
        hash.index_name(),
        format!("snapshots/{}", ObjectHash::of(b"?")),
        format!("packs/{hash}"),
        format!("index/{hash}.bak"),
    ];
    let name = lock(&actor.world).random.pick(&names).cloned().unwrap_or_default();
    Ok(store.put(&name, vec![bytes]).await?)
}

/// The packs that some snapshot in the store needs.
async fn some_needs(actor: &Actor, store: &dyn Store) -> Result<Vec<PackNeed>, VaultError> {
    let listed = store.list(name::SNAPSHOTS).await?;
    let Some(chosen) = lock(&actor.world).random.pick(&listed).cloned() else { return Ok(Vec::new()) };
    let bytes = store.get(&chosen.name, SNAPSHOT_MAX).await?;
    let id = ObjectHash::from_object_name(&chosen.name).unwrap_or_default();
    Ok(snapshot::decode(&bytes, id, VAULT).map(|object| object.envelope.needs).unwrap_or_default())
}

/// A snapshot that needs more of true packs than is there, in objects that are something else.
async fn forge_snapshot(actor: &Actor, store: &dyn Store) -> Result<(), VaultError> {
    let needs = some_needs(actor, store).await?;
    let mut forged = BTreeMap::new();
    {
        let random = &mut lock(&actor.world).random;
        for need in needs {
            let object = if random.permille(500) { need.object } else { ObjectHash::of(&random.identity()) };
            let more = random.between(0, 9) as u32;
            let segments = need.segments.iter().chain([more]).collect();
            forged.insert(need.pack, PackNeed { pack: need.pack, object, segments });
        }
    }
    put_snapshot(actor, store, forged).await
}

async fn put_snapshot(
    actor: &Actor,
    store: &dyn Store,
    needs: BTreeMap<PackId, PackNeed>,
) -> Result<(), VaultError> {
    let sequence = lock(&actor.world).random.below(1 << 20);
    let body = if actor.rules.doubles { forged_body(actor, &needs) } else { Vec::new() };
    let (id, _, bytes) =
        toy::snapshot(SystemId::new([66; 16]), sequence, ObjectHash::default(), needs, &body);
    Ok(store.put(&id.snapshot_name(), vec![bytes]).await?)
}

/// A body that names some of what there is room for in the segments, or that nobody can read.
fn forged_body(actor: &Actor, needs: &BTreeMap<PackId, PackNeed>) -> Vec<Bytes> {
    let random = &mut lock(&actor.world).random;
    if random.permille(100) {
        return Vec::new();
    }
    let all = needs.values().flat_map(|need| {
        let spots = need.segments.iter().flat_map(toy::spots_in);
        spots.map(|spot| (need.pack, spot))
    });
    toy::body(all.filter(|_| random.permille(500)).collect::<Vec<_>>())
}

/// An object that was there before, perhaps deleted since.
async fn replay(actor: &Actor, store: &dyn Store) -> Result<(), VaultError> {
    let old = {
        let mut world = lock(&actor.world);
        let copies: Vec<_> =
            world.oracle.copies.iter().map(|(name, bytes)| (name.clone(), bytes.clone())).collect();
        let old = world.random.pick(&copies).cloned();
        // It says what is true no more: with the write secret a thief could say it as well.
        if let Some((name, _)) = &old
            && name.starts_with(name::INDEX)
            && world.objects.current(name).is_none()
        {
            world.oracle.forge(ObjectHash::from_object_name(name).unwrap_or_default());
        }
        old
    };
    match old {
        Some((name, bytes)) => Ok(store.put(&name, vec![bytes]).await?),
        None => Ok(()),
    }
}

/// A lease that nobody ends, for a time that nobody waits.
async fn lease_for_ever(actor: &Actor) -> Result<(), VaultError> {
    let store = actor.store_of_an_agent();
    let role = if actor.chance(700) { Role::Writer } else { Role::Collector };
    let duration = Duration::from_secs(lock(&actor.world).random.below(3 * 24 * 3600));
    Lease::begin(&store, VAULT, actor.identity(), SystemId::default(), role, duration).await.map(drop)
}

/// A pack of the right form that says to hold segments of a true one, and holds other bytes. The name of it.
async fn put_false_pack(
    actor: &Actor,
    store: &dyn Store,
    of: PackId,
    segments: u32,
) -> Result<ObjectHash, VaultError> {
    let pack = toy::false_pack(PackId::new(actor.identity()), of, segments as usize);
    lock(&actor.world).oracle.forge(pack.hash);
    let records = [toy::record(&pack)];
    store.put(&pack.hash.pack_name(), pack.parts).await?;
    if actor.chance(500) {
        let bytes = fragment::encode(VAULT, &records);
        store.put(&ObjectHash::of(&bytes).index_name(), vec![bytes]).await?;
    }
    Ok(pack.hash)
}

async fn false_pack(actor: &Actor, store: &dyn Store) -> Result<(), VaultError> {
    let needs = some_needs(actor, store).await?;
    let Some(need) = lock(&actor.world).random.pick(&needs).cloned() else { return Ok(()) };
    let segments = need.segments.iter().last().map_or(1, |last| last + 1);
    put_false_pack(actor, store, need.pack, segments).await.map(drop)
}

/// … and a snapshot that says that this is where the true pack is.
async fn false_pack_with_snapshot(actor: &Actor, store: &dyn Store) -> Result<(), VaultError> {
    let needs = some_needs(actor, store).await?;
    let Some(need) = lock(&actor.world).random.pick(&needs).cloned() else { return Ok(()) };
    let segments = need.segments.iter().last().map_or(1, |last| last + 1);
    let object = put_false_pack(actor, store, need.pack, segments).await?;
    put_snapshot(actor, store, BTreeMap::from([(need.pack, PackNeed { object, ..need })])).await
}

/// A fragment that pairs the trailer of one true pack with the name of another object of the same size.
async fn wrong_fragment(actor: &Actor, store: &dyn Store) -> Result<(), VaultError> {
    let needs = some_needs(actor, store).await?;
    let (one, other) = {
        let random = &mut lock(&actor.world).random;
        (random.pick(&needs).cloned(), random.pick(&needs).cloned())
    };
    let (Some(one), Some(other)) = (one, other) else { return Ok(()) };
    let (Ok((_, trailer, size)), Ok((_, _, same))) =
        (read_trailer(store, one.object, VAULT).await?, read_trailer(store, other.object, VAULT).await?)
    else {
        return Ok(());
    };
    if size != same || one.object == other.object {
        return Ok(());
    }
    let bytes = fragment::encode(VAULT, &[PackRecord { hash: other.object, size, trailer }]);
    let name = ObjectHash::of(&bytes);
    lock(&actor.world).oracle.forge(name);
    Ok(store.put(&name.index_name(), vec![bytes]).await?)
}

/// A fragment that gives a true trailer to an object of the thief's own, made to have the same size.
async fn lying_fragment(actor: &Actor, store: &dyn Store) -> Result<(), VaultError> {
    let needs = some_needs(actor, store).await?;
    let Some(need) = lock(&actor.world).random.pick(&needs).cloned() else { return Ok(()) };
    let Ok((trailer, encoded, size)) = read_trailer(store, need.object, VAULT).await? else { return Ok(()) };
    let contents: Vec<_> = trailer.rows.iter().map(|_| 0).collect();
    let own = toy::pack(PackId::new(actor.identity()), PackKind::Data, &contents);
    lock(&actor.world).oracle.forge(own.hash);
    if own.size != size {
        return Ok(());
    }
    store.put(&own.hash.pack_name(), own.parts).await?;
    let bytes = fragment::encode(VAULT, &[PackRecord { hash: own.hash, size, trailer: encoded }]);
    Ok(store.put(&ObjectHash::of(&bytes).index_name(), vec![bytes]).await?)
}

/// What the credential does not allow is refused.
async fn try_what_is_forbidden(actor: &Actor, store: &dyn Store) -> Result<(), VaultError> {
    let listed = store.list(name::PACKS).await?;
    let Some(chosen) = lock(&actor.world).random.pick(&listed).cloned() else { return Ok(()) };
    let garbage = || vec![Bytes::from_static(b"garbage")];
    let outcomes = [
        store.delete(&chosen.name).await,
        store.replace(&chosen.name, garbage()).await,
        store.put("condemned/00", garbage()).await,
        store.put("relocations/00", garbage()).await,
    ];
    if outcomes.iter().any(Result::is_ok) {
        let problem = "the thief's credential allows too much".to_owned();
        lock(&actor.world).oracle.violation.get_or_insert(problem);
    }
    // A put of what is there succeeds and does nothing.
    Ok(store.put(&chosen.name, garbage()).await?)
}
