//! The drawing for Graphviz.

use std::fmt::Write;

use super::Drawing;

pub fn draw(drawing: &Drawing) -> String {
    let mut out = format!("digraph {} {{\n", quoted(&drawing.project));
    out.push_str("  rankdir=LR\n  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\"]\n");
    for shape in &drawing.shapes {
        let (name, label, colour) = (quoted(&shape.name), quoted(&shape.label()), shape.state.colour());
        let outline = if shape.kind == "image" { ", shape=box3d" } else { "" };
        writeln!(out, "  {name} [label={label}, fillcolor=\"{colour}\"{outline}]").expect("memory");
    }
    for (from, to) in drawing.edges() {
        let name = |at: usize| quoted(&drawing.shapes[at].name);
        writeln!(out, "  {} -> {}", name(from), name(to)).expect("memory");
    }
    out + "}\n"
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
