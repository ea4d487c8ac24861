//! Runs the cases of `scripts/compare` for longhaul and for the peers written in Rust.
//!
//! Reads one request a line from standard input and answers each with one line, both JSON (`protocol`). It computes
//! only while it answers, so that other workers have the machine to themselves in between.

mod longhaul_kernels;
mod longhaul_model;
mod pattern;
mod protocol;
mod rivals;

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use longhaul::cpu::roofline;
use protocol::{Answer, Case, Request};
use serde_json::json;

/// What goes wrong, in words; it becomes an `error` answer.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// A case that is ready to be timed.
struct Prepared {
    /// Does the work once and answers how long it took, without what only puts things back.
    run: Box<dyn FnMut() -> Result<Duration>>,
    /// Some numbers of the result, by which those who do the same work are compared.
    check: Vec<f32>,
}

struct Worker {
    n_threads: usize,
    prepared: HashMap<usize, Prepared>,
    models: longhaul_model::Models,
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let [_, n_threads, model_dir] = args.as_slice() else { return Err("usage: peer-worker THREADS MODEL_DIR".into()) };
    let n_threads = n_threads.parse()?;
    let models = longhaul_model::Models::new(model_dir.into(), n_threads);
    let mut worker = Worker { n_threads, prepared: HashMap::new(), models };
    for line in std::io::stdin().lock().lines() {
        let answer = serde_json::from_str(&line?).map_err(Into::into).and_then(|request| worker.answer(request));
        let answer = answer.unwrap_or_else(|e| json!({ "error": e.to_string() }));
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

impl Worker {
    fn answer(&mut self, request: Request) -> Result<Answer> {
        match request {
            Request::Prepare { id, peer, dtype, case } => {
                let mut prepared = self.prepare(&peer, &dtype, &case)?;
                let warm_up = (prepared.run)()?;
                let answer = json!({ "seconds": warm_up.as_secs_f64(), "check": prepared.check });
                self.prepared.insert(id, prepared);
                Ok(answer)
            }
            Request::Sample { id, seconds } => {
                let run = &mut self.prepared.get_mut(&id).ok_or("nothing was prepared under that id")?.run;
                Ok(json!({ "seconds": sample(run, Duration::from_secs_f64(seconds))? }))
            }
            Request::Drop => {
                self.prepared.clear();
                Ok(json!({}))
            }
            Request::Roofs { names } => {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let roofs = roofline::measure_named(&names, self.n_threads);
                Ok(roofs.iter().map(|roof| (roof.name.to_string(), json!(roof.all_threads))).collect())
            }
            Request::About => {
                let name = longhaul::backend::detect(Some(self.n_threads))?.caps().name.clone();
                let table = longhaul::cpu::tables().into_iter().find(|table| name == format!("cpu/{}", table.name));
                let table = table.ok_or_else(|| format!("{name} is no kernel table"))?;
                let machine = longhaul::cpu::machine();
                Ok(json!({ "table": table.name, "roof": table.roof, "cpu": machine.model_name,
                    "cores": machine.n_cores, "memory_bytes": machine.memory_bytes }))
            }
        }
    }

    fn prepare(&mut self, peer: &str, dtype: &str, case: &Case) -> Result<Prepared> {
        match (peer, case) {
            ("longhaul", Case::Matmul(case)) => longhaul_kernels::matmul(self.n_threads, dtype, case),
            ("longhaul", Case::Attention(case)) => longhaul_kernels::attention(self.n_threads, dtype, case),
            ("longhaul", Case::Model(case)) => self.models.prepare(dtype, case),
            (_, Case::Matmul(case)) => rivals::matmul(peer, self.n_threads, dtype, case),
            _ => Err(format!("{peer} does not take part in this").into()),
        }
    }
}

/// Runs again and again for at least `time`; how long each took, in seconds.
fn sample(run: &mut impl FnMut() -> Result<Duration>, time: Duration) -> Result<Vec<f64>> {
    let began = Instant::now();
    let mut seconds = Vec::new();
    while seconds.is_empty() || began.elapsed() < time {
        seconds.push(run()?.as_secs_f64());
    }
    Ok(seconds)
}
