//! `ibuild proxy`: serves the living archive to other machines and containers, until it is stopped.

mod log;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ibuild::stages::packages::{
    Clients, Fetcher, Gpgv, LiveArchive, MirrorOverride, Mirrors, Patience, Proxy, Statistics, Upstream,
    Verifier,
};
use ibuild::{Context, EnvironmentError, Result, Settings, UsageError, open_store};

use self::log::Log;
use crate::cli::{Global, ProxyArgs};
use crate::interrupt;
use crate::invocation::project_dir;
use crate::terminal::{note, tell};

/// How often it is looked whether to stop, and what was answered is written down.
const PAUSE: Duration = Duration::from_millis(100);

pub fn run(global: &Global, args: &ProxyArgs) -> Result<ExitCode> {
    check_clients(args)?;
    let settings = Settings::read(&project_dir()?)?;
    let store = open_store(global.cache_dir.as_deref(), &settings)?;
    // Where no build ever runs, nobody else would.
    if let Err(error) = store.sweep() {
        note(global, &format!("store  what killed proxies have left stays there: {error}"));
    }
    let mirrors = Mirrors::of_host(&wishes(args, &settings))?;
    let verifier = verifier(&args.keyring)?;
    let statistics = Arc::<Statistics>::default();
    let upstream = Upstream::Mirrors(mirrors.clone());
    let fetcher = Fetcher::new(&store, upstream, Patience::default(), statistics.clone())?;
    let (clients, max_age) = (Clients::and(args.allow.clone()), Duration::from_secs(args.max_age));
    let live = LiveArchive::open(&store, &mirrors, verifier, clients, max_age, statistics.clone())?;
    let cancel = interrupt::cancel_on_signals()?;
    let listener = TcpListener::bind(args.listen).map_err(|e| cannot_listen(args, &e))?;
    let address = listener.local_addr().context("cannot find out where this listens")?;
    let log = Arc::new(Log::new(statistics, std::io::stdout()));
    let serving = Proxy::new(&fetcher).serve_live(listener, live, log.clone())?;
    if !global.quiet {
        announce(&mirrors, address);
    }
    while !cancel.is_cancelled() {
        std::thread::sleep(PAUSE);
        log.flush();
    }
    drop(serving);
    // Answers that were still being given end with the fetcher's threads, and each has a line.
    drop(fetcher);
    log.flush();
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

fn announce(mirrors: &Mirrors, address: SocketAddr) {
    let all = mirrors.all().map(ToString::to_string);
    tell!("serves  {}", all.collect::<Vec<_>>().join(", "));
    tell!("listens at http://{address}");
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
