//! A facade for library users.
