//! The drawing for Mermaid, which GitHub and GitLab show in Markdown.

use std::fmt::Write;

use super::{Drawing, State};

pub fn draw(drawing: &Drawing) -> String {
    let mut out = "flowchart LR\n".to_owned();
    // Mermaid takes some names for words of its own, so its names are numbers.
    for (at, shape) in drawing.shapes.iter().enumerate() {
        let (open, close) = if shape.kind == "image" { ("[[", "]]") } else { ("(", ")") };
        let state = shape.state.word();
        writeln!(out, "  s{at}{open}\"{}\"{close}:::{state}", shape.label()).expect("memory");
    }
    for (from, to) in drawing.edges() {
        writeln!(out, "  s{from} --> s{to}").expect("memory");
    }
    for state in State::KNOWN.into_iter().chain([State::Unknown]) {
        writeln!(out, "  classDef {} fill:{},stroke:#555,color:#222", state.word(), state.colour())
            .expect("memory");
    }
    out
}
