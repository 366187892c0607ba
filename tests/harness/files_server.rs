//! A server of files on loopback that does as it is told, and remembers who asked for what.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server does with a request for a file.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Sends it, or the part of it that was asked for.
    File(Vec<u8>),
    /// Says how long it is, and breaks off after so many bytes of what was asked for.
    Cut(Vec<u8>, usize),
    /// Sends it in pieces, with a pause after each.
    Slow(Vec<u8>, Duration),
}

#[derive(Default)]
struct State {
    answers: Mutex<BTreeMap<String, Answer>>,
    asked: Mutex<Vec<String>>,
}

/// The server. What it does not have it answers with 404.
pub struct FileServer {
    port: u16,
    state: Arc<State>,
}

impl FileServer {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<State>::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let state = shared.clone();
                std::thread::spawn(move || drop(serve(&stream.unwrap(), &state)));
            }
        });
        Self { port, state }
    }

    pub fn url(&self, name: &str) -> String {
        format!("http://127.0.0.1:{}/{name}", self.port)
    }

    /// From now on this is the answer for a file.
    pub fn answer(&self, name: &str, answer: Answer) {
        self.state.answers.lock().unwrap().insert(format!("/{name}"), answer);
    }

    pub fn file(&self, name: &str, bytes: &[u8]) {
        self.answer(name, Answer::File(bytes.to_vec()));
    }

    /// What was asked for since the last call, each with the part: `/a bytes=5-`.
    pub fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state.asked.lock().unwrap())
    }
}

fn serve(mut stream: &TcpStream, state: &State) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    loop {
        let (mut head, mut line) = (Vec::new(), String::new());
        while reader.read_line(&mut line)? > 2 {
            head.push(std::mem::take(&mut line).trim().to_owned());
        }
        let Some(path) = head.first().and_then(|line| line.split(' ').nth(1)) else { return Ok(()) };
        let range =
            head.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("range: ").map(str::to_owned));
        let asked =
            [Some(path.to_owned()), range.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ");
        state.asked.lock().unwrap().push(asked);
        let answer = state.answers.lock().unwrap().get(path).cloned();
        let start = range.and_then(|r| r.trim_start_matches("bytes=").trim_end_matches('-').parse().ok());
        match answer {
            None => stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")?,
            Some(Answer::File(bytes)) => send(stream, &bytes, start, bytes.len())?,
            Some(Answer::Cut(bytes, after)) => return send(stream, &bytes, start, after),
            Some(Answer::Slow(bytes, pause)) => {
                send(stream, &bytes, None, 0)?;
                for piece in bytes.chunks(1024) {
                    stream.write_all(piece)?;
                    std::thread::sleep(pause);
                }
            }
        }
    }
}

/// The head, and what was asked for up to `end`.
fn send(mut stream: &TcpStream, bytes: &[u8], start: Option<usize>, end: usize) -> std::io::Result<()> {
    let (size, from) = (bytes.len(), start.unwrap_or(0));
    let status = match start {
        None => "200 OK\r\n".to_owned(),
        Some(_) => format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{size}\r\n", size - 1),
    };
    stream.write_all(format!("HTTP/1.1 {status}Content-Length: {}\r\n\r\n", size - from).as_bytes())?;
    stream.write_all(&bytes[from.min(end)..end])
}
