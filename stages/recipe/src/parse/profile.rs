//! `[profile.NAME]`: other variables and formats for builds that ask for it.

use std::collections::BTreeMap;

use toml::de::DeValue;

use super::image::formats;
use super::sections::Sections;
use crate::draft::{DraftProfile, ProfileFormats};
use crate::keys;
use crate::names::{ImageName, ProfileName, VarName};
use crate::report::Problem;
use crate::source::At;
use crate::suggest;
use crate::values::{Node, Table};

/// The variables of a profile as they are written, before any can be substituted. What is wrong is left to [`profile`].
pub(super) fn raw_vars(sections: &Sections<'_>, chosen: &ProfileName) -> Vec<(VarName, At<String>)> {
    let vars = || {
        let table = entries(sections.entry("profile", chosen.as_str())?)?;
        entries(table.get("vars")?)
    };
    let read = |(name, node): (At<&str>, Node<'_>)| {
        Some((name.value.parse().ok()?, At { value: text(node)?, at: node.span() }))
    };
    vars().iter().flat_map(Table::entries).filter_map(read).collect()
}

/// The entries of what is a table.
fn entries(node: Node<'_>) -> Option<Table<'_>> {
    node.raw().is_table().then(|| node.entries()).flatten()
}

/// The text that a variable's value stands for.
pub(super) fn text(node: Node<'_>) -> Option<String> {
    match node.raw() {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Reads a profile, whether or not it is asked for. `known` are the variables of the recipe.
pub(super) fn profile(
    name: &ProfileName,
    node: Node<'_>,
    known: &BTreeMap<VarName, At<String>>,
) -> DraftProfile {
    let Some(table) = node.table(&format!("`[profile.{name}]`"), &keys::PROFILE) else {
        return DraftProfile::default();
    };
    let vars = table.get("vars").and_then(Node::entries);
    for (var, value) in vars.iter().flat_map(Table::named::<VarName>) {
        if !known.contains_key(&var.value) {
            let hint = suggest::hint(var.value.as_str(), known.keys().map(VarName::as_str));
            let message = format!("there is no variable `{}` to replace", var.value);
            value.push(Problem::at(var.at, message).hint_if(hint));
        } else if text(value).is_none() {
            value.wrong_type::<()>("a string or an integer");
        }
    }
    DraftProfile { formats: table.get("formats").and_then(profile_formats) }
}

/// A list for all images of one machine, or a table by image. Whether the images are there is judged later.
fn profile_formats(node: Node<'_>) -> Option<ProfileFormats> {
    if !node.raw().is_table() {
        return Some(ProfileFormats::All(At { value: formats(node)?, at: node.span() }));
    }
    let read = |(image, node): (At<ImageName>, Node<'_>)| {
        let formats = At { value: formats(node)?, at: node.span() };
        Some((image, formats))
    };
    Some(ProfileFormats::OfImages(node.entries()?.named().into_iter().filter_map(read).collect()))
}
