//! The responses of the proxy, from status line to body.

use std::fs::File;

use hyper::header::{self, HeaderValue};
use hyper::http::response::Builder;
use hyper::{Response, StatusCode};

use super::answer::{Answer, last_modified};
use super::body::ProxyBody;
use super::view::ArchiveFile;

/// A whole file, whatever its bytes come from.
pub(super) fn whole(file: &ArchiveFile, body: ProxyBody) -> Response<ProxyBody> {
    send(head(StatusCode::OK, file).header(header::CONTENT_LENGTH, file.known.size), body)
}

/// What `answer` says of a file that is in the store.
pub(super) fn stored(file: &ArchiveFile, bytes: File, answer: Answer) -> Response<ProxyBody> {
    let size = file.known.size;
    match answer {
        Answer::Whole => whole(file, ProxyBody::Stored { file: bytes, at: 0, end: size }),
        Answer::Part { start, end } => {
            let head = head(StatusCode::PARTIAL_CONTENT, file)
                .header(header::CONTENT_LENGTH, end - start)
                .header(header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1));
            send(head, ProxyBody::Stored { file: bytes, at: start, end })
        }
        Answer::NotModified => send(head(StatusCode::NOT_MODIFIED, file), ProxyBody::text("")),
        Answer::OutOfRange => {
            let head = Response::builder()
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(header::CONTENT_RANGE, format!("bytes */{size}"));
            send(head, ProxyBody::text(format!("ibuild: {} has {size} bytes\n", file.path())))
        }
    }
}

/// An answer that is no file but says why.
pub(super) fn refusal(status: StatusCode, text: String) -> Response<ProxyBody> {
    let head = Response::builder().status(status).header(header::CONTENT_TYPE, "text/plain; charset=utf-8");
    let head = match status {
        StatusCode::METHOD_NOT_ALLOWED => head.header(header::ALLOW, "GET, HEAD"),
        _ => head,
    };
    send(head, ProxyBody::text(text))
}

/// The modification time is a function of the digest: see [`last_modified`].
fn head(status: StatusCode, file: &ArchiveFile) -> Builder {
    let date = last_modified(&file.known.sha256).http_date();
    let head = Response::builder().status(status).header(header::LAST_MODIFIED, date);
    head.header(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"))
}

fn send(head: Builder, body: ProxyBody) -> Response<ProxyBody> {
    head.body(body).expect("numbers, dates and constants make valid headers")
}
