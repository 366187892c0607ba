//! Writes XML: indented elements, attributes in the order given, everything escaped.

/// A document being written.
#[derive(Debug)]
pub struct Xml {
    text: String,
    open: Vec<&'static str>,
}

/// Attributes of an element: name and value.
pub type Attributes<'a> = &'a [(&'static str, &'a str)];

impl Xml {
    /// A document with its declaration.
    pub fn new() -> Xml {
        Xml { text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".into(), open: Vec::new() }
    }

    /// An element with children: `children` writes them.
    pub fn element(
        &mut self,
        name: &'static str,
        attributes: Attributes<'_>,
        children: impl FnOnce(&mut Xml),
    ) {
        self.start(name, attributes);
        self.text.push_str(">\n");
        self.open.push(name);
        children(self);
        self.open.pop();
        self.indent();
        self.text.push_str(&format!("</{name}>\n"));
    }

    /// An element with nothing inside.
    pub fn empty(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.start(name, attributes);
        self.text.push_str("/>\n");
    }

    /// An element with text inside.
    pub fn text(&mut self, name: &'static str, text: &str) {
        self.start(name, &[]);
        self.text.push_str(&format!(">{}</{name}>\n", escape(text)));
    }

    /// The document.
    pub fn finish(self) -> String {
        self.text
    }

    fn start(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.indent();
        self.text.push_str(&format!("<{name}"));
        for (attribute, value) in attributes {
            self.text.push_str(&format!(" {attribute}=\"{}\"", escape(value)));
        }
    }

    fn indent(&mut self) {
        self.text.push_str(&"  ".repeat(self.open.len()));
    }
}

/// Escapes for text and attributes alike. White space other than the blank becomes a reference, because
/// parsers turn it into a blank inside attributes. Characters that XML 1.0 cannot hold at all are
/// replaced by U+FFFD.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\t' | '\n' | '\r' => out.push_str(&format!("&#{};", c as u32)),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_nest_and_values_are_escaped() {
        let mut xml = Xml::new();
        xml.element("a", &[("k", "<\"&'>\n")], |xml| {
            xml.empty("b", &[]);
            xml.text("c", "x < y\u{1}");
        });
        let expected = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                        <a k=\"&lt;&quot;&amp;&apos;&gt;&#10;\">\n  <b/>\n  <c>x &lt; y\u{fffd}</c>\n</a>\n";
        assert_eq!(xml.finish(), expected);
    }
}
