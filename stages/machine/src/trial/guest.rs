//! Commands in a machine, by way of its serial console: what is typed, and what is waited for.

/// What the root shell of a trial says when it wants a command.
pub(super) const PROMPT: &str = "ibuild# ";

/// A console that wants a login, or has a shell: that of a trial, or that of whoever logged in, which a slow machine may show
/// when it is not waited for any more.
pub(super) const WANTS_SOMETHING: &str = "(login: ?|[$#] ?)$";
/// A console that wants a login.
pub(super) const LOGIN: &str = "login: ?$";
/// The shell of a trial.
pub(super) const READY: &str = "^ibuild# ?$";
/// The console asks for a password, be it `login` or `sudo`.
pub(super) const PASSWORD: &str = "[Pp]assword: ?$";
/// The shell of whoever logged in, or the answer that nobody did.
pub(super) const LOGGED_IN: &str = r"([$#] ?$|^Login incorrect)";
/// A command is done.
pub(super) const DONE: &str = r"^ibuild: done (\d+)$";

/// Becomes root with a shell that does not echo. The prompt that is waited for does not stand in what is typed, which the
/// console may echo.
pub(super) fn become_root(user: &str) -> String {
    let sudo = if user == "root" { "" } else { "sudo -S -p 'pass''word: ' " };
    format!("exec {sudo}env PS1='ibuild''# ' TERM=dumb sh\r")
}

/// Silences the kernel and the echo, and puts the project's files where commands find them.
pub(super) fn settle(has_files: bool) -> String {
    // `/run` itself is often mounted so that no program in it can be started.
    let unpack = "mkdir -p /run/ibuild && mount -t tmpfs -o mode=755 ibuild /run/ibuild && mkdir /run/ibuild/in \
                  && cd /run/ibuild/in && tar -xf /dev/disk/by-id/virtio-ibuild-files";
    let files = if has_files { format!(" && {unpack}") } else { String::new() };
    format!("stty -echo cols 500; dmesg -n 1{files}\r")
}

/// Runs `command` with `sh -e` and tells its exit status, on a line of its own whatever the command said last.
pub(super) fn run(command: &str) -> String {
    let quoted = command.replace('\'', r"'\''").replace('\n', "\r");
    format!("sh -e -c '{quoted}' </dev/null; printf '\\nibuild: %s %d\\n' done $?\r")
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn nothing_that_is_typed_looks_like_an_answer() {
        let typed = [become_root("user"), settle(true), run("echo 'ibuild: done'")];
        for text in &typed {
            for pattern in [READY, PASSWORD, DONE, WANTS_SOMETHING] {
                assert!(!Regex::new(pattern).unwrap().is_match(text.trim_end()), "{pattern} is in {text}");
            }
        }
    }

    #[test]
    fn a_command_keeps_its_quotes() {
        assert_eq!(
            run("echo 'a b'"),
            "sh -e -c 'echo '\\''a b'\\''' </dev/null; printf '\\nibuild: %s %d\\n' done $?\r"
        );
    }

    #[test]
    fn the_prompt_is_what_is_waited_for() {
        assert!(Regex::new(READY).unwrap().is_match(PROMPT));
        let wants_something = Regex::new(WANTS_SOMETHING).unwrap();
        for wanting in [PROMPT, "host login: ", "user@host:~$ "] {
            assert!(wants_something.is_match(wanting), "{wanting}");
        }
        assert!(!Regex::new(LOGIN).unwrap().is_match("user@host:~$ "));
        assert!(!Regex::new(READY).unwrap().is_match("root@host:~# "));
    }
}
