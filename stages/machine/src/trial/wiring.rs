//! Which cable each adapter of a trial is plugged into.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::TrialError;
use crate::Cable;
use ibuild_recipe::{Image, MachineName, Nic, Plug};

/// The cable of each adapter. Two adapters on an internal network are connected to each other; the first of them, in the
/// order of the machines' names, waits for the other. What would be the host's network is one that leads nowhere.
pub(super) fn wire<'r>(
    machines: &BTreeMap<MachineName, &'r Image>,
    sockets: &Path,
) -> Result<BTreeMap<Plug, Cable>, TrialError> {
    let mut networks: BTreeMap<&'r str, Vec<Plug>> = BTreeMap::new();
    let mut cables = BTreeMap::new();
    for (machine, image) in machines {
        for (slot, nic) in image.vm.nics.iter().enumerate() {
            let plug = Plug { machine: machine.clone(), slot };
            match &nic.network {
                Nic::Nat => drop(cables.insert(plug, Cable::Restricted)),
                Nic::None => drop(cables.insert(plug, Cable::Unplugged)),
                Nic::Internal(network) => networks.entry(network).or_default().push(plug),
            }
        }
    }
    for (number, (network, plugs)) in networks.into_iter().enumerate() {
        let socket = sockets.join(format!("cable-{number}"));
        match plugs.as_slice() {
            [alone] => drop(cables.insert(alone.clone(), Cable::Unplugged)),
            [first, second] => {
                cables.insert(first.clone(), Cable::Listen(socket.clone()));
                cables.insert(second.clone(), Cable::Connect(socket));
            }
            many => return Err(TrialError::Crowded { network: network.to_owned(), count: many.len() }),
        }
    }
    Ok(cables)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ibuild_recipe::{ImageFormat, Vm};

    fn image(nics: &[Nic]) -> Image {
        Image {
            name: "i".parse().unwrap(),
            rootfs: "r".parse().unwrap(),
            formats: vec![ImageFormat::Ova],
            disk: None,
            vm: Vm { nics: nics.iter().cloned().map(Into::into).collect(), ..Vm::default() },
        }
    }

    fn wired(machines: &[(&str, &Image)]) -> Result<Vec<String>, TrialError> {
        let machines = machines.iter().map(|(name, image)| (name.parse().unwrap(), *image)).collect();
        let cables = wire(&machines, Path::new("/s"))?;
        Ok(cables.into_iter().map(|(plug, cable)| format!("{plug} {cable:?}")).collect())
    }

    #[test]
    fn two_machines_of_a_network_are_connected() {
        let inside = Nic::Internal("Veil".into());
        let (gateway, workstation) = (image(&[Nic::Nat, inside.clone()]), image(&[inside]));
        let cables = wired(&[("gw", &gateway), ("ws", &workstation)]).unwrap();
        let expected = ["gw/0 Restricted", "gw/1 Listen(\"/s/cable-0\")", "ws/0 Connect(\"/s/cable-0\")"];
        assert_eq!(cables, expected);
    }

    #[test]
    fn a_cable_has_two_ends() {
        let inside = image(&[Nic::Internal("Veil".into())]);
        assert_eq!(wired(&[("a", &inside)]).unwrap(), ["a/0 Unplugged"]);
        let error = wired(&[("a", &inside), ("b", &inside), ("c", &inside)]).unwrap_err();
        assert_eq!(error.to_string(), "3 adapters are on the network `Veil`");
    }
}
