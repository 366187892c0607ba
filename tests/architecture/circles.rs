//! Files of a crate that use each other in a circle. A use is a path: `crate::a::b`, `super::a`. What a crate names again at its
//! root is a use of the root, which is nobody's file; names within braces are not looked at.

use std::collections::{BTreeMap, BTreeSet};

use super::{CRATES, Crate, assert_none, code, sources_of};

/// Modules by their path below the crate's root, with the modules that they use.
type Uses = BTreeMap<Vec<String>, BTreeSet<Vec<String>>>;

/// The path of a module by its file below `src`; `None` for the root and for tests.
fn module_of(file: &str) -> Option<Vec<String>> {
    let mut path: Vec<_> = file.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    path.pop_if(|last| last == "mod");
    let is_root = path.is_empty() || path == ["lib"] || path == ["main"];
    (!is_root && !path.iter().any(|part| part == "tests")).then_some(path)
}

fn uses_of(folder: &str) -> Uses {
    let src = format!("{}/src/", folder.trim_start_matches('.')).trim_start_matches('/').to_owned();
    let sources = sources_of(folder);
    let files = sources.iter().filter_map(|(file, text)| Some((module_of(file.strip_prefix(&src)?)?, text)));
    let files: BTreeMap<_, _> = files.collect();
    let known: BTreeSet<_> = files.keys().cloned().collect();
    files.iter().map(|(module, text)| (module.clone(), used_by(module, text, &known))).collect()
}

/// The modules that a file names, but in the tests at its end.
fn used_by(module: &[String], text: &str, known: &BTreeSet<Vec<String>>) -> BTreeSet<Vec<String>> {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let mut found = BTreeSet::new();
    for line in text.lines().map(code) {
        for word in line.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
            found.extend(resolve(module, word, known));
        }
    }
    found.remove(module);
    found
}

/// The module that a path leads to, as far as it is one.
fn resolve(module: &[String], path: &str, known: &BTreeSet<Vec<String>>) -> Option<Vec<String>> {
    let mut parts = path.split("::").peekable();
    let mut place = match parts.next()? {
        "crate" => Vec::new(),
        "super" => module[..module.len() - 1].to_vec(),
        _ => return None,
    };
    while parts.next_if_eq(&"super").is_some() {
        place.pop();
    }
    place.extend(parts.filter(|part| !part.is_empty()).map(str::to_owned));
    while !place.is_empty() && !known.contains(&place) {
        place.pop();
    }
    (!place.is_empty()).then_some(place)
}

/// All that a module uses, and what that uses.
fn reached(uses: &Uses, from: &[String]) -> BTreeSet<Vec<String>> {
    let (mut open, mut seen) = (vec![from.to_vec()], BTreeSet::new());
    while let Some(module) = open.pop() {
        open.extend(uses[&module].iter().filter(|used| seen.insert((*used).clone())).cloned());
    }
    seen
}

/// The modules that reach themselves.
fn in_circles(uses: &Uses) -> Vec<String> {
    let is_in_one = |module: &&Vec<String>| reached(uses, module).contains(*module);
    uses.keys().filter(is_in_one).map(|module| module.join("::")).collect()
}

#[test]
fn files_of_a_crate_have_one_direction() {
    let wrong = CRATES.iter().flat_map(|Crate { name, folder, .. }| {
        in_circles(&uses_of(folder)).into_iter().map(move |module| format!("{name}: {module}"))
    });
    let wrong: Vec<_> = wrong.collect();
    assert_none(&wrong, "no file uses one that uses it");
}

#[test]
fn a_circle_is_found() {
    let path = |text: &str| text.split("::").map(str::to_owned).collect::<Vec<_>>();
    let known: BTreeSet<_> = ["a", "b", "a::c"].map(path).into();
    let used = |module: &str, text: &str| used_by(&path(module), text, &known);
    let texts =
        [("a", "use super::b::X;"), ("b", "use crate::a::c::{Y, Z};"), ("a::c", "use super::super::a;")];
    let uses: Uses = texts.iter().map(|(module, text)| (path(module), used(module, text))).collect();
    assert_eq!(in_circles(&uses), ["a", "a::c", "b"]);
    let none: Uses = texts[..2].iter().map(|(module, text)| (path(module), used(module, text))).collect();
    assert_eq!(used("b", "// crate::a"), BTreeSet::new());
    assert_eq!(none[&path("b")], [path("a::c")].into());
}
