//! What a session costs on a real model: the table of the README. Prints it, and with `-- --record NAME` writes
//! `benches/records/NAME.json` (schema in BENCHMARKS.md).
//!
//!     cargo bench --bench session -- --record NAME
//!
//! Medians of several runs after one that does not count; where two things are compared, they alternate.

#[path = "record/mod.rs"]
mod record;

use std::path::Path;
use std::time::{Duration, Instant};

use longhaul::Result;
use longhaul::engine::{Engine, GenerateOptions, Session, SessionOptions};
use record::Row;

const RUNS: usize = 5;
const THREADS: usize = 2;

fn main() -> Result<()> {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/smollm2-135m");
    if !model.is_dir() {
        eprintln!("session: no model in {}; run scripts/fetch-smollm2 first", model.display());
        std::process::exit(1);
    }
    let engine = Engine::builder().model_dir(model).threads(THREADS).kv_budget_bytes(2 << 30).build()?;
    let bench = Bench { engine };
    let rows = [
        bench.decode("decode, empty context", 1, 128, 75.0)?,
        bench.decode("decode at 8,000 tokens of context", 8_000, 64, 35.0)?,
        bench.prefill(2_048)?,
        bench.shared_prefix(4_096)?,
        bench.fork(8_000)?,
    ];
    record::print(&rows);
    record::write_if_asked(&rows, bench.engine.info().backend.trim_start_matches("cpu/"), THREADS);
    Ok(())
}

struct Bench {
    engine: Engine,
}

impl Bench {
    /// A session that shares nothing with any other.
    fn lonely(&self) -> Result<Session> {
        self.engine.session(SessionOptions { prefix_cache: false, ..Default::default() })
    }

    /// Tokens per second of a generation behind `context` tokens.
    fn decode(&self, what: &str, context: usize, n_tokens: usize, at_least: f64) -> Result<Row> {
        let mut session = self.lonely()?;
        session.append_tokens(&prompt(context, 1))?;
        session.prefill()?;
        let mut rates = Vec::new();
        for _ in 0..=RUNS {
            session.rewind(context)?;
            generate(&mut session, n_tokens)?;
            let times = &session.usage().token_times;
            let took = times[n_tokens - 1] - times[0];
            rates.push((n_tokens - 1) as f64 / took.as_secs_f64());
        }
        let (measured, spread) = median(rates);
        Ok(Row {
            what: what.into(),
            at_least: at_least.into(),
            measured,
            unit: "tokens/s",
            note: format!("{spread}, {n_tokens} tokens each"),
        })
    }

    /// Tokens per second of a cold prompt.
    fn prefill(&self, n_tokens: usize) -> Result<Row> {
        let mut rates = Vec::new();
        for run in 0..=RUNS {
            let mut session = self.lonely()?;
            session.append_tokens(&prompt(n_tokens, run))?;
            rates.push(n_tokens as f64 / first_token(&mut session)?.as_secs_f64());
        }
        let (measured, spread) = median(rates);
        Ok(Row {
            what: format!("prefill of {n_tokens} tokens"),
            at_least: 4_000.into(),
            measured,
            unit: "tokens/s",
            note: format!("{spread}; the bar is for AMX"),
        })
    }

    /// Time to first token of a new session that shares a prefix, over that of continuing the session that computed it.
    fn shared_prefix(&self, n_shared: usize) -> Result<Row> {
        let mut ratios = Vec::new();
        let mut recomputed = 0;
        for run in 0..=RUNS {
            let tenant = SessionOptions::tenant(format!("shared-{run}"));
            let prefix = prompt(n_shared, run);
            let mut original = self.engine.session(tenant.clone())?;
            original.append_tokens(&prefix)?;
            original.prefill()?;
            let mut sharer = self.engine.session(tenant)?;
            sharer.append_tokens(&prefix)?;
            // Other tokens in each, or the second would find those of the first.
            original.append_tokens(&prompt(64, 1_000 + run))?;
            sharer.append_tokens(&prompt(64, 2_000 + run))?;
            let shared = first_token(&mut sharer)?;
            recomputed += sharer.usage().prefilled_tokens.saturating_sub(64);
            ratios.push(shared.as_secs_f64() / first_token(&mut original)?.as_secs_f64());
        }
        let (measured, spread) = median(ratios);
        Ok(Row {
            what: format!("first token behind a shared prefix of {n_shared}, against continuing the original"),
            at_least: "1.1, no prefix token recomputed".into(),
            measured,
            unit: "ratio",
            note: format!("{spread}; {recomputed} prefix tokens recomputed"),
        })
    }

    /// Time of a fork.
    fn fork(&self, n_tokens: usize) -> Result<Row> {
        let mut session = self.lonely()?;
        session.append_tokens(&prompt(n_tokens, 7))?;
        session.prefill()?;
        let copied = self.engine.stats().copied_pages;
        let mut times = Vec::new();
        for _ in 0..100 {
            let start = Instant::now();
            let fork = session.fork()?;
            times.push(start.elapsed().as_secs_f64() * 1e3);
            drop(fork);
        }
        let copied = self.engine.stats().copied_pages - copied;
        let (measured, spread) = median(times);
        Ok(Row {
            what: format!("fork of a session of {n_tokens} tokens"),
            at_least: "under 1, no page copied".into(),
            measured,
            unit: "ms",
            note: format!("{spread}; {copied} pages copied"),
        })
    }
}

/// Tokens that mean nothing, other ones for every `salt`.
fn prompt(len: usize, salt: usize) -> Vec<u32> {
    (0..len).map(|i| ((i * 7_919 + salt * 104_729 + 17) % 40_000 + 100) as u32).collect()
}

fn generate(session: &mut Session, n_tokens: usize) -> Result<()> {
    let options = GenerateOptions { max_tokens: n_tokens, ignore_end: true, ..Default::default() };
    session.generate(options)?.try_for_each(|token| token.map(drop))
}

fn first_token(session: &mut Session) -> Result<Duration> {
    generate(session, 1)?;
    Ok(session.usage().time_to_first_token.expect("a token was generated"))
}

/// The median without the first, which warms up, and how far the others go.
fn median(mut values: Vec<f64>) -> (f64, String) {
    values.remove(0);
    values.sort_by(f64::total_cmp);
    let spread = format!("median of {}, {:.3} to {:.3}", values.len(), values[0], values[values.len() - 1]);
    (values[values.len() / 2], spread)
}
