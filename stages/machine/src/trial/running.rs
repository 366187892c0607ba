//! A trial that goes on: its steps, and everything that is heard meanwhile.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use regex::Regex;

use super::error::TrialError;
use super::{TrialObserver, guest};
use crate::{ConsoleSink, Machine, MachineError};
use ibuild_recipe::{Login, MachineName, MachineTest, Power, TestAction};

/// How long one machine is listened to before the others get their turn.
const TURN: Duration = Duration::from_millis(200);
/// How often a login is tried anew: the console may swallow what is typed while it is made ready.
const LOGIN_TRIES: u32 = 5;
const LOGIN_PATIENCE: Duration = Duration::from_secs(60);

/// The machines by their names.
pub(super) type Stands = BTreeMap<MachineName, Stand>;

/// A machine and its log.
pub(super) struct Stand {
    pub(super) machine: Machine,
    pub(super) log: File,
}

/// A trial that goes on.
pub(super) struct Running<'a> {
    pub(super) test: &'a MachineTest,
    pub(super) stands: Stands,
    pub(super) observer: &'a mut dyn TrialObserver,
    pub(super) start: Instant,
    pub(super) limit: Duration,
    pub(super) results: &'a Path,
}

impl Running<'_> {
    pub(super) fn all_steps(&mut self) -> Result<(), TrialError> {
        if let Some(expect) = &self.test.expect {
            let names: Vec<_> = self.stands.keys().cloned().collect();
            for name in &names {
                self.wait(name, expect)?;
                self.observer.awake(name, self.start.elapsed());
            }
        }
        let test = self.test;
        for step in &test.steps {
            self.observer.step(&step.on, &step.action);
            self.step(&step.on, &step.action)?;
        }
        Ok(())
    }

    fn step(&mut self, on: &MachineName, action: &TestAction) -> Result<(), TrialError> {
        match action {
            TestAction::Expect(pattern) => self.wait(on, pattern).map(drop),
            TestAction::Type(text) => self.send(on, &format!("{text}\r")),
            TestAction::Run(command) => self.run(on, command),
            TestAction::Screenshot(name) => self.picture(on, name),
            TestAction::Power(power) => self.with(on, |machine| match power {
                Power::Reset => machine.reset(),
                Power::Freeze => machine.freeze(),
                Power::Thaw => machine.thaw(),
            }),
        }
    }

    fn run(&mut self, on: &MachineName, command: &str) -> Result<(), TrialError> {
        self.shell(on)?;
        self.send(on, &guest::run(command))?;
        let line = self.listen(on, guest::DONE, Loudness::Loud, self.limit)?;
        let line = line.ok_or_else(|| self.time_over(on, command))?;
        let done = Regex::new(guest::DONE).expect("a valid pattern");
        let status = done.captures(&line).and_then(|found| found[1].parse().ok()).unwrap_or(-1);
        match status {
            0 => Ok(()),
            status => Err(TrialError::Command { machine: on.clone(), command: command.to_owned(), status }),
        }
    }
}

/// What is heard, and how it goes on.
impl Running<'_> {
    /// A root shell on the console, whoever has it now.
    fn shell(&mut self, on: &MachineName) -> Result<(), TrialError> {
        let login = self.test.login.as_ref().expect("the recipe was checked: who runs commands can log in");
        for _ in 0..LOGIN_TRIES {
            self.send(on, "\r")?;
            let Some(line) = self.wait_a_moment(on, guest::WANTS_SOMETHING)? else { continue };
            if matches(guest::READY, &line) {
                return Ok(());
            }
            let is_in = !matches(guest::LOGIN, &line) || self.log_in(on, login)?;
            if is_in && self.become_root(on, login)? {
                return Ok(());
            }
        }
        let last = self.stands[on].machine.last_line();
        Err(TrialError::Login { machine: on.clone(), user: login.user.clone(), last })
    }

    /// From `login:` to a shell; false if it should be tried once more.
    fn log_in(&mut self, on: &MachineName, login: &Login) -> Result<bool, TrialError> {
        self.send(on, &format!("{}\r", login.user))?;
        if self.wait_a_moment(on, guest::PASSWORD)?.is_none() {
            return Ok(false);
        }
        self.send(on, &format!("{}\r", login.password))?;
        let Some(answer) = self.wait_a_moment(on, guest::LOGGED_IN)? else { return Ok(false) };
        Ok(!answer.starts_with("Login"))
    }

    /// From a shell to that of the trial; false if it should be tried once more.
    fn become_root(&mut self, on: &MachineName, login: &Login) -> Result<bool, TrialError> {
        self.send(on, &guest::become_root(&login.user))?;
        if login.user != "root" && self.wait_a_moment(on, guest::PASSWORD)?.is_some() {
            self.send(on, &format!("{}\r", login.password))?;
        }
        if self.wait_a_moment(on, guest::READY)?.is_none() {
            return Ok(false);
        }
        self.send(on, &guest::settle(!self.test.files.is_empty()))?;
        Ok(self.wait_a_moment(on, guest::READY)?.is_some())
    }

    fn wait(&mut self, on: &MachineName, pattern: &str) -> Result<String, TrialError> {
        self.listen(on, pattern, Loudness::Quiet, self.limit)?.ok_or_else(|| self.time_over(on, pattern))
    }

    fn wait_a_moment(&mut self, on: &MachineName, pattern: &str) -> Result<Option<String>, TrialError> {
        let until = (self.start.elapsed() + LOGIN_PATIENCE).min(self.limit);
        let heard = self.listen(on, pattern, Loudness::Quiet, until)?;
        match heard {
            None if self.start.elapsed() >= self.limit => Err(self.time_over(on, pattern)),
            heard => Ok(heard),
        }
    }

    /// The line that matches, if it comes before so much time has gone since the start. Every machine is heard meanwhile.
    fn listen(
        &mut self,
        on: &MachineName,
        pattern: &str,
        loudness: Loudness,
        until: Duration,
    ) -> Result<Option<String>, TrialError> {
        let regex = Regex::new(pattern).expect("the recipe was checked");
        while self.start.elapsed() < until {
            let mut said = Vec::new();
            let mut wait = None;
            for (name, stand) in &mut self.stands {
                let mut ear = Ear { log: &mut stand.log, said: Vec::new() };
                if name == on {
                    wait = Some(stand.machine.wait_for(&regex, TURN, &mut ear));
                    said = ear.said;
                } else {
                    stand.machine.hear_pending(&mut ear);
                    let failed = |source| TrialError::Machine { machine: name.clone(), source };
                    stand.machine.check_emulator().map_err(failed)?;
                }
            }
            if loudness == Loudness::Loud {
                said.iter().filter(|line| !matches(guest::DONE, line)).for_each(|line| {
                    self.observer.said(on, line.strip_prefix(guest::PROMPT).unwrap_or(line))
                });
            }
            match wait.expect("the recipe was checked: every step is on a machine of the test") {
                Ok(line) => return Ok(Some(line)),
                Err(MachineError::Timeout { .. }) => {}
                Err(source) => return Err(TrialError::Machine { machine: on.clone(), source }),
            }
            if !self.observer.keep_going() {
                return Err(TrialError::Machine { machine: on.clone(), source: MachineError::Interrupted });
            }
        }
        Ok(None)
    }

    fn time_over(&self, on: &MachineName, waited_for: &str) -> TrialError {
        TrialError::TimeOver {
            limit: self.limit,
            machine: on.clone(),
            waited_for: format!("`{waited_for}`"),
            last: self.stands[on].machine.last_line(),
        }
    }

    fn send(&mut self, on: &MachineName, text: &str) -> Result<(), TrialError> {
        self.with(on, |machine| machine.send(text))
    }

    fn picture(&mut self, on: &MachineName, name: &str) -> Result<(), TrialError> {
        let path = self.results.join(format!("{name}.png"));
        self.with(on, |machine| machine.screenshot(&path))
    }

    /// What the displays show when something went wrong, which is when it is most wanted.
    pub(super) fn picture_of_all(&mut self) -> Result<(), TrialError> {
        let names: Vec<_> = self.stands.keys().cloned().collect();
        names.iter().try_for_each(|name| self.picture(name, &format!("{name}-failed")))
    }

    fn with(
        &mut self,
        on: &MachineName,
        act: impl FnOnce(&mut Machine) -> Result<(), MachineError>,
    ) -> Result<(), TrialError> {
        let stand =
            self.stands.get_mut(on).expect("the recipe was checked: every step is on a machine of the test");
        act(&mut stand.machine).map_err(|source| TrialError::Machine { machine: on.clone(), source })
    }
}

fn matches(pattern: &str, line: &str) -> bool {
    Regex::new(pattern).expect("a valid pattern").is_match(line)
}

/// Whether the observer is told what a machine says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loudness {
    Quiet,
    Loud,
}

/// Writes down what a machine says.
struct Ear<'a> {
    log: &'a mut File,
    said: Vec<String>,
}

impl ConsoleSink for Ear<'_> {
    fn raw(&mut self, bytes: &[u8]) {
        // A log that cannot be written must not end the trial.
        let _ = self.log.write_all(bytes);
    }

    fn line(&mut self, line: &str) {
        self.said.push(line.to_owned());
    }
}
