//! The builder's side: tells a stage's init what to do, hands out its listener, waits, gives up in time.

use std::fs::File;
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::{debug, info};

use super::SandboxError;
use super::cgroup::Groups;
use super::disk::DiskWatch;
use super::end::End;
use super::front::{Front, Lent};
use super::log_pipe::Transcript;
use super::protocol::{Given, Order, Report, SecretFile, receive, send_with_fds};
use super::secret::{Mask, SecretValue};
use super::spec::{Spec, Stdio};
use super::starter::{InitProgram, Running, Starter};
use ibuild_cache::Cancel;

/// A payload that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub end: End,
    /// Names of processes that outlived it and were killed.
    pub survivors: Vec<String>,
    /// What was not limited, because this machine does not let this process do so.
    pub unlimited: Vec<&'static str>,
}

/// Runs sandboxes.
#[derive(Debug, Clone)]
pub struct Supervisor {
    starter: Arc<Starter>,
    cancel: Cancel,
}

impl Supervisor {
    /// Starts inits by `init`; gives up when `cancel` says so.
    pub fn new(init: InitProgram, cancel: Cancel) -> Self {
        Self { starter: Arc::new(Starter::new(init)), cancel }
    }

    /// The wish to stop that its sandboxes obey.
    pub fn cancel(&self) -> &Cancel {
        &self.cancel
    }

    /// Whether it has given up.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Says that there is going to be something to run, so that it begins at once when its time has come.
    pub fn get_ready(&self) {
        self.starter.get_ready();
    }

    /// Runs a sandbox to its end. `log` receives the payload's output; `serve` gets the listener of a stage that may
    /// reach the proxy, and what it returns lives as long as the payload.
    pub fn run<Guard>(
        &self,
        spec: &Spec,
        log: Option<&File>,
        serve: impl FnOnce(TcpListener) -> Result<Guard, SandboxError>,
    ) -> Result<Ended, SandboxError> {
        let (place, limits) = (&spec.place, &spec.policy.limits);
        info!(layers = place.lowers.len(), network = ?spec.network, "mounts a sandbox");
        debug!(lowers = ?place.lowers, limits = ?limits, upper = %place.run_dir.display(), "of these");
        let groups = Groups::make(limits);
        // Taken back when the last process is gone.
        let lent =
            Some(spec.policy.stdio).filter(|stdio| *stdio == Stdio::Terminal).and_then(|_| Lent::new());
        let front = if lent.is_some() { Front::Payload } else { Front::Unchanged };
        let (mut running, transcript) = self.start(spec, log, front, &groups)?;
        if spec.policy.stdio == Stdio::Log {
            // Where one stage runs another is likely to follow.
            self.starter.get_ready();
        }
        let disk = DiskWatch::new(spec.place.run_dir.join("upper"), spec.policy.limits.disk);
        // One that no clock reaches is none.
        let at = |timeout| Some((Instant::now().checked_add(timeout)?, timeout));
        let deadline = spec.policy.timeout.and_then(at);
        let mut watch = Watch { cancel: &self.cancel, deadline, groups: &groups, disk };
        let outcome = converse(&mut running.control, &mut watch, serve);
        if outcome.is_ok() {
            running.reap();
        }
        // Where something else went wrong, init is told to stop here. The log ends with the last process.
        drop(running);
        drop(lent);
        let said = transcript.map_or(Ok(()), Transcript::finish);
        let ended = watch.judge(outcome)?;
        debug!(end = %ended.end, survivors = ?ended.survivors, unlimited = ?ended.unlimited, "the sandbox is gone");
        said.map_err(SandboxError::init("write the log of"))?;
        Ok(ended)
    }

    /// An init that has its order. One that was started ahead may have been killed since somebody looked; it has read
    /// nothing of the order then, and another one gets it.
    fn start(
        &self,
        spec: &Spec,
        log: Option<&File>,
        front: Front,
        groups: &Groups,
    ) -> Result<(Running, Option<Transcript>), SandboxError> {
        let first = self.starter.init().map_err(SandboxError::init("start"))?;
        match order(&first.control, spec, log, front, groups) {
            Err(SandboxError::Init { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {}
            ordered => return Ok((first, ordered?)),
        }
        drop(first);
        let second = self.starter.init().map_err(SandboxError::init("start"))?;
        let transcript = order(&second.control, spec, log, front, groups)?;
        Ok((second, transcript))
    }
}

/// Tells init what to do, and gives it what it needs for that.
fn order(
    control: &UnixStream,
    spec: &Spec,
    log: Option<&File>,
    front: Front,
    groups: &Groups,
) -> Result<Option<Transcript>, SandboxError> {
    let (transcript, output) = match log.filter(|_| spec.policy.stdio == Stdio::Log) {
        Some(log) => Transcript::begin(log, Mask::of(&spec.secrets))
            .map(|(transcript, output)| (Some(transcript), Some(output))),
        None => Ok((None, None)),
    }
    .map_err(SandboxError::init("give a log to"))?;
    let group = groups.unified().map_err(SandboxError::init("limit"))?;
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let mut given = Vec::new();
    if spec.policy.stdio == Stdio::Terminal {
        given.extend([
            (Given::Input, stdin.as_fd()),
            (Given::Output, stdout.as_fd()),
            (Given::Error, stderr.as_fd()),
        ]);
    }
    if let Some(output) = &output {
        // Both kinds of output go to the log, in the order in which they come.
        given.extend([(Given::Output, output.as_fd()), (Given::Error, output.as_fd())]);
    }
    given.extend(groups.entrances().map(|entrance| (Given::Entrance, entrance)));
    given.extend(group.as_ref().map(|group| (Given::Group, group.as_fd())));
    let (given, fds): (Vec<_>, Vec<_>) = given.into_iter().unzip();
    let file = |(name, value): (&str, &SecretValue)| SecretFile {
        name: name.to_owned(),
        length: value.bytes().len(),
    };
    let secrets = spec.given_secrets().map(file).collect();
    let order = Order { spec: spec.clone(), devices: groups.devices, front, given, secrets };
    send_with_fds(control, &order, &fds).map_err(SandboxError::init("talk to"))?;
    let mut secrets = spec.given_secrets();
    let mut control = control;
    let sent = secrets.try_for_each(|(_, value)| control.write_all(value.bytes()));
    sent.map_err(SandboxError::init("talk to"))?;
    Ok(transcript)
}

/// Hears what comes of it.
fn converse<Guard>(
    control: &mut UnixStream,
    watch: &mut Watch<'_>,
    serve: impl FnOnce(TcpListener) -> Result<Guard, SandboxError>,
) -> Result<Ended, SandboxError> {
    let mut serve = Some(serve);
    let mut _guard = None;
    loop {
        watch.wait_readable(control)?;
        match receive::<Report>(control).map_err(SandboxError::init("hear from"))? {
            Some((Report::Listener, fds)) => {
                let none = || SandboxError::Setup("no listener came".to_owned());
                let listener = TcpListener::from(fds.into_iter().next().ok_or_else(none)?);
                _guard = serve.take().map(|serve| serve(listener));
            }
            Some((Report::Ended { end, survivors }, _)) => {
                return Ok(Ended { end, survivors, unlimited: watch.groups.unlimited.clone() });
            }
            Some((Report::SourceChanged(path), _)) => return Err(SandboxError::SourceChanged(path)),
            Some((Report::InTheWay(what), _)) => return Err(SandboxError::InTheWay(what)),
            Some((Report::NotUnpacked(reason), _)) => return Err(SandboxError::NotUnpacked(reason)),
            Some((Report::NotStarted(reason), _)) => return Err(SandboxError::NotStarted(reason)),
            Some((Report::Failed(reason), _)) => return Err(SandboxError::Setup(reason)),
            None => return Err(SandboxError::Killed),
        }
    }
}

/// What ends a sandbox before its payload is done.
struct Watch<'a> {
    cancel: &'a Cancel,
    deadline: Option<(Instant, Duration)>,
    groups: &'a Groups,
    disk: DiskWatch,
}

impl Watch<'_> {
    /// Waits until init has something to say, in steps that are short enough to notice what is to end it.
    fn wait_readable(&mut self, control: &UnixStream) -> Result<(), SandboxError> {
        loop {
            let mut fds = [PollFd::new(control.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(100_u8)) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => self.check()?,
                Ok(_) => return Ok(()),
                Err(e) => return Err(SandboxError::Init { act: "wait for", source: e.into() }),
            }
        }
    }

    fn check(&mut self) -> Result<(), SandboxError> {
        if self.cancel.is_cancelled() {
            return Err(SandboxError::Interrupted);
        }
        if let Some((end, timeout)) = self.deadline
            && Instant::now() >= end
        {
            return Err(SandboxError::TimedOut(timeout));
        }
        if let Some(exceeded) = self.groups.exceeded() {
            return Err(SandboxError::Exceeded(exceeded));
        }
        self.disk.check()
    }

    /// A payload that came up against a limit has failed because of that, whatever it made of it.
    fn judge(&mut self, outcome: Result<Ended, SandboxError>) -> Result<Ended, SandboxError> {
        if let Err(SandboxError::Interrupted | SandboxError::TimedOut(_)) = outcome {
            return outcome;
        }
        if let Some(exceeded) = self.groups.exceeded() {
            return Err(SandboxError::Exceeded(exceeded));
        }
        let ended = outcome?;
        self.disk.count().map(|()| ended)
    }
}
