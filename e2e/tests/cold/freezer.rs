//! A proxy before a real S3 that makes objects cold as Amazon's S3 does: those that were put into a class are kept there by
//! the real server, and a read of them is refused until somebody has asked and some time has passed. Whether such a
//! request was signed as it must be, the real server judges.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use e2e::proxy::{Act, Proxy, Request, answer};

use crate::world::KEPT_COLD;

struct State {
    server: String,
    /// Each cold object, and when it was asked for.
    cold: HashMap<String, Option<Instant>>,
    asked: Vec<(String, String)>,
    refused: usize,
    takes: Duration,
    may_ask: bool,
}

pub struct Freezer {
    proxy: Proxy,
    state: Arc<Mutex<State>>,
}

impl Freezer {
    pub fn before(server: &str) -> Self {
        let state = State {
            server: server.to_owned(),
            cold: HashMap::new(),
            asked: Vec::new(),
            refused: 0,
            takes: Duration::from_secs(3600),
            may_ask: true,
        };
        let (proxy, state) = (Proxy::before(server), Arc::new(Mutex::new(state)));
        let decides = state.clone();
        proxy.decide(move |request| decides.lock().unwrap_or_else(PoisonError::into_inner).decide(request));
        Self { proxy, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// How many objects are cold, or were before they were warmed.
    pub fn packs(&self) -> usize {
        self.state().cold.len()
    }

    /// Each request to warm: the object, and what was asked.
    pub fn asked(&self) -> Vec<(String, String)> {
        self.state().asked.clone()
    }

    /// How many reads were refused.
    pub fn refused(&self) -> usize {
        self.state().refused
    }

    /// How long warming takes from now on, also what was asked for before.
    pub fn warms_in(&self, takes: Duration) {
        self.state().takes = takes;
    }

    pub fn forbid_warming(&self) {
        self.state().may_ask = false;
    }

    /// Puts an object that is there into cold storage.
    pub fn freeze(&self, path: String) {
        self.state().cold.insert(path, None);
    }

    /// Nothing is cold any more.
    pub fn thaw(&self) {
        self.state().cold.clear();
    }
}

impl State {
    fn decide(&mut self, request: &Request) -> Act {
        let path = &request.path;
        match &*request.method {
            "PUT" if request.header("x-amz-storage-class") == Some(KEPT_COLD) => {
                self.cold.insert(path.clone(), None);
                Act::Pass
            }
            "GET" if self.cold.get(path).is_some_and(|asked| !self.is_warm(*asked)) => {
                self.refused += 1;
                refuse("InvalidObjectState", "The operation is not valid for the object's storage class")
            }
            "HEAD" => match self.cold.get(path) {
                Some(Some(asked)) if self.is_warm(Some(*asked)) => Act::Header(
                    "x-amz-restore",
                    "ongoing-request=\"false\", expiry-date=\"Fri, 21 Dec 2040 00:00:00 GMT\"",
                ),
                Some(Some(_)) => Act::Header("x-amz-restore", "ongoing-request=\"true\""),
                _ => Act::Pass,
            },
            "POST" if matches!(&*request.query, "restore" | "restore=") => self.warm(request),
            _ => Act::Pass,
        }
    }

    fn is_warm(&self, asked: Option<Instant>) -> bool {
        asked.is_some_and(|asked| asked.elapsed() >= self.takes)
    }

    fn warm(&mut self, request: &Request) -> Act {
        let verdict = forward(&self.server, request);
        if verdict.contains("SignatureDoesNotMatch") || verdict.contains("AccessDenied") {
            return refuse("SignatureDoesNotMatch", "The server says so.");
        }
        let body = String::from_utf8(request.body.clone()).unwrap();
        self.asked.push((request.path.clone(), body));
        if !self.may_ask {
            return refuse("AccessDenied", "Access Denied");
        }
        match self.cold.get_mut(&request.path) {
            Some(Some(_)) => {
                answer("409 Conflict", "", "<Error><Code>RestoreAlreadyInProgress</Code></Error>")
            }
            Some(asked) => {
                *asked = Some(Instant::now());
                answer("202 Accepted", "", "")
            }
            None => {
                refuse("InvalidObjectState", "Restore is not allowed for the object's current storage class")
            }
        }
    }
}

fn refuse(code: &str, message: &str) -> Act {
    let body =
        format!("<?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>{message}</Message></Error>");
    answer("403 Forbidden", "Content-Type: application/xml\r\n", &body)
}

/// What the real server says to a request. It does not know this one, but it looks at the signature first.
fn forward(server: &str, request: &Request) -> String {
    let mut stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let head = request.head.trim_end().to_owned() + "\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&request.body).unwrap();
    let mut answer = Vec::new();
    // A server that does not hang up has said all the same what it thinks.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    answer
}
