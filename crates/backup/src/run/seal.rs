//! Sealers: compress, seal and prove segments, one thread for each core.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use content::segment::{Compression, Sealer};
use crossbeam_channel::{Receiver, Sender};

use super::lane::{PackEnd, PackInFlight, SealJob};
use crate::Error;

/// What the pack stage takes.
pub(super) enum ToPack {
    /// The next sealed segment of a pack, in any order.
    Sealed { pack: Arc<PackInFlight>, number: u32, bytes: Bytes },
    /// No more segments will come to a pack than its end lists.
    End(PackEnd),
    /// Nothing more will come at all, and all is well.
    Finished,
}

/// Runs one sealer until there are no more jobs.
pub(super) fn run(
    compression: Compression,
    jobs: &Receiver<SealJob>,
    output: &Sender<ToPack>,
) -> Result<(), Error> {
    let mut sealer = Sealer::new(compression);
    for SealJob { pack, number, raw, grain } in jobs {
        let bytes = sealer
            .seal(&raw, grain, &pack.key, number)
            .map_err(|error| Error::content(format!("new pack {}, segment {number}", pack.id), error))?;
        pack.raw_done.fetch_add(raw.len() as u64, Ordering::Relaxed);
        pack.sealed_done.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        drop(raw);
        output.send(ToPack::Sealed { pack, number, bytes }).map_err(|_| Error::Interrupted)?;
    }
    Ok(())
}
