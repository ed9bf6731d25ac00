//! A folder that is being restored into.
//!
//! Whoever works in a folder holds it. Each change in a folder changes its time, and a folder may forbid changes, so its
//! own metadata comes last: when the last holder lets go, and after all folders in it, which hold it too. So nothing
//! has to remember which folders are still to be done.

use std::sync::Arc;

use content::tree::Entry;
use files::{Details, Stat, TargetFolder};

use super::metadata;
use super::session::Session;

pub(super) struct Folder {
    pub session: Arc<Session>,
    /// Its path in the snapshot.
    pub path: Vec<u8>,
    /// `None` in a dry run when it would have to be made.
    pub place: Option<Arc<TargetFolder>>,
    parent: Option<Arc<Folder>>,
    /// To be set when the last one lets go.
    metadata: Option<Box<(Stat, Details)>>,
}

impl Folder {
    /// The folder for `path`; with an entry, its metadata is set in the end.
    pub(super) fn new(
        session: &Arc<Session>,
        parent: Option<&Arc<Folder>>,
        path: &[u8],
        place: Option<Arc<TargetFolder>>,
        entry: Option<&Entry>,
    ) -> Arc<Self> {
        let metadata = entry.map(|entry| Box::new((metadata::stat(entry), metadata::details(entry))));
        Arc::new(Self {
            session: session.clone(),
            path: path.to_vec(),
            place,
            parent: parent.cloned(),
            metadata,
        })
    }

    /// Whether nothing can be in it but what this restore put there.
    pub(super) fn is_fresh(&self) -> bool {
        self.place.as_ref().is_none_or(|place| place.fresh())
    }

    fn seal(&mut self) {
        let Some(metadata) = self.metadata.take() else { return };
        let (Some(place), false) = (&self.place, self.session.request.dry_run) else { return };
        let (stat, details) = *metadata;
        let problems = place.apply_to_self(&stat, &details, &self.session.apply);
        metadata::note(&self.session, &self.path, &problems);
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.seal();
        // One by one and not each inside the other: a chain may be thousands deep.
        let mut parent = self.parent.take();
        while let Some(mut last) = parent.and_then(Arc::into_inner) {
            last.seal();
            parent = last.parent.take();
        }
    }
}
