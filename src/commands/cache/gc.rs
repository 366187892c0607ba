//! `ibuild cache gc`: removes what no root needs, and under a budget what is cheapest to make again.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use ibuild::cache::{LockMode, Store};
use ibuild::stages::gc::{GcPlan, Inventory, Packages, Policy, Removal, Thing, Why, apply, plan};
use ibuild::{EnvironmentError, Result, Settings, open_store};
use serde_json::{Value, json};

use super::take_alone;
use crate::cli::{GcArgs, Global};
use crate::invocation::project_dir;
use crate::table::{Align, table};
use crate::terminal::{print, print_json, tell};
use crate::ui::{bytes, counted, seconds};

pub fn run(global: &Global, args: &GcArgs) -> Result<ExitCode> {
    let settings = Settings::read(&project_dir()?)?;
    let store = &open_store(global.cache_dir.as_deref(), &settings)?;
    let policy = Policy {
        keep: args.keep.get(),
        budget: args.budget.or(settings.cache_budget).map(|size| size.0),
        packages: if args.packages { Packages::Evict } else { Packages::Keep },
    };
    if args.dry_run {
        return say(&plan(&inventory(store)?, &policy), None, args);
    }
    let _alone = take_alone(store, if args.wait { LockMode::Wait } else { LockMode::Try })?;
    store.sweep()?;
    store.index().refresh();
    let plan = plan(&inventory(store)?, &policy);
    let collected = apply(store, &plan)?;
    say(&plan, Some(collected.after), args)
}

/// Without its index a store looks as if all of it were garbage.
fn inventory(store: &Store) -> Result<Inventory> {
    let found = Inventory::of(store)?;
    if found.results.is_empty() && !found.lost_results.is_empty() {
        return Err(EnvironmentError {
            message: format!("the index has lost {}", counted(found.lost_results.len(), "result", "results")),
            hint: "`ibuild cache fsck` brings them back; `ibuild cache rm --stages` removes them".to_owned(),
        }
        .into());
    }
    Ok(found)
}

/// Says what goes. `after` is what the store takes now, if it went.
fn say(plan: &GcPlan, after: Option<u64>, args: &GcArgs) -> Result<ExitCode> {
    if args.json {
        print_json(as_json(plan, after))?;
    } else {
        print(&(as_table(plan) + &summary(plan, after)))?;
    }
    if let Some(short) = plan.shortfall {
        tell!("note    the budget is missed by {}: {}", bytes(short.over), reasons(&short));
    }
    Ok(ExitCode::SUCCESS)
}

fn reasons(short: &ibuild::stages::gc::Shortfall) -> String {
    let packages = (short.packages > 0)
        .then(|| format!("packages take {} (`--packages` lets them go)", bytes(short.packages)));
    let pinned = (short.pinned > 0).then(|| format!("what is pinned takes {}", bytes(short.pinned)));
    let rest = || Some("the rest is the index, logs and directories".to_owned());
    packages.into_iter().chain(pinned).chain(rest()).collect::<Vec<_>>().join(", ")
}

/// A kind of thing, as it is called.
fn kind(thing: &Thing) -> &'static str {
    match thing {
        Thing::Result(_) => "results",
        Thing::Layer(_) | Thing::Tarball(_) => "layers",
        Thing::Artifact(_) => "artifacts",
        Thing::Blob(_) => "unknown blobs",
        Thing::Unpacked(_) => "unpacked layers",
        Thing::Tree(_) => "directories of trees",
        Thing::LastRun(_) => "stages",
        Thing::Failed(_) => "failed stages",
        Thing::PreviousOutput(_) => "spare files",
        Thing::Log(_) => "logs",
        Thing::Memos => "digests of inputs",
        Thing::Lock(_) => "lock files",
        Thing::Package(_) => "packages",
    }
}

fn reason(why: Why) -> &'static str {
    match why {
        Why::Unneeded => "no root needs it",
        Why::Budget => "over the budget",
        Why::Cache => "over the budget, made again when needed",
        Why::Old => "of no use any more",
    }
}

/// How many of each kind go for each reason, with bytes and milliseconds.
fn sums(plan: &GcPlan) -> BTreeMap<(&'static str, &'static str), (usize, u64, u64)> {
    let mut sums = BTreeMap::new();
    for Removal { thing, why, bytes, millis } in &plan.removals {
        let sum: &mut (usize, u64, u64) = sums.entry((kind(thing), reason(*why))).or_default();
        // A layer and its tarball are one thing to a person.
        sum.0 += usize::from(!matches!(thing, Thing::Layer(_)));
        (sum.1, sum.2) = (sum.1 + bytes, sum.2 + millis);
    }
    sums
}

fn as_table(plan: &GcPlan) -> String {
    let rows = sums(plan).into_iter().map(|((kind, why), (count, size, millis))| {
        let size = if size > 0 { bytes(size) } else { String::new() };
        let cost = if millis > 0 { seconds(Duration::from_millis(millis)) } else { String::new() };
        [kind.to_owned(), count.to_string(), size, cost, why.to_owned()]
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = ["WHAT", "COUNT", "SIZE", "COST", "WHY"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    table([Align::Left, Align::Right, Align::Right, Align::Right, Align::Left], &rows)
}

fn summary(plan: &GcPlan, after: Option<u64>) -> String {
    let cost = seconds(Duration::from_millis(plan.millis()));
    let (verb, now) = match after {
        Some(after) => ("freed", after),
        None => ("would free", plan.after),
    };
    let freed = bytes(plan.before.saturating_sub(now));
    format!("{verb} {freed} of {}; {cost} of work to make it again\n", bytes(plan.before))
}

fn as_json(plan: &GcPlan, after: Option<u64>) -> Value {
    let removals = sums(plan).into_iter().map(|((kind, why), (count, bytes, millis))| {
        json!({ "kind": kind, "why": why, "count": count, "bytes": bytes, "seconds": millis as f64 / 1000.0 })
    });
    let results = plan.removals.iter().filter_map(|removal| match removal.thing {
        Thing::Result(key) => Some(key.hex()),
        _ => None,
    });
    json!({
        "applied": after.is_some(),
        "before": plan.before,
        "planned": plan.after,
        "after": after,
        "seconds": plan.millis() as f64 / 1000.0,
        "removals": removals.collect::<Vec<_>>(),
        "results": results.collect::<Vec<_>>(),
        "over_budget": plan.shortfall.map(|short| short.over),
    })
}
