//! How much is left to chance, and which chance.

/// How often a random test does what it does.
pub fn rounds(each_run: usize, nightly: usize) -> usize {
    if is_set("IBUILD_NIGHTLY") { nightly } else { each_run }
}

/// A generator with the seed that was asked for. Says which, so that a failure can be had again.
#[allow(clippy::print_stderr, reason = "a test that failed says with which seed")]
pub fn rng() -> fastrand::Rng {
    let seed = seed();
    eprintln!("IBUILD_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

#[allow(clippy::disallowed_methods, reason = "the nightly run of the tests says so in the environment")]
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some()
}

#[allow(
    clippy::disallowed_methods,
    reason = "who looks for a failure says with which seed in the environment"
)]
fn seed() -> u64 {
    std::env::var("IBUILD_SEED").map_or(1, |seed| seed.parse().expect("a seed is a number"))
}
