//! Owners and modes of files in the machine.

use crate::account::Account;
use crate::values::Node;

/// A number, or a name that could stand in `/etc/passwd`.
pub(super) fn account(node: Node<'_>) -> Option<Account> {
    if node.raw().is_integer() {
        let id = node.integer()?;
        let fits = u32::try_from(id).ok().filter(|id| *id != u32::MAX).map(Account::Id);
        return fits.or_else(|| {
            node.push(node.problem(format!("`{id}` is not the number of a user or group")));
            None
        });
    }
    let text = node.text()?.value;
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if starts && text.len() <= 32 && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) {
        return Some(Account::Name(text));
    }
    let problem = node.problem(format!("`{text}` is not the name of a user or group"));
    node.push(
        problem.hint(
            "write a name such as `\"www-data\"` or a number such as `33`; `group` has a key of its own",
        ),
    );
    None
}

/// Permissions. A decimal 644 is always a mistake, so numbers must be written in octal.
pub(super) fn mode(node: Node<'_>) -> Option<u32> {
    let digits = match node.raw().as_integer() {
        Some(number) if number.radix() == 8 => number.as_str().to_owned(),
        Some(number) => return bad_mode(node, &number.to_string()),
        None => node.text()?.value,
    };
    let octal = !digits.is_empty() && digits.chars().all(|c| ('0'..='7').contains(&c));
    let mode = u32::from_str_radix(&digits, 8).ok().filter(|mode| octal && *mode <= 0o7777);
    mode.or_else(|| bad_mode(node, &digits))
}

fn bad_mode(node: Node<'_>, found: &str) -> Option<u32> {
    let problem = node.problem(format!("`{found}` is not a file mode"));
    node.push(problem.hint("modes are written in octal: `\"0644\"` or `0o644`"));
    None
}
