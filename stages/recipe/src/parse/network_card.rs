//! `nics` of a machine: `["nat", { network = "internal:lab", mac = "52:54:00:12:34:56" }]`.

use ibuild_spec::{Mac, bounds};

use super::{all, optional};
use crate::keys;
use crate::source::At;
use crate::values::Node;
use crate::vm::{NetworkCard, Nic};

pub(super) fn network_cards(node: Node<'_>) -> Option<Vec<NetworkCard>> {
    let nodes = node.array()?;
    let cards = all(nodes.clone(), card)?;
    node.fits(bounds::network_cards(cards.len()))?;
    let has_twin = |later: &usize| {
        let mac = cards[*later].mac;
        mac.is_some() && cards[..*later].iter().any(|earlier| earlier.mac == mac)
    };
    if let Some(twice) = (1..cards.len()).find(has_twin) {
        let problem = nodes[twice].problem("two network cards of the machine have the same `mac`");
        nodes[twice]
            .push(problem.hint("give each its own, or none: ibuild derives it from the image's name"));
        return None;
    }
    Some(cards)
}

/// A network, or a table that also has the card's address.
fn card(node: Node<'_>) -> Option<NetworkCard> {
    if !node.raw().is_table() {
        return Some(NetworkCard::from(network(node)?));
    }
    let what = "a network card";
    let table = node.table(what, &keys::NIC)?;
    let network = table.require(what, "network", "write `network = \"nat\"`").and_then(network);
    let mac = optional(&table, "mac", |node| node.parsed::<Mac>().map(|At { value, .. }| value));
    Some(NetworkCard { network: network?, mac: mac? })
}

fn network(node: Node<'_>) -> Option<Nic> {
    let text = node.text()?.value;
    let nic = match (text.as_str(), text.strip_prefix("internal:")) {
        ("nat", _) => Some(Nic::Nat),
        ("none", _) => Some(Nic::None),
        (_, Some(network)) if network_name(network) => Some(Nic::Internal(network.to_owned())),
        _ => None,
    };
    if nic.is_none() {
        let problem = node.problem(format!("`{text}` is not a network card"));
        node.push(problem.hint("cards are `\"nat\"`, `\"internal:NETWORK\"` or `\"none\"`"));
    }
    nic
}

/// Becomes a part of XML and of command lines of virtual machine monitors.
fn network_name(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}
