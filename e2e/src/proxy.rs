//! A proxy for HTTP before a real server, which does to each request what a test decides. Every request has a
//! connection of its own on both sides, so what is counted and broken is a request. Bytes flow in both directions at
//! once, as a server may answer, and hang up, before it has heard all.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PUT`, …
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query without its question mark.
    pub query: String,
    /// How many bytes its body has.
    pub length: usize,
    /// The token it came with, if any.
    pub token: Option<String>,
    /// Its head as it came.
    pub head: String,
    /// Its body, if it is a `POST`.
    pub body: Vec<u8>,
}

impl Request {
    /// Whether it asks with `method` for something whose path contains `part`.
    pub fn is(&self, method: &str, part: &str) -> bool {
        self.method == method && self.path.contains(part)
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

/// What happens to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing bad.
    Pass,
    /// The server hears of it later.
    Delay(Duration),
    /// No more bytes than this go through in a second, in each direction.
    Throttle(usize),
    /// This is the answer to the whole request, which the server never sees.
    Answer(String),
    /// This is the answer to the head of the request, and then the connection ends while the body still comes.
    AnswerEarly(String),
    /// The server hears all of it, and its answer is lost.
    Lose,
    /// The server hears this much of the body, and then both connections end.
    CutUpload(usize),
    /// This much of the answer's body comes back, and then both connections end.
    CutDownload(usize),
    /// The byte at this place of the body is another one when the server hears it.
    CorruptUpload(usize),
    /// The byte at this place of the answer's body is another one when it comes back.
    CorruptDownload(usize),
    /// The answer has another value for this header.
    Header(&'static str, &'static str),
    /// Nobody answers.
    Silence,
}

/// An answer with a status and a header or two.
pub fn answer(status: &str, headers: &str, body: &str) -> Act {
    let length = body.len();
    Act::Answer(format!(
        "HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    ))
}

/// A request, and what became of it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// What was asked for.
    pub request: Request,
    /// When its head had come.
    pub at: Instant,
    /// The status of the answer, be it one that was lost on the way; 0 when there was none.
    pub status: u16,
    /// Bytes of its body that were passed on.
    pub sent: usize,
}

type Decide = Box<dyn FnMut(&Request) -> Act + Send>;

struct State {
    decide: Decide,
    seen: Vec<Seen>,
    is_open: bool,
}

/// Listens until the process ends.
#[derive(Clone)]
pub struct Proxy {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Proxy {
    /// Before `server`, a `HOST:PORT`.
    pub fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = State { decide: Box::new(|_| Act::Pass), seen: Vec::new(), is_open: true };
        let proxy = Self { port, state: Arc::new(Mutex::new(state)) };
        let (state, server) = (proxy.state.clone(), server.to_owned());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, server) = (state.clone(), server.clone());
                // Errors are what connections are cut for.
                thread::spawn(move || serve(stream, &server, &state));
            }
        });
        proxy
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// From now on this decides what happens to each request.
    pub fn decide(&self, decide: impl FnMut(&Request) -> Act + Send + 'static) {
        lock(&self.state).decide = Box::new(decide);
    }

    /// From now on nothing bad happens.
    pub fn relent(&self) {
        self.decide(|_| Act::Pass);
    }

    /// Every connection is cut before it is heard, or none.
    pub fn open(&self, is_open: bool) {
        lock(&self.state).is_open = is_open;
    }

    /// What came until now and was not taken.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.state).seen.clone()
    }

    /// What came since the last time this was called.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut lock(&self.state).seen)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(mut client: TcpStream, server: &str, state: &Mutex<State>) -> io::Result<()> {
    if !lock(state).is_open {
        return client.shutdown(Shutdown::Both);
    }
    client.set_nodelay(true)?;
    let head = read_head(&mut client)?;
    let mut request = understand(&head);
    if request.method == "POST" {
        request.body = vec![0; request.length];
        client.read_exact(&mut request.body)?;
    }
    let request = request;
    let still_comes = request.length - request.body.len();
    let (act, number) = {
        let mut state = lock(state);
        let act = (state.decide)(&request);
        state.seen.push(Seen { request: request.clone(), at: Instant::now(), status: 0, sent: 0 });
        (act, state.seen.len() - 1)
    };
    let note = |change: &dyn Fn(&mut Seen)| {
        // The list may have been taken meanwhile.
        let mut state = lock(state);
        if let Some(seen) = state.seen.get_mut(number).filter(|seen| seen.request == request) {
            change(seen);
        }
    };
    match &act {
        Act::AnswerEarly(answer) => {
            note(&|seen| seen.status = status_of(answer));
            return client.write_all(answer.as_bytes());
        }
        Act::Answer(answer) => {
            io::copy(&mut (&client).take(still_comes as u64), &mut io::sink())?;
            note(&|seen| seen.status = status_of(answer));
            return client.write_all(answer.as_bytes());
        }
        Act::Silence => {
            thread::sleep(Duration::from_secs(30));
            return Ok(());
        }
        Act::Delay(duration) => thread::sleep(*duration),
        _ => {}
    }
    let mut upstream = TcpStream::connect(server)?;
    upstream.set_nodelay(true)?;
    upstream.write_all(with_close(&head, None).as_bytes())?;
    upstream.write_all(&request.body)?;
    thread::scope(|scope| {
        let up = scope.spawn(|| {
            let length = if let Act::CutUpload(cut) = act { cut.min(still_comes) } else { still_comes };
            let corrupted = if let Act::CorruptUpload(place) = act { Some(place) } else { None };
            let copied = pass(&client, &upstream, length, corrupted, pace(&act), &|sent| {
                note(&|seen| seen.sent = sent);
            });
            if matches!(act, Act::CutUpload(_)) || copied.is_err() {
                // A client that hangs up hangs up on the server, too.
                let _ = (upstream.shutdown(Shutdown::Both), client.shutdown(Shutdown::Both));
            }
        });
        let down = || -> io::Result<()> {
            let answer = read_head(&mut &upstream)?;
            if let Act::CutUpload(_) = act {
                return Ok(());
            }
            note(&|seen| seen.status = status_of(&answer));
            if act == Act::Lose {
                return Ok(());
            }
            let change = if let Act::Header(name, value) = act { Some((name, value)) } else { None };
            (&client).write_all(with_close(&answer, change).as_bytes())?;
            let length = if let Act::CutDownload(cut) = act { cut } else { usize::MAX };
            let corrupted = if let Act::CorruptDownload(place) = act { Some(place) } else { None };
            pass(&upstream, &client, length, corrupted, pace(&act), &|_| {})
        };
        let outcome = down();
        // What is still being sent nobody hears any more.
        let _ = (client.shutdown(Shutdown::Both), upstream.shutdown(Shutdown::Both));
        let _ = up.join();
        outcome
    })
}

fn pace(act: &Act) -> Option<usize> {
    if let Act::Throttle(bytes) = act { Some(*bytes) } else { None }
}

/// Passes on up to `length` bytes, one of them changed, so many in a second.
fn pass(
    mut from: &TcpStream,
    mut to: &TcpStream,
    length: usize,
    corrupted: Option<usize>,
    pace: Option<usize>,
    told: &dyn Fn(usize),
) -> io::Result<()> {
    // A tenth of a second's worth, so that a slow line is slow and not jerky.
    let mut room = vec![0; pace.map_or(64 << 10, |pace| (pace / 10).max(1))];
    let mut passed = 0;
    while passed < length {
        let most = room.len().min(length - passed);
        let came = from.read(&mut room[..most])?;
        if came == 0 {
            // An answer ends when the server is done; a body that ends early is cut short.
            return if length == usize::MAX { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        if let Some(place) = corrupted.filter(|place| (passed..passed + came).contains(place)) {
            room[place - passed] ^= 1;
        }
        to.write_all(&room[..came])?;
        passed += came;
        told(passed);
        if let Some(pace) = pace {
            thread::sleep(Duration::from_secs_f64(came as f64 / pace as f64));
        }
    }
    Ok(())
}

fn understand(head: &str) -> Request {
    let mut words = head.split(' ');
    let method = words.next().unwrap_or_default().to_owned();
    let target = words.next().unwrap_or_default();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let length = header(head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        length,
        token: header(head, "x-auth-token").map(str::to_owned),
        head: head.to_owned(),
        body: Vec::new(),
    }
}

fn status_of(head: &str) -> u16 {
    head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

/// All up to and with the empty line.
fn read_head(stream: &mut impl Read) -> io::Result<String> {
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

/// The head with the wish to use the connection once, and with another value for a header.
fn with_close(head: &str, change: Option<(&str, &str)>) -> String {
    let is_replaced = |line: &&str| {
        let name = line.split(':').next().unwrap_or_default();
        name.eq_ignore_ascii_case("connection")
            || change.is_some_and(|(changed, _)| name.eq_ignore_ascii_case(changed))
    };
    let mut lines: Vec<_> =
        head.trim_end().lines().filter(|line| !is_replaced(line)).map(str::to_owned).collect();
    lines.extend(change.map(|(name, value)| format!("{name}: {value}")));
    format!("{}\r\nConnection: close\r\n\r\n", lines.join("\r\n"))
}
