//! What was asked for, as a tree: the roots and the ancestors on the way to them.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::WalkError;

/// One folder or file on the way to a root, or a root itself.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// This is a root: everything below is asked for.
    pub root: bool,
    /// Roots below, and the ways to them; also kept below another root, because what was named in so
    /// many words is walked even where a rule would leave it out.
    pub children: BTreeMap<Vec<u8>, Arc<Plan>>,
}

/// How much of a folder is shown.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    /// Everything that no rule leaves out; and the roots planned below in any case.
    All(Option<Arc<Plan>>),
    /// Only the children planned here.
    Only(Arc<Plan>),
}

impl Scope {
    /// The scope of something that the plan names, as a part of a folder that is not shown whole.
    pub fn of(plan: &Arc<Plan>) -> Scope {
        if plan.root { Scope::All(Some(plan.clone())) } else { Scope::Only(plan.clone()) }
    }

    /// What is planned for a child of this name.
    pub fn planned(&self, name: &[u8]) -> Option<&Arc<Plan>> {
        match self {
            Scope::All(plan) => plan.as_ref()?.children.get(name),
            Scope::Only(plan) => plan.children.get(name),
        }
    }
}

/// Finds each root and merges them into one tree from the top.
pub(crate) fn plan(roots: &[PathBuf]) -> Result<Arc<Plan>, WalkError> {
    if roots.is_empty() {
        return Err(WalkError::NoRoots);
    }
    let mut top = Builder::default();
    for root in roots {
        let found = resolve(root).map_err(|source| WalkError::Root { path: root.clone(), source })?;
        let mut place = &mut top;
        for component in found.components() {
            if let Component::Normal(name) = component {
                place = place.children.entry(name.as_encoded_bytes().to_vec()).or_default();
            }
        }
        place.root = true;
    }
    Ok(top.finish())
}

/// The absolute path of a root without symlinks above its last component.
fn resolve(root: &Path) -> std::io::Result<PathBuf> {
    let written = root.as_os_str().as_encoded_bytes();
    let follow = written.ends_with(b"/") || written.ends_with(b"/.");
    match root.file_name() {
        Some(name) if !follow => {
            let parent = match root.parent() {
                Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
                Some(parent) => parent,
                None => Path::new("/"),
            };
            let found = parent.canonicalize()?.join(name);
            found.symlink_metadata()?;
            Ok(found)
        }
        // `/`, `.`, `..`, `folder/` and the like: there is no last component that could be a link.
        _ => root.canonicalize(),
    }
}

#[derive(Default)]
struct Builder {
    root: bool,
    children: BTreeMap<Vec<u8>, Builder>,
}

impl Builder {
    fn finish(self) -> Arc<Plan> {
        let children = self.children.into_iter().map(|(name, child)| (name, child.finish())).collect();
        Arc::new(Plan { root: self.root, children })
    }
}
