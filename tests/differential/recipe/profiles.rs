//! The profiles, one of which a build may ask for.

use crate::choices::{Choices, Slots};
use crate::tables::Table;

/// What was written of the profiles.
pub struct Profiles {
    /// Their tables.
    pub text: String,
    /// The option that asks for one, if one is asked for.
    pub option: &'static str,
    /// The value that it gives to the variable `word`.
    pub word: Option<&'static str>,
    /// What it says of formats.
    pub formats: String,
}

pub fn profiles(chosen: &Choices, slots: &Slots) -> Profiles {
    const WORD: &str = "of the profile";
    let mut table = Table::new(chosen, slots, "profile", "profile");
    let vars = table.any("vars", &["", r#"{ word = "of the profile" }"#, "{ unused = 7 }"]);
    let formats = ["", r#"{ slow = ["rootfs.tar.zst", "oci"] }"#, r#"{ slow = ["oci"] }"#];
    let formats = slots.pick(chosen, "profile", "profile", "formats", &formats);
    let is_renamed = chosen.get("name image slow name") == 1;
    let formats = formats.replace("slow", if is_renamed { "slow-image" } else { "slow" });
    if !formats.is_empty() {
        table.entry("formats", &formats);
    }
    let option = slots.pick(chosen, "", "command line", "profile", &["", "--profile=other"]);
    let is_chosen = !option.is_empty();
    Profiles {
        text: format!("[profile.other]\n{}\n[profile.third]\n", table.lines()),
        option,
        word: (is_chosen && vars.contains(WORD)).then_some(WORD),
        formats: if is_chosen { formats } else { String::new() },
    }
}
