//! A drawing: shapes and text at places, written as SVG or drawn as PNG.
//!
//! SVG is written directly, with text left to the viewer's sans-serif font, so that no font is
//! needed to make one and the same figure has the same bytes everywhere. PNG goes through plotters
//! and needs a font file.

use crate::render::sheet::html_escape;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::fmt::Write;
use thiserror::Error;

/// A colour as red, green and blue.
pub type Colour = (u8, u8, u8);

/// The buggy side: vermilion of Okabe and Ito's palette, which colour-blind readers can tell.
pub const BUGGY: Colour = (213, 94, 0);
/// The corrected side: blue of the same palette. Lighter or darker in print, too.
pub const CORRECTED: Colour = (0, 114, 178);
/// Text and axes.
pub const INK: Colour = (40, 40, 40);
/// Grids and reference lines.
pub const FAINT: Colour = (190, 190, 190);

/// Where a text lies relative to its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// It begins there.
    Start,
    /// Its middle is there.
    Middle,
    /// It ends there.
    End,
}

#[derive(Debug, Clone, PartialEq)]
enum Item {
    Line { points: Vec<(f64, f64)>, colour: Colour, width: f64, dashed: bool },
    Area { points: Vec<(f64, f64)>, colour: Colour, opacity: f64 },
    Circle { at: (f64, f64), radius: f64, colour: Colour, filled: bool },
    Text { at: (f64, f64), text: String, size: f64, anchor: Anchor },
}

/// Why a figure could not be drawn as PNG.
#[derive(Debug, Error)]
pub enum FigureError {
    /// There is no usable font.
    #[error("no font for PNG figures at {place}; install DejaVu Sans, or take SVG")]
    Font {
        /// Where it was looked for.
        place: String,
    },
    /// Drawing failed.
    #[error("the figure could not be drawn: {0}; take SVG")]
    Draw(String),
}

/// A drawing of a fixed size in pixels, from the top left.
#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    title: String,
    width: f64,
    height: f64,
    items: Vec<Item>,
}

impl Scene {
    pub(crate) fn new(title: &str, width: f64, height: f64) -> Self {
        let mut scene = Self { title: title.to_owned(), width, height, items: Vec::new() };
        scene.text((16.0, 24.0), title, 15.0, Anchor::Start);
        scene
    }

    /// The title, which is drawn and given to screen readers.
    pub fn title(&self) -> &str {
        &self.title
    }

    pub(crate) fn line(&mut self, points: &[(f64, f64)], colour: Colour, width: f64) {
        let points = points.to_vec();
        self.items.push(Item::Line { points, colour, width, dashed: false });
    }

    pub(crate) fn dashed(&mut self, from: (f64, f64), to: (f64, f64), colour: Colour) {
        self.items.push(Item::Line { points: vec![from, to], colour, width: 1.0, dashed: true });
    }

    pub(crate) fn dashes(&mut self, points: &[(f64, f64)], colour: Colour, width: f64) {
        let points = points.to_vec();
        self.items.push(Item::Line { points, colour, width, dashed: true });
    }

    pub(crate) fn area(&mut self, points: Vec<(f64, f64)>, colour: Colour, opacity: f64) {
        self.items.push(Item::Area { points, colour, opacity });
    }

    pub(crate) fn circle(&mut self, at: (f64, f64), radius: f64, colour: Colour, filled: bool) {
        self.items.push(Item::Circle { at, radius, colour, filled });
    }

    pub(crate) fn text(&mut self, at: (f64, f64), text: &str, size: f64, anchor: Anchor) {
        self.items.push(Item::Text { at, text: text.to_owned(), size, anchor });
    }

    /// As SVG, with the title for screen readers and a white ground.
    pub fn svg(&self) -> String {
        let (w, h) = (self.width, self.height);
        let title = html_escape(&self.title);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" \
             height=\"{h}\" role=\"img\" font-family=\"DejaVu Sans, Helvetica, Arial, sans-serif\">\n\
             <title>{title}</title>\n<rect width=\"{w}\" height=\"{h}\" fill=\"#fff\"/>\n"
        );
        for item in &self.items {
            // Writing to a string does not fail.
            let _ = writeln!(svg, "{}", element(item));
        }
        svg + "</svg>\n"
    }

    /// As PNG at twice the size, with `font` (the bytes of a TrueType or OpenType file).
    ///
    /// # Errors
    /// A font that cannot be used, and failures of the drawing library.
    pub fn png(&self, font: &'static [u8]) -> Result<Vec<u8>, FigureError> {
        const SCALE: f64 = 2.0;
        plotters::style::register_font("sans-serif", FontStyle::Normal, font)
            .map_err(|_| FigureError::Font { place: "the given bytes".to_owned() })?;
        let (w, h) = ((self.width * SCALE) as u32, (self.height * SCALE) as u32);
        let mut pixels = vec![255_u8; w as usize * h as usize * 3];
        {
            let area = BitMapBackend::with_buffer(&mut pixels, (w, h)).into_drawing_area();
            for item in &self.items {
                draw(&area, item, SCALE).map_err(FigureError::Draw)?;
            }
            area.present().map_err(|error| FigureError::Draw(error.to_string()))?;
        }
        encode(&pixels, w, h)
    }
}

/// Writes pixels as a PNG file in memory.
fn encode(pixels: &[u8], w: u32, h: u32) -> Result<Vec<u8>, FigureError> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::write_buffer_with_format(
        &mut bytes,
        pixels,
        w,
        h,
        image::ColorType::Rgb8,
        image::ImageFormat::Png,
    )
    .map_err(|error| FigureError::Draw(error.to_string()))?;
    Ok(bytes.into_inner())
}

fn hex((r, g, b): Colour) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// Two decimals are less than what a screen shows, and keep files small.
fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

fn element(item: &Item) -> String {
    let list = |points: &[(f64, f64)]| {
        let points = points.iter().map(|(x, y)| format!("{},{}", short(*x), short(*y)));
        points.collect::<Vec<_>>().join(" ")
    };
    match item {
        Item::Line { points, colour, width, dashed } => format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{width}\"{}/>",
            list(points),
            hex(*colour),
            if *dashed { " stroke-dasharray=\"5 4\"" } else { "" }
        ),
        Item::Area { points, colour, opacity } => format!(
            "<polygon points=\"{}\" fill=\"{}\" fill-opacity=\"{opacity}\"/>",
            list(points),
            hex(*colour)
        ),
        Item::Circle { at, radius, colour, filled } => {
            let colour = hex(*colour);
            let fill = if *filled { colour.as_str() } else { "#fff" };
            format!(
                "<circle cx=\"{}\" cy=\"{}\" r=\"{radius}\" fill=\"{fill}\" fill-opacity=\"0.75\" \
                 stroke=\"{colour}\"/>",
                short(at.0),
                short(at.1)
            )
        }
        Item::Text { at, text, size, anchor } => format!(
            "<text x=\"{}\" y=\"{}\" font-size=\"{size}\" text-anchor=\"{}\" fill=\"{}\">{}</text>",
            short(at.0),
            short(at.1),
            match anchor {
                Anchor::Start => "start",
                Anchor::Middle => "middle",
                Anchor::End => "end",
            },
            hex(INK),
            html_escape(text)
        ),
    }
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;

fn draw(area: &Area<'_>, item: &Item, scale: f64) -> Result<(), String> {
    let at = |(x, y): (f64, f64)| ((x * scale).round() as i32, (y * scale).round() as i32);
    let rgb = |(r, g, b): Colour| RGBColor(r, g, b);
    let outcome = match item {
        Item::Line { points, colour, width, dashed } => {
            let style = rgb(*colour).stroke_width((width * scale).round().max(1.0) as u32);
            let points: Vec<(i32, i32)> = points.iter().map(|point| at(*point)).collect();
            if *dashed {
                for dash in dashes(&points) {
                    area.draw(&PathElement::new(dash, style)).map_err(|error| error.to_string())?;
                }
                return Ok(());
            }
            area.draw(&PathElement::new(points, style))
        }
        Item::Area { points, colour, opacity } => {
            let points: Vec<(i32, i32)> = points.iter().map(|point| at(*point)).collect();
            area.draw(&Polygon::new(points, rgb(*colour).mix(*opacity).filled()))
        }
        Item::Circle { at: place, radius, colour, filled } => {
            let radius = radius * scale;
            if !filled {
                let ground = Circle::new(at(*place), radius, WHITE.filled());
                area.draw(&ground).map_err(|error| error.to_string())?;
            }
            let style = if *filled { rgb(*colour).mix(0.75).filled() } else { rgb(*colour).into() };
            area.draw(&Circle::new(at(*place), radius, style))
        }
        Item::Text { at: place, text, size, anchor } => {
            let horizontal = match anchor {
                Anchor::Start => HPos::Left,
                Anchor::Middle => HPos::Center,
                Anchor::End => HPos::Right,
            };
            let ink = rgb(INK);
            let style = TextStyle::from(("sans-serif", size * scale).into_font())
                .color(&ink)
                .pos(Pos::new(horizontal, VPos::Bottom));
            // Place is on the base line; the box ends a descender below it.
            let (x, y) = at(*place);
            area.draw(&Text::new(text.clone(), (x, y + (0.25 * size * scale) as i32), style))
        }
    };
    outcome.map_err(|error| error.to_string())
}

/// A straight line cut into dashes of 10 pixels with gaps of 8.
fn dashes(points: &[(i32, i32)]) -> Vec<Vec<(i32, i32)>> {
    let [from, to] = points else { return vec![points.to_vec()] };
    let (dx, dy) = (f64::from(to.0 - from.0), f64::from(to.1 - from.1));
    let length = dx.hypot(dy);
    let at = |along: f64| {
        let part = (along / length).min(1.0);
        (from.0 + (dx * part).round() as i32, from.1 + (dy * part).round() as i32)
    };
    let count = (length / 18.0).ceil() as usize;
    (0..count)
        .map(|index| 18.0 * index as f64)
        .map(|start| vec![at(start), at(start + 10.0)])
        .collect()
}

/// The bytes of a sans-serif font of this machine, for [`Scene::png`].
///
/// # Errors
/// None of the usual places has one.
pub fn system_font() -> Result<&'static [u8], FigureError> {
    const PLACES: [&str; 5] = [
        "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
        "/usr/share/fonts/dejavu-sans-fonts/DejaVuSans.ttf",
        "/usr/share/fonts/TTF/DejaVuSans.ttf",
        "/System/Library/Fonts/Supplemental/Arial.ttf",
        "C:\\Windows\\Fonts\\arial.ttf",
    ];
    static FONT: std::sync::OnceLock<Option<Vec<u8>>> = std::sync::OnceLock::new();
    FONT.get_or_init(|| PLACES.iter().find_map(|place| std::fs::read(place).ok()))
        .as_deref()
        .ok_or_else(|| FigureError::Font { place: PLACES.join(", ") })
}
