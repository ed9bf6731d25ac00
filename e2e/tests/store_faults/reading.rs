//! What happens to answers while a restore reads them: bytes are never believed unverified.

use std::time::Duration;

use e2e::proxy::{Act, answer};
use e2e::trial::AMPLE;

use crate::servers::{SWIFT, first, fresh, in_swift};

#[test]
fn a_restore_gets_everything_in_the_end() {
    let service = SWIFT.get();
    let trial = in_swift(&service, &fresh("reading"));
    trial.back_up(AMPLE).expect(0);
    let acts = [
        ("delayed", Act::Delay(Duration::from_millis(400))),
        ("cut", Act::CutDownload(1000)),
        ("cut at once", Act::CutDownload(0)),
        ("refused", answer("503 Service Unavailable", "Retry-After: 1\r\n", "")),
        ("silent", Act::Silence),
        ("damaged", Act::CorruptDownload(40)),
        ("damaged in the middle", Act::CorruptDownload(100_000)),
    ];
    for (name, act) in acts {
        // Without what this machine keeps, everything has to be read.
        trial.forgets();
        trial.proxy.decide(first("GET", "/vault/", act));
        let told = trial.restore(name, 30);
        assert_eq!(told.code, 0, "{name}: {told:?}");
        trial.is_source(name);
        std::fs::remove_dir_all(trial.world.path(name)).unwrap();
    }
    trial.proxy.take();
    trial.needs_nothing_more();
}

#[test]
fn bytes_that_are_wrong_every_time_end_in_no_file_and_are_forgotten() {
    let service = SWIFT.get();
    let trial = in_swift(&service, &fresh("lying"));
    trial.back_up(AMPLE).expect(0);
    for (folder, place) in [("/packs/", 40), ("/packs/", 100_000), ("/snapshots/", 40), ("/keys/", 40)] {
        trial.forgets();
        trial.proxy.decide(
            move |request| {
                if request.is("GET", folder) { Act::CorruptDownload(place) } else { Act::Pass }
            },
        );
        let told = trial.restore("back", 30);
        assert_ne!(told.code, 0, "{folder}: {told:?}");
        assert!(!told.stderr.contains("panicked"), "{told:?}");
        if trial.world.path("back").exists() {
            trial.is_part_of_source("back");
            std::fs::remove_dir_all(trial.world.path("back")).unwrap();
        }
        // Nothing wrong was kept on this machine: as soon as the line is good, so is the restore.
        trial.proxy.relent();
        trial.restore("back", 30).expect(0);
        trial.is_source("back");
        std::fs::remove_dir_all(trial.world.path("back")).unwrap();
    }
    trial.proxy.take();
    trial.needs_nothing_more();
}
