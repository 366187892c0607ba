//! Finds the name that was probably meant.

/// A hint for `found`, which is none of `known`: the nearest of them, else all if they are few.
pub fn hint<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let mut known: Vec<&str> = known.into_iter().collect();
    known.sort_unstable();
    known.dedup();
    if let Some(near) = nearest(found, &known) {
        return Some(format!("did you mean `{near}`?"));
    }
    match known.len() {
        1 => Some(format!("there is {}", list(&known))),
        2..=LISTED => Some(format!("there are {}", list(&known))),
        _ => None,
    }
}

/// The nearest of `known` to `found`, if there is one that is near. Of several the first by name.
pub fn near<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest(found, &known.into_iter().collect::<Vec<_>>())
}

/// More alternatives than this no longer help.
const LISTED: usize = 8;

fn nearest<'a>(found: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(found, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= tolerance(found, candidate))
        .min()
        .map(|(_, candidate)| candidate)
}

/// One slip in every three letters, so that short names are not taken for each other.
fn tolerance(found: &str, candidate: &str) -> usize {
    found.chars().count().max(candidate.chars().count()) / 3
}

/// `a`, `b` and `c`.
pub fn list(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}
