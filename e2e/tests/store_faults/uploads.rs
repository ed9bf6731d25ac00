//! What happens to uploads, and to everything at once.

use std::time::{Duration, Instant};

use e2e::proxy::{Act, answer};
use e2e::trial::AMPLE;

use crate::servers::{SWIFT, after_uploads, first_upload, fresh, in_swift};

fn busy() -> Act {
    answer("503 Service Unavailable", "", "<html><h1>busy</h1></html>")
}

#[test]
fn a_storm_of_5xx_that_passes_is_waited_for_from_the_first_request_on() {
    let service = SWIFT.get();
    let trial = in_swift(&service, &fresh("storm"));
    let mut begun = None;
    trial.proxy.decide(move |_| {
        let storm = begun.get_or_insert_with(Instant::now).elapsed() < Duration::from_secs(3);
        if storm { busy() } else { Act::Pass }
    });
    let told = trial.back_up(AMPLE).expect(0);
    assert!(told.stderr.contains("trying again"), "{told:?}");
    let seen = trial.proxy.take();
    assert!(seen.iter().filter(|seen| seen.status == 503).count() > 3);
    trial.has_lost_nothing(&seen);
    // In the middle, with all the kinds of it by turns.
    let trial = in_swift(&service, &fresh("storm"));
    let mut turn = 0;
    trial.proxy.decide(move |_| {
        turn += 1;
        match turn % 9 {
            3 => answer("500 Internal Error", "", ""),
            4 => answer("502 Bad Gateway", "", "<p>proxy"),
            6 => answer("504 Gateway Timeout", "", ""),
            8 => answer("599 Odd", "", ""),
            _ => Act::Pass,
        }
    });
    trial.back_up(AMPLE).expect(0);
    trial.has_lost_nothing(&trial.proxy.take());
}

#[test]
fn a_storm_of_5xx_that_stays_is_one_error() {
    let service = SWIFT.get();
    let container = fresh("storm");
    let trial = in_swift(&service, &container);
    trial.proxy.decide(after_uploads(2, busy()));
    let place = format!("in the store swift://{container}/vault: the store does not answer now");
    let says = ["cannot write packs/", &place, "503 Service Unavailable", "busy", "try again later"];
    trial.back_up(5).is_one_clear_error(1, &says);
    trial.recovers(&trial.proxy.take());
    trial.proxy.decide(|_| busy());
    trial.back_up(2).is_one_clear_error(1, &[&place, "503 Service Unavailable", "try again later"]);
    // Where nothing is known of the vault it is said of the store as a whole.
    trial.forgets();
    let says = ["cannot open the store", &container, "503 Service Unavailable", "try again later"];
    trial.back_up(2).is_one_clear_error(1, &says);
}

#[test]
fn a_server_that_asks_for_time_gets_it() {
    let service = SWIFT.get();
    let trial = in_swift(&service, &fresh("slow-down"));
    trial.proxy.decide(first_upload(answer("429 Too Many Requests", "Retry-After: 2\r\n", "slow down")));
    trial.back_up(AMPLE).expect(0);
    let seen = trial.proxy.take();
    let refused: Vec<_> = seen.iter().filter(|seen| seen.status == 429).collect();
    assert!(!refused.is_empty());
    for first in refused {
        let again = seen.iter().find(|seen| seen.at > first.at && seen.request.path == first.request.path);
        assert!(again.unwrap().at - first.at >= Duration::from_secs(2));
    }
    trial.has_lost_nothing(&seen);
}

#[test]
fn a_server_that_asks_for_more_time_than_there_is_is_one_error_at_once() {
    let service = SWIFT.get();
    let trial = in_swift(&service, &fresh("slow-down"));
    trial
        .proxy
        .decide(after_uploads(1, answer("429 Too Many Requests", "Retry-After: 100\r\n", "slow down")));
    let begun = Instant::now();
    trial
        .back_up(30)
        .is_one_clear_error(1, &["cannot write packs/", "429 Too Many Requests", "try again later"]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    trial.recovers(&trial.proxy.take());
}

/// The server has stored it, and nobody hears of that: the snapshot too is there once.
#[test]
fn an_answer_that_is_lost_stores_nothing_twice() {
    let service = SWIFT.get();
    let trial = in_swift(&service, &fresh("lost"));
    trial.proxy.decide(crate::servers::first("PUT", "/vault/", Act::Lose));
    trial.back_up(AMPLE).expect(0);
    let seen = trial.proxy.take();
    assert_eq!(trial.snapshots(), 2);
    trial.has_lost_nothing(&seen);
}

#[test]
fn a_server_that_falls_silent_is_left_and_asked_again() {
    let service = SWIFT.get();
    let trial = in_swift(&service, &fresh("silent"));
    trial.proxy.decide(first_upload(Act::Silence));
    let begun = Instant::now();
    trial.back_up(75).expect(0);
    assert!(begun.elapsed() >= Duration::from_secs(5), "a fifteenth of 75 s");
    trial.has_lost_nothing(&trial.proxy.take());
}

#[test]
fn half_uploads_leave_nothing_behind() {
    let service = SWIFT.get();
    let trial = in_swift(&service, &fresh("half"));
    trial.proxy.decide(first_upload(Act::CutUpload(3 << 20)));
    trial.back_up(AMPLE).expect(0);
    trial.has_lost_nothing(&trial.proxy.take());
    let trial = in_swift(&service, &fresh("half"));
    let mut uploads = 0;
    trial.proxy.decide(move |request| {
        uploads += usize::from(request.is("PUT", "/packs/"));
        if request.is("PUT", "/packs/") && uploads > 1 { Act::CutUpload(3 << 20) } else { Act::Pass }
    });
    trial
        .back_up(5)
        .is_one_clear_error(1, &["cannot write packs/", "does not answer now", "try again later"]);
    trial.recovers(&trial.proxy.take());
}

#[test]
fn uploads_that_were_damaged_on_their_way_are_sent_again() {
    let service = SWIFT.get();
    let trial = in_swift(&service, &fresh("damaged"));
    trial.proxy.decide(crate::servers::first("PUT", "/vault/", Act::CorruptUpload(17)));
    trial.back_up(AMPLE).expect(0);
    let seen = trial.proxy.take();
    assert!(seen.iter().any(|seen| seen.status == 422));
    trial.has_lost_nothing(&seen);
}

const OTHER: &str = "d41d8cd98f00b204e9800998ecf8427e";

#[test]
fn an_etag_of_other_bytes_is_not_believed_to_be_ours() {
    let service = SWIFT.get();
    let trial = in_swift(&service, &fresh("etag"));
    trial.proxy.decide(crate::servers::first("PUT", "/vault/", Act::Header("ETag", OTHER)));
    trial.back_up(AMPLE).expect(0);
    let seen = trial.proxy.take();
    assert!(
        seen.iter().any(|seen| seen.request.is("DELETE", "/packs/")),
        "the doubtful ones were taken away"
    );
    assert_eq!(trial.snapshots(), 2);
    trial.needs_nothing_more();
    let trial = in_swift(&service, &fresh("etag"));
    trial.proxy.decide(
        |request| {
            if request.is("PUT", "/packs/") { Act::Header("ETag", OTHER) } else { Act::Pass }
        },
    );
    trial.back_up(8).is_one_clear_error(1, &["cannot write packs/", "its ETag differs", "try again later"]);
    // What was taken away is not counted as arrived.
    trial.proxy.take();
    trial.recovers(&[]);
}

#[test]
fn a_slow_and_late_line_only_takes_longer() {
    let service = SWIFT.get();
    let trial = in_swift(&service, &fresh("slow"));
    let mut turn = 0;
    trial.proxy.decide(move |request| {
        turn += 1;
        match turn % 3 {
            _ if request.is("PUT", "/packs/") => Act::Throttle(5 << 20),
            0 => Act::Delay(Duration::from_millis(700)),
            _ => Act::Pass,
        }
    });
    trial.back_up(AMPLE).expect(0);
    trial.has_lost_nothing(&trial.proxy.take());
}
