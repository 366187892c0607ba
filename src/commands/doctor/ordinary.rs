//! What the host has to allow an ordinary user.

use std::path::Path;

use ibuild::stages::host::userns::{
    MapTools, MappingPlan, Obstacle, UserNamespaceError, enter, is_initial, probe_overlay,
};
use nix::unistd::geteuid;

use super::{Check, Need, State};

/// For root one line, for others what it takes to do without root. The last check puts this process into a user namespace,
/// so all others come before it.
pub(super) fn checks(store: &Path) -> Vec<Check> {
    if geteuid().is_root() {
        return as_root(store);
    }
    let namespaces = match Obstacle::of_host() {
        None => check("user namespaces", "allowed"),
        Some(obstacle) => check("user namespaces", obstacle.found()).bad(State::Missing, obstacle.remedy()),
    };
    let tools = verdict("newuidmap", MapTools::find().map(|tools| tools.uids.display().to_string()));
    let ids = verdict("subuid, subgid", MappingPlan::of_process().map(|plan| ranges(&plan)));
    let mut checks = vec![check("user", format!("user id {}", geteuid())), namespaces, tools, ids];
    if checks.iter().all(|check| check.state == State::Ok) {
        let mounted = enter().and_then(|()| probe_overlay(existing(store)));
        checks.push(verdict("user's overlayfs", mounted.map(|()| existing(store).display().to_string())));
    }
    checks
}

fn as_root(store: &Path) -> Vec<Check> {
    if is_initial() {
        return vec![check("user", "root")];
    }
    let mounted = probe_overlay(existing(store)).map(|()| existing(store).display().to_string());
    vec![check("user", "root of a user namespace"), verdict("user's overlayfs", mounted)]
}

fn check(what: &'static str, found: impl Into<String>) -> Check {
    Check::ok(what, "stages", Need::Build, found)
}

fn verdict(what: &'static str, found: Result<String, UserNamespaceError>) -> Check {
    match found {
        Ok(found) => check(what, found),
        Err(error) => check(what, error.to_string()).bad(State::Missing, error.hint()),
    }
}

fn ranges(plan: &MappingPlan) -> String {
    let [users, groups] = plan.ranges();
    format!("{} users from {}, {} groups from {}", users.count, users.start, groups.count, groups.start)
}

/// The store, or where it will be.
fn existing(store: &Path) -> &Path {
    store.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("/"))
}
