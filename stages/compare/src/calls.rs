//! What a script calls that gives another answer each time.

use std::sync::LazyLock;

use regex::Regex;

use crate::{Cause, Program};

/// A line of a program that makes a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The program: `scripts/30-user`.
    pub program: String,
    /// Its line, counted from 1.
    pub line: usize,
    /// What is written there, without blanks at both ends.
    pub text: String,
    /// What it asks for.
    pub cause: Cause,
}

/// Calls, by the causes that they have. Where a line has several the first counts.
const CALLS: &[(&str, Cause)] = &[
    (r"ssh-keygen|openssl +(gen|req)|gpg .*--(quick-)?gen|wg +genkey|tor +--keygen", Cause::Key),
    (r"mkpasswd|chpasswd|openssl +passwd|crypt\(", Cause::Salt),
    (r"uuidgen|random/uuid|uuid[14]\(|uuid::v4", Cause::Uuid),
    (r"mktemp|tempfile|mkstemp|mkdtemp", Cause::TemporaryName),
    (r"urandom|/dev/random|openssl +rand|getrandom|secrets\.|os\.urandom", Cause::RandomBytes),
    (r"\$RANDOM|\$\{RANDOM|\bshuf\b|\brand\(|random\.|randint", Cause::RandomNumber),
    (r"boot_id", Cause::BootId),
    (r"/proc/uptime|\buptime\b|\bbtime\b|CLOCK_(BOOTTIME|MONOTONIC)|time\.monotonic", Cause::Uptime),
    (r"/proc/loadavg|getloadavg", Cause::Load),
    (r"perf_counter|process_time|\btimes\b|^\s*time\b|SECONDS", Cause::Elapsed),
    (r"\bgzip\b", Cause::CompressionTime),
    (r"\$\$|\$BASHPID|getpid|\$PPID|/proc/self\b", Cause::ProcessId),
    (r"\bls +-\w*i|%i\b|st_ino|\binode", Cause::Inode),
    (r"\bnproc\b|_NPROCESSORS|cpu_count|/proc/cpuinfo|lscpu", Cause::Cpus),
    (r"\bfree\b|meminfo|_PHYS_PAGES", Cause::Memory),
    (r"\buname\b|/proc/version|osrelease|os\.uname|platform\.", Cause::Kernel),
    (r"\bhostname\b|gethostname", Cause::HostName),
    (r"\bdf\b|statvfs|stat +-f", Cause::DiskSpace),
    (r"\bls +-\w*[Uf]|\bfind\b|listdir|scandir|glob|readdir|opendir", Cause::DirectoryOrder),
    (r"\bset\(|frozenset|\bhash\(|keys +[%$]|each +[%$]", Cause::HashOrder),
    (r"xargs .*-P|\bparallel\b|make .*-j|[^&]&\s*($|done|;)|Thread|fork", Cause::ParallelOrder),
    (r"\bid\(|%p\b|object at", Cause::Address),
    (
        r"\bdate\b|time\(|localtime|gmtime|strftime|\.now\(|utcnow|today\(|__DATE__|__TIME__|printf.*%\(",
        Cause::Clock,
    ),
];

static COMPILED: LazyLock<Vec<(Regex, Cause)>> = LazyLock::new(|| {
    let compiled = |(pattern, cause): &(&str, Cause)| {
        (Regex::new(pattern).expect("a pattern of this file is well-formed"), *cause)
    };
    CALLS.iter().map(compiled).collect()
});

/// A line of a program that asks for one of these: the first one that names the file at `path`, or else the first one.
pub(crate) fn find(program: &Program<'_>, wanted: &[Cause], path: &str) -> Option<Call> {
    let lines = program.text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let code = lines.filter(|(_, line)| !line.starts_with('#') && !line.contains("SOURCE_DATE_EPOCH"));
    let call = |(line, text): (usize, &str)| {
        let found = COMPILED.iter().filter(|(pattern, _)| pattern.is_match(text));
        let cause = found.map(|(_, cause)| *cause).find(|cause| wanted.contains(cause))?;
        Some(Call { program: program.name.to_owned(), line, text: text.to_owned(), cause })
    };
    let name = path.rsplit('/').next().unwrap_or(path);
    let found: Vec<_> = code.into_iter().filter_map(call).collect();
    let writes = |part: &str| found.iter().find(|call| call.text.contains(part));
    writes(path).or_else(|| writes(name)).or_else(|| found.first()).cloned()
}
