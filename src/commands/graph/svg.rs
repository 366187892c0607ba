//! The drawing as SVG: a column for each depth, boxes in it in the order of the recipe, curves between them.

use std::fmt::Write;

use unicode_width::UnicodeWidthStr;

use super::{Drawing, Shape};
use crate::markup::escape;

const HEIGHT: usize = 34;
const ROW: usize = 52;
const GAP: usize = 48;
const MARGIN: usize = 16;
/// An estimate for the font below, on the wide side.
const CHARACTER: usize = 8;

pub fn draw(drawing: &Drawing) -> String {
    let layout = Layout::of(drawing);
    let (width, height) = (layout.width, layout.height);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n"
    );
    writeln!(out, "<title>{}</title>", escape(&drawing.project)).expect("memory");
    for (from, to) in drawing.edges() {
        out.push_str(&curve(&layout.places[from], &layout.places[to]));
    }
    for (shape, place) in drawing.shapes.iter().zip(&layout.places) {
        out.push_str(&draw_box(shape, place));
    }
    out + "</svg>\n"
}

/// Where a box is.
struct Place {
    x: usize,
    y: usize,
    width: usize,
}

struct Layout {
    places: Vec<Place>,
    width: usize,
    height: usize,
}

impl Layout {
    /// Boxes stand as near as they can to the middle of what they use, below those that came before.
    fn of(drawing: &Drawing) -> Self {
        let columns = drawing.shapes.iter().map(|shape| shape.depth + 1).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for shape in &drawing.shapes {
            widths[shape.depth] = widths[shape.depth].max(width_of(shape));
        }
        let left = |depth: usize| MARGIN + widths[..depth].iter().map(|width| width + GAP).sum::<usize>();
        let mut free = vec![MARGIN; columns];
        let mut places: Vec<Place> = Vec::new();
        for shape in &drawing.shapes {
            let wish = shape.inputs.iter().map(|input| places[*input].y).sum::<usize>();
            let y = free[shape.depth].max(wish / shape.inputs.len().max(1));
            free[shape.depth] = y + ROW;
            places.push(Place { x: left(shape.depth), y, width: widths[shape.depth] });
        }
        let bottom = places.iter().map(|place| place.y + HEIGHT).max().unwrap_or(0);
        let right = places.iter().map(|place| place.x + place.width).max().unwrap_or(0);
        Self { places, width: right + MARGIN, height: bottom + MARGIN }
    }
}

fn width_of(shape: &Shape) -> usize {
    shape.label().width() * CHARACTER + 20
}

fn curve(from: &Place, to: &Place) -> String {
    let (x1, y1, x2, y2) = (from.x + from.width, from.y + HEIGHT / 2, to.x, to.y + HEIGHT / 2);
    let middle = (x1 + x2) / 2;
    let path = format!("M{x1} {y1} C{middle} {y1} {middle} {y2} {x2} {y2}");
    format!("<path d=\"{path}\" fill=\"none\" stroke=\"#888\" stroke-width=\"1.5\"/>\n")
}

fn draw_box(shape: &Shape, place: &Place) -> String {
    let Place { x, y, width } = place;
    let (state, colour) = (shape.state.word(), shape.state.colour());
    let thickness = if shape.kind == "image" { 2 } else { 1 };
    let (text_x, text_y) = (x + width / 2, y + HEIGHT / 2 + 5);
    let (name, label) = (escape(&shape.name), escape(&shape.label()));
    format!(
        "<g class=\"{state}\"><title>{name}: {}, {state}</title>\
         <rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{HEIGHT}\" rx=\"6\" fill=\"{colour}\" \
         stroke=\"#555\" stroke-width=\"{thickness}\"/>\
         <text x=\"{text_x}\" y=\"{text_y}\" text-anchor=\"middle\" fill=\"#222\">{label}</text></g>\n",
        shape.kind
    )
}
