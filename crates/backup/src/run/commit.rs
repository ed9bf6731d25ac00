//! The commit: the snapshot, written when everything it needs is stored.

use std::time::Instant;

use bytes::Bytes;
use content::body::Body;
use content::envelope::{DataKey, Place, Purpose};
use content::index::Index;
use content::segment::{Compression, Grain, Sealer};
use vault::snapshot::{self, Envelope, PackNeed};
use vault::trash::{self, Mark};
use vault::writer::Outcome;
use vault::{ObjectHash, SnapshotId};

use super::session::{Session, now, path_bytes};
use super::{BackupReport, PipelineOutcome};
use crate::Error;

/// How much of a body is sealed as one part.
const PART: usize = 4 << 20;

/// Commits. `None` when what the snapshot relies on went away while this machine slept: back up once more.
pub(super) fn finish(
    session: &Session<'_>,
    outcome: PipelineOutcome,
    begun: Instant,
) -> Result<Option<BackupReport>, Error> {
    let PipelineOutcome { mut assembled, packed } = outcome;
    if assembled.discard_index {
        Index::discard(&session.vault.cache_folder().join("index")).map_err(Error::Cache)?;
    }
    assembled.statistics.packs_new = packed.packs;
    assembled.statistics.bytes_stored = packed.bytes_stored;
    let statistics = assembled.statistics.clone();
    let problems = assembled.problems.clone();
    let report = |snapshot| BackupReport { snapshot, statistics, problems, duration: begun.elapsed() };
    if session.request.dry_run {
        return Ok(Some(report(None)));
    }
    session.progress.checkpoint()?;
    session.progress.set_stage("committing");
    let needs = needs(session, &assembled, &packed)?;
    let body = body(session, &assembled);
    let envelope = Envelope {
        vault: session.vault.id(),
        system: session.system,
        job: [0; 16],
        sequence: session.last.map_or(0, |(sequence, _)| sequence + 1),
        time: (body.finished.seconds, body.finished.nanoseconds),
        previous: session.last.map_or_else(ObjectHash::default, |(_, id)| id),
        files: assembled.files,
        bytes: assembled.bytes,
        needs,
    };
    let Some(id) = write(session, &envelope, &body)? else { return Ok(None) };
    if let Some(notes) = assembled.notes {
        notes.keep(id);
    }
    session.journal().finish();
    Ok(Some(report(Some(id))))
}

fn needs(
    session: &Session<'_>,
    assembled: &super::assemble::Assembled,
    packed: &super::pack::Packed,
) -> Result<Vec<PackNeed>, Error> {
    let before: std::collections::HashMap<_, _> = session
        .parent
        .iter()
        .flat_map(|parent| &parent.envelope().needs)
        .map(|need| (need.pack, need.object))
        .collect();
    let mut needs = Vec::with_capacity(assembled.needs.len());
    for (pack, segments) in &assembled.needs {
        let named = [packed.objects.get(pack), assembled.objects.get(pack), before.get(pack)];
        let found =
            named.into_iter().flatten().find_map(|object| session.holders.find(*pack, *object, segments));
        let object = found.ok_or_else(|| {
            Error::damaged(format!("pack {pack}"), vault::error::Damage::Nonsense("nothing says where it is"))
        })?;
        needs.push(PackNeed { pack: *pack, object, segments: segments.clone() });
    }
    needs.sort_by_key(|need| need.pack);
    Ok(needs)
}

fn body(session: &Session<'_>, assembled: &super::assemble::Assembled) -> Body {
    Body {
        host: session.request.host.clone(),
        user: user_name(),
        program: concat!("strongroom ", env!("CARGO_PKG_VERSION")).to_owned(),
        started: session.started,
        finished: now(),
        paths: path_bytes(&session.paths),
        tags: session.request.tags.clone(),
        options: session.request.options.clone(),
        root: assembled.root,
        statistics: assembled.statistics.clone(),
        problems: assembled.problems.clone(),
    }
}

/// Who runs this: a name, or the number when there is none.
fn user_name() -> String {
    let id = files::machine::user_id();
    let name = files::owner::Names::new().user_name(id);
    name.map_or_else(|| id.to_string(), |name| String::from_utf8_lossy(&name).into_owned())
}

fn write(session: &Session<'_>, envelope: &Envelope, body: &Body) -> Result<Option<SnapshotId>, Error> {
    let fail = |error| Error::content("the new snapshot", error);
    let keyring = session.vault.keyring();
    let keys = keyring.current();
    let place = Place { vault: envelope.vault, id: *envelope.system.bytes(), purpose: Purpose::Body };
    let (key, key_envelope) = DataKey::generate(keys, place).map_err(fail)?;
    let mut sealer = Sealer::new(Compression::Default);
    let mut parts: Vec<Bytes> = Vec::new();
    for (number, piece) in body.encode().chunks(PART).enumerate() {
        parts.push(sealer.seal(piece, Grain::Fine, &key, number as u32).map_err(fail)?);
    }
    let signer = keyring.verifying_key();
    let mut bytes = snapshot::encode_unsigned(envelope, keys.number(), &key_envelope, &parts, &signer);
    let signature = keyring.sign(snapshot::SIGNING_CONTEXT, &bytes);
    bytes.extend_from_slice(&signature);
    let id = ObjectHash::of(&bytes);
    let tenure = session.tenure.as_ref().ok_or(Error::Interrupted)?;
    let bytes = bytes.into();
    match tenure.commit(id, &envelope.needs, &bytes)? {
        Outcome::Committed => {
            session.vault.saw(id, envelope.system, envelope.sequence);
            if let Some(cached) = session.vault.cached() {
                session.vault.wait(cached.remember(&id.snapshot_name(), bytes));
            }
            Ok(Some(id))
        }
        Outcome::Lost { written, .. } => {
            if written {
                discard(session, id, envelope)?;
            }
            Ok(None)
        }
        Outcome::Restless { .. } => Err(Error::Restless),
    }
}

/// Puts a snapshot that was written too late, and is not whole, into the trash.
fn discard(session: &Session<'_>, id: SnapshotId, envelope: &Envelope) -> Result<(), Error> {
    let mark = Mark {
        nonce: content::random::identity(),
        snapshot: id,
        system: envelope.system,
        sequence: envelope.sequence,
        previous: envelope.previous,
        written: now().seconds,
        reason: "not whole: its machine slept during the backup, and what it relied on was collected"
            .to_owned(),
    };
    session.vault.wait(trash::forget(session.vault.store().as_ref(), session.vault.id(), &mark))?;
    Ok(())
}
