//! Bringing packs, several at once within a bound in bytes, each hashed before it is written.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use store::Store;

use super::{CopyError, Copying, Options};
use crate::error::{Damage, VaultError};
use crate::fragment::PackRecord;
use crate::moving::{Mover, damage_of, read_segments};
use crate::name::{ObjectHash, VaultId};
use crate::pack::{PackKind, Tail, Trailer, read_structure, read_trailer, trailer_in_tail};
use crate::segments::SegmentSet;
use crate::snapshot::PackNeed;

/// How many packs are on their way at once …
const AT_ONCE: usize = 8;
/// … and how many bytes of them: a pack is held as a whole, because stores take objects as a whole.
const BYTES_AT_ONCE: u64 = 160 << 20;
/// What is read back is read in pieces of this many bytes.
const PIECE: u64 = 8 << 20;

/// An object lacks what a snapshot says is in it: of no use for that snapshot. Who signed it may have lied.
pub(super) const NOT_HELD: Damage = Damage::Nonsense("it does not hold the pack it should");

/// What became of one pack.
enum Arrival {
    /// It is at the target.
    There(PackRecord),
    /// It is not whole at the source.
    BadHere(Damage),
    /// What the target gives back is not what was written.
    BadThere(Damage),
}

impl Copying<'_> {
    /// Copies these objects. Those that are damaged are noted.
    pub(super) async fn fetch(&mut self, objects: Vec<ObjectHash>) -> Result<(), CopyError> {
        let mut waiting = objects.into_iter().peekable();
        let mut under_way = FuturesUnordered::new();
        let mut bytes = 0;
        loop {
            self.report.ended_early |= self.watch.is_cancelled();
            while !self.report.ended_early
                && under_way.len() < AT_ONCE
                && let Some(object) = waiting.peek().copied()
            {
                let size = self.sizes.get(&object).copied().unwrap_or_default();
                if bytes + size > BYTES_AT_ONCE && !under_way.is_empty() {
                    break;
                }
                waiting.next();
                bytes += size;
                let (source, target) = (self.source.clone(), self.target.clone());
                let (vault, options) = (self.descriptor.vault, self.options.clone());
                under_way.push(async move {
                    (object, size, transfer(&source, &target, object, size, vault, &options).await)
                });
            }
            let next = match select(under_way.next(), &mut self.tick).await {
                Either::Left((next, _)) => Ok(next),
                Either::Right((due, _)) => Err(due),
            };
            let (object, size, outcome) = match next {
                Err(due) => {
                    if self.watch.is_cancelled() {
                        // What is on its way is given up: it arrives as a whole, or not at all.
                        self.report.ended_early = true;
                        return Ok(());
                    }
                    self.wake(due).await?;
                    continue;
                }
                Ok(None) => return Ok(()),
                Ok(Some(done)) => done,
            };
            bytes -= size;
            self.watch.read(size);
            match outcome? {
                Arrival::There(record) => {
                    self.report.packs_copied += 1;
                    self.report.bytes_copied += size;
                    self.there.packs.insert(object, size);
                    self.record(record).await?;
                }
                Arrival::BadHere(damage) => {
                    self.torn.note(object, &damage);
                    self.fault(self.source.location(), object.pack_name(), damage.clone());
                    self.bad.insert(object, damage);
                }
                Arrival::BadThere(damage) => {
                    self.fault(self.target.location(), object.pack_name(), damage.clone());
                    self.bad.insert(object, damage);
                }
            }
        }
    }

    /// Copies the segments of these packs that are in an object into a new one.
    pub(super) async fn move_segments(
        &mut self,
        object: ObjectHash,
        needs: &[PackNeed],
    ) -> Result<(), CopyError> {
        let mut mover = Mover::new(self.target, self.descriptor.vault, self.options.data_class.as_ref());
        match self.torn.contains(object) {
            true => self.move_whole(object, needs, &mut mover).await?,
            false => self.move_all(object, needs, &mut mover).await?,
        }
        mover.end_pack().await?;
        self.report.segments_moved += mover.segments;
        self.report.bytes_copied += mover.bytes;
        for record in mover.packs {
            self.there.packs.insert(record.hash, record.size);
            self.record(record).await?;
        }
        for moved in mover.moved {
            self.there.holders.add(moved.clone());
            self.moved.push(moved);
        }
        Ok(())
    }

    /// Takes these packs out of an object, each with all that is there of it.
    async fn move_all(
        &mut self,
        object: ObjectHash,
        needs: &[PackNeed],
        mover: &mut Mover<'_>,
    ) -> Result<(), CopyError> {
        let (vault, location) = (self.descriptor.vault, self.source.location());
        let trailer = match read_trailer(self.source.as_ref(), object, vault).await {
            Ok(Ok((trailer, ..))) => Ok(trailer),
            Ok(Err(damage)) => Err(damage),
            Err(error) => Err(damage_of(error)?),
        };
        let trailer = match trailer {
            Ok(trailer) => trailer,
            Err(damage) => {
                self.fault(location, object.pack_name(), damage.clone());
                self.bad.insert(object, damage);
                return Ok(());
            }
        };
        for need in needs {
            // All that is there and not only what is needed: other snapshots at the target may need it.
            let rows = trailer.rows_of(need.pack);
            let there: SegmentSet = rows.iter().map(|row| row.number).collect();
            let read = match trailer.origin(need.pack) {
                Some(origin) if there.contains_all(&need.segments) => {
                    let read = read_segments(self.source.as_ref(), object, &rows, self.watch).await?;
                    read.map(|sealed| (origin, sealed))
                }
                _ => Err(NOT_HELD),
            };
            match read {
                Ok((origin, sealed)) => mover.place(trailer.kind, origin, sealed, self.random).await?,
                Err(damage) => {
                    if damage != NOT_HELD {
                        self.torn.note(object, &damage);
                    }
                    self.fault(location.clone(), object.pack_name(), damage.clone());
                    self.bad.insert(object, damage);
                }
            }
        }
        Ok(())
    }
}

/// Reads a pack from the source, compares it with its name, and stores it at the target.
async fn transfer(
    source: &Arc<dyn Store>,
    target: &Arc<dyn Store>,
    object: ObjectHash,
    size: u64,
    vault: VaultId,
    options: &Options,
) -> Result<Arrival, VaultError> {
    let name = object.pack_name();
    let bytes = match source.get(&name, size).await {
        Ok(bytes) => bytes,
        Err(error) => return damage_of(error).map(Arrival::BadHere),
    };
    let record = match examine(&bytes, object, vault) {
        Ok(record) => record,
        Err(damage) => return Ok(Arrival::BadHere(damage)),
    };
    let is_data = Trailer::decode(&record.trailer).is_ok_and(|trailer| trailer.kind == PackKind::Data);
    let class = options.data_class.as_ref().filter(|_| is_data);
    store::put_in(target.as_ref(), &name, vec![bytes], class).await?;
    if options.verify
        && let Err(damage) = read_back(target, &name, size, object).await?
    {
        return Ok(Arrival::BadThere(damage));
    }
    Ok(Arrival::There(record))
}

/// What an index says of the pack, if its bytes are those of its name.
pub(crate) fn examine(bytes: &Bytes, object: ObjectHash, vault: VaultId) -> Result<PackRecord, Damage> {
    if ObjectHash::of(bytes) != object {
        return Err(Damage::HashMismatch);
    }
    read_structure(bytes, vault)?;
    let size = bytes.len() as u64;
    match trailer_in_tail(bytes, size)? {
        // A copy of its own: the pack's bytes are let go.
        Tail::Whole(trailer) => {
            Ok(PackRecord { hash: object, size, trailer: Bytes::copy_from_slice(&trailer) })
        }
        Tail::Need(_) => Err(Damage::Nonsense("its trailer cannot be that long")),
    }
}

/// Whether the object of `size` bytes hashes to its name.
async fn read_back(
    store: &Arc<dyn Store>,
    name: &str,
    size: u64,
    hash: ObjectHash,
) -> Result<Result<(), Damage>, VaultError> {
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    while at < size {
        let end = size.min(at + PIECE);
        match store.get_range(name, at..end).await {
            Ok(bytes) => drop(hasher.update(&bytes)),
            Err(error) => return damage_of(error).map(Err),
        }
        at = end;
    }
    let is_same = *hasher.finalize().as_bytes() == *hash.bytes();
    Ok(if is_same { Ok(()) } else { Err(Damage::HashMismatch) })
}
