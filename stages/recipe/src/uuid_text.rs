//! UUIDs as a recipe writes them, for `serialize_with`.

use serde::{Serialize, Serializer};
use uuid::Uuid;

/// Writes the usual form with four hyphens, or nothing.
pub(super) fn uuid_text<S: Serializer>(uuid: &Option<Uuid>, serializer: S) -> Result<S::Ok, S::Error> {
    uuid.map(|uuid| uuid.to_string()).serialize(serializer)
}
