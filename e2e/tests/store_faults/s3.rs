//! The same on S3.

use std::sync::Arc;
use std::time::{Duration, Instant};

use e2e::proxy::{Act, answer};
use e2e::trial::AMPLE;

use crate::servers::{CEPH, after_uploads, first, first_upload, fresh, in_s3, remove_bucket, s3_try};

const SLOW_DOWN: &str =
    "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Reduce your rate.</Message></Error>";

#[test]
fn a_storm_of_5xx_in_s3() {
    let service = CEPH.get();
    let bucket = fresh("storm");
    let trial = in_s3(&service, &bucket);
    let mut begun = None;
    trial.proxy.decide(move |_| {
        let storm = begun.get_or_insert_with(Instant::now).elapsed() < Duration::from_secs(3);
        if storm { answer("500 Internal Server Error", "", "") } else { Act::Pass }
    });
    trial.back_up(AMPLE).expect(0);
    trial.has_lost_nothing(&trial.proxy.take());
}

#[test]
fn a_storm_of_5xx_in_s3_that_stays_is_one_error() {
    let service = CEPH.get();
    let bucket = fresh("storm");
    let trial = in_s3(&service, &bucket);
    trial.proxy.decide(after_uploads(2, answer("503 Service Unavailable", "", SLOW_DOWN)));
    let place = format!("in the store s3://{bucket}/vault: the store does not answer now");
    let says = ["cannot write packs/", &place, "503 SlowDown: Reduce your rate.", "try again later"];
    trial.back_up(5).is_one_clear_error(1, &says);
    trial.recovers(&trial.proxy.take());
}

#[test]
fn slow_down_lost_answers_half_and_damaged_uploads_in_s3() {
    let service = CEPH.get();
    for act in [
        answer("503 Slow Down", "Retry-After: 1\r\n", SLOW_DOWN),
        Act::Lose,
        Act::CutUpload(3 << 20),
        Act::CorruptUpload(1 << 20),
    ] {
        let trial = in_s3(&service, &fresh("once"));
        trial.proxy.decide(first_upload(act.clone()));
        let told = trial.back_up(AMPLE);
        assert_eq!(told.code, 0, "{act:?}: {told:?}");
        trial.has_lost_nothing(&trial.proxy.take());
    }
}

#[test]
fn a_restore_from_s3_gets_everything_in_the_end() {
    let service = CEPH.get();
    let trial = in_s3(&service, &fresh("reading"));
    trial.back_up(AMPLE).expect(0);
    for (name, act) in [("cut", Act::CutDownload(1000)), ("damaged", Act::CorruptDownload(1000))] {
        trial.forgets();
        trial.proxy.decide(first("GET", "/vault/", act));
        let told = trial.restore(name, 30);
        assert_eq!(told.code, 0, "{name}: {told:?}");
        trial.is_source(name);
    }
}

#[test]
fn a_bucket_that_was_deleted_in_mid_run_is_one_error_and_is_not_made_anew() {
    let service = CEPH.get();
    let bucket = fresh("deleted");
    let trial = in_s3(&service, &bucket);
    let (keeper, name, mut uploads) = (Arc::clone(&service), bucket.clone(), 0);
    trial.proxy.decide(move |request| {
        uploads += usize::from(request.is("PUT", "/packs/"));
        if uploads == 3 && request.is("PUT", "/packs/") {
            remove_bucket(&keeper, &name);
        }
        Act::Pass
    });
    let place = format!("s3://{bucket}/vault: the store is no longer there");
    trial.back_up(AMPLE).is_one_clear_error(1, &[&place, "put the store back where it was"]);
    trial.proxy.relent();
    trial.back_up(AMPLE).is_one_clear_error(1, &[&place, "put the store back where it was"]);
    trial.forgets();
    trial.back_up(AMPLE).is_one_clear_error(10, &["there is no vault", &bucket]);
    assert!(s3_try(&service, "GET", &bucket).is_none(), "nobody made it anew");
}
