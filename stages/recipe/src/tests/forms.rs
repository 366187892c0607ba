//! Values in a wrong form: the message shows the right one.

use super::errors::{DISK, SIZES, TIMES, check, check_image, check_step};

#[test]
fn the_right_form_is_shown() {
    check_step(
        "name = \"a\", run = [\"true\"]",
        "expected a string, found an array | write `\"true\"`, without brackets",
    );
    check_step(
        "name = \"a\", run = [\"a\", \"b\"]",
        "expected a string, found an array | write one text in quotes, without brackets: there can be no more",
    );
    let copied = "{ from = \"files/shared\", to = \"/\" }";
    check_step(
        &format!("name = \"a\", copy = {copied}"),
        &format!("expected an array, found a table | write `[{copied}]`, in brackets"),
    );
    check(
        "[rootfs.x]\nfrom = \"base\"\n[rootfs.x.steps]\nname = \"a\"",
        "expected an array, found a table | write it in brackets, `[...]`",
    );
    check_step("name = 3, run = \"true\"", "expected a string, found an integer | write `\"3\"`, in quotes");
    check_step("name = \"a\", run = 3.5", "expected a string, found a float | write `\"3.5\"`, in quotes");
    check_step(
        "name = \"a\", packages = [\"sudo\"], recommends = \"false\"",
        "expected `true` or `false`, found a string | write `false`, without quotes",
    );
    check_image(
        "formats = [\"ova\"]\ndisk = \"8 GiB\"",
        "expected a table, found a string | write `{ KEY = ... }`: its keys are `size`, `firmware`, `uuid`, `fs-uuid` and `cmdline`",
    );
    check_image(
        &format!("{DISK}vm = {{ cpus = \"2\" }}"),
        "expected an integer, found a string | write `2`, without quotes",
    );
    check_image(
        &format!("{DISK}vm = {{ cpus = \"two\" }}"),
        "expected an integer, found a string | write a whole number, without quotes",
    );
    check_image(
        &format!("{DISK}vm = {{ cpus = 2.0 }}"),
        "expected an integer, found a float | write a whole number",
    );
}

#[test]
fn the_right_form_of_a_size_is_shown() {
    let size = |size: &str, expected: &str| {
        check_image(&format!("formats = [\"ova\"]\ndisk = {{ size = {size} }}"), expected);
    };
    size("4", &format!("expected a string, found an integer | write it in quotes: {SIZES}"));
    size("1.5", &format!("expected a string, found a float | write it in quotes: {SIZES}"));
    size("\"4\"", &format!("`4` has no unit | {SIZES}"));
    size("\"1.5 GiB\"", "`1.5 GiB` is not a whole number | write `1536 MiB`");
    size("\"0.5TB\"", "`0.5TB` is not a whole number | write `500 GB`");
    let odd = format!("is not a whole number | use a smaller unit and a whole number: {SIZES}");
    size("\"0.1 GiB\"", &format!("`0.1 GiB` {odd}"));
    size("\"1.5 KiB\"", &format!("`1.5 KiB` {odd}"));
    size("\"0 GiB\"", &format!("`0 GiB` is not above zero | {SIZES}"));
    size("\"99999999999 TiB\"", &format!("`99999999999 TiB` is too large | {SIZES}"));
    for wrong in ["", ".", "GiB", ".5 GiB", "1. GiB", "1.2.3 GiB", "1,5 GiB", "-1 GiB", "1 gib", "1 GiB "] {
        size(&format!("\"{wrong}\""), &format!("`{wrong}` is not a size | {SIZES}"));
    }
    check_image(
        &format!("{DISK}vm = {{ memory = 1024 }}"),
        &format!("expected a string, found an integer | write it in quotes: {SIZES}"),
    );
}

#[test]
fn the_right_form_of_a_time_is_shown() {
    let timeout = |timeout: &str, expected: &str| {
        check_step(&format!("name = \"a\", run = \"true\", timeout = {timeout}"), expected);
    };
    timeout("60", &format!("expected a string, found an integer | write it in quotes: {TIMES}"));
    timeout("\"60\"", &format!("`60` has no unit | {TIMES}"));
    timeout("\"0 s\"", &format!("`0 s` is not above zero | {TIMES}"));
    timeout("\"1.5 h\"", "`1.5 h` is not a whole number | write `90 min`");
    timeout(
        "\"0.1 s\"",
        &format!("`0.1 s` is not a whole number | use a smaller unit and a whole number: {TIMES}"),
    );
}
