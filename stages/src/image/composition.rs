//! What finished files are made of: a blob that tells the parts, and the packs in which their grains are.

use std::collections::BTreeMap;

use ibuild_cache::{ActionKey, BlobId, Record, Store};
use serde::{Deserialize, Serialize};

use crate::StageError;
use crate::disk::{FoundVmdk, KeptVmdk, Made, PackedGrain, Packs};
use crate::output::{Composed, StoredBlob};

/// What a file is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Composition {
    /// The packs, in the places by which the rope names them.
    packs: Vec<StoredBlob>,
    made: Made,
    /// The VMDKs in it, by the keys of what makes them.
    disks: Vec<(ActionKey, KeptVmdk)>,
}

impl Record for Composition {
    const SCHEMA: u16 = 4;
}

impl Composition {
    /// Of a file that was made so, with its grains in `packs`.
    pub(crate) fn of(made: Made, packs: &Packs, disks: Vec<(ActionKey, KeptVmdk)>) -> Self {
        let mut places = BTreeMap::new();
        for grain in made.rope.grains() {
            let next = places.len() as u32;
            places.entry(grain.pack).or_insert(next);
        }
        let mut used: Vec<(u32, StoredBlob)> = Vec::new();
        for (pack, place) in &places {
            let (blob, size) = packs.pack(*pack);
            used.push((*place, StoredBlob { blob, size }));
        }
        used.sort_by_key(|(place, _)| *place);
        let packs = used.into_iter().map(|(_, pack)| pack).collect();
        Self { packs, made: made.with_packs(|pack| places[&pack]), disks }
    }

    /// Puts it into the store. `None` if it could not be read back, because it has too many parts.
    pub(crate) fn put(&self, store: &Store) -> Result<Option<StoredBlob>, StageError> {
        let bytes = self.to_bytes();
        if bytes.len() as u64 > ibuild_cache::MOST_RECORD {
            return Ok(None);
        }
        let stored = store.blobs().put(&bytes)?;
        Ok(Some(StoredBlob { blob: stored.digest, size: stored.size }))
    }

    /// Reads one from the store, if it is there and whole.
    pub(crate) fn find(store: &Store, blob: &BlobId) -> Result<Option<Self>, StageError> {
        let found = store.blobs().read(blob)?.and_then(|bytes| Self::from_bytes(&bytes));
        Ok(found.filter(Self::names_its_packs))
    }

    /// Whether each grain is in a pack of the list.
    fn names_its_packs(&self) -> bool {
        self.made.rope.grains().iter().all(|grain| (grain.pack as usize) < self.packs.len())
    }

    /// The packs that it needs.
    pub(crate) fn packs(&self) -> &[StoredBlob] {
        &self.packs
    }

    /// Adds its packs to others.
    pub(crate) fn open(self, store: &Store, packs: &mut Packs) -> Result<Opened, StageError> {
        let mut places = Vec::new();
        for pack in &self.packs {
            let file = store.blobs().open(&pack.blob)?;
            places.push(file.map(|file| packs.add(pack.blob, file, pack.size)));
        }
        Ok(Opened { composition: self, places })
    }
}

/// Whether what a file is said to be made of are the packs that its composition names.
pub(crate) fn has_packs(store: &Store, made: &Composed) -> Result<bool, StageError> {
    let composition = Composition::find(store, &made.composition.blob)?;
    Ok(composition.is_some_and(|composition| composition.packs == made.packs))
}

/// A composition of which the packs are open.
pub(crate) struct Opened {
    composition: Composition,
    /// Where they are among the packs. One that is gone has no place.
    places: Vec<Option<u32>>,
}

impl Opened {
    /// Tells `packs` of all grains in it.
    pub(crate) fn tell(&self, packs: &mut Packs) {
        let placed =
            |grain: &PackedGrain| Some(PackedGrain { pack: self.places[grain.pack as usize]?, ..*grain });
        packs.know(self.composition.made.rope.grains().iter().filter_map(placed));
    }

    /// The whole file, unless a pack of it is gone.
    pub(crate) fn into_made(self) -> Option<Made> {
        let places = self.all_places()?;
        Some(self.composition.made.with_packs(|pack| places[pack as usize]))
    }

    /// The VMDK in it that something with this key makes, unless a pack is gone.
    pub(crate) fn vmdk(&self, key: &ActionKey) -> Option<FoundVmdk> {
        let places = self.all_places()?;
        let (_, kept) = self.composition.disks.iter().find(|(made_by, _)| made_by == key)?;
        let FoundVmdk { rope, sha256 } = FoundVmdk::within(&self.composition.made.rope, kept);
        Some(FoundVmdk { rope: rope.with_packs(|pack| places[pack as usize]), sha256 })
    }

    fn all_places(&self) -> Option<Vec<u32>> {
        self.places.iter().copied().collect()
    }
}
