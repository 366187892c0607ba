//! What the proxy writes down of its requests: a line of JSON for each.

use std::io::{BufWriter, Write};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ibuild::stages::packages::{AccessObserver, AccessRecord, End, Sent, Statistics};
use serde::Serialize;

/// More than this of lines does not wait.
const WAITING: usize = 64 << 10;

/// Writes down every request when it has been answered, and counts it. Lines wait for [`Log::flush`], because a client waits for
/// whatever is done with each, and some disks and readers of pipes are slow.
pub struct Log<W: Write> {
    statistics: Arc<Statistics>,
    lines: Mutex<BufWriter<W>>,
}

impl<W: Write> Log<W> {
    /// A log that goes to `out`.
    pub fn new(statistics: Arc<Statistics>, out: W) -> Self {
        Self { statistics, lines: Mutex::new(BufWriter::with_capacity(WAITING, out)) }
    }

    /// Writes what waits.
    pub fn flush(&self) {
        // A log that nobody reads any more stops no proxy.
        let _ = self.lines().flush();
    }

    fn lines(&self) -> MutexGuard<'_, BufWriter<W>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<W: Write + Send> AccessObserver for Log<W> {
    fn connected(&self) {
        self.statistics.connected();
    }

    fn disconnected(&self) {
        self.statistics.disconnected();
    }

    fn answered(&self, exchange: &AccessRecord) {
        self.statistics.answered(exchange);
    }

    fn finished(&self, exchange: &AccessRecord, sent: &Sent) {
        AccessObserver::finished(&*self.statistics, exchange, sent);
        let line = line(exchange, sent, now());
        // As above: it is no matter.
        let _ = self.lines().write_all(line.as_bytes());
    }
}

fn now() -> f64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0.0, |now| now.as_millis() as f64 / 1000.0)
}

/// What is written down of a request.
#[derive(Serialize)]
struct Line<'a> {
    bytes: u64,
    client: IpAddr,
    complete: bool,
    method: &'a str,
    problem: Option<&'a str>,
    seconds: f64,
    sha256: Option<String>,
    status: u16,
    time: f64,
    url: &'a str,
    v: u8,
    verdict: &'a str,
}

fn line(exchange: &AccessRecord, sent: &Sent, time: f64) -> String {
    let line = Line {
        bytes: sent.bytes,
        client: exchange.client.to_canonical(),
        complete: sent.end == End::Complete,
        method: &exchange.method,
        problem: exchange.problem.as_deref(),
        seconds: sent.elapsed.as_secs_f64(),
        sha256: exchange.file.as_ref().map(|file| file.known.sha256.hex()),
        status: exchange.status.as_u16(),
        time,
        url: &exchange.address,
        v: 1,
        verdict: exchange.verdict.word(),
    };
    serde_json::to_string(&line).expect("texts and numbers can be written down") + "\n"
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use ibuild::stages::packages::CacheStatus;

    fn hit() -> (AccessRecord, Sent) {
        let exchange = AccessRecord {
            client: "::ffff:192.0.2.1".parse().unwrap(),
            method: "GET".to_owned(),
            address: "http://deb.debian.org/debian/x".to_owned(),
            status: Default::default(),
            file: None,
            verdict: CacheStatus::Hit,
            problem: None,
        };
        (exchange, Sent { bytes: 7, elapsed: Duration::from_millis(250), end: End::Broken })
    }

    #[test]
    fn lines_wait_but_not_many() {
        let (log, (exchange, sent)) = (Log::new(Arc::default(), Vec::new()), hit());
        let written = || log.lines().get_ref().len();
        log.finished(&exchange, &sent);
        assert_eq!(written(), 0);
        log.flush();
        let line = written();
        assert!(line > 0);
        for _ in 0..=WAITING / line {
            log.finished(&exchange, &sent);
        }
        assert!(written() > line, "more than {WAITING} bytes wait");
    }

    #[test]
    fn a_line_for_programs() {
        let (exchange, sent) = hit();
        assert_eq!(
            line(&exchange, &sent, 1.5).trim_end(),
            r#"{"bytes":7,"client":"192.0.2.1","complete":false,"method":"GET","problem":null,"seconds":0.25,"sha256":null,"status":200,"time":1.5,"url":"http://deb.debian.org/debian/x","v":1,"verdict":"hit"}"#
        );
    }
}
