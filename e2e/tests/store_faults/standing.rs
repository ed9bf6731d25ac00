//! What does not pass with time: no container, no room.

use std::sync::Arc;

use e2e::proxy::{Act, Seen};
use e2e::trial::AMPLE;

use crate::servers::{SWIFT, fresh, in_swift, remove_container, swift_request};

#[test]
fn a_container_that_was_deleted_in_mid_run_is_one_error_and_is_not_made_anew() {
    let service = SWIFT.get();
    let container = fresh("deleted");
    let trial = in_swift(&service, &container);
    let (keeper, name, mut uploads) = (Arc::clone(&service), container.clone(), 0);
    trial.proxy.decide(move |request| {
        uploads += usize::from(request.is("PUT", "/packs/"));
        if uploads == 3 && request.is("PUT", "/packs/") {
            remove_container(&keeper, &name);
        }
        Act::Pass
    });
    let place = format!("swift://{container}/vault: the store is no longer there");
    trial.back_up(AMPLE).is_one_clear_error(1, &[&place, "put the store back where it was"]);
    trial.proxy.relent();
    // An upload that was under way as its container went brings that back: Swift itself does so.
    if swift_request(&service, "GET", &container, "X-Nothing: x").is_some() {
        remove_container(&service, &container);
    }
    trial.back_up(AMPLE).is_one_clear_error(1, &[&place, "put the store back where it was"]);
    trial.forgets();
    trial.back_up(AMPLE).is_one_clear_error(10, &["there is no vault", &container, "strongroom init"]);
    assert!(swift_request(&service, "GET", &container, "X-Nothing: x").is_none(), "nobody made it anew");
    let makes = |seen: &Seen| seen.request.method == "PUT" && seen.request.path.ends_with(&container);
    assert!(!trial.proxy.take().iter().any(makes), "nobody even tried");
}

#[test]
fn a_full_quota_is_one_error_and_more_room_is_enough_to_go_on() {
    let service = SWIFT.get();
    let container = fresh("quota");
    let trial = in_swift(&service, &container);
    let allow = |bytes: &str| {
        let header = format!("X-Container-Meta-Quota-Bytes: {bytes}");
        swift_request(&service, "POST", &container, &header).expect("the container takes a quota");
    };
    // Swift compares with what it knew of the container a second ago, so the uploads are not to come all at once.
    trial.proxy.decide(
        |request| {
            if request.is("PUT", "/packs/") { Act::Throttle(5 << 20) } else { Act::Pass }
        },
    );
    allow("25000000");
    let place = format!("in the store swift://{container}/vault: no space left");
    let says =
        ["cannot write packs/", &place, "quota", "make room in the store, then run the same command again"];
    trial.back_up(AMPLE).is_one_clear_error(1, &says);
    let failed = trial.proxy.take();
    allow("1000000000");
    trial.recovers(&failed);
}
