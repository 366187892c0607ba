//! Package URLs: <https://github.com/package-url/purl-spec>, type `deb`.

use std::fmt::Write as _;

use crate::PackageFacts;

/// The package URL of one from Debian's archive. Whose packages others are is not known.
pub fn purl(package: &PackageFacts) -> Option<String> {
    let PackageFacts { name, version, architecture, .. } = package;
    let (name, version, architecture) = (escaped(name), escaped(version), escaped(architecture));
    package.is_debians.then(|| format!("pkg:deb/debian/{name}@{version}?arch={architecture}"))
}

/// Percent-encoding, which leaves a colon as it is.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() || b".-_~:".contains(&byte) => {
                escaped.push(char::from(byte))
            }
            byte => write!(escaped, "%{byte:02X}").expect("a string takes all"),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_urls_reserve_is_encoded() {
        assert_eq!(escaped("1:2.0+b1~x/y@z"), "1:2.0%2Bb1~x%2Fy%40z");
    }
}
