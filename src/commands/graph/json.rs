//! The drawing for programs.

use serde_json::{Value, json};

use super::Drawing;

pub fn draw(drawing: &Drawing) -> Value {
    let name = |at: usize| drawing.shapes[at].name.as_str();
    let stages = drawing.shapes.iter().map(|shape| {
        json!({
            "stage": shape.name,
            "kind": shape.kind,
            "verdict": shape.state.word(),
            "differed": shape.differed,
            "depth": shape.depth,
            "inputs": shape.inputs.iter().map(|input| name(*input)).collect::<Vec<_>>(),
        })
    });
    json!({ "project": drawing.project, "stages": stages.collect::<Vec<_>>() })
}
