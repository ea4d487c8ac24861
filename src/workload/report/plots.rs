//! The report's plots: what each one shows.

use std::collections::BTreeSet;

use plotters::prelude::*;

use super::super::plan::TurnKind;
use super::super::record::TurnRecord;
use super::Report;
use super::draw::{Axes, DIAGONAL, Mark, Points, SERIES, WIDTH, base, draw, failed, mesh, series_svg, whole_tick};
use crate::error::Result;

/// A plot with its caption.
pub struct Plot {
    /// Heading.
    pub title: &'static str,
    /// What to see in it.
    pub caption: String,
    /// What each colour of [`SERIES`] stands for, by its index; empty if there is only one.
    pub legend: Vec<(usize, &'static str)>,
    /// The drawing.
    pub svg: String,
}

/// All plots for which there is something to draw.
///
/// # Errors
/// When the drawing library fails.
pub fn all(report: &Report) -> Result<Vec<Plot>> {
    let draws = [ttft_over_context, hit_over_turns, hit_against_ideal, swim_lanes, gap_distribution, gaps_over_time];
    draws.iter().filter_map(|draw| draw(report).transpose()).collect()
}

/// Coloured by the sessions' roles where there are several, by what the turns answer where there is one.
fn ttft_over_context(report: &Report) -> Result<Option<Plot>> {
    let groups: BTreeSet<_> = report.turns.iter().map(|t| t.group).collect();
    let of = |pick: &dyn Fn(&TurnRecord) -> bool| -> Points {
        let turns = report.turns.iter().filter(|t| pick(t));
        turns.filter_map(|t| Some((t.prompt_tokens as f64, t.ttft_ms?))).collect()
    };
    let series = match groups.len() {
        0 | 1 => {
            vec![("first turn", of(&|t| t.kind == TurnKind::First)), ("later turn", of(&|t| t.kind != TurnKind::First))]
        }
        _ => groups.iter().map(|&group| (group, of(&|t| t.group == group))).collect(),
    };
    plot(
        "Time to first token against context",
        "One point a turn. Where prefixes are reused, later turns stay low while the context grows.",
        series,
        &Axes::new("context (tokens)", "TTFT (ms)", Mark::Point).log_y(),
    )
}

fn hit_over_turns(report: &Report) -> Result<Option<Plot>> {
    let n_turns = report.turns.iter().map(|t| t.turn + 1).max().unwrap_or(0);
    let mut sums = vec![[0usize; 3]; n_turns];
    for turn in report.turns.iter().filter(|t| t.ttft_ms.is_some()) {
        let sum = &mut sums[turn.turn];
        sum[0] += turn.cached_tokens;
        sum[1] += turn.ideal_tokens;
        sum[2] += turn.prompt_tokens;
    }
    let line = |which: usize| -> Points {
        let measured = sums.iter().enumerate().filter(|(_, s)| s[2] > 0);
        measured.map(|(i, s)| (i as f64, s[which] as f64 / s[2] as f64)).collect()
    };
    if n_turns < 2 {
        return Ok(None);
    }
    let axes = Axes::new("turn", "prefix hit", Mark::Line).share().whole_x();
    plot("Prefix hit over a session", &hit_caption(report), vec![("ideal", line(1)), ("measured", line(0))], &axes)
}

fn hit_against_ideal(report: &Report) -> Result<Option<Plot>> {
    let turns = report.turns.iter().filter(|t| t.ttft_ms.is_some() && t.prompt_tokens > 0);
    let points: Points = turns
        .map(|t| (t.ideal_tokens as f64 / t.prompt_tokens as f64, t.cached_tokens as f64 / t.prompt_tokens as f64))
        .collect();
    let diagonal = vec![(0.0, 0.0), (1.0, 1.0)];
    let axes = Axes::new("ideal prefix hit of the turn", "measured", Mark::Point).share();
    plot(
        "Prefix hit against the ideal",
        "One point a turn. On the diagonal nothing was recomputed; below it a prefix was known once and gone.",
        vec![("turn", points), (DIAGONAL, diagonal)],
        &axes,
    )
}

fn hit_caption(report: &Report) -> String {
    let tokens = report.prompt_tokens;
    format!(
        "Cached over prompt tokens of all sessions' turns with that number; {} of {} tokens in all, where the ideal is {}.",
        tokens.cached, tokens.prompt, tokens.ideal
    )
}

/// A lane per session: prefill from the request to the first token, decode from there on.
fn swim_lanes(report: &Report) -> Result<Option<Plot>> {
    let n_lanes = report.sessions.iter().map(|s| s.session + 1).max().unwrap_or(0);
    if n_lanes == 0 || report.turns.is_empty() {
        return Ok(None);
    }
    let height = (60 + 22 * n_lanes as u32).clamp(180, 900);
    let end_s = report.turns.iter().map(|t| (t.start_ms + t.total_ms) / 1e3).fold(0.001, f64::max);
    let svg = draw((WIDTH, height), |area| {
        let mut chart = base(area).build_cartesian_2d(0.0..end_s, n_lanes as f64 - 0.5..-0.5).map_err(failed)?;
        mesh(&mut chart, ("seconds", "session"), |mesh| {
            mesh.disable_y_mesh().y_labels(n_lanes.min(12)).y_label_formatter(&|y| whole_tick(*y));
        })?;
        for turn in &report.turns {
            let (start, lane) = (turn.start_ms / 1e3, turn.session as f64);
            let end = start + turn.total_ms / 1e3;
            let first = start + turn.ttft_ms.map_or(turn.total_ms, |t| t) / 1e3;
            for (from, to, color) in [(start, first, SERIES[1]), (first, end, SERIES[0])] {
                let corners = [(from, lane - 0.35), (to, lane + 0.35)];
                chart.draw_series([Rectangle::new(corners, color.filled())]).map_err(failed)?;
            }
        }
        Ok(())
    })?;
    let caption = "One lane a session; empty where it is idle, waits for its subagents, or has not started.";
    let legend = vec![(1, "request to first token"), (0, "generating")];
    Ok(Some(Plot { title: "Session swim lanes", caption: caption.into(), legend, svg }))
}

fn gap_distribution(report: &Report) -> Result<Option<Plot>> {
    let mut gaps: Vec<f64> = report.turns.iter().flat_map(|t| t.gaps_ms()).collect();
    gaps.sort_by(f64::total_cmp);
    let n = gaps.len() as f64;
    let shares: Points = gaps.iter().enumerate().map(|(i, &gap)| (gap.max(1e-3), (i + 1) as f64 / n)).collect();
    let axes = Axes::new("inter-token gap (ms)", "share of gaps below", Mark::Line).log_x().share_y();
    let caption = "All gaps between following tokens, pooled. A steep line is an even stream; a long tail is where prompts of others cut in.";
    plot("Token times: distribution", caption, vec![("gap", shares)], &axes)
}

fn gaps_over_time(report: &Report) -> Result<Option<Plot>> {
    let of = |turn: &TurnRecord| -> Points {
        let begin = turn.start_ms;
        turn.token_ms.windows(2).map(|w| ((begin + w[1]) / 1e3, (w[1] - w[0]).max(1e-3))).collect()
    };
    let points: Points = report.turns.iter().flat_map(of).collect();
    plot(
        "Token times: over the run",
        "The gap before each token. It rises with the context, and with how many sessions decode at once.",
        vec![("token", points)],
        &Axes::new("seconds since the beginning", "gap (ms)", Mark::Point).log_y(),
    )
}

/// A plot of named series, if they have a point.
fn plot(title: &'static str, caption: &str, series: Vec<(&'static str, Points)>, axes: &Axes) -> Result<Option<Plot>> {
    let named = series.iter().enumerate().filter(|(_, (name, points))| *name != DIAGONAL && !points.is_empty());
    let mut legend: Vec<_> = named.map(|(i, (name, _))| (i, *name)).collect();
    if legend.len() == 1 {
        legend.clear();
    }
    let svg = series_svg(&series, axes)?;
    Ok(svg.map(|svg| Plot { title, caption: caption.into(), legend, svg }))
}
