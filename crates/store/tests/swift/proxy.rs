//! A proxy for HTTP that does one bad thing at a time. Each request gets a connection of its own to the server, and
//! none is used twice, so that what is counted and broken is a request.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const REFUSED: &str = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// What happens to one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is answered late.
    Delay(Duration),
    /// The connection ends when so many bytes of the body have come.
    CutUpload(usize),
    /// The connection ends when so many bytes of the answer's body were sent.
    CutDownload(usize),
    /// A byte of the body is changed.
    Corrupt,
    /// This is the answer to the whole request, which the server never sees.
    Answer(&'static str),
    /// This is the answer to the head of the request, and then the connection ends while the body still comes.
    AnswerEarly(&'static str),
    /// The server gets it, and its answer is lost.
    Lose,
    /// No answer comes.
    Silence,
    /// A header is taken out of the request.
    Without(&'static str),
}

#[derive(Debug, Default)]
struct State {
    faults: VecDeque<(&'static str, Fault)>,
    /// Method and path of each request.
    seen: Vec<String>,
    /// Of tokens. It is part of each that the client gets, and those of an earlier one are refused.
    generation: u32,
}

/// Listens until the process ends.
#[derive(Clone, Debug)]
pub struct Proxy {
    pub address: String,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Before `server`; when `hides_expiry` is set no login says how long its token is good.
    pub fn start(server: &str, hides_expiry: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let proxy = Self { address, state: Arc::default() };
        let (state, server) = (proxy.state.clone(), server.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state, server) = (stream.unwrap(), state.clone(), server.clone());
                // Errors are what the connections are cut for.
                thread::spawn(move || serve(stream, &server, &state, hides_expiry));
            }
        });
        proxy
    }

    /// The next request with this method gets it; faults are used up in order.
    pub fn inject(&self, method: &'static str, fault: Fault) {
        self.state.lock().unwrap().faults.push_back((method, fault));
    }

    /// Whether all faults were used up.
    pub fn is_spent(&self) -> bool {
        self.state.lock().unwrap().faults.is_empty()
    }

    /// Refuses all tokens that were handed out until now, without waiting for the bytes of an upload.
    pub fn revoke_tokens(&self) {
        self.state.lock().unwrap().generation += 1;
    }

    /// The requests since the last time, as `METHOD /path`.
    pub fn take_seen(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().seen)
    }
}

fn serve(mut client: TcpStream, server: &str, state: &Mutex<State>, hides_expiry: bool) -> io::Result<()> {
    let head = read_head(&mut client)?;
    let first = head.lines().next().unwrap_or_default();
    let (method, path) = first.split_once(' ').unwrap_or_default();
    let (fault, mark) = {
        let mut state = state.lock().unwrap();
        let mark = format!("-{}", state.generation);
        state.seen.push(format!("{method} {}", path.split([' ', '?']).next().unwrap_or_default()));
        let fits = state.faults.front().is_some_and(|(wanted, _)| *wanted == method);
        let fault = if fits { state.faults.pop_front().map(|(_, fault)| fault) } else { None };
        let is_revoked = header(&head, "x-auth-token").is_some_and(|token| !token.ends_with(&mark));
        if is_revoked { (Some(Fault::AnswerEarly(REFUSED)), mark) } else { (fault, mark) }
    };
    let length = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0_usize);
    match &fault {
        Some(Fault::AnswerEarly(answer)) => {
            // Without reading the body: the client's system is told that nobody listens.
            return client.write_all(answer.as_bytes());
        }
        Some(Fault::CutUpload(cut)) => return client.read_exact(&mut vec![0; length.min(*cut)]),
        Some(Fault::Silence) => {
            thread::sleep(Duration::from_secs(20));
            return Ok(());
        }
        _ => {}
    }
    let mut body = vec![0; length];
    client.read_exact(&mut body)?;
    match &fault {
        Some(Fault::Corrupt) => body[length / 2] ^= 1,
        Some(Fault::Delay(duration)) => thread::sleep(*duration),
        Some(Fault::Answer(answer)) => {
            let last = answer.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1);
            return client.write_all(last.as_bytes());
        }
        _ => {}
    }
    let without = if let Some(Fault::Without(name)) = fault { name } else { "connection" };
    let mut upstream = TcpStream::connect(server)?;
    let head = change_token(&head, |token| token.strip_suffix(&mark).unwrap_or_default().to_owned());
    upstream.write_all(with_close(&head, without).as_bytes())?;
    upstream.write_all(&body)?;
    let answer = change_token(&read_head(&mut upstream)?, |token| format!("{token}{mark}"));
    let hidden = if hides_expiry { "x-auth-token-expires" } else { "connection" };
    let mut rest = Vec::new();
    if let Some(Fault::Lose) = fault {
        return Ok(());
    }
    client.write_all(with_close(&answer, hidden).as_bytes())?;
    if let Some(Fault::CutDownload(cut)) = fault {
        upstream.take(cut as u64).read_to_end(&mut rest)?;
        client.write_all(&rest)?;
        return client.shutdown(Shutdown::Both);
    }
    io::copy(&mut upstream, &mut client)?;
    Ok(())
}

/// All up to and with the empty line.
fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// The head with another value for the token, if it has one.
fn change_token(head: &str, change: impl FnOnce(&str) -> String) -> String {
    match header(head, "x-auth-token") {
        Some(token) => head.replacen(token, &change(token), 1),
        None => head.to_owned(),
    }
}

/// The head without a header, and with the wish to use the connection once.
fn with_close(head: &str, without: &str) -> String {
    let keeps = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        !name.eq_ignore_ascii_case("connection") && !name.eq_ignore_ascii_case(without)
    };
    let lines: Vec<_> = head.trim_end().lines().filter(keeps).collect();
    format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n"))
}
