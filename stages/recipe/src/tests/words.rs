//! Sizes, times, names, and which scripts want packages.

use std::time::Duration;

use crate::network::default_network;
use crate::{Network, PackageName, StepPath};
use ibuild_spec::{ByteSize, parse_duration};

#[test]
fn sizes() {
    let size = |text: &str| text.parse::<ByteSize>().ok().map(|size| size.0);
    assert_eq!(size("100 GiB"), Some(100 << 30));
    assert_eq!(size("768MiB"), Some(768 << 20));
    assert_eq!(size("512 MB"), Some(512_000_000));
    assert_eq!(size("1 TiB"), Some(1 << 40));
    for wrong in
        ["", "GiB", "1", "1.5 GiB", "0 GiB", "-1 GiB", "1 gib", "1 GiB ", " 1 GiB", "99999999999 TiB"]
    {
        assert_eq!(size(wrong), None, "{wrong}");
    }
}

#[test]
fn sizes_are_shown_as_they_are_written() {
    for text in ["100 GiB", "768 MiB", "512 MB", "3 TB", "1 KiB"] {
        assert_eq!(text.parse::<ByteSize>().map(|size| size.to_string()).as_deref(), Ok(text));
    }
    assert_eq!(ByteSize(1001).to_string(), "1001 bytes");
}

#[test]
fn times() {
    assert_eq!(parse_duration("240 s"), Ok(Duration::from_secs(240)));
    assert_eq!(parse_duration("5 min"), Ok(Duration::from_secs(300)));
    assert_eq!(parse_duration("1 h"), Ok(Duration::from_secs(3600)));
    assert!(parse_duration("1 m").is_err());
}

#[test]
fn stage_names() {
    let name: StepPath = "hello/30-user".parse().expect("it is a name");
    assert_eq!((name.rootfs.as_str(), name.step.as_str()), ("hello", "30-user"));
    assert_eq!(name.to_string(), "hello/30-user");
    for wrong in ["hello", "hello/", "/x", "a/b/c", "A/b"] {
        assert!(wrong.parse::<StepPath>().is_err(), "{wrong}");
    }
}

#[test]
fn package_names() {
    for right in [
        "g++",
        "libstdc++6",
        "libc6:i386",
        "sudo=1.9.16p2-3",
        "linux-image-amd64",
        "0ad",
        "bind9=1:9.20~a+b-1",
    ] {
        assert!(right.parse::<PackageName>().is_ok(), "{right}");
    }
}

#[test]
fn scripts_that_call_apt() {
    for text in [
        "apt-get update",
        "apt install -y x",
        "  DEBIAN_FRONTEND=noninteractive apt install x",
        "retry apt-get install x",
        "/usr/bin/apt-get update",
        "true && apt update",
        "if ! apt update; then",
        "sh -c 'apt update'",
        "xargs -r apt install < list",
        "subprocess.run([\"apt-get\", \"update\"])",
        "mmdebstrap trixie /srv",
        "$(aptitude search x)",
    ] {
        assert_eq!(default_network(text), Network::Packages, "{text}");
    }
}

#[test]
fn scripts_that_do_not() {
    for text in [
        "",
        "#!/bin/sh\n# apt-get update\ntrue",
        "rm -rf /var/lib/apt/lists/*",
        "ls /etc/apt",
        "echo an apt remark",
        "cat apt-get.log",
        "apt-getx",
        "my-apt-get",
    ] {
        assert_eq!(default_network(text), Network::None, "{text}");
    }
}
