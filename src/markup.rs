//! Text inside XML and HTML.

/// The text with what would be markup written as entities. Control characters, which XML 1.0 cannot hold, are replaced.
pub fn escape(text: &str) -> String {
    let is_allowed = |c: char| match c {
        '\n' | '\t' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        c => !c.is_control(),
    };
    let text: String = text.chars().map(|c| if is_allowed(c) { c } else { '\u{fffd}' }).collect();
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_markup_and_nothing_is_forbidden() {
        assert_eq!(escape("<a b=\"&\">\x1b\u{ffff}\n"), "&lt;a b=&quot;&amp;&quot;&gt;\u{fffd}\u{fffd}\n");
    }
}
