//! The keys that steps of several kinds share.

use ibuild_spec::parse_duration;

use super::environment::environment;
use super::limits::limits;
use super::optional;
use super::patterns::patterns;
use super::step_machine::step_machine;
use crate::draft::Settings;
use crate::keys;
use crate::names::SecretName;
use crate::report::Problem;
use crate::source::At;
use crate::step::{Input, Network, Reproducible, SecretEffect, StepSecret};
use crate::values::{Node, Table};

/// What a table says of them.
pub(super) fn settings(table: &Table<'_>) -> Settings {
    const NETWORKS: [(&str, Network); 2] = [("packages", Network::Packages), ("none", Network::None)];
    let inputs = table.get("inputs").and_then(Node::array).unwrap_or_default();
    let volatile = table.get("volatile").and_then(Node::array).unwrap_or_default();
    Settings {
        env: table.get("env").map(environment).unwrap_or_default(),
        network: table.get("network").and_then(|node| node.word("network", &NETWORKS)),
        machine: table.get("machine").map(step_machine),
        timeout: table.get("timeout").and_then(|node| node.parsed_by(parse_duration)).map(|time| time.value),
        limits: table.get("limits").map(limits).unwrap_or_default(),
        inputs: inputs.into_iter().filter_map(input).collect(),
        secrets: table.get("secrets").and_then(Node::array).map(secrets).unwrap_or_default(),
        volatile: volatile.into_iter().filter_map(Node::machine_path).collect(),
        reproducible: table.get("reproducible").and_then(Node::boolean).map(
            |is_expected| match is_expected {
                true => Reproducible::Expected,
                false => Reproducible::Waived,
            },
        ),
    }
}

/// Each once.
fn secrets(nodes: Vec<Node<'_>>) -> Vec<StepSecret> {
    let mut found = Vec::<StepSecret>::new();
    for node in nodes {
        let Some(secret) = secret(node) else { continue };
        if found.iter().any(|earlier| earlier.name == secret.name) {
            node.push(Problem::at(node.span(), format!("secret `{}` is listed twice", secret.name)));
        } else {
            found.push(secret);
        }
    }
    found
}

/// A name, or a table with one.
fn secret(node: Node<'_>) -> Option<StepSecret> {
    if !node.raw().is_table() {
        let name = node.parsed::<SecretName>()?.value;
        return Some(StepSecret { name, effect: SecretEffect::AccessOnly });
    }
    const EXAMPLE: &str = "write `{ name = \"TOKEN\", affects-output = true }`";
    let table = node.table("a secret", &keys::SECRET)?;
    let name = table.require("a secret", "name", EXAMPLE).and_then(Node::parsed::<SecretName>);
    let effect = match optional(&table, "affects-output", Node::boolean)? {
        Some(true) => SecretEffect::Output,
        Some(false) | None => SecretEffect::AccessOnly,
    };
    Some(StepSecret { name: name?.value, effect })
}

/// A path, or a table with one.
fn input(node: Node<'_>) -> Option<At<Input>> {
    if !node.raw().is_table() {
        let At { value: path, at } = node.inner_path()?;
        return Some(At { value: Input { path, exclude: Vec::new() }, at });
    }
    const EXAMPLE: &str = "write `{ path = \"files\", exclude = [\"*.md\"] }`";
    let table = node.table("an input", &keys::INPUT)?;
    let path = table.require("an input", "path", EXAMPLE).and_then(Node::inner_path);
    let exclude = optional(&table, "exclude", patterns);
    let At { value: path, at } = path?;
    Some(At { value: Input { path, exclude: exclude?.unwrap_or_default() }, at })
}
