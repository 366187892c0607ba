//! The package view: archives, their lock, and the caching proxy that serves apt.
