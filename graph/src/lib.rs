//! Decides what must run and why.
