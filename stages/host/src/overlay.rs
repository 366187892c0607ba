//! What overlays are mounted with.

/// What every overlay is mounted with. A directory that was renamed and a file of which only the mode changed are copied
/// whole, so that each layer stands for itself.
pub const OVERLAY_OPTIONS: &str = "redirect_dir=nofollow,metacopy=off,index=off";
