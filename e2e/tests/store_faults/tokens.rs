//! Tokens that end while a backup runs.

use std::collections::HashSet;

use e2e::proxy::Act;
use e2e::trial::AMPLE;
use services::Service;

use crate::servers::{SWIFT, fresh, in_swift};

/// Tokens of three seconds, and uploads that take longer.
#[test]
fn tokens_that_end_in_mid_run_are_renewed() {
    let service = Service::start_with("swift", &[("SWIFT_TOKEN_LIFE", "3")]);
    let trial = in_swift(&service, "tokens");
    trial.proxy.decide(
        |request| {
            if request.is("PUT", "/packs/") { Act::Throttle(3 << 20) } else { Act::Pass }
        },
    );
    trial.back_up(AMPLE).expect(0);
    let seen = trial.proxy.take();
    assert!(seen.iter().filter(|seen| seen.request.is("GET", "/auth/")).count() > 1);
    trial.has_lost_nothing(&seen);
}

/// The first token is refused from the second upload on, while the bytes still come.
#[test]
fn a_token_that_is_refused_in_mid_upload_is_renewed() {
    const REFUSED: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let service = SWIFT.get();
    let trial = in_swift(&service, &fresh("refused"));
    let (mut uploads, mut refused) = (0, HashSet::new());
    trial.proxy.decide(move |request| {
        if request.is("PUT", "/packs/") {
            uploads += 1;
            // Swift hands the same token out until it ends, so each upload is refused once and no login.
            if uploads > 1 && refused.insert(request.path.clone()) {
                return Act::AnswerEarly(REFUSED.to_owned());
            }
        }
        Act::Pass
    });
    trial.back_up(AMPLE).expect(0);
    let seen = trial.proxy.take();
    assert!(seen.iter().any(|seen| seen.status == 401));
    trial.has_lost_nothing(&seen);
}
