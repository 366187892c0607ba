//! The format of Debian's control files: paragraphs of `Field: value`, a value going on in lines that start
//! with a space. Borrows from the text, so that 60 MB of index cost one pass.

/// The paragraphs of a text.
pub(super) fn paragraphs(text: &str) -> impl Iterator<Item = &str> {
    text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty())
}

/// The fields of a paragraph, in order. A value keeps its line breaks; comments are left out, and so are lines
/// that are no field.
pub(super) fn fields(paragraph: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = paragraph;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (field, after) = rest.split_at(field_end(rest));
            rest = after;
            // A colon further down, or on a line that goes on from nothing, belongs to no field.
            let is_name = |name: &str| !name.starts_with(['#', ' ', '\t']) && !name.contains('\n');
            if let Some((name, value)) = field.split_once(':').filter(|(name, _)| is_name(name)) {
                return Some((name, value.trim()));
            }
        }
        None
    })
}

/// The value of one field.
pub(super) fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    fields(paragraph).find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

/// Where the field at the start of `text` ends: after the first line break that no continuation follows.
fn field_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(line) = text[at..].find('\n') {
        at += line + 1;
        if !matches!(bytes.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_go_on() {
        let text = " a: 0\nA: 1\n# B: comment\nC:\n x\n y\nnonsense\n z: 1\nD:4\n\n\nA: 2\n";
        let all: Vec<Vec<_>> = paragraphs(text).map(|p| fields(p).collect()).collect();
        assert_eq!(all, [vec![("A", "1"), ("C", "x\n y"), ("D", "4")], vec![("A", "2")]]);
        assert_eq!(field(text, "c"), Some("x\n y"));
        assert_eq!(field(text, "Z"), None);
    }
}
