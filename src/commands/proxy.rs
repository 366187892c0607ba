//! `ibuild proxy`: serves the living archive to other machines and containers, until it is stopped.

use std::net::{IpAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use ibuild::stages::packages::{
    Clients, End, Exchange, ExchangeObserver, Fetcher, Gpgv, Live, MirrorOverride, Mirrors, Patience, Proxy,
    Sent, Statistics, Upstream, Verifier,
};
use serde::Serialize;

use crate::cli::{Global, ProxyArgs};
use crate::failure::{EnvironmentError, UsageError};
use crate::interrupt;
use crate::session::{open_store, project_dir};
use crate::settings::Settings;
use crate::terminal::print;

/// How often it is looked whether to stop.
const PAUSE: Duration = Duration::from_millis(100);

pub fn run(global: &Global, args: &ProxyArgs) -> Result<ExitCode> {
    check_clients(args)?;
    let settings = Settings::read(&project_dir()?)?;
    let store = open_store(global, &settings)?;
    // Where no build ever runs, nobody else would.
    if let Err(error) = store.sweep() {
        eprintln!("note    store  what killed proxies have left stays there: {error}");
    }
    let mirrors = Mirrors::of_host(&wishes(args, &settings))?;
    let verifier = verifier(&args.keyring)?;
    let statistics = Arc::<Statistics>::default();
    let upstream = Upstream::Mirrors(mirrors.clone());
    let fetcher = Fetcher::new(&store, upstream, Patience::default(), statistics.clone())?;
    let clients = Clients::and(args.allow.clone());
    let max_age = Duration::from_secs(args.max_age);
    let live = Live::open(&store, &mirrors, verifier, clients, max_age, statistics.clone())?;
    let cancel = interrupt::cancel_on_signals()?;
    let listener = TcpListener::bind(args.listen).map_err(|e| cannot_listen(args, &e))?;
    let address = listener.local_addr().context("cannot find out where this listens")?;
    let log = Arc::new(Log(statistics));
    let _serving = Proxy::new(&fetcher).serve_live(listener, live, log)?;
    if !global.quiet {
        let all = mirrors.all().map(ToString::to_string);
        eprintln!("serves  {}", all.collect::<Vec<_>>().join(", "));
        eprintln!("listens at http://{address}");
    }
    while !cancel.is_cancelled() {
        std::thread::sleep(PAUSE);
    }
    Ok(ExitCode::SUCCESS)
}

/// A socket that others can reach, and that answers none of them, is a mistake; one that answers everybody is another.
fn check_clients(args: &ProxyArgs) -> Result<()> {
    if args.listen.ip().is_loopback() || !args.allow.is_empty() {
        return Ok(());
    }
    let message = format!("`--listen {}` is for other machines, but none is allowed to ask", args.listen);
    Err(UsageError::new(message).hint("name them: `--allow 192.0.2.0/24`").into())
}

fn wishes(args: &ProxyArgs, settings: &Settings) -> MirrorOverride {
    let mut wishes = settings.mirrors();
    if !args.mirror.is_empty() {
        wishes.main.clone_from(&args.mirror);
    }
    if !args.security_mirror.is_empty() {
        wishes.security.clone_from(&args.security_mirror);
    }
    wishes
}

/// A keyring that cannot be read would show only with the first client.
fn verifier(keyring: &Path) -> Result<Arc<dyn Verifier>> {
    let verifier = Gpgv::new(keyring);
    verifier.trust().map_err(|e| EnvironmentError { message: e.to_string(), hint: e.hint().to_owned() })?;
    Ok(Arc::new(verifier))
}

fn cannot_listen(args: &ProxyArgs, error: &std::io::Error) -> EnvironmentError {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => "another program listens there; `--listen` takes another port",
        _ => "`--listen` takes an address of this machine and a port, like `127.0.0.1:3142`",
    };
    let message = format!("cannot listen at `{}`: {error}", args.listen);
    EnvironmentError { message, hint: hint.to_owned() }
}

/// Writes down every request when it has been answered.
struct Log(Arc<Statistics>);

impl ExchangeObserver for Log {
    fn connected(&self) {
        self.0.connected();
    }

    fn disconnected(&self) {
        self.0.disconnected();
    }

    fn answered(&self, exchange: &Exchange) {
        self.0.answered(exchange);
    }

    fn finished(&self, exchange: &Exchange, sent: &Sent) {
        ExchangeObserver::finished(&*self.0, exchange, sent);
        // A log that nobody reads any more stops no proxy.
        let _ = print(&line(exchange, sent, now()));
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

fn line(exchange: &Exchange, sent: &Sent, time: f64) -> String {
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
    use super::*;
    use ibuild::stages::packages::Verdict;

    #[test]
    fn a_line_for_programs() {
        let exchange = Exchange {
            client: "::ffff:192.0.2.1".parse().unwrap(),
            method: "GET".to_owned(),
            address: "http://deb.debian.org/debian/x".to_owned(),
            status: Default::default(),
            file: None,
            verdict: Verdict::Hit,
            problem: None,
        };
        let sent = Sent { bytes: 7, elapsed: Duration::from_millis(250), end: End::Broken };
        assert_eq!(
            line(&exchange, &sent, 1.5).trim_end(),
            r#"{"bytes":7,"client":"192.0.2.1","complete":false,"method":"GET","problem":null,"seconds":0.25,"sha256":null,"status":200,"time":1.5,"url":"http://deb.debian.org/debian/x","v":1,"verdict":"hit"}"#
        );
    }
}
