//! One line per mistake: what is written, and all that is said about it.

use super::{BASE, Project};

/// `more` after a recipe that is right.
#[track_caller]
pub(super) fn check(more: &str, expected: &str) {
    assert_eq!(Project::with(more).messages(), expected);
}

/// A whole recipe.
#[track_caller]
fn check_whole(text: &str, expected: &str) {
    assert_eq!(Project::new(text).messages(), expected);
}

/// One step.
#[track_caller]
pub(super) fn check_step(step: &str, expected: &str) {
    assert_eq!(Project::with_step(step).messages(), expected);
}

/// One image, of the rootfs `base`.
#[track_caller]
pub(super) fn check_image(image: &str, expected: &str) {
    check(&format!("[image.i]\nrootfs = \"base\"\n{image}\n"), expected);
}

pub(super) const DISK: &str = "formats = [\"ova\"]\ndisk = { size = \"8 GiB\" }\n";
pub(super) const SIZES: &str = "sizes are written like `100 GiB`, `768 MiB` or `64 KiB`";
pub(super) const TIMES: &str = "times are written like `240 s`, `5 min` or `1 h`";

#[test]
fn schema() {
    check_whole(
        &BASE.replace("schema = 1", ""),
        "the recipe does not start with `schema` | write `schema = 1` as its first line",
    );
    check_whole(
        &BASE.replace("schema = 1", "schema = 2\nfuture = true"),
        "schema 2 is not known to this ibuild | it reads schema 1; a newer recipe needs a newer ibuild",
    );
    check_whole(
        &BASE.replace("schema = 1", "schema = \"1\""),
        "expected an integer, found a string | write `1`, without quotes",
    );
}

#[test]
fn syntax() {
    check("[rootfs.x", "unclosed table, expected `]`");
    check("[rootfs.base]\nsteps = []", "duplicate key `base`\nduplicate key `steps`");
}

#[test]
fn project() {
    check_whole(
        "schema = 1",
        "there is no `[project]` table | write `[project]` with a `name` and an `epoch`",
    );
    check_whole(
        &BASE.replace("name = \"demo\"", "name = \"Demo\""),
        "`Demo` is not a valid project name | names consist of `a-z`, `0-9`, `.`, `_`, `+` and `-`, and start with a letter or digit",
    );
    check_whole(
        &BASE.replace("epoch = 1767225600", ""),
        "`[project]` needs `epoch` | write `epoch = 1767225600`: the time of everything built, in seconds since 1970",
    );
    check_whole(
        &BASE.replace("epoch = 1767225600", "epoch = -1"),
        "`-1` is not a time | `epoch` counts seconds since 1970",
    );
    check_whole(
        &BASE.replace("epoch = 1767225600", "epoch = 99999999999999999999"),
        "`99999999999999999999` is too large",
    );
}

#[test]
fn unknown_keys() {
    check("[rootsf.x]\n", "unknown key `rootsf` in a recipe | did you mean `rootfs`?");
    check(
        "[rootfs.ws]\nform = \"base\"\nsteps = [{ name = \"a\", bootstrap = { archive = \"debian\" } }]",
        "unknown key `form` in `[rootfs.ws]` | did you mean `from`?",
    );
    check_step(
        "name = \"a\", package = [\"sudo\"]",
        "unknown key `package` in a step | did you mean `packages`?",
    );
    check_step(
        "name = \"a\", run = \"true\", zzzzzzzzzz = 1",
        "unknown key `zzzzzzzzzz` in a step | its keys are `name`, `bootstrap`, `packages`, `packages-from`, `copy`, `script`, `scripts`, `run`, `copy-from`, `fetch`, `check`, `env`, `network`, `machine`, `timeout`, `limits`, `inputs`, `secrets`, `volatile`, `recommends`, `skip`, `settings`, `reproducible` and `profiles`",
    );
    check_image(&format!("{DISK}vm = {{ cpu = 1 }}"), "unknown key `cpu` in `vm` | did you mean `cpus`?");
}

/// An image `i` and an image `files` without a disk, and `more`.
#[track_caller]
fn check_several(more: &str, expected: &str) {
    let images = "[image.i]\nrootfs = \"base\"\nformats = [\"ova\"]\ndisk = { size = \"8 GiB\" }\n[image.files]\nrootfs = \"base\"\nformats = [\"rootfs.tar.zst\"]\n";
    check(&format!("{images}{more}\n"), expected);
}

#[test]
fn several_machines() {
    let pair = |machines: &str, rest: &str| format!("[image.pair]\nmachines = [{machines}]\n{rest}");
    let ova = "formats = [\"ova\"]";
    check_several(
        &pair("\"i\"", "formats = [\"qcow2\"]"),
        "format `qcow2` holds one machine | several machines go into `ova`",
    );
    check_several(&pair("\"j\"", ova), "unknown image `j` | there are `files` and `i`");
    check_several(&pair("\"i\", \"i\"", ova), "machine `i` is listed twice");
    check_several(&pair("", ova), "the list of machines is empty | write `machines = [\"IMAGE\"]`");
    check_several(&pair("\"files\"", ova), "image `files` has no disk | give `[image.files]` a `disk`");
    check_several(
        &pair("\"i\"", "formats = [\"ova\"]\nrootfs = \"base\""),
        "an image with `machines` has no `rootfs` | each machine is an image that has its own",
    );
    check_several(
        &format!("{}\n[test.t]\nmachines = {{ m = \"pair\" }}", pair("\"i\"", ova)),
        "image `pair` is several machines | name the images that it is made of",
    );
}

#[test]
fn what_no_disk_can_be() {
    let size = |size: &str, expected: &str| {
        check_image(&format!("formats = [\"qcow2\"]\ndisk = {{ size = \"{size}\" }}"), expected);
    };
    let small = "too small | the smallest has 97 MiB, of which what starts the machine takes two thirds";
    let large = "too large | the largest has 16 TiB: its file system counts blocks with 32 bits";
    size("50 MiB", &format!("a disk of 50 MiB is {small}"));
    size("90 MiB", &format!("a disk of 90 MiB is {small}"));
    size("64 TiB", &format!("a disk of 64 TiB is {large}"));
    size("16777215 TiB", &format!("a disk of 16777215 TiB is {large}"));
    size("1 GB", "1 GB is no number of mebibytes | use `MiB` or `GiB`: `954 MiB` is the next that is one");
    size(
        "100000 KiB",
        "100000 KiB is no number of mebibytes | use `MiB` or `GiB`: `98 MiB` is the next that is one",
    );
    for (cmdline, c) in [("a='b c'", "'\\''"), ("a=\\\"b\\\"", "'\"'"), ("a\\\\b", "'\\\\'"), ("ü", "'ü'")]
    {
        check_image(
            &format!("formats = [\"raw\"]\ndisk = {{ size = \"8 GiB\", cmdline = \"{cmdline}\" }}"),
            &format!(
                "the kernel's command line cannot have {c} | it consists of printable ASCII without quotes and backslashes"
            ),
        );
    }
}

#[test]
fn what_no_disk_can_be_called() {
    let name = |name: &str| {
        let image = format!("[image.\"{name}\"]\nrootfs = \"base\"\n{DISK}");
        check(
            &image,
            &format!(
                "the name `{name}` cannot be that of a disk | such names consist of letters, digits, `.`, `_` and `-`, start with a letter or digit, and have 64 characters at most"
            ),
        );
    };
    name("g++");
    name(&"x".repeat(65));
    Project::with("[image.\"g++\"]\nrootfs = \"base\"\nformats = [\"rootfs.tar.zst\"]\n").recipe();
}

#[test]
fn what_no_machine_can_have() {
    let vm = |vm: &str, expected: &str| check_image(&format!("{DISK}vm = {{ {vm} }}"), expected);
    vm("cpus = 100", "a machine cannot have 100 processors | from 1 to 64");
    vm("cpus = -1", "a machine cannot have -1 processors | from 1 to 64");
    vm("memory = \"16 MiB\"", "a machine cannot have 16 MiB of memory | from 32 MiB to 4 TiB");
    vm("memory = \"5 TiB\"", "a machine cannot have 5 TiB of memory | from 32 MiB to 4 TiB");
    vm(
        "memory = \"1 GB\"",
        "1 GB is no number of mebibytes | use `MiB` or `GiB`: `954 MiB` is the next that is one",
    );
    vm("vram = \"1 GiB\"", "a machine cannot have 1 GiB of video memory | from 1 MiB to 256 MiB");
    let nine = ["\"nat\""; 9].join(", ");
    vm(&format!("nics = [{nine}]"), "a machine cannot have 9 network cards | at most 8");
}

#[test]
fn an_unclosed_array_is_one_mistake() {
    check_whole(
        &BASE.replace("suites = [\"trixie\"]", "suites = [\"trixie\""),
        "unclosed array, expected `]`",
    );
}

#[test]
fn hardware() {
    let vm = |vm: &str, expected: &str| check_image(&format!("{DISK}vm = {{ {vm} }}"), expected);
    vm("disk-bus = \"sat\"", "`sat` is not a disk bus | did you mean `sata`?");
    vm("audio = \"hdaa\"", "`hdaa` is not a sound card | did you mean `hda`?");
    vm("clipboard = \"disable\"", "`disable` is not a way of sharing | did you mean `disabled`?");
    vm("rtc = \"UTC\"", "`UTC` is not a clock | there are `local` and `utc`");
    vm("boot-order = [\"disk\", \"disk\"]", "boot device `disk` is listed twice");
    vm("vendor = \"a\\nb\"", "the text contains a control character");
    check_image(
        "formats = [\"ova\"]\ndisk = { size = \"8 GiB\", firmware = [\"bios\"] }\nvm = { firmware = \"uefi\" }",
        "the disk does not start with `uefi` | add it to `firmware` of the disk",
    );
}

#[test]
fn references() {
    check(
        "[rootfs.ws]\nfrom = \"bsae\"\nsteps = [{ name = \"a\", run = \"true\" }]",
        "unknown rootfs `bsae` | did you mean `base`?",
    );
    check(
        "[image.i]\nrootfs = \"ws\"\nformats = [\"ova\"]\ndisk = { size = \"8 GiB\" }",
        "unknown rootfs `ws` | there is `base`",
    );
    check_step(
        "name = \"a\", copy-from = { rootfs = \"tools\", paths = [\"/opt\"] }",
        "unknown rootfs `tools` | there are `base` and `ws`",
    );
    check(
        "[rootfs.b]\nsteps = [{ name = \"a\", bootstrap = { archive = \"debain\" } }]",
        "unknown archive `debain` | did you mean `debian`?",
    );
    check("[test.t]\nmachines = { a = \"b\" }", "unknown image `b`");
}

#[test]
fn what_is_wrong_is_not_also_missing() {
    check(
        "[image.i]\nrootfs = \"ws\"\nformats = [\"ova\"]\ndisk = { size = \"8 GiB\" }\n[rootfs.ws]\nsteps = 3\n[test.t]\nmachines = { m = \"i\" }",
        "expected an array, found an integer",
    );
}

#[test]
fn cycles() {
    let rootfs = |name: &str, from: &str| {
        format!("[rootfs.{name}]\nfrom = \"{from}\"\nsteps = [{{ name = \"s\", run = \"true\" }}]\n")
    };
    check(&rootfs("a", "a"), "rootfses are made from each other: `a -> a`");
    check(
        &format!("{}{}", rootfs("a", "b"), rootfs("b", "a")),
        "rootfses are made from each other: `a -> b -> a`",
    );
    check(
        &format!("{}{}{}", rootfs("a", "b"), rootfs("b", "c"), rootfs("c", "b")),
        "rootfses are made from each other: `b -> c -> b`",
    );
    let copying = "[rootfs.b]\nfrom = \"base\"\nsteps = [{ name = \"s\", copy-from = { rootfs = \"a\", paths = [\"/x\"] } }]";
    check(&format!("{}{copying}", rootfs("a", "b")), "rootfses are made from each other: `a -> b -> a`");
    check_step(
        "name = \"s\", copy-from = { rootfs = \"ws\", paths = [\"/x\"] }",
        "rootfses are made from each other: `ws -> ws`",
    );
}

#[test]
fn stage_names() {
    check_step(
        "name = \"a\", run = \"true\" }, { name = \"a\", run = \"true\"",
        "stage `ws/a` is defined twice",
    );
    check_step(
        "scripts = \"scripts/ws\" }, { name = \"30-user\", run = \"true\"",
        "stage `ws/30-user` is defined twice",
    );
    check_step(
        "run = \"true\"",
        "the step has no `name` | stages are named `rootfs/step`: write `name = \"...\"`",
    );
    check_step(
        "name = \"a/b\", run = \"true\"",
        "`a/b` is not a valid step name | names consist of `a-z`, `0-9`, `.`, `_`, `+` and `-`, and start with a letter or digit",
    );
    check(
        "[rootfs.\"x/y\"]\nsteps = [{ name = \"a\", bootstrap = { archive = \"debian\" } }]",
        "`x/y` is not a valid rootfs name | names consist of `a-z`, `0-9`, `.`, `_`, `+` and `-`, and start with a letter or digit",
    );
}

#[test]
#[allow(clippy::too_many_lines, reason = "a story in its order")]
fn kinds() {
    check_step(
        "name = \"a\"",
        "the step does nothing | a step has one of `bootstrap`, `packages`, `packages-from`, `copy`, `script`, `scripts`, `run`, `copy-from`, `fetch` and `check`",
    );
    check_step(
        "name = \"a\", run = \"true\", check = \"true\"",
        "the step does 2 things: `run` and `check` | make it several steps",
    );
    check_step("name = \"a\", run = \" \"", "the command is empty");
    let nul = "the command contains a NUL | no program can be given one: `printf '\\\\0'` writes one";
    check_step("name = \"a\", run = \"echo \\u0000\"", nul);
    check_step("name = \"a\", check = \"echo \\u0000\"", nul);
    check_step(
        "name = \"a\", copy = [{ from = \"files\", to = \"/\" }], network = \"none\"",
        "`network` means nothing to a `copy` step | it belongs to `script`, `scripts`, `run` and `check`",
    );
    check_step(
        "name = \"a\", run = \"true\", recommends = false",
        "`recommends` means nothing to a `run` step | it belongs to `packages` and `packages-from`",
    );
    check_step(
        "name = \"a\", run = \"true\", network = \"package\"",
        "`package` is not a network | did you mean `packages`?",
    );
    check_step(
        "name = \"a\", run = \"true\", timeout = \"5 minutes\"",
        &format!("`5 minutes` is not a time | {TIMES}"),
    );
    check_step(
        "name = \"a\", run = \"true\", limits = { memory = \"lots\" }",
        &format!("`lots` is not a size | {SIZES}"),
    );
    check_step(
        "name = \"a\", run = \"true\", limits = { processes = 0 }",
        "`0` is not a number of processes | write a whole number above zero, such as `4096`",
    );
    for memory in ["64 KiB", "4095 KiB", "1 kB"] {
        check_step(
            &format!("name = \"a\", run = \"true\", limits = {{ memory = \"{memory}\" }}"),
            &format!(
                "no program can start with {memory} of memory | the least that can be enforced is `4 MiB`"
            ),
        );
    }
    check_step(
        "name = \"a\", run = \"true\", limits = { procesess = 9 }",
        "unknown key `procesess` in `limits` | did you mean `processes`?",
    );
    check_step(
        "name = \"a\", run = \"true\", machine = { cpus = 65 }",
        "a machine cannot have 65 processors | from 1 to 64",
    );
    check_step(
        "name = \"a\", run = \"true\", machine = { memory = \"1 MiB\" }",
        "a machine cannot have 1 MiB of memory | from 32 MiB to 4 TiB",
    );
    check_step(
        "name = \"a\", run = \"true\", machine = { readdir = \"sort\" }",
        "`sort` is not a way to list directories | did you mean `sorted`?",
    );
    check_step(
        "name = \"a\", copy = [{ from = \"files\", to = \"/\" }], machine = { cpus = 1 }",
        "`machine` means nothing to a `copy` step | it belongs to `bootstrap`, `packages`, `packages-from`, `script`, `scripts`, `run` and `check`",
    );
    check_step(
        "name = \"a\", copy = [{ from = \"files\", to = \"/\" }], limits = { disk = \"1 GiB\" }",
        "`limits` means nothing to a `copy` step | it belongs to `bootstrap`, `packages`, `packages-from`, `script`, `scripts`, `run` and `check`",
    );
    check_step(
        "name = \"a\", run = \"true\", env = { \"A B\" = \"c\" }",
        "`A B` is not a valid environment variable | names of environment variables consist of letters, digits and `_`, and start with no digit",
    );
    check_step(
        "name = \"a\", run = \"true\", volatile = [\"var/log\"]",
        "`var/log` is not an absolute path | paths in the machine start with `/`",
    );
}

#[test]
fn bootstraps() {
    check(
        "[rootfs.x]\nsteps = [{ name = \"a\", run = \"true\" }]",
        "rootfs `x` does not start with a `bootstrap` step | start it with a `bootstrap` step, or say which rootfs it goes on `from`",
    );
    check(
        "[rootfs.x]\nsteps = [{ name = \"a\", bootstrap = { archive = \"debian\" } }, { name = \"b\", bootstrap = { archive = \"debian\" } }]",
        "`bootstrap` must be the first step",
    );
    check_step(
        "name = \"a\", bootstrap = { archive = \"debian\" }",
        "a rootfs with `from` is bootstrapped already",
    );
    check(
        "[rootfs.x]\nsteps = [{ name = \"a\", bootstrap = { variant = \"minbase\" } }]",
        "`bootstrap` needs `archive` | write `archive = \"debian\"`, the name of an `[archive.NAME]`",
    );
    check(
        "[rootfs.x]\nsteps = [{ name = \"a\", bootstrap = { archive = \"debian\", variant = \"minbas\" } }]",
        "`minbas` is not a variant | did you mean `minbase`?",
    );
    check(
        "[rootfs.x]\nsteps = []",
        "the list of steps is empty | write `steps = [{ name = \"files\", copy = [...] }]`",
    );
    check(
        "[rootfs.x]\nfrom = \"base\"",
        "`[rootfs.x]` needs `steps` | write `steps = [{ name = \"files\", copy = [...] }]`",
    );
}

#[test]
fn packages() {
    const RULE: &str = "packages are named like `nftables`, `libc6:i386` or `sudo=1.9.16p2-3`";
    check_step(
        "name = \"a\", packages = []",
        "the list of packages is empty | write `packages = [\"sudo\"]`",
    );
    for name in ["Sudo", "-y", "sudo-", "a b", "x", "sudo=", "libc6:"] {
        check_step(
            &format!("name = \"a\", packages = [\"{name}\"]"),
            &format!("`{name}` is not a valid package name | {RULE}"),
        );
    }
    check_step(
        "name = \"a\", packages = [\"sudo\", 3, \"Nft\"]",
        &format!(
            "expected a string, found an integer | write it in quotes: {RULE}\n`Nft` is not a valid package name | {RULE}"
        ),
    );
    check_step(
        "name = \"a\", packages = \"sudo\"",
        "expected an array, found a string | write `[\"sudo\"]`, in brackets",
    );
    check_step(
        "name = \"a\", packages = [\"sudo\"], recommends = \"no\"",
        "expected `true` or `false`, found a string | write one of them, without quotes",
    );
}

#[test]
fn copies() {
    let copy = |rule: &str| format!("name = \"a\", copy = [{{ from = \"files/shared\", {rule} }}]");
    check_step(
        "name = \"a\", copy = []",
        "the list of copies is empty | write `copy = [{ from = \"files/shared\", to = \"/\" }]`",
    );
    check_step(&copy("to = \"etc\""), "`etc` is not an absolute path | paths in the machine start with `/`");
    check_step(&copy("to = \"/etc/../x\""), "`/etc/../x` contains `..` | write the path that is meant");
    check_step(
        &copy("owner = \"root\""),
        "a copy needs `to` | write `{ from = \"files/shared\", to = \"/\" }`",
    );
    check_step(
        &copy("to = \"/\", mode = \"rwx\""),
        "`rwx` is not a file mode | modes are written in octal: `\"0644\"` or `0o644`",
    );
    check_step(
        &copy("to = \"/\", mode = 644"),
        "`644` is not a file mode | modes are written in octal: `\"0644\"` or `0o644`",
    );
    check_step(
        &copy("to = \"/\", dirs = \"17777\""),
        "`17777` is not a file mode | modes are written in octal: `\"0644\"` or `0o644`",
    );
    check_step(
        &copy("to = \"/\", owner = \"a:b\""),
        "`a:b` is not the name of a user or group | write a name such as `\"www-data\"` or a number such as `33`; `group` has a key of its own",
    );
    check_step(&copy("to = \"/\", group = -1"), "`-1` is not the number of a user or group");
    check_step(
        "name = \"a\", copy-from = { rootfs = \"base\", paths = [] }",
        "the list of paths is empty | write `{ rootfs = \"tools\", paths = [\"/opt/tool\"] }`",
    );
}

#[test]
fn paths() {
    let copy = |from: &str| format!("name = \"a\", copy = [{{ from = \"{from}\", to = \"/\" }}]");
    check_step(&copy("/etc"), "`/etc` is an absolute path | paths are relative to the recipe's directory");
    check_step(
        &copy("files/../../x"),
        "`files/../../x` contains `..` | paths may not leave the recipe's directory",
    );
    check_step(&copy(""), "the path is empty");
    check_step(&copy("files/shraed"), "there is no `files/shraed` | did you mean `files/shared`?");
    check_step(&copy("fiels/shared"), "there is no `fiels/shared` | did you mean `files`?");
    check_step(
        "name = \"a\", run = \"true\", inputs = [\"file\"]",
        "there is no `file` | did you mean `files`?",
    );
    check_step(
        "script = \"scripts/ws/30-usr\"",
        "there is no `scripts/ws/30-usr` | did you mean `scripts/ws/30-user`?",
    );
    check_step("scripts = \"scripts/wx\"", "there is no `scripts/wx` | did you mean `scripts/ws`?");
    check_step(
        "script = \"scripts/ws\"",
        "`scripts/ws` is a directory | `scripts = \"DIR\"` makes a step of each file in a directory",
    );
    check_step(
        "scripts = \"scripts/bare\"",
        "`scripts/bare` is not a directory | `script = \"FILE\"` runs one file",
    );
    check_step(
        "script = \"scripts/bare\"",
        "`scripts/bare` has no interpreter line | start it with `#!/bin/sh -e` or `#!/bin/bash`",
    );
}

#[test]
fn a_script_cannot_take_the_place_of_its_inputs() {
    let check = |step: &str| {
        let project = Project::with_step(step);
        project.file("scripts/with/in", "#!/bin/sh\nexit 7\n");
        let expected = "`scripts/with/in` cannot be called `in` in a step with `inputs` | it would lie at `/run/ibuild/in`, which is where it finds them: give the script another name";
        assert_eq!(project.messages(), expected);
    };
    check("script = \"scripts/with/in\", inputs = [\"files\"]");
    check("name = \"a\", script = \"scripts/with/in\", inputs = [\"files\"]");
    check("scripts = \"scripts/with\", inputs = [\"files\"]");
    let without = Project::with_step("script = \"scripts/with/in\"");
    without.file("scripts/with/in", "#!/bin/sh\n");
    without.recipe();
}

/// A regression: a script of a few GiB of nothing took several times as much memory.
#[test]
fn a_script_has_an_end() {
    let project = Project::with_step("script = \"scripts/long\"");
    let long = std::fs::File::create(project.path().join("scripts/long")).expect("it can be made");
    long.set_len((16 << 20) + 1).expect("it has no blocks");
    let expected = "cannot read `scripts/long`: it has more than 16 MiB | what a script works on is no part of it: name that in `inputs`";
    assert_eq!(project.messages(), expected);
}

#[test]
fn line_endings() {
    let project = Project::with_step("script = \"scripts/crlf\"");
    project.file("scripts/crlf", "#!/bin/sh\r\ntrue\r\n");
    let expected = "`scripts/crlf` has Windows line endings | the interpreter would not be found: end lines with LF only";
    assert_eq!(project.messages(), expected);
}

#[test]
fn skips() {
    check_step(
        "scripts = \"scripts/ws\", skip = [\"30-usr\"]",
        "there is no script `30-usr` to skip | did you mean `30-user`?",
    );
    check_step(
        "scripts = \"scripts/ws\", skip = [\"10-tools\", \"30-user\"]",
        "`skip` leaves no script of `scripts/ws` | it names all 2 of them",
    );
}

#[test]
fn images() {
    check_image(
        "formats = [\"rootfs.tar.zst\", \"raw\"]",
        "`[image.i]` needs `disk` | write `disk = { size = \"8 GiB\" }`",
    );
    check_image("formats = [\"ova\"]", "`[image.i]` needs `disk` | write `disk = { size = \"8 GiB\" }`");
    check_image("disk = { size = \"8 GiB\" }", "`[image.i]` needs `formats` | write `formats = [\"ova\"]`");
    check_image(
        "formats = []\ndisk = { size = \"8 GiB\" }",
        "the list of formats is empty | write `formats = [\"ova\"]`",
    );
    check_image(
        "formats = [\"qcow\"]\ndisk = { size = \"8 GiB\" }",
        "`qcow` is not a format | did you mean `qcow2`?",
    );
    check_image("formats = [\"ova\", \"ova\"]\ndisk = { size = \"8 GiB\" }", "format `ova` is listed twice");
    check_image(
        "formats = [\"ova\"]\ndisk = { size = \"8 gigs\" }",
        &format!("`8 gigs` is not a size | {SIZES}"),
    );
    check_image(
        "formats = [\"ova\"]\ndisk = { size = \"1 kB\" }",
        "a disk of 1 kB is too small | the smallest has 97 MiB, of which what starts the machine takes two thirds",
    );
    check_image(
        "formats = [\"ova\"]\ndisk = { size = \"8 GiB\", firmware = [\"efi\"] }",
        "`efi` is not a firmware | did you mean `uefi`?",
    );
    check_image(
        "formats = [\"ova\"]\ndisk = { size = \"8 GiB\", fs-uuid = \"26ada0c0\" }",
        "`26ada0c0` is not a UUID | UUIDs are written like `26ada0c0-1165-4098-884d-aafd2220c2c6`",
    );
    check_image(
        "formats = [\"ova\"]\ndisk = { size = \"8 GiB\", cmdline = \"a\\nb\" }",
        "the kernel's command line cannot have '\\n' | it consists of printable ASCII without quotes and backslashes",
    );
    check_image(&format!("{DISK}vm = {{ cpus = 0 }}"), "a machine cannot have 0 processors | from 1 to 64");
    check_image(
        &format!("{DISK}vm = {{ nics = [\"internal:\"] }}"),
        "`internal:` is not a network card | cards are `\"nat\"`, `\"internal:NETWORK\"` or `\"none\"`",
    );
}

/// The test `t` with the machine `m` and these keys has this mistake.
#[track_caller]
fn check_test(keys: &str, message: &str) {
    let image = "[image.i]\nrootfs = \"base\"\nformats = [\"raw\"]\ndisk = { size = \"8 GiB\" }";
    check(&format!("{image}\n[test.t]\nmachines = {{ m = \"i\" }}\n{keys}"), message);
}

#[test]
fn machine_tests() {
    check("[test.t]\nmachines = {}", "the test has no machines");
    check_test("step = []", "unknown key `step` in `[test.t]` | did you mean `steps`?");
    check_test("steps = [{ expect = \"x\" }]", "a step of a test needs `on` | write `on = \"MACHINE\"`");
    check_test("steps = [{ on = \"n\", expect = \"x\" }]", "the test has no machine `n` | there is `m`");
    check_test(
        "steps = [{ on = \"m\" }]",
        "the step does 0 things | it has exactly one of `expect`, `type`, `run`, `screenshot` and `power`",
    );
    check_test(
        "steps = [{ on = \"m\", power = \"rest\" }]",
        "`rest` is not a thing to do to the power | did you mean `reset`?",
    );
    check_test(
        "steps = [{ on = \"m\", run = \"true\" }]",
        "a step runs a command, and nobody can log in | write `login = { user = \"...\", password = \"...\" }`",
    );
    check_test("login = { user = \"a\", password = \"b\\n\" }", "a control character cannot be typed here");
    check_test(
        "silent = [\"m\"]",
        "`m` does not name a network adapter | the first adapter of the machine `gw` is `gw/0`",
    );
    check_test("heard = [\"n/0\"]", "the test has no machine `n` | there is `m`");
    check_test(
        "files = [\"nowhere\"]",
        "there is no `nowhere` | there are `files`, `ibuild.toml` and `scripts`",
    );
}

#[test]
fn patterns_of_machine_tests_are_regular_expressions() {
    let image = "[image.i]\nrootfs = \"base\"\nformats = [\"raw\"]\ndisk = { size = \"8 GiB\" }";
    let test = "[test.t]\nmachines = { m = \"i\" }\nexpect = \"(\"";
    let messages = Project::with(&format!("{image}\n{test}")).messages();
    assert!(messages.starts_with("`(` is not a regular expression"), "{messages}");
}

#[test]
fn archives() {
    check(
        "[archive.x]\nsuites = []",
        "the list of suites is empty | write `suites = [\"trixie\", \"trixie-updates\"]`",
    );
    check(
        "[archive.x]\ncomponents = [\"main\"]",
        "`[archive.x]` needs `suites` | write `suites = [\"trixie\", \"trixie-updates\"]`",
    );
    check("[archive.x]\nsuites = [\"a b\"]", "`a b` is not the name of a suite or component");
    check(
        "[archive.x]\nsuites = [\"a\"]\nmirror = \"deb.debian.org\"",
        "`deb.debian.org` is not the address of a mirror | mirrors are written like `http://deb.debian.org/debian`",
    );
    check(
        "[archive.x]\nsuites = [\"a\"]\narchitecture = \"AMD64\"",
        "`AMD64` is not a valid architecture | architectures are named like `amd64`",
    );
}

#[test]
fn vars() {
    check(
        "[vars]\nsuite = \"x\"\n[archive.x]\nsuites = [\"{vars.siute}\"]",
        "undefined variable `siute` | did you mean `suite`?",
    );
    check_step("name = \"a\", run = \"{vars.x}\"", "undefined variable `x` | define `x` in `[vars]`");
    check(
        "[vars]\na = \"{vars.b}\"\nb = \"{vars.c}\"\nc = \"{vars.a}\"",
        "variables refer to each other: `a -> b -> c -> a`",
    );
    check("[vars]\na = \"{vars.a}\"", "variables refer to each other: `a -> a`");
    check("[vars]\na = \"{vars.b}\"", "undefined variable `b` | there is `a`");
    check("[vars]\na = true", "expected a string or an integer, found a boolean");
    check(
        "[vars]\n\"a b\" = \"x\"",
        "`a b` is not a valid variable name | names of variables consist of letters, digits, `_` and `-`",
    );
}

#[test]
fn all_mistakes_are_reported_at_once_in_the_order_of_the_text() {
    let text = "[rootfs.ws]\nfrom = \"bsae\"\nsteps = [{ name = \"a\", packages = [\"A\"] }, { name = \"b\", copy = [{ from = \"nope\", to = \"/\" }] }]\n[image.i]\nrootfs = \"wz\"\nformats = [\"ovo\"]\n";
    let expected = "unknown rootfs `bsae`\n`A` is not a valid package name\nthere is no `nope`\n`[image.i]` needs `disk`\n`ovo` is not a format";
    let messages = Project::with(text).messages();
    let messages: Vec<&str> = messages.lines().map(|line| line.split(" | ").next().unwrap_or(line)).collect();
    assert_eq!(messages.join("\n"), expected);
}
