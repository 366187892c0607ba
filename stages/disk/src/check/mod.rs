//! Strict readers of what this module writes, for tests: they accept what every importer accepts and nothing else. Each rule
//! has a name, and a test that breaks it.

mod ova;
mod ovf;
mod vmdk;
mod xml;

pub use ova::check_ova;
pub use vmdk::check_vmdk;

/// The rule that does not hold.
pub type Broken = &'static str;

/// Whether a rule holds.
fn rule(holds: bool, name: Broken) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(name) }
}

/// Every rule is broken by the mutation that is named for it, and by that alone.
#[track_caller]
fn breaks(checked: Result<(), Broken>, name: Broken) {
    assert_eq!(checked, Err(name));
}
