//! What the proxy tells about itself: a page for people at `/`, and at `/metrics` the same for Prometheus.

use std::fmt::Write as _;

use hyper::{Method, Request, Response};

use super::statistics::{Statistics, Total};
use crate::proxy::body::ProxyBody;
use crate::proxy::response;

const HTML: &str = "text/html; charset=utf-8";
/// The text format of Prometheus: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page that a request asks for, if it is not one to a proxy.
pub fn answer<B>(request: &Request<B>, statistics: &Statistics) -> Option<Response<ProxyBody>> {
    let is_page = request.uri().authority().is_none() && request.method() == Method::GET;
    match request.uri().path() {
        "/" if is_page => Some(response::page(HTML, status(statistics))),
        "/metrics" if is_page => Some(response::page(METRICS, metrics(statistics))),
        _ => None,
    }
}

fn metrics(statistics: &Statistics) -> String {
    let totals: Vec<_> = statistics.totals().collect();
    let mut text = String::new();
    let mut by_verdict = |name: &str, help: &str, value: &dyn Fn(&Total) -> String| {
        head(&mut text, name, "counter", help);
        for total in &totals {
            writeln!(text, "{name}{{verdict=\"{}\"}} {}", total.word, value(total)).expect("memory");
        }
    };
    by_verdict("ibuild_proxy_requests_total", "Answers, by how they came about.", &|t| {
        t.requests.to_string()
    });
    by_verdict("ibuild_proxy_sent_bytes_total", "Bytes that clients were sent.", &|t| t.bytes.to_string());
    by_verdict("ibuild_proxy_answer_seconds_total", "Time from requests to the ends of answers.", &|t| {
        format!("{:.6}", t.micros as f64 / 1e6)
    });
    let mut one = |name: &str, kind: &str, help: &str, value: u64| {
        head(&mut text, name, kind, help);
        writeln!(text, "{name} {value}").expect("memory");
    };
    let fetched = statistics.fetched();
    one("ibuild_proxy_fetched_bytes_total", "counter", "Bytes that mirrors sent for the store.", fetched);
    one("ibuild_proxy_failed_downloads_total", "counter", "Downloads that failed.", statistics.failed());
    one("ibuild_proxy_downloads", "gauge", "Downloads that run.", statistics.downloads());
    one("ibuild_proxy_connections", "gauge", "Clients that are connected.", statistics.connections());
    text
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("memory");
}

fn status(statistics: &Statistics) -> String {
    let mut rows = String::new();
    for Total { word, requests, bytes, .. } in statistics.totals() {
        writeln!(rows, "<tr><th>{word}</th><td>{requests}</td><td>{}</td></tr>", mebibytes(bytes))
            .expect("memory");
    }
    let kept = ["hit", "joined", "stale"];
    let saved = statistics.totals().filter(|t| kept.contains(&t.word)).map(|t| t.bytes).sum();
    let mut problems = String::new();
    for noted in statistics.problems() {
        let (address, problem) = (escape(&noted.address), escape(&noted.problem));
        writeln!(problems, "<li>{} <code>{address}</code><br/>{problem}</li>", noted.time).expect("memory");
    }
    if problems.is_empty() {
        problems.push_str("<li>none</li>\n");
    }
    format!(
        r#"<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"/><title>ibuild proxy</title><link rel="icon" href="data:,"/>
<style>body {{ font-family: sans-serif; margin: 2em }} th {{ text-align: left }} td {{ text-align: right; padding-left: 2em }}</style>
</head><body>
<h1>ibuild proxy</h1>
<p id="saved">{saved} that clients were sent did not come from a mirror; {fetched} did. {downloads} downloads run,
{connections} clients are connected.</p>
<table id="answers"><tr><th>answers</th><td>requests</td><td>sent</td></tr>
{rows}</table>
<h2>MemoryCache problems</h2>
<ul id="problems">
{problems}</ul>
<p>Numbers for programs are at <a href="/metrics">/metrics</a>.</p>
</body></html>
"#,
        saved = mebibytes(saved),
        fetched = mebibytes(statistics.fetched()),
        downloads = statistics.downloads(),
        connections = statistics.connections(),
    )
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

/// Addresses are what clients write.
fn escape(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyper::StatusCode;

    use super::*;
    use crate::{AccessObserver, AccessRecord, CacheStatus, End, Sent};

    fn statistics() -> Statistics {
        let statistics = Statistics::default();
        let exchange = |verdict, problem: Option<&str>| AccessRecord {
            client: [127, 0, 0, 1].into(),
            method: "GET".to_owned(),
            address: "http://x/<script>".to_owned(),
            status: StatusCode::OK,
            file: None,
            verdict,
            problem: problem.map(str::to_owned),
        };
        let refused = exchange(CacheStatus::Refused(StatusCode::FORBIDDEN), Some("\"no\" & 'never'"));
        for exchange in [exchange(CacheStatus::Hit, None), refused] {
            let sent = Sent { bytes: 3 << 20, elapsed: Duration::from_millis(250), end: End::Complete };
            statistics.answered(&exchange);
            statistics.finished(&exchange, &sent);
        }
        statistics
    }

    #[test]
    fn numbers_for_programs() {
        let text = metrics(&statistics());
        for line in [
            "# TYPE ibuild_proxy_requests_total counter",
            "ibuild_proxy_requests_total{verdict=\"hit\"} 1",
            "ibuild_proxy_requests_total{verdict=\"miss\"} 0",
            "ibuild_proxy_sent_bytes_total{verdict=\"hit\"} 3145728",
            "ibuild_proxy_answer_seconds_total{verdict=\"hit\"} 0.250000",
            "ibuild_proxy_fetched_bytes_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn what_clients_write_is_only_text() {
        let page = status(&statistics());
        assert!(page.contains("3.0 MiB that clients were sent did not come from a mirror"), "{page}");
        assert!(page.contains("http://x/&lt;script&gt;") && !page.contains("<script"), "{page}");
        assert!(page.contains("&quot;no&quot; &amp; &#39;never&#39;"), "{page}");
    }
}
