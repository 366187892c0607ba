//! What apt inside a stage is told, in files that are there while the stage runs and never part of an image.

/// Where the configuration has to be: last in order, so that it wins.
pub const APT_CONF_PATH: &str = "/etc/apt/apt.conf.d/zz-ibuild";

/// Where the certificate has to be of whoever answers for the archive by https. It differs with every run. So it is where nothing
/// is captured, and not in `/run/ibuild`, which scripts copy from.
pub const CA_PATH: &str = "/run/ibuild-ca.pem";

/// The text of the configuration for a proxy that listens on `port` of the stage's loopback interface.
pub fn apt_conf(port: u16) -> String {
    format!(
        r#"// Written by ibuild for the time of a build.
Acquire::http::Proxy "http://127.0.0.1:{port}";
Acquire::https::Proxy "http://127.0.0.1:{port}";
Acquire::https::CaInfo "{CA_PATH}";
Acquire::Retries "3";
// The archive is frozen: there is nothing to patch up to, and its date says nothing about its trust.
// ibuild has verified the same signatures, and apt verifies them again. What was locked by a machine whose clock was right
// is good on one whose clock is not.
Acquire::PDiffs "false";
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
Acquire::Languages "none";
// Caches that differ with every run and are made again from the indices.
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
"#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A regression: a state of the future could be locked, and no stage could use it.
    #[test]
    fn dates_are_not_judged_again() {
        let conf = apt_conf(1);
        for setting in ["Check-Valid-Until", "Check-Date"] {
            assert!(conf.contains(&format!("\nAcquire::{setting} \"false\";\n")), "{setting}");
        }
    }

    #[test]
    fn the_port_is_in_it() {
        assert_eq!(apt_conf(3142).matches("\"http://127.0.0.1:3142\";").count(), 2);
    }
}
