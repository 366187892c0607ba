//! Names bytes and keeps them: digests, the content store and the index of facts.
