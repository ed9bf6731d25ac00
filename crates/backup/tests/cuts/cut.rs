//! Cutting a run at every one of its store calls.

use std::sync::Arc;

use store::{Fault, Faulty, Kind, MemoryStore, Rule, Store, When};

/// Where a run is cut, and how. Calls are counted from 0.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// From this change on, no change arrives: the machine died.
    Dead(u64),
    /// This call, whatever it asks for, fails and does nothing. Later ones work.
    Refused(u64),
    /// This change is made, and whoever asked for it is told that it failed. Later calls work.
    Unheard(u64),
}

impl Cut {
    fn rule(self) -> Rule {
        let kind = Kind::Unavailable;
        match self {
            Self::Dead(at) => Rule::new(When::From(at), Fault::Error(kind)).on_changes(),
            Self::Refused(at) => Rule::new(When::Nth(at), Fault::Error(kind)),
            Self::Unheard(at) => Rule::new(When::Nth(at), Fault::ErrorAfter(kind)).on_changes(),
        }
    }
}

/// Runs on a copy of `base` for each cut there is, then shows what the cut left. `run` tells whether it got to its end,
/// as it must when nothing is cut. How many cuts there were.
pub fn at_every_call(
    base: &MemoryStore,
    run: impl Fn(&Arc<dyn Store>) -> bool,
    mut after: impl FnMut(Cut, &Arc<dyn Store>),
) -> u64 {
    let mut cuts = 0;
    for kind in [Cut::Dead, Cut::Refused, Cut::Unheard] {
        for at in 0.. {
            let cut = kind(at);
            // Shown when the test fails.
            eprintln!("{cut:?}");
            let store: Arc<dyn Store> = Arc::new(base.clone());
            let faulty = Arc::new(Faulty::new(store.clone(), 0, vec![cut.rule()]));
            let cutting: Arc<dyn Store> = faulty.clone();
            let is_done = run(&cutting);
            if faulty.dealt() == 0 {
                assert!(is_done, "nothing was in its way");
                break;
            }
            after(cut, &store);
            cuts += 1;
        }
    }
    println!("{cuts} cuts");
    cuts
}
