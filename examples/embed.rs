//! Embeds the engine: a session generates, and a fork of it goes on with a tool's result.

use longhaul::engine::{Engine, GenerateOptions, SessionOptions};
use longhaul::spec::Preset;

fn main() -> longhaul::Result<()> {
    // Random weights in the shape of a model; `.model_dir("models/smollm2-135m")` loads real ones.
    let engine = Engine::builder().synthetic(Preset::SmolLm2_135m, 0).kv_budget_bytes(64 << 20).build()?;

    let mut agent = engine.session(SessionOptions::tenant("team-a"))?;
    agent.append_tokens(&[504, 2365, 282, 4649, 314])?; // with a tokenizer, `append_text` or `append_chat`
    let options = GenerateOptions { max_tokens: 8, ignore_end: true, ..Default::default() };
    for generated in agent.generate(options.clone())? {
        println!("agent: token {}", generated?.token);
    }

    let mut attempt = agent.fork()?; // shares every page until one of the two writes
    attempt.append_tokens(&[198, 520])?; // a tool's result
    attempt.generate(options)?.finish()?;
    let usage = attempt.usage();
    println!("attempt: {} of {} prompt tokens were cached", usage.cached_tokens, usage.prompt_tokens);
    assert_eq!(usage.prefilled_tokens, 3); // the result, and the token before it, which was drawn and never computed
    engine.shutdown()
}
