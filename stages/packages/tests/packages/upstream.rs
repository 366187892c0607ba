//! A fake mirror that misbehaves as it is told. It serves whatever bytes a test gives it.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ibuild_debian::Url;
use ibuild_packages::{Authorities, FallbackSources, Mirrors};

/// What the fake does with one request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// Sends the file, or the part of it that was asked for.
    File(Vec<u8>),
    /// Sends the file whole, whatever part was asked for.
    WholeFile(Vec<u8>),
    /// Sends the head for the whole file, but breaks off after so many bytes.
    Cut(Vec<u8>, usize),
    /// Sends half of the file, and the rest after a while.
    Slow(Vec<u8>, Duration),
    /// Sends nothing for a while, then closes.
    Hang(Duration),
    /// Sends a status without a body.
    Status(u16),
    /// Sends the client elsewhere.
    Redirect(String),
    /// Claims a length that is not the body's.
    Length(Vec<u8>, usize),
    /// Sends the file in chunks, without saying how long it is.
    Chunked(Vec<u8>),
    /// Sends the file without saying how long it is, and closes.
    NoLength(Vec<u8>),
    /// Sends a status with a body.
    Trouble(u16, &'static str),
    /// Sends a status, and asks for a pause of so many seconds.
    Busy(u16, u64),
    /// Sends a byte, then nothing for a while, then a byte.
    Drip(Vec<u8>, Duration),
    /// Sends the head, then resets the connection.
    Reset(usize),
    /// Sends a version of the file, named by a tag, and breaks off after so many bytes if it is told to. Parts of it are for
    /// those who ask with its tag.
    Version(Vec<u8>, &'static str, Option<usize>),
}

/// One request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub path: String,
    pub range: Option<String>,
    pub if_range: Option<String>,
}

#[derive(Default)]
struct State {
    replies: Mutex<HashMap<String, VecDeque<Reply>>>,
    seen: Mutex<Vec<Seen>>,
    answering: AtomicUsize,
    most: AtomicUsize,
    stopped: AtomicBool,
}

/// The fake mirror.
pub struct FakeUpstream {
    port: u16,
    state: Arc<State>,
}

impl FakeUpstream {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let state = shared.clone();
                std::thread::spawn(move || drop(serve(stream.unwrap(), &state)));
            }
        });
        Self { port, state }
    }

    /// Replies to requests for a path, in order; the last one is repeated.
    pub fn reply(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state.replies.lock().unwrap().insert(path.to_owned(), replies.into_iter().collect());
    }

    /// From now on every connection is closed at once.
    pub fn stop(&self) {
        self.state.stopped.store(true, Ordering::SeqCst);
    }

    pub fn url(&self, path: &str) -> Url {
        format!("http://127.0.0.1:{}/{path}", self.port).parse().unwrap()
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn mirrors(&self) -> Mirrors {
        Mirrors {
            main: vec![self.url("debian")],
            security: vec![self.url("debian-security")],
            elsewhere: FallbackSources::default(),
            authorities: Authorities::of_host(&[]),
        }
    }

    /// The most requests that it had to answer at once.
    pub fn most_at_once(&self) -> usize {
        self.state.most.load(Ordering::SeqCst)
    }

    pub fn seen(&self, path: &str) -> Vec<Seen> {
        self.state.seen.lock().unwrap().iter().filter(|seen| seen.path == path).cloned().collect()
    }
}

fn serve(stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(seen) = read_request(&mut reader)? {
        if state.stopped.load(Ordering::SeqCst) {
            return Ok(());
        }
        state.seen.lock().unwrap().push(seen.clone());
        state.most.fetch_max(state.answering.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        let goes_on = answer(&stream, &next_reply(state, &seen.path), &seen);
        state.answering.fetch_sub(1, Ordering::SeqCst);
        if !goes_on? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(reader: &mut impl BufRead) -> std::io::Result<Option<Seen>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap().to_owned();
    let (mut range, mut if_range) = (None, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        match header.trim().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("range") => range = Some(value.to_owned()),
            Some((name, value)) if name.eq_ignore_ascii_case("if-range") => if_range = Some(value.to_owned()),
            Some(_) => {}
            None => return Ok(Some(Seen { path, range, if_range })),
        }
    }
}

fn next_reply(state: &State, path: &str) -> Reply {
    let mut replies = state.replies.lock().unwrap();
    match replies.get_mut(path) {
        None => Reply::Status(404),
        Some(queue) if queue.len() > 1 => queue.pop_front().unwrap(),
        Some(queue) => queue.front().unwrap().clone(),
    }
}

/// Whether the connection may be used again.
#[allow(clippy::too_many_lines, reason = "a story in its order")]
fn answer(mut stream: &TcpStream, reply: &Reply, seen: &Seen) -> std::io::Result<bool> {
    let head = |status: &str, length: usize| format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n");
    match reply {
        Reply::File(bytes) => {
            let start =
                seen.range.as_deref().and_then(|r| r.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
            let (text, start) = match start {
                None => (head("200 OK", bytes.len()), 0),
                Some(start) => {
                    let (last, size) = (bytes.len() - 1, bytes.len());
                    let part = head("206 Partial Content", size - start);
                    (format!("{part}Content-Range: bytes {start}-{last}/{size}\r\n"), start)
                }
            };
            stream.write_all(format!("{text}\r\n").as_bytes())?;
            stream.write_all(&bytes[start..])?;
            Ok(true)
        }
        Reply::WholeFile(bytes) => {
            answer(stream, &Reply::File(bytes.clone()), &Seen { range: None, ..seen.clone() })
        }
        Reply::Cut(bytes, after) => {
            stream.write_all(format!("{}\r\n", head("200 OK", bytes.len())).as_bytes())?;
            stream.write_all(&bytes[..*after])?;
            Ok(false)
        }
        Reply::Slow(bytes, pause) => {
            let half = bytes.len() / 2;
            stream.write_all(format!("{}\r\n", head("200 OK", bytes.len())).as_bytes())?;
            stream.write_all(&bytes[..half])?;
            std::thread::sleep(*pause);
            stream.write_all(&bytes[half..])?;
            Ok(true)
        }
        Reply::Hang(pause) => {
            std::thread::sleep(*pause);
            Ok(false)
        }
        Reply::Status(status) => {
            stream.write_all(format!("{}\r\n", head(&format!("{status} X"), 0)).as_bytes())?;
            Ok(true)
        }
        Reply::Redirect(to) => {
            stream.write_all(format!("{}Location: {to}\r\n\r\n", head("302 Found", 0)).as_bytes())?;
            Ok(true)
        }
        Reply::Chunked(bytes) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            for chunk in bytes.chunks(7000) {
                stream.write_all(format!("{:x}\r\n", chunk.len()).as_bytes())?;
                stream.write_all(chunk)?;
                stream.write_all(b"\r\n")?;
            }
            stream.write_all(b"0\r\n\r\n")?;
            Ok(true)
        }
        Reply::NoLength(bytes) => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            stream.write_all(bytes)?;
            Ok(false)
        }
        Reply::Trouble(status, text) => {
            stream.write_all(format!("{}\r\n{text}", head(&format!("{status} X"), text.len())).as_bytes())?;
            Ok(true)
        }
        Reply::Busy(status, pause) => {
            let head = head(&format!("{status} X"), 0);
            stream.write_all(format!("{head}Retry-After: {pause}\r\n\r\n").as_bytes())?;
            Ok(true)
        }
        Reply::Drip(bytes, pause) => {
            stream.write_all(format!("{}\r\n", head("200 OK", bytes.len())).as_bytes())?;
            for byte in bytes {
                stream.write_all(&[*byte])?;
                std::thread::sleep(*pause);
            }
            Ok(true)
        }
        Reply::Reset(length) => {
            stream.write_all(format!("{}\r\n", head("200 OK", *length)).as_bytes())?;
            let linger = libc::linger { l_onoff: 1, l_linger: 0 };
            nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger)?;
            Ok(false)
        }
        Reply::Version(bytes, tag, cut) => {
            let start = seen.range.as_deref().filter(|_| seen.if_range.as_deref() == Some(tag));
            let start = start.map_or(0, |r| r["bytes=".len()..].trim_end_matches('-').parse().unwrap());
            let (last, size) = (bytes.len() - 1, bytes.len());
            let text = match start {
                0 => head("200 OK", size),
                start => format!(
                    "{}Content-Range: bytes {start}-{last}/{size}\r\n",
                    head("206 Partial Content", size - start)
                ),
            };
            stream.write_all(format!("{text}ETag: {tag}\r\n\r\n").as_bytes())?;
            stream.write_all(&bytes[start..cut.unwrap_or(size)])?;
            Ok(cut.is_none())
        }
        Reply::Length(bytes, length) => {
            stream.write_all(format!("{}\r\n", head("200 OK", *length)).as_bytes())?;
            stream.write_all(bytes)?;
            Ok(false)
        }
    }
}
