//! What a bucket says of itself.

use std::time::Duration;

use store::Location;
use store::probe::{Found, probe_blocking};
use store::survey::Survey;

use super::{bucket, bucket_with, bytes, gateway, settings};

/// What a test of a store in this bucket finds; it has to meet all needs.
fn found(name: &str, changes: &[(&str, &str)]) -> Found {
    let location = Location::parse(&format!("s3://{name}/a b/c")).unwrap();
    let (store, surveyed) = location.open_surveyed_with(&settings(changes)).unwrap();
    let probed = probe_blocking(store, surveyed).unwrap();
    for tried in &probed.tried {
        assert!(tried.problem.is_none(), "{name}: {tried:?}");
    }
    probed.found
}

/// Changes what the bucket says.
fn configure(name: &str, question: &str, body: &str) {
    // Of a question without an answer curl would sign another form than it sends.
    let arguments = ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-H", "content-type: application/xml"];
    let md5 = std::process::Command::new("bash")
        .args(["-c", "printf %s \"$1\" | openssl dgst -md5 -binary | base64", "md5", body])
        .output();
    let md5 = format!("content-md5: {}", String::from_utf8(md5.unwrap().stdout).unwrap().trim());
    let arguments = [&arguments[..], &["-H", &md5, "--data-binary", body]].concat();
    bucket_with("PUT", &format!("{name}?{question}="), &arguments);
}

/// Lets a bucket keep versions, or not any more.
pub fn configure_versions(name: &str, status: &str) {
    let body = format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
    configure(name, "versioning", &body);
}

const PLAIN: Survey = Survey {
    creates_only: Some(true),
    keeps_versions: Some(false),
    locks: Some(false),
    lock_days: None,
    gives_grants: Some(true),
};

#[test]
fn buckets_say_whether_they_lock_and_keep_versions() {
    let plain = found(gateway().setting("BUCKET"), &[]);
    let expected = Found {
        survey: PLAIN,
        listing_lag: Some(Duration::ZERO),
        deletes: Some(true),
        clock_offset: Some(0),
    };
    assert_eq!(plain, expected);

    bucket("PUT", "versioned");
    configure_versions("versioned", "Enabled");
    // This gateway ignores conditions where there are versions.
    let versioned = Survey { creates_only: Some(false), keeps_versions: Some(true), ..PLAIN };
    assert_eq!(found("versioned", &[]).survey, versioned);
    configure_versions("versioned", "Suspended");
    assert_eq!(found("versioned", &[]).survey.keeps_versions, Some(false));

    let lock =
        ["-H", "x-amz-bucket-object-lock-enabled: true", "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"];
    bucket_with("PUT", "locked", &lock);
    let locked = Survey { locks: Some(true), lock_days: Some(0), ..versioned };
    assert_eq!(found("locked", &[]).survey, locked);
    let rule = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
                <Mode>GOVERNANCE</Mode><Days>5</Days></DefaultRetention></Rule></ObjectLockConfiguration>";
    configure("locked", "object-lock", rule);
    assert_eq!(found("locked", &[]).survey, Survey { lock_days: Some(5), ..locked });
}

/// Swift speaks S3 too, and neither locks nor tells versions there.
#[test]
fn a_server_that_knows_less_is_not_taken_at_its_silence() {
    let swift = services::Service::start("swift");
    let look_up = |key: &str| match key {
        "AWS_ENDPOINT_URL" => Some(swift.setting("S3_ENDPOINT").to_owned()),
        "AWS_ACCESS_KEY_ID" => Some(swift.setting("ST_USER").to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(swift.setting("ST_KEY").to_owned()),
        "AWS_REGION" => Some("us-east-1".to_owned()),
        "ST_AUTH" | "ST_USER" | "ST_KEY" => Some(swift.setting(key).to_owned()),
        _ => None,
    };
    Location::parse("swift://asked").unwrap().create_with(&look_up).unwrap();
    let (store, surveyed) = Location::parse("s3://asked").unwrap().open_surveyed_with(&look_up).unwrap();
    let survey = tokio::runtime::Runtime::new().unwrap().block_on(async {
        store.put("a", bytes("a")).await.unwrap();
        // It takes a lock, and keeps none.
        let until = std::time::SystemTime::now() + Duration::from_secs(600);
        let lock = store::Lock { until, mode: store::LockMode::Compliance };
        store.put_locked("b", bytes("b"), None, lock).await.unwrap();
        assert_eq!(store.locked("b").await.unwrap(), None);
        store.delete("b").await.unwrap();
        assert!(!store.can_lock().await.unwrap());
        surveyed.survey("a").await
    });
    assert_ne!(survey.locks, Some(true));
    assert_eq!((survey.keeps_versions, survey.gives_grants), (Some(false), Some(true)));
}
