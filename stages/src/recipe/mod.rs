//! The user's `ibuild.toml`: parsed, checked and resolved before any work starts.
