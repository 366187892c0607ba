//! What pages of a verification have in common. Nothing is fetched for them, and they follow the reader's wish for light or dark.

use ibuild::graph::Build;
use ibuild::release::describe_version;
use ibuild::stages::Project;
use ibuild::stages::debian::Timestamp;
use ibuild::{Result, Workspace};

use crate::invocation::recipe_dir;
use crate::markup::escape;

const STYLE: &str = "\
:root { color-scheme: light dark; --line: #8884; --bad: #b3261e; --good: #2e7d32; --quiet: #666; }\n\
@media (prefers-color-scheme: dark) { :root { --bad: #ff8a80; --good: #81c784; --quiet: #aaa; } }\n\
body { font: 15px/1.45 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; }\n\
h1 { font-size: 1.4em; } table { border-collapse: collapse; width: 100%; }\n\
td, th { text-align: left; padding: .3em .8em .3em 0; border-bottom: 1px solid var(--line); vertical-align: top; }\n\
td.time { text-align: right; font-variant-numeric: tabular-nums; }\n\
.waived, .unknown { color: var(--quiet); font-weight: 600; } .differs, .failed { color: var(--bad); font-weight: 600; } .equal, .same { color: var(--good); }\n\
code, pre { font-family: ui-monospace, monospace; font-size: .9em; }\n\
pre { overflow-x: auto; padding: .6em; border: 1px solid var(--line); border-radius: .3em; }\n\
details { margin: .6em 0; } summary { cursor: pointer; } .quiet { color: var(--quiet); }\n";

/// What was verified, and when.
pub struct Origin {
    /// The revision of the project's files, if git has them.
    revision: Option<String>,
    /// When the project was last built into the store.
    built: Option<Timestamp>,
    /// Now.
    verified: Timestamp,
}

impl Origin {
    /// Of a project and its store, as they are now.
    pub fn of(workspace: &Workspace) -> Result<Self> {
        let name = workspace.recipe.project.name.as_str();
        let builds = Build::all(&workspace.store)?;
        let last = builds.iter().rev().find(|(_, build)| build.project == name);
        Ok(Self {
            revision: describe_version(&recipe_dir()?).ok(),
            built: last.map(|(_, build)| Timestamp(build.time)),
            verified: Timestamp(std::time::UNIX_EPOCH.elapsed().map_or(0, |time| time.as_secs())),
        })
    }

    /// As sentences in HTML.
    pub fn sentences(&self) -> String {
        let Self { revision, built, verified } = self;
        let mut text = String::new();
        if let Some(revision) = revision {
            text += &format!("Revision <code>{}</code>. ", escape(revision));
        }
        if let Some(built) = built {
            text += &format!("Built {built}. ");
        }
        text + &format!("Verified {verified}.")
    }
}

/// A page with this body.
pub fn page(project: &Project<'_>, body: &str) -> String {
    let name = escape(project.recipe.project.name.as_str());
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{name}: reproducibility</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <h1>{name}: reproducibility</h1>\n{body}</body>\n</html>\n"
    )
}
