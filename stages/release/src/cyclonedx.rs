//! `IMAGE.cdx.json`: a bill of materials in CycloneDX 1.6, <https://cyclonedx.org/docs/1.6/json/>.

use ibuild_debian::Timestamp;
use serde_json::{Map, Value, json};

use crate::purl::purl;
use crate::spdx::namespace;
use crate::{ImageFacts, PackageFacts, ReleaseFacts};

/// The bill of an image.
pub fn cyclonedx(release: &ReleaseFacts, image: &ImageFacts) -> Value {
    let hash = |algorithm: &str, content: &str| json!({ "alg": algorithm, "content": content });
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": namespace(image),
        "version": 1,
        "metadata": {
            "timestamp": Timestamp(release.epoch).to_string(),
            "tools": { "components": [{ "type": "application", "name": "ibuild", "version": release.builder }] },
            "component": {
                "type": "operating-system",
                "bom-ref": "image",
                "name": image.file,
                "version": release.version,
                "hashes": [hash("SHA-256", &image.sha256), hash("SHA-512", &image.sha512)],
            },
        },
        "components": image.packages.iter().map(component).collect::<Vec<_>>(),
    })
}

fn component(package: &PackageFacts) -> Value {
    let PackageFacts { name, version, architecture, source, source_version, .. } = package;
    let mut value = Map::new();
    let mut set = |name: &str, field: Value| value.insert(name.to_owned(), field);
    set("type", "library".into());
    set("bom-ref", format!("{name}_{version}_{architecture}").into());
    set("name", name.as_str().into());
    set("version", version.as_str().into());
    if let Some((sha256, _)) = &package.deb {
        set("hashes", json!([{ "alg": "SHA-256", "content": sha256 }]));
    }
    if !package.licences.is_empty() {
        let licence = |name: &String| json!({ "license": { "name": name } });
        set("licenses", package.licences.iter().map(licence).collect());
    }
    if let Some(purl) = purl(package) {
        set("purl", purl.into());
    }
    if let Some((_, url)) = &package.deb {
        set("externalReferences", json!([{ "type": "distribution", "url": url }]));
    }
    let property = |name: &str, value: &str| json!({ "name": format!("ibuild:deb:{name}"), "value": value });
    let properties = [
        property("architecture", architecture),
        property("source", source),
        property("source-version", source_version),
    ];
    set("properties", properties.into_iter().collect());
    Value::Object(value)
}
