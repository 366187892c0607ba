//! A root file system as an OCI image (OCI Image Format 1.1) in an archive: a tar of blobs that name each other by digest.
//!
//! ```text
//! oci-layout
//! index.json                      names the manifest
//! blobs/sha256/<manifest>         names the configuration and the layers
//! blobs/sha256/<configuration>
//! blobs/sha256/<layer>...         lowest first
//! ```
//!
//! Each layer is a stage's, with its whiteouts: so images with the same beginning share their layers wherever they are kept.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use ibuild_cache::{BlobId, Cancel, Sha256, Stoppable};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::artifact::create;
use super::digest::{DigestWriter, Digested};
use super::error::DiskError;
use super::{Progress, raw, time, ustar};

/// Changes when the same layers give another archive. Belongs into its key, beside the version of zstd.
pub const OCI_WRITER: &str = "ibuild-oci 1";

const LEVEL: i32 = 3;
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// A layer, to be read once.
pub trait LayerSource: Sync {
    /// Its uncompressed tarball.
    fn open(&self) -> io::Result<Box<dyn Read + Send>>;
    /// The bytes of that, for a progress bar.
    fn size(&self) -> u64;
}

/// What an OCI image is made of.
#[derive(Clone, Copy)]
pub struct OciImage<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Debian's name of the architecture.
    pub architecture: &'a str,
    /// The time that it tells, seconds since 1970.
    pub epoch: u64,
    /// Its layers, lowest first.
    pub layers: &'a [&'a dyn LayerSource],
}

/// Writes the archive to the new file `out`. The bytes are a function of what the image is made of.
///
/// Layers are compressed at the same time, into nameless files beside `out`, because their digests come before them.
pub fn write_oci(
    image: &OciImage<'_>,
    cancel: &Cancel,
    out: &Path,
    progress: Progress<'_>,
) -> Result<Digested<BlobId>, DiskError> {
    let total: u64 = image.layers.iter().map(|layer| layer.size()).sum();
    let done = AtomicU64::new(0);
    let layers = image.layers.par_iter().map(|layer| {
        let advance = |bytes: u64| progress(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total);
        compress(*layer, raw::parent(out), &advance)
    });
    let mut layers = layers.collect::<Result<Vec<_>, _>>()?;
    let created = time::utc(image.epoch);
    let config = Blob::of(&configuration(image, &layers, &created));
    let manifest = Blob::of(&json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(CONFIG),
        "layers": layers.iter().map(Layer::descriptor).collect::<Vec<_>>(),
    }));
    let mut archive = Archive {
        out: DigestWriter::new(Stoppable::new(create(out)?, cancel.clone())),
        epoch: image.epoch,
        written: Vec::new(),
    };
    let written = archive.write(image, &config, &manifest, &mut layers).and_then(|()| archive.out.finish());
    Ok(written.map_err(DiskError::io("write the OCI archive", out))?.1)
}

/// What to run, for those who start a container of it, is a shell: the recipe says nothing about containers.
fn configuration(image: &OciImage<'_>, layers: &[Layer], created: &str) -> Value {
    let diff_ids: Vec<_> = layers.iter().map(|layer| layer.uncompressed.digest.to_string()).collect();
    let history = layers.iter().map(|_| json!({ "created": created, "created_by": "ibuild" }));
    json!({
        "created": created,
        "architecture": architecture(image.architecture),
        "os": "linux",
        "config": {
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["/bin/sh"],
        },
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
        "history": history.collect::<Vec<_>>(),
    })
}

/// OCI has Go's names of architectures.
fn architecture(debian: &str) -> &str {
    match debian {
        "i386" => "386",
        "armhf" | "armel" => "arm",
        "ppc64el" => "ppc64le",
        "mips64el" => "mips64le",
        same => same,
    }
}

fn descriptor(kind: &str, blob: &Digested<Sha256>) -> Value {
    json!({ "mediaType": kind, "digest": blob.digest.to_string(), "size": blob.size })
}

/// A small blob.
struct Blob {
    bytes: Vec<u8>,
    digested: Digested<Sha256>,
}

impl Blob {
    fn of(value: &Value) -> Self {
        let bytes = value.to_string().into_bytes();
        let digested = Digested::of_bytes(&bytes);
        Self { bytes, digested }
    }

    fn descriptor(&self, kind: &str) -> Value {
        descriptor(kind, &self.digested)
    }
}

/// A compressed layer.
struct Layer {
    file: File,
    uncompressed: Digested<Sha256>,
    compressed: Digested<Sha256>,
}

impl Layer {
    fn descriptor(&self) -> Value {
        descriptor(LAYER, &self.compressed)
    }
}

fn compress(layer: &dyn LayerSource, scratch: &Path, advance: &dyn Fn(u64)) -> Result<Layer, DiskError> {
    let file = tempfile::tempfile_in(scratch).map_err(DiskError::io("make a scratch file in", scratch))?;
    let squeeze = || -> io::Result<Layer> {
        let mut encoder = zstd::Encoder::new(DigestWriter::new(BufWriter::new(&file)), LEVEL)?;
        // Frames made by workers differ from others, but not with the number of workers.
        encoder.multithread(1)?;
        encoder.include_checksum(true)?;
        let mut through = DigestWriter::new(encoder);
        let (mut source, mut buffer) = (layer.open()?, vec![0; 1 << 20]);
        loop {
            let read = source.read(&mut buffer)?;
            if read == 0 {
                break;
            }
            through.write_all(&buffer[..read])?;
            advance(read as u64);
        }
        let (encoder, uncompressed) = through.finish()?;
        let (out, compressed) = encoder.finish()?.finish()?;
        drop(out);
        Ok(Layer { file: file.try_clone()?, uncompressed, compressed })
    };
    squeeze().map_err(|source| DiskError::Write { what: "a layer of the OCI image".into(), source })
}

struct Archive<W> {
    out: W,
    epoch: u64,
    /// Blobs that are there: an image may have the same layer twice.
    written: Vec<Sha256>,
}

impl<W: Write> Archive<W> {
    fn write(
        &mut self,
        image: &OciImage<'_>,
        config: &Blob,
        manifest: &Blob,
        layers: &mut [Layer],
    ) -> io::Result<()> {
        let mut of_manifest = manifest.descriptor(MANIFEST);
        of_manifest["platform"] = json!({ "architecture": architecture(image.architecture), "os": "linux" });
        of_manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": image.name });
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [of_manifest] });
        self.text("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }))?;
        self.text("index.json", &index)?;
        for blob in [manifest, config] {
            self.blob(&blob.digested, &mut &blob.bytes[..])?;
        }
        for layer in layers {
            layer.file.rewind()?;
            self.blob(&layer.compressed, &mut BufReader::with_capacity(1 << 20, &layer.file))?;
        }
        self.out.write_all(&ustar::END)
    }

    fn text(&mut self, name: &str, value: &Value) -> io::Result<()> {
        let text = value.to_string();
        self.member(name, text.len() as u64, &mut text.as_bytes())
    }

    fn blob(&mut self, blob: &Digested<Sha256>, bytes: &mut dyn Read) -> io::Result<()> {
        if self.written.contains(&blob.digest) {
            return Ok(());
        }
        self.written.push(blob.digest);
        self.member(&format!("blobs/sha256/{}", blob.digest.hex()), blob.size, bytes)
    }

    fn member(&mut self, name: &str, size: u64, bytes: &mut dyn Read) -> io::Result<()> {
        self.out.write_all(&ustar::header(name, size, self.epoch)?)?;
        let copied = io::copy(bytes, &mut self.out)?;
        if copied != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.out.write_all(ustar::padding(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bytes(Vec<u8>);

    impl LayerSource for Bytes {
        fn open(&self) -> io::Result<Box<dyn Read + Send>> {
            Ok(Box::new(io::Cursor::new(self.0.clone())))
        }

        fn size(&self) -> u64 {
            self.0.len() as u64
        }
    }

    fn archive(dir: &Path, layers: &[&dyn LayerSource]) -> (std::path::PathBuf, Digested<BlobId>) {
        let out = dir.join("image.oci");
        let image = OciImage { name: "hello", architecture: "amd64", epoch: 86_400, layers };
        let digested = write_oci(&image, &Cancel::default(), &out, &|_, _| {}).unwrap();
        (out, digested)
    }

    fn sha256(bytes: &[u8]) -> Sha256 {
        Digested::of_bytes(bytes).digest
    }

    fn members(path: &Path) -> Vec<(String, Vec<u8>)> {
        let mut archive = tar::Archive::new(File::open(path).unwrap());
        let entries = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            (name, bytes)
        });
        entries.collect()
    }

    #[test]
    fn blobs_name_each_other_by_their_digests() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (Bytes(b"one ".repeat(100_000)), Bytes(b"two".to_vec()));
        let (path, digested) = archive(dir.path(), &[&one, &two, &one]);
        assert_eq!(digested, Digested::of_file(&path, &Cancel::default()).unwrap());
        let members = members(&path);
        assert_eq!(members.len(), 2 + 2 + 2, "a layer that is there twice is written once");
        for (name, bytes) in &members[2..] {
            assert_eq!(*name, format!("blobs/sha256/{}", sha256(bytes).hex()));
        }
        let parse = |at: usize| serde_json::from_slice::<Value>(&members[at].1).unwrap();
        let (index, manifest, config) = (parse(1), parse(2), parse(3));
        let name = |value: &Value| format!("blobs/{}", value["digest"].as_str().unwrap().replace(':', "/"));
        assert_eq!(name(&index["manifests"][0]), members[2].0);
        assert_eq!(name(&manifest["config"]), members[3].0);
        assert_eq!(name(&manifest["layers"][1]), members[5].0);
        assert_eq!(manifest["layers"][0], manifest["layers"][2]);
        assert_eq!(zstd::decode_all(&members[5].1[..]).unwrap(), two.0);
        assert_eq!(config["rootfs"]["diff_ids"][1], sha256(&two.0).to_string());
        assert_eq!(config["history"].as_array().unwrap().len(), 3);
        assert_eq!(
            (&config["created"], &config["architecture"]),
            (&"1970-01-02T00:00:00Z".into(), &"amd64".into())
        );
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (Bytes(b"one ".repeat(1_000_000)), Bytes(b"two".to_vec()));
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| archive(dir.path(), &[&one, &two]).1)
        };
        assert_eq!(with(1), with(4));
    }

    #[test]
    fn a_layer_that_cannot_be_read_is_an_error() {
        struct Broken;
        impl LayerSource for Broken {
            fn open(&self) -> io::Result<Box<dyn Read + Send>> {
                Err(io::ErrorKind::NotFound.into())
            }
            fn size(&self) -> u64 {
                0
            }
        }
        let dir = tempfile::tempdir().unwrap();
        let image = OciImage { name: "x", architecture: "amd64", epoch: 0, layers: &[&Broken] };
        assert!(write_oci(&image, &Cancel::default(), &dir.path().join("x"), &|_, _| {}).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
