//! The drawing as a page of its own: the SVG and a legend, nothing to be fetched.

use super::{Drawing, State, svg};
use crate::markup::escape;

pub fn draw(drawing: &Drawing) -> String {
    let project = escape(&drawing.project);
    let (drawn, legend) = (svg::draw(drawing), legend(drawing));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<title>{project}: stages</title>\n\
         <style>body {{ font-family: sans-serif; color: #222; background: #fff; }}\n\
         .swatch {{ display: inline-block; width: 1.4em; text-align: center; border: 1px solid #555; }}</style>\n\
         </head>\n<body>\n<h1>{project}</h1>\n{legend}{drawn}</body>\n</html>\n"
    )
}

/// Each state with its colour, its mark, how many stages are in it, and what it means.
fn legend(drawing: &Drawing) -> String {
    let item = |state: State| {
        let count = drawing.shapes.iter().filter(|shape| shape.state == state).count();
        let (colour, mark, word) = (state.colour(), state.mark(), state.word());
        let meaning = state.meaning();
        format!(
            "<li><span class=\"swatch\" style=\"background: {colour}\">{mark}</span> {count} {word}: {meaning}</li>\n"
        )
    };
    let items: String = State::KNOWN.into_iter().map(item).collect();
    format!("<ul>\n{items}</ul>\n")
}
