//! How plots are drawn: SVG by `plotters`, in a handful of colours.
//!
//! Every drawing uses the colours below and no others. The page's style sheet overrides each of them by attribute
//! selector (`[fill="#0B6BCB"]`), so that one drawing serves light and dark.

use std::fmt::Display;
use std::ops::Range;

use plotters::chart::{ChartContext, MeshStyle};
use plotters::coord::Shift;
use plotters::coord::combinators::{BindKeyPoints, LogCoord, WithKeyPoints};
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::prelude::*;

use crate::error::{Error, Result};

/// Axes, ticks and text.
pub const INK: RGBColor = RGBColor(0x1b, 0x1f, 0x24);
/// Grid lines.
pub const GRID: RGBColor = RGBColor(0xd9, 0xdd, 0xe2);
/// Series, in order.
pub const SERIES: [RGBColor; 4] =
    [RGBColor(0x0b, 0x6b, 0xcb), RGBColor(0xd1, 0x5b, 0x00), RGBColor(0x1a, 0x8a, 0x4a), RGBColor(0x8a, 0x3f, 0xc4)];

/// Width of every plot, in pixels of its own; the page scales it.
pub const WIDTH: u32 = 860;
const HEIGHT: u32 = 380;

/// Most points of a series; more are thinned evenly.
const MAX_POINTS: usize = 3_000;

/// The series that is drawn as a thin line of ink.
pub const DIAGONAL: &str = "diagonal";

/// A series.
pub type Points = Vec<(f64, f64)>;
/// Where a plot is drawn.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b, X, Y> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>;

/// What a series is drawn as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A dot per point.
    Point,
    /// A line through all points; the first series is a broad one that others may cover.
    Line,
}

/// The axes of a plot, and what is drawn between them.
pub struct Axes {
    x: &'static str,
    y: &'static str,
    mark: Mark,
    log_x: bool,
    log_y: bool,
    whole_x: bool,
    share_x: bool,
    share_y: bool,
}

impl Axes {
    /// Linear axes that fit their series.
    pub fn new(x: &'static str, y: &'static str, mark: Mark) -> Self {
        Self { x, y, mark, log_x: false, log_y: false, whole_x: false, share_x: false, share_y: false }
    }

    /// A logarithmic horizontal axis.
    pub fn log_x(self) -> Self {
        Self { log_x: true, ..self }
    }

    /// A logarithmic vertical axis.
    pub fn log_y(self) -> Self {
        Self { log_y: true, ..self }
    }

    /// A horizontal axis that counts.
    pub fn whole_x(self) -> Self {
        Self { whole_x: true, ..self }
    }

    /// A vertical axis from 0 to 1.
    pub fn share_y(self) -> Self {
        Self { share_y: true, ..self }
    }

    /// An axis from 0 to 1: the vertical one, and of points both.
    pub fn share(self) -> Self {
        Self { share_y: true, share_x: self.mark == Mark::Point, ..self }
    }
}

/// Draws named series in the colours of [`SERIES`]; `None` without a point. A series named [`DIAGONAL`] is a thin line,
/// whatever the others are.
///
/// # Errors
/// When the drawing library fails.
pub fn series_svg(series: &[(&'static str, Points)], axes: &Axes) -> Result<Option<String>> {
    let series: Vec<_> = series.iter().map(|(name, points)| (*name, thinned(points))).collect();
    let all = || series.iter().filter(|(name, _)| *name != DIAGONAL).flat_map(|(_, points)| points);
    if all().next().is_none() {
        return Ok(None);
    }
    let x = range(all().map(|p| p.0), axes.log_x, axes.share_x);
    let y = range(all().map(|p| p.1), axes.log_y, axes.share_y);
    let svg = draw((WIDTH, HEIGHT), |area| {
        let mut base = base(area);
        match (axes.log_x, axes.log_y) {
            (true, _) => fill(base.build_cartesian_2d(logarithmic(&x), y.clone()).map_err(failed)?, &series, axes),
            (_, true) => fill(base.build_cartesian_2d(x.clone(), logarithmic(&y)).map_err(failed)?, &series, axes),
            _ => fill(base.build_cartesian_2d(x.clone(), y.clone()).map_err(failed)?, &series, axes),
        }
    })?;
    Ok(Some(svg))
}

/// Runs `drawing` on a fresh canvas and returns its SVG, which takes the width of the page.
///
/// # Errors
/// When the drawing library fails.
pub fn draw(size: (u32, u32), drawing: impl FnOnce(&Area<'_>) -> Result<()>) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        drawing(&area)?;
        area.present().map_err(failed)?;
    }
    let (width, height) = size;
    Ok(svg.replacen(&format!("width=\"{width}\" height=\"{height}\" "), "role=\"img\" ", 1))
}

/// A chart with room for its labels.
pub fn base<'a, 'b>(area: &'a Area<'b>) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut chart = ChartBuilder::on(area);
    chart.margin(12).x_label_area_size(46).y_label_area_size(68);
    chart
}

/// Draws grid and axes named `(x, y)`.
///
/// # Errors
/// When the drawing library fails.
pub fn mesh<'a, 'b, X, Y>(
    chart: &mut Chart<'a, 'b, X, Y>,
    (x, y): (&str, &str),
    adjust: impl FnOnce(&mut MeshStyle<'a, '_, X, Y, SVGBackend<'b>>),
) -> Result<()>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let (ticks, name) = (("sans-serif", 13).into_font().color(&INK), ("sans-serif", 14).into_font().color(&INK));
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT).bold_line_style(GRID).axis_style(INK);
    mesh.label_style(ticks).axis_desc_style(name).x_desc(x).y_desc(y);
    adjust(&mut mesh);
    mesh.draw().map_err(failed)
}

/// What the drawing library could not do.
pub fn failed(error: impl Display) -> Error {
    Error::Workload(format!("a plot of the report could not be drawn: {error}"))
}

fn fill<'a, 'b, X, Y>(mut chart: Chart<'a, 'b, X, Y>, series: &[(&'static str, Points)], axes: &Axes) -> Result<()>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    mesh(&mut chart, (axes.x, axes.y), |mesh| {
        mesh.x_label_formatter(if axes.whole_x { &|v| whole_tick(*v) } else { &|v| tick(*v) });
        mesh.y_label_formatter(&|v| tick(*v));
    })?;
    for (i, ((name, points), color)) in series.iter().zip(SERIES).enumerate() {
        if points.is_empty() {
            continue;
        }
        if *name == DIAGONAL {
            chart.draw_series(LineSeries::new(points.iter().copied(), INK.stroke_width(1))).map_err(failed)?;
            continue;
        }
        let drawn = match axes.mark {
            Mark::Line => chart.draw_series(LineSeries::new(points.iter().copied(), stroke(color, i, series.len()))),
            Mark::Point => chart.draw_series(points.iter().map(|&at| Circle::new(at, 3, color.mix(0.6).filled()))),
        };
        drawn.map_err(failed)?;
    }
    Ok(())
}

/// How the `i`-th of `n` lines is drawn: the first of several broad and pale, so that one on top of it hides neither.
fn stroke(color: RGBColor, i: usize, n: usize) -> ShapeStyle {
    if i == 0 && n > 1 { color.mix(0.35).stroke_width(8) } else { color.stroke_width(2) }
}

/// The range of an axis: 0 to 1, whole decades, or from 0 to a little above the largest.
fn range(values: impl Iterator<Item = f64>, log: bool, share: bool) -> Range<f64> {
    if share {
        return 0.0..1.02;
    }
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    if log { low * 0.8..high * 1.25 } else { 0.0..(high * 1.05).max(1e-9) }
}

/// A tick's label, without trailing zeros.
fn tick(value: f64) -> String {
    if value.abs() >= 10_000.0 { format!("{}k", value / 1e3) } else { format!("{}", (value * 1e6).round() / 1e6) }
}

/// A logarithmic axis with ticks at 1, 2 and 5 of each decade; at 1 alone from three decades on.
fn logarithmic(range: &Range<f64>) -> WithKeyPoints<LogCoord<f64>> {
    let decades = range.start.log10().floor() as i32..=range.end.log10().ceil() as i32;
    let digits: &[f64] = if range.end / range.start < 1e3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let ticks = decades.flat_map(|decade| digits.iter().map(move |digit| digit * 10f64.powi(decade)));
    range.clone().log_scale().with_key_points(ticks.filter(|tick| range.contains(tick)).collect())
}

/// A tick's label on an axis that counts.
pub fn whole_tick(value: f64) -> String {
    if value.fract() == 0.0 { tick(value) } else { String::new() }
}

/// At most [`MAX_POINTS`] of the points, evenly taken, the last among them.
fn thinned(points: &[(f64, f64)]) -> Points {
    let stride = points.len().div_ceil(MAX_POINTS).max(1);
    points.iter().rev().step_by(stride).rev().copied().collect()
}
