//! As much of XML as an OVF has: elements, attributes, text. Strict about what it knows, and knows nothing else.

/// An element.
#[derive(Debug, Default)]
pub struct Element {
    pub name: String,
    pub attributes: Vec<(String, String)>,
    pub children: Vec<Element>,
    pub text: String,
}

impl Element {
    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(there, _)| there == name).map(|(_, value)| value.as_str())
    }

    /// Its children of this name.
    pub fn all<'e>(&'e self, name: &'e str) -> impl Iterator<Item = &'e Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text of its child of this name.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.children.iter().find(|child| child.name == name).map(|child| child.text.as_str())
    }

    /// All elements of this name below it.
    pub fn deep<'e>(&'e self, name: &str, found: &mut Vec<&'e Element>) {
        for child in &self.children {
            if child.name == name {
                found.push(child);
            }
            child.deep(name, found);
        }
    }
}

/// The only element of a document.
pub fn parse(text: &str) -> Option<Element> {
    let mut rest = text.strip_prefix("<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    let mut open = vec![Element::default()];
    while let Some(start) = rest.find('<') {
        open.last_mut()?.text.push_str(&unescape(&rest[..start])?);
        let (tag, after) = rest[start + 1..].split_once('>')?;
        rest = after;
        if let Some(name) = tag.strip_prefix('/') {
            let done = open.pop()?;
            (done.name == name).then_some(())?;
            open.last_mut()?.children.push(done);
            continue;
        }
        let element = element(tag.trim_end_matches('/'))?;
        if tag.ends_with('/') { open.last_mut()?.children.push(element) } else { open.push(element) }
    }
    let mut document = open.pop()?;
    (open.is_empty() && document.children.len() == 1 && rest.trim().is_empty()).then_some(())?;
    document.children.pop()
}

fn element(tag: &str) -> Option<Element> {
    let (name, mut rest) = tag.split_once(' ').unwrap_or((tag, ""));
    let mut element = Element { name: name.to_owned(), ..Element::default() };
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = after.split_once('"')?;
        element.get(name).is_none().then_some(())?;
        element.attributes.push((name.to_owned(), unescape(value)?));
        rest = after.trim_start_matches(' ');
    }
    Some(element)
}

fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('&');
    let mut out = parts.next()?.to_owned();
    for part in parts {
        let (name, after) = part.split_once(';')?;
        out.push(match name {
            "amp" => '&',
            "lt" => '<',
            "gt" => '>',
            "quot" => '"',
            "apos" => '\'',
            number => char::from_u32(number.strip_prefix('#')?.parse().ok()?)?,
        });
        out.push_str(after);
    }
    Some(out)
}
