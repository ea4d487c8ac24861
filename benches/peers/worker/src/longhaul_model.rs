//! SmolLM2, or random weights in another shape, through longhaul's engine: sessions, scheduler and sampler included.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use longhaul::engine::{Engine, GenerateOptions, Session, SessionOptions};

use super::{Prepared, Result};
use crate::protocol::ModelCase;

/// Bytes for keys and values: some contexts of 8,192 tokens.
const KV_BYTES: u64 = 1 << 30;

/// Models by the type of their weights, each with one session that all cases share, so that a long context is computed
/// once.
pub struct Models {
    model_dir: PathBuf,
    n_threads: usize,
    loaded: HashMap<String, Loaded>,
}

struct Loaded {
    /// Kept alive for its session.
    _engine: Engine,
    session: Rc<RefCell<Session>>,
}

impl Models {
    pub fn new(model_dir: PathBuf, n_threads: usize) -> Self {
        Self { model_dir, n_threads, loaded: HashMap::new() }
    }

    /// A case with weights as `dtype`.
    pub fn prepare(&mut self, dtype: &str, case: &ModelCase) -> Result<Prepared> {
        let session = self.session(dtype, case.preset.as_deref())?;
        let &ModelCase { decode, depth, n_tokens, .. } = case;
        // A session that has no token cannot say which one comes next.
        let context = if decode { depth.max(1) } else { depth };
        bring_to(&mut session.borrow_mut(), context)?;
        let mut salt = 0;
        let run = move || {
            let session = &mut *session.borrow_mut();
            bring_to(session, context)?;
            salt += 1;
            if decode { decoded(session, n_tokens) } else { prefilled(session, n_tokens, salt) }
        };
        Ok(Prepared { run: Box::new(run), check: Vec::new() })
    }

    fn session(&mut self, dtype: &str, preset: Option<&str>) -> Result<Rc<RefCell<Session>>> {
        let name = format!("{} {dtype}", preset.unwrap_or_default());
        if !self.loaded.contains_key(&name) {
            let builder = match preset {
                Some(preset) => Engine::builder().synthetic(preset.parse()?, 0),
                None => Engine::builder().model_dir(&self.model_dir),
            };
            let engine =
                builder.weights(Some(dtype.parse()?)).threads(self.n_threads).kv_budget_bytes(KV_BYTES).build()?;
            // No prefix is to be found again: what is measured is computed each time.
            let session = engine.session(SessionOptions { prefix_cache: false, ..Default::default() })?;
            let loaded = Loaded { _engine: engine, session: Rc::new(RefCell::new(session)) };
            self.loaded.insert(name.clone(), loaded);
        }
        Ok(self.loaded[&name].session.clone())
    }
}

/// Cuts the session to `depth` tokens, or adds what is missing.
fn bring_to(session: &mut Session, depth: usize) -> Result<()> {
    if session.len() > depth {
        session.rewind(depth)?;
    } else if session.len() < depth {
        session.append_tokens(&tokens(depth - session.len(), 0))?;
        session.prefill()?;
    }
    Ok(())
}

/// The time from the first of `n_tokens` generated tokens to one more.
fn decoded(session: &mut Session, n_tokens: usize) -> Result<Duration> {
    generate(session, n_tokens + 1)?;
    let times = &session.usage().token_times;
    Ok(times[n_tokens] - times[0])
}

/// The time from `n_tokens` appended to the first token drawn.
fn prefilled(session: &mut Session, n_tokens: usize, salt: usize) -> Result<Duration> {
    session.append_tokens(&tokens(n_tokens, salt))?;
    generate(session, 1)?;
    Ok(session.usage().time_to_first_token.ok_or("no token was drawn")?)
}

fn generate(session: &mut Session, n_tokens: usize) -> Result<()> {
    let options = GenerateOptions { max_tokens: n_tokens, ignore_end: true, ..Default::default() };
    session.generate(options)?.finish()?;
    Ok(())
}

/// Tokens that mean nothing, other ones for every `salt`.
fn tokens(len: usize, salt: usize) -> Vec<u32> {
    (0..len).map(|i| ((i * 7_919 + salt * 104_729 + 17) % 40_000 + 100) as u32).collect()
}
