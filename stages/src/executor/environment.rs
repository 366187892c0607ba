//! The variables that a step has in its environment. All of them are in its key.

use std::collections::BTreeMap;

use crate::executor::context::StageContext;
use crate::recipe::{EnvName, Network, Step, StepPath};
use crate::sandbox::PROXY_PORT;

/// Names of a stage itself, where a script may have a server of its own.
const ITSELF: [&str; 2] = ["127.0.0.1", "localhost"];

/// The whole environment of a step: what every step has, where tools that are not apt find the archive, then what the recipe
/// declares.
pub(crate) fn environment_of(
    context: &StageContext<'_>,
    name: &StepPath,
    step: &Step,
) -> BTreeMap<String, String> {
    let mut env = environment(context.epoch(), &BTreeMap::new());
    if step.network == Network::Packages {
        let archives = context.archives().hosts(context.archives_of(name));
        let own: Vec<_> = ITSELF.into_iter().filter(|host| !archives.contains(*host)).collect();
        env.insert("http_proxy".to_owned(), format!("http://127.0.0.1:{PROXY_PORT}"));
        env.insert("no_proxy".to_owned(), own.join(","));
    }
    env.extend(as_text(&step.env));
    env
}

/// What every step has, and what is declared.
pub(crate) fn environment(epoch: i64, declared: &BTreeMap<EnvName, String>) -> BTreeMap<String, String> {
    let epoch = epoch.to_string();
    let mut env: BTreeMap<String, String> = [
        ("DEBIAN_FRONTEND", "noninteractive"),
        ("HOME", "/root"),
        ("LANG", "C.UTF-8"),
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("SOURCE_DATE_EPOCH", epoch.as_str()),
        ("TERM", "dumb"),
        ("TZ", "UTC"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    env.extend(as_text(declared));
    env
}

fn as_text(declared: &BTreeMap<EnvName, String>) -> impl Iterator<Item = (String, String)> {
    declared.iter().map(|(name, value)| (name.to_string(), value.clone()))
}
