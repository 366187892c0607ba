//! The responses of the proxy, from status line to body.

use hyper::header::{self, HeaderValue};
use hyper::http::response::Builder;
use hyper::{Response, StatusCode};

use crate::fetch::content::Content;
use crate::proxy::body::ProxyBody;
use crate::proxy::range::{Answer, last_modified};
use ibuild_debian::Known;

fn part(content: Content, start: u64, end: u64) -> ProxyBody {
    match content {
        Content::File(file) => ProxyBody::Stored { file, at: start, end },
        Content::Memory(bytes) => ProxyBody::text(bytes.slice(start as usize..end as usize)),
    }
}

/// A whole file, whatever its bytes come from.
pub(crate) fn whole(known: &Known, body: ProxyBody) -> Response<ProxyBody> {
    send(head(StatusCode::OK, known).header(header::CONTENT_LENGTH, known.size), body)
}

/// What `answer` says of a file that is at hand.
pub(crate) fn at_hand(known: &Known, content: Content, answer: Answer) -> Response<ProxyBody> {
    answered(known, answer, |start, end| part(content, start, end))
}

/// What `answer` says of a file, wherever a part of it comes from: whether it is here already cannot be told.
pub(crate) fn answered(
    known: &Known,
    answer: Answer,
    part: impl FnOnce(u64, u64) -> ProxyBody,
) -> Response<ProxyBody> {
    let size = known.size;
    match answer {
        Answer::Whole => whole(known, part(0, size)),
        Answer::Part { start, end } => {
            let head = head(StatusCode::PARTIAL_CONTENT, known)
                .header(header::CONTENT_LENGTH, end - start)
                .header(header::CONTENT_RANGE, format!("bytes {start}-{}/{size}", end - 1));
            send(head, part(start, end))
        }
        Answer::NotModified => send(head(StatusCode::NOT_MODIFIED, known), ProxyBody::text("")),
        Answer::OutOfRange => {
            let head = Response::builder()
                .status(StatusCode::RANGE_NOT_SATISFIABLE)
                .header(header::CONTENT_RANGE, format!("bytes */{size}"));
            send(head, ProxyBody::text(format!("ibuild: the file has {size} bytes\n")))
        }
    }
}

/// The answer to a client that may speak to another host: from then on the connection is one to that host.
pub(crate) fn tunnel() -> Response<ProxyBody> {
    Response::new(ProxyBody::text(""))
}

/// A text that is shown as it is now.
pub(crate) fn page(kind: &'static str, text: String) -> Response<ProxyBody> {
    let head = Response::builder()
        .header(header::CONTENT_TYPE, kind)
        .header(header::CACHE_CONTROL, "no-store")
        .header(header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'");
    send(head, ProxyBody::text(text))
}

/// An answer that is no file but says why.
pub(crate) fn refusal(status: StatusCode, text: String) -> Response<ProxyBody> {
    let head = Response::builder().status(status).header(header::CONTENT_TYPE, "text/plain; charset=utf-8");
    let head = match status {
        StatusCode::METHOD_NOT_ALLOWED => head.header(header::ALLOW, "GET, HEAD"),
        _ => head,
    };
    send(head, ProxyBody::text(text))
}

/// The modification time is a function of the digest: see [`last_modified`].
fn head(status: StatusCode, known: &Known) -> Builder {
    let date = last_modified(&known.sha256).http_date();
    let head = Response::builder().status(status).header(header::LAST_MODIFIED, date);
    head.header(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"))
}

fn send(head: Builder, body: ProxyBody) -> Response<ProxyBody> {
    head.body(body).expect("numbers, dates and constants make valid headers")
}
