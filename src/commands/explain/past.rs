//! Why a stage ran in a build that is over.

use ibuild::graph::Change;
use ibuild::stages::debian::Timestamp;
use ibuild::stages::{PastBuild, PastReason, PastRun};
use serde_json::{Value, json};

use super::{counts, limited};
use crate::described::{change_lines, changes_as_json};
use crate::terminal::harmless_line;

/// The history of a stage in a build: root causes first, then what followed from them, the stage itself last.
pub fn lines(stage: &str, build: &PastBuild) -> Vec<String> {
    let (time, targets) = (Timestamp(build.time), build.targets.join(" "));
    if build.ran.is_empty() {
        return vec![format!("{stage} did not run in the build of {targets} at {time}")];
    }
    let mut lines = vec![format!("{stage} ran in the build of {targets} at {time}")];
    for PastRun { stage, why } in &build.ran {
        if let PastReason::Cause { said, changes, .. } = why {
            lines.push(format!("cause  {stage}"));
            let why =
                if changes.is_empty() { vec![harmless_line(said)] } else { limited(change_lines(changes)) };
            lines.extend(why.into_iter().map(|line| format!("  {line}")));
        }
    }
    lines.extend(consequences(build));
    let causes = build.ran.iter().filter(|run| matches!(run.why, PastReason::Cause { .. })).count();
    lines.push(counts(causes, build.ran.len() - causes));
    lines
}

/// Consequences, in build order. In a long chain each stage sees the same files change: they are listed once.
fn consequences(build: &PastBuild) -> Vec<String> {
    let (mut lines, mut listed) = (Vec::new(), Vec::<(&[Change], &str)>::new());
    for PastRun { stage, why } in &build.ran {
        let PastReason::Consequence { of, changes } = why else { continue };
        lines.push(format!("consequence  {stage}  {}", made_another(of)));
        match listed.iter().find(|(other, _)| *other == changes.as_slice()) {
            Some((_, first)) if changes.len() > 1 => {
                lines.push(format!("  the same {} changes as at {first}", changes.len()));
            }
            _ => {
                lines.extend(limited(change_lines(changes)).into_iter().map(|line| format!("  {line}")));
                listed.push((changes, stage));
            }
        }
    }
    lines
}

fn made_another(of: &[String]) -> String {
    match of {
        [] => "what it stands on was found to be another".to_owned(),
        of => {
            let names: Vec<_> = of.iter().map(|name| format!("`{name}`")).collect();
            format!("{} made something else", names.join(" and "))
        }
    }
}

/// The same for programs.
pub fn as_json(build: &PastBuild) -> Value {
    let (mut causes, mut consequences) = (Vec::new(), Vec::new());
    for PastRun { stage, why } in &build.ran {
        match why {
            PastReason::Cause { said, of, changes } => {
                let changes = changes_as_json(changes);
                causes.push(json!({ "stage": stage, "reason": said, "of": of, "changes": changes }));
            }
            PastReason::Consequence { of, changes } => {
                consequences.push(json!({ "stage": stage, "of": of, "changes": changes_as_json(changes) }));
            }
        }
    }
    json!({
        "time": Timestamp(build.time).to_string(),
        "targets": build.targets,
        "causes": causes,
        "consequences": consequences,
    })
}

#[cfg(test)]
mod tests {
    use ibuild::graph::Value;

    use super::*;

    fn change(path: &[&str], old: Option<Value>, new: Option<Value>) -> Change {
        Change { path: path.iter().map(|name| (*name).to_owned()).collect(), old, new }
    }

    #[test]
    fn causes_before_consequences() {
        let own = change(&["script"], Some("a\n".into()), Some("b\n".into()));
        let shadow = change(&["parent tree", "/etc/shadow", "content"], Some(1.into()), Some(2.into()));
        let new = change(&["parent tree", "/etc/new"], None, Some(2.into()));
        let run = |stage: &str, why| PastRun { stage: stage.to_owned(), why };
        let of = vec!["x/1".to_owned()];
        let again = PastReason::Consequence { of: of.clone(), changes: vec![shadow.clone(), new.clone()] };
        let build = PastBuild {
            time: 0,
            targets: vec!["x.ova".to_owned()],
            ran: vec![
                run("x/2", PastReason::Consequence { of, changes: vec![shadow, new] }),
                run("x/3", again),
                run("x/1", PastReason::Cause { said: "said".to_owned(), of: vec![], changes: vec![own] }),
            ],
        };
        let expected = [
            "x/2 ran in the build of x.ova at 1970-01-01T00:00:00Z",
            "cause  x/1",
            "  script:",
            "    - a",
            "    + b",
            "consequence  x/2  `x/1` made something else",
            "  parent tree:",
            "    ~ /etc/shadow",
            "    + /etc/new",
            "consequence  x/3  `x/1` made something else",
            "  the same 2 changes as at x/2",
            "1 cause, 2 consequences",
        ];
        assert_eq!(lines("x/2", &build), expected);
        let untouched = PastBuild { ran: Vec::new(), ..build };
        assert_eq!(
            lines("x/2", &untouched),
            ["x/2 did not run in the build of x.ova at 1970-01-01T00:00:00Z"]
        );
    }
}
