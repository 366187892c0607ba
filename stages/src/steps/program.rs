//! What all steps that run a program have in common: the program under `/run/ibuild`, inputs, environment and network.

use std::path::{Path, PathBuf};

use super::StepRequest;
use crate::StageError;
use crate::executor::context::Tracing;
use crate::executor::environment::environment_of;
use crate::executor::machine::machine_of;
use crate::executor::resolved::{ArchiveAccess, Changes, ResolvedStep};
use crate::inputs::ResolvedInput;
use crate::packages::{APT_CONF_PATH, CA_PATH, apt_conf};
use crate::recipe::{INPUTS, Input};
use crate::sandbox::{
    Inject, InjectedContent, NetworkSpec, PROXY_PORT, Payload, SandboxView, Shown, ShownContent,
};
use ibuild_spec::RUN_DIR;

/// A program to run.
pub(super) struct Program {
    /// The step's kind.
    pub kind: &'static str,
    /// The version of the kind's code.
    pub implementation: i64,
    /// Its file's name below `/run/ibuild`, which it can see.
    pub name: PathBuf,
    /// Its file.
    pub bytes: Vec<u8>,
    /// How messages call it.
    pub label: String,
    /// Whether what it changes is kept.
    pub changes: Changes,
}

impl Program {
    /// The step that runs it over what is below.
    pub(super) fn resolve(self, request: &StepRequest<'_, '_>) -> Result<ResolvedStep, StageError> {
        let archives = request.archives()?;
        let view = self.view(request, archives.as_ref())?;
        Ok(ResolvedStep {
            kind: self.kind,
            implementation: self.implementation,
            request: Vec::new(),
            program: self.label,
            start: request.start(),
            view,
            archives,
            from: None,
            fetched: Vec::new(),
            output: request.output(self.changes),
        })
    }

    /// What it sees besides its root file system.
    pub(super) fn view(
        &self,
        request: &StepRequest<'_, '_>,
        archives: Option<&ArchiveAccess>,
    ) -> Result<SandboxView, StageError> {
        let argv = command_line(&self.bytes, &Path::new(RUN_DIR).join(&self.name));
        let argv = traced(argv, request.context.tracing());
        let mut shown = inputs(request)?;
        let is_in_the_way = !shown.is_empty() && self.name == Path::new(INPUTS);
        assert!(!is_in_the_way, "a checked recipe has no script with the name of its inputs");
        let (path, content) = (self.name.clone(), ShownContent::Program(self.bytes.clone()));
        shown.push(Shown { path, content });
        let mut view = view(request, shown, argv, archives);
        view.secrets = request.context.secrets_of(request.step)?;
        Ok(view)
    }
}

/// What a program sees besides its root file system.
pub(super) fn view(
    request: &StepRequest<'_, '_>,
    shown: Vec<Shown>,
    argv: Vec<String>,
    archives: Option<&ArchiveAccess>,
) -> SandboxView {
    let network = if archives.is_some() { NetworkSpec::Proxy } else { NetworkSpec::Isolated };
    SandboxView {
        machine: machine_of(request.step, request.context.epoch()),
        shown,
        secrets: Vec::new(),
        inject: injected(network),
        epoch: request.context.epoch(),
        network,
        env: environment_of(request.context, request.name, request.step),
        payload: Payload::Exec { argv },
    }
}

/// What every program sees and no snapshot has.
fn injected(network: NetworkSpec) -> Vec<Inject> {
    let text = |path: &str, text: String, mode| Inject {
        path: path.into(),
        content: InjectedContent::Text(text),
        mode,
    };
    let no_services = "#!/bin/sh\n# No services are started while an image is built.\nexit 101\n".to_owned();
    let mut files = vec![text("/usr/sbin/policy-rc.d", no_services, 0o755)];
    if network == NetworkSpec::Proxy {
        files.push(text(APT_CONF_PATH, apt_conf(PROXY_PORT), 0o644));
        files.push(Inject { path: CA_PATH.into(), content: InjectedContent::Authority, mode: 0o644 });
    }
    files
}

/// The files of the project that the step may read.
fn inputs(request: &StepRequest<'_, '_>) -> Result<Vec<Shown>, StageError> {
    let (mut shown, mut left_out) = (Vec::new(), Vec::new());
    for Input { path, exclude } in &request.step.inputs {
        let ResolvedInput { content, ignored } = request.context.inputs().resolve(path, exclude)?;
        left_out.extend(ignored.iter().map(|file| path.join(file).display().to_string()));
        // Without what a path may have besides names: `./data`, `data//x`.
        let path = Path::new(INPUTS).join(path).components().collect();
        shown.push(Shown { path, content: ShownContent::Project(content) });
    }
    request.context.reports().ignored(&request.name.to_string(), &left_out);
    Ok(shown)
}

/// The interpreter and its argument, as the kernel would take them from the first line: so a file of a checkout need not
/// be executable.
fn command_line(bytes: &[u8], inside: &Path) -> Vec<String> {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(first);
    let line = line.strip_prefix("#!").unwrap_or("/bin/sh -e").trim();
    let (interpreter, argument) = match line.split_once([' ', '\t']) {
        Some((interpreter, argument)) => (interpreter, Some(argument.trim())),
        None => (line, None),
    };
    let mut argv = vec![interpreter.to_owned()];
    argv.extend(argument.map(str::to_owned));
    argv.push(inside.display().to_string());
    argv
}

fn traced(mut argv: Vec<String>, tracing: Tracing) -> Vec<String> {
    if tracing == Tracing::On && is_shell(&argv[0]) {
        argv.insert(argv.len() - 1, "-x".to_owned());
    }
    argv
}

fn is_shell(interpreter: &str) -> bool {
    matches!(interpreter.rsplit('/').next(), Some("sh" | "bash" | "dash" | "ksh" | "zsh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_are_traced_and_nothing_else_is() {
        let traced = |argv: &[&str]| traced(argv.iter().map(ToString::to_string).collect(), Tracing::On);
        assert_eq!(traced(&["/bin/bash", "/run/x"]), ["/bin/bash", "-x", "/run/x"]);
        assert_eq!(traced(&["/bin/sh", "-e", "/run/x"]), ["/bin/sh", "-e", "-x", "/run/x"]);
        assert_eq!(
            traced(&["/usr/bin/env", "python3 -u", "/run/x"]),
            ["/usr/bin/env", "python3 -u", "/run/x"]
        );
    }

    #[test]
    fn the_first_line_decides() {
        let check = |script: &str, expected: &[&str]| {
            assert_eq!(command_line(script.as_bytes(), Path::new("/run/x")), expected);
        };
        check("#!/bin/sh -e\ntrue", &["/bin/sh", "-e", "/run/x"]);
        check("#! /usr/bin/env  python3 -u\n", &["/usr/bin/env", "python3 -u", "/run/x"]);
        check("#!/bin/bash\n", &["/bin/bash", "/run/x"]);
        check("true\n", &["/bin/sh", "-e", "/run/x"]);
    }
}
