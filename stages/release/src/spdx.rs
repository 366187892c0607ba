//! `IMAGE.spdx.json`: a bill of materials in SPDX 2.3, <https://spdx.github.io/spdx-spec/v2.3/>.
//!
//! 2.3 and not 3.0: it is the version that today's readers accept (spdx-tools, debsbom, Dependency-Track, GitHub). Debian's names of
//! licences are not all SPDX's, and a wrong licence is worse than none, so they are a comment, in Debian's words.

use std::collections::BTreeSet;

use ibuild_debian::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::purl::purl;
use crate::{ImageFacts, PackageFacts, ReleaseFacts};

const UNKNOWN: &str = "NOASSERTION";
const IMAGE: &str = "SPDXRef-Image";

/// The bill of an image.
pub fn spdx(release: &ReleaseFacts, image: &ImageFacts) -> Value {
    let ids: Vec<_> = image.packages.iter().map(id).collect();
    let packages = image.packages.iter().zip(&ids).map(|(package, id)| of_package(package, id));
    let relation = |from: &str, kind: &str, to: &str| json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to });
    let contained = ids.iter().map(|id| relation(IMAGE, "CONTAINS", id));
    let described = relation("SPDXRef-DOCUMENT", "DESCRIBES", IMAGE);
    json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": format!("{} {}", image.file, release.version),
        "documentNamespace": namespace(image),
        "creationInfo": {
            "created": Timestamp(release.epoch).to_string(),
            "creators": [format!("Tool: ibuild-{}", release.builder)],
        },
        "packages": std::iter::once(of_image(release, image)).chain(packages).collect::<Vec<_>>(),
        "relationships": std::iter::once(described).chain(contained).collect::<Vec<_>>(),
    })
}

/// The packages of a bill, as `name`, `version`, and the SHA-256 of the image that it is of. `None` for what is not a bill of
/// [`spdx`].
pub fn bill_of(bill: &Value) -> Option<(BTreeSet<(String, String)>, String)> {
    let packages = bill.get("packages")?.as_array()?;
    let text = |value: &Value, name: &str| value.get(name)?.as_str().map(str::to_owned);
    let (mut found, mut of) = (BTreeSet::new(), None);
    for package in packages {
        if text(package, "SPDXID")? == IMAGE {
            let sums = package.get("checksums")?.as_array()?.iter();
            of = sums
                .filter(|sum| text(sum, "algorithm").as_deref() == Some("SHA256"))
                .find_map(|sum| text(sum, "checksumValue"));
        } else {
            found.insert((text(package, "name")?, text(package, "versionInfo")?));
        }
    }
    Some((found, of?))
}

/// A name that no other document has, and each release of the same image has again.
pub fn namespace(image: &ImageFacts) -> String {
    let name = format!("ibuild bill of {} {}", image.file, image.sha256);
    Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes()).urn().to_string()
}

fn of_image(release: &ReleaseFacts, image: &ImageFacts) -> Value {
    let sum = |algorithm: &str, value: &str| json!({ "algorithm": algorithm, "checksumValue": value });
    json!({
        "SPDXID": IMAGE,
        "name": image.file,
        "versionInfo": release.version,
        "downloadLocation": UNKNOWN,
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "primaryPackagePurpose": "OPERATING-SYSTEM",
        "checksums": [sum("SHA256", &image.sha256), sum("SHA512", &image.sha512)],
    })
}

fn of_package(package: &PackageFacts, id: &str) -> Value {
    let mut value = json!({
        "SPDXID": id,
        "name": package.name,
        "versionInfo": package.version,
        "downloadLocation": package.deb.as_ref().map_or(UNKNOWN, |(_, url)| url),
        "filesAnalyzed": false,
        "licenseConcluded": UNKNOWN,
        "licenseDeclared": UNKNOWN,
        "copyrightText": UNKNOWN,
        "sourceInfo": format!("built from source package: {} {}", package.source, package.source_version),
    });
    let more = value.as_object_mut().expect("it is an object");
    if !package.licences.is_empty() {
        let names: Vec<_> = package.licences.iter().map(String::as_str).collect();
        more.insert(
            "licenseComments".to_owned(),
            format!("named by Debian's copyright file: {}", names.join(", ")).into(),
        );
    }
    if let Some((sha256, _)) = &package.deb {
        more.insert("checksums".to_owned(), json!([{ "algorithm": "SHA256", "checksumValue": sha256 }]));
    }
    if let Some(purl) = purl(package) {
        let reference = json!({
            "referenceCategory": "PACKAGE-MANAGER",
            "referenceType": "purl",
            "referenceLocator": purl,
        });
        more.insert("externalRefs".to_owned(), json!([reference]));
    }
    value
}

/// An identifier within the document, which has letters, digits, `.` and `-`.
fn id(package: &PackageFacts) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let words = [&package.name, &package.architecture, &package.version];
    let words = words.map(|word| {
        word.chars()
            .map(|c| if plain(c) { c.to_string() } else { format!("-{:x}-", u32::from(c)) })
            .collect::<String>()
    });
    format!("SPDXRef-Package-{}", words.join("-"))
}
