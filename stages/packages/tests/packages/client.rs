//! An HTTP client that hides nothing: one connection per request, and the body as far as it came.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

pub struct Response {
    pub status: u16,
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

pub fn get(proxy: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Response {
    request(proxy, "GET", &format!("http://deb.debian.org/debian/{path}"), headers)
}

pub fn request(proxy: SocketAddr, method: &str, target: &str, headers: &[(&str, &str)]) -> Response {
    let mut stream = TcpStream::connect(proxy).unwrap();
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
    let mut bytes = Vec::new();
    // A connection that is reset in the middle has told what it could.
    let _ = stream.read_to_end(&mut bytes);
    parse(&bytes)
}

/// Sends several requests on one connection before it reads an answer, as apt does.
pub fn pipelined(proxy: SocketAddr, paths: &[&str]) -> Vec<Response> {
    let mut stream = TcpStream::connect(proxy).unwrap();
    let request = |(at, path): (usize, &&str)| {
        let last = if at + 1 == paths.len() { "Connection: close\r\n" } else { "" };
        format!("GET http://deb.debian.org/debian/{path} HTTP/1.1\r\nHost: x\r\n{last}\r\n")
    };
    let requests: String = paths.iter().enumerate().map(request).collect();
    stream.write_all(requests.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let (mut rest, mut responses) = (&bytes[..], Vec::new());
    while !rest.is_empty() {
        let mut response = parse(rest);
        let length = response.headers["content-length"].parse().unwrap();
        rest = &rest[rest.len() - response.body.len() + length..];
        response.body.truncate(length);
        responses.push(response);
    }
    responses
}

fn parse(bytes: &[u8]) -> Response {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a response has a head");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header =
        |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    Response { status, headers: lines.filter_map(header).collect(), body: bytes[end + 4..].to_vec() }
}
