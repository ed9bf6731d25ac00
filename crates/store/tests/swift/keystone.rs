//! The login at Keystone. There is no real one to test with: a few lines here answer as its documentation says, with
//! a token of the real Swift, so that all but the identity service is real.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use services::Service;
use store::{Kind, Store, SwiftCredentials, SwiftStore};

use super::{bytes, chain, create, shared, token};

/// Answers logins with the next of `tokens` (the last one stays), or with 401 when the question is not the `expected`
/// one. Returns its address and the questions it got.
fn responder(
    service: &Service,
    expected: &'static str,
    tokens: Vec<String>,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let questions = Arc::new(Mutex::new(Vec::new()));
    let (seen, storage) = (questions.clone(), service.setting("STORAGE_URL").to_owned());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut question = Vec::new();
            let mut buffer = [0; 4096];
            // The questions end with their JSON.
            while !question.ends_with(b"}}}}") {
                let length = stream.read(&mut buffer).unwrap();
                question.extend_from_slice(&buffer[..length]);
            }
            let question = String::from_utf8(question).unwrap();
            let mut seen = seen.lock().unwrap();
            let token = tokens.get(seen.len()).or(tokens.last()).unwrap();
            let endpoint = |interface: &str, region: &str, url: &str| {
                format!(
                    r#"{{"interface":"{interface}","region":"{region}","region_id":"{region}","url":"{url}"}}"#
                )
            };
            let endpoints = [
                endpoint("admin", "north", "http://127.0.0.1:1/"),
                endpoint("public", "south", "http://127.0.0.1:1/"),
                endpoint("public", "north", &storage),
            ];
            let catalog = format!(
                r#"[{{"type":"identity","endpoints":[]}},{{"type":"object-store","name":"swift","endpoints":[{}]}}]"#,
                endpoints.join(",")
            );
            let body = format!(
                r#"{{"token":{{"issued_at":"2026-11-23T08:00:00.000000Z","expires_at":"2026-11-23T09:00:00.000000Z","catalog":{catalog}}}}}"#
            );
            let fits = question.starts_with("POST /identity/v3/auth/tokens HTTP/1.1\r\n")
                && question.contains(expected);
            let answer = if fits {
                let length = body.len();
                format!(
                    "HTTP/1.1 201 Created\r\nX-Subject-Token: {token}\r\nContent-Length: {length}\r\n\r\n{body}"
                )
            } else {
                "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_owned()
            };
            seen.push(question);
            stream.write_all(answer.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
        }
    });
    (format!("http://{address}/identity"), questions)
}

fn with(pairs: &[(&str, &str)]) -> SwiftCredentials {
    SwiftCredentials::find(|name| pairs.iter().find(|pair| pair.0 == name).map(|pair| pair.1.to_owned()))
        .unwrap()
}

#[tokio::test]
async fn a_password_and_a_project() {
    let service = shared();
    create(&service, "keystone", "").await;
    let expected = concat!(
        r#"{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"ann","domain":{"name":"Default"},"#,
        r#""password":"geheim \"1\""}}},"scope":{"project":{"name":"box","domain":{"id":"d1"}}}}}"#
    );
    // The first token is refused by Swift, as one that was revoked is.
    let (url, questions) = responder(&service, expected, vec!["gAAAA-revoked".to_owned(), token(&service)]);
    let user = [
        ("OS_AUTH_URL", url.as_str()),
        ("OS_USERNAME", "ann"),
        ("OS_PASSWORD", "geheim \"1\""),
        ("OS_USER_DOMAIN_NAME", "Default"),
        ("OS_PROJECT_NAME", "box"),
        ("OS_PROJECT_DOMAIN_ID", "d1"),
        ("OS_REGION_NAME", "north"),
    ];
    let store = SwiftStore::open("keystone", "", with(&user)).await.unwrap();
    store.put("a", bytes("text")).await.unwrap();
    assert_eq!(store.get("a", 10).await.unwrap(), "text");
    assert_eq!(questions.lock().unwrap().len(), 2);

    let mut wrong = user;
    wrong[2].1 = "Geheim";
    let error = SwiftStore::open("keystone", "", with(&wrong)).await.unwrap_err();
    let text = format!("{} {error:?}", chain(&error));
    assert_eq!(error.kind, Kind::PermissionDenied);
    assert!(text.contains("OS_PASSWORD") && !text.contains("Geheim"), "{text}");

    let mut elsewhere = user;
    elsewhere[6].1 = "west";
    let error = SwiftStore::open("keystone", "", with(&elsewhere)).await.unwrap_err();
    assert!(error.kind == Kind::NotFound && chain(&error).contains("OS_REGION_NAME"), "{}", chain(&error));
}

#[tokio::test]
async fn an_application_credential_in_clouds_yaml() {
    let service = shared();
    create(&service, "application", "").await;
    let expected = concat!(
        r#"{"auth":{"identity":{"methods":["application_credential"],"#,
        r#""application_credential":{"id":"c1","secret":"s1"}}}}"#
    );
    let (url, _) = responder(&service, expected, vec![token(&service)]);
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("clouds.yaml");
    let text = format!(
        "clouds:\n  mine:\n    auth_type: v3applicationcredential\n    region_name: north\n    auth:\n      auth_url: {url}/v3\n      \
         application_credential_id: c1\n      application_credential_secret: s1\n"
    );
    std::fs::write(&file, text).unwrap();
    let cloud = with(&[("OS_CLOUD", "mine"), ("OS_CLIENT_CONFIG_FILE", file.to_str().unwrap())]);
    let store = SwiftStore::open("application", "", cloud).await.unwrap();
    assert!(store.list("").await.unwrap().is_empty());
}
