//! The cases of programs. They assert; a panic or an error is the case's failure.

use longhaul::neuron::Result;
use longhaul::neuron::neff::Neff;
use longhaul::neuron::nrt::Usage;

use crate::bench::{Bench, error_of, program};
use crate::kernel_cases;
use crate::programs::Bound;

pub fn no_program(bench: &Bench) -> Result<()> {
    let text = b"this is no program, ".repeat(200);
    bench.log.note(error_of(bench.core.load("text", &text)).to_string());
    bench.log.note(error_of(bench.core.load("zeros", &[0; 4096])).to_string());
    bench.core.allocate("afterwards", 64)?.write(0, &[1; 64])
}

/// Says of every file what it holds where that is not what we think, so that one report tells all about AWS's NEFFs.
pub fn files(bench: &Bench) -> Result<()> {
    let mut wrong = Vec::new();
    for name in kernel_cases::CASES {
        let (catalog, entry) = program(&kernel_cases::wanted(name));
        let Err(error) = catalog.verify(&entry) else { continue };
        wrong.push(format!("{name}: {error}"));
        match Neff::open(&catalog.dir().join(&entry.neff)) {
            Ok(neff) => bench.log.note(serde_json::to_string(&neff).expect("it has a JSON form")),
            Err(error) => bench.log.note(error.to_string()),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("; "));
    Ok(())
}

pub fn load(bench: &Bench) -> Result<()> {
    for name in ["matmul-tails", "attention-append"] {
        let wanted = kernel_cases::wanted(name);
        let neff = bench.neff(&wanted);
        let (first, second) = (bench.core.load(name, &neff)?, bench.core.load(name, &neff)?);
        drop(first);
        for tensor in &wanted.tensors {
            let usage = if tensor.kind.to_string() == "input" { Usage::Input } else { Usage::Output };
            let told = second.tensors().iter().find(|t| t.name == tensor.name && t.usage == usage);
            let told = told.unwrap_or_else(|| panic!("no {usage} {}: {:?}", tensor.name, second.tensors()));
            assert_eq!(Some(told.size_bytes), tensor.size_bytes(), "{told:?}");
            let element = told.element.info().map(|(name, _)| name);
            if element != Some(&tensor.dtype) {
                bench.log.note(format!("{name}, {}: {} is told as {:?}", tensor.name, tensor.dtype, told.element));
            }
        }
        assert_eq!(second.tensors().len(), wanted.tensors.len(), "{:?}", second.tensors());
    }
    Ok(())
}

pub fn damaged_program(bench: &Bench) -> Result<()> {
    let neff = bench.neff(&kernel_cases::wanted("matmul-tails"));
    bench.log.note(error_of(bench.core.load("half", &neff[..neff.len() / 2])).to_string());
    bench.core.load("whole", &neff).map(drop)
}

/// The program of a case with its inputs written.
fn bound(bench: &Bench, name: &str) -> Result<Bound> {
    kernel_cases::bind(name, &bench.core, &bench.neff(&kernel_cases::wanted(name)))
}

pub fn same_bits(bench: &Bench) -> Result<()> {
    const NAME: &str = "matmul-tails";
    let bound = bound(bench, NAME)?;
    let bits = || -> Result<Vec<u16>> {
        // What the program does not write is not what the run before wrote.
        bound.tensors["out"].fill(0, 0xff, bound.tensors["out"].size_bytes())?;
        bound.run()?;
        Ok(kernel_cases::result(NAME, &bound)?.iter().map(|x| x.to_bits()).collect())
    };
    let first = bits()?;
    for run in 0..100 {
        assert!(bits()? == first, "run {run} gave other bits");
    }
    kernel_cases::check(NAME, &bound)
}

pub fn in_turn(bench: &Bench) -> Result<()> {
    let (matmul, attention) = (bound(bench, "matmul-tails")?, bound(bench, "attention-append")?);
    for _ in 0..10 {
        matmul.run()?;
        attention.run()?;
        kernel_cases::check("matmul-tails", &matmul)?;
        kernel_cases::check("attention-append", &attention)?;
    }
    Ok(())
}

pub fn threads(bench: &Bench) -> Result<()> {
    let all: Vec<Bound> = (0..4).map(|_| bound(bench, "matmul-tails")).collect::<Result<_>>()?;
    let run = |bound: &Bound| -> Result<()> {
        for _ in 0..25 {
            bound.run()?;
            kernel_cases::check("matmul-tails", bound)?;
        }
        Ok(())
    };
    at_once(&all, run)
}

pub fn two_cores(bench: &Bench) -> Result<()> {
    if bench.runtime.n_cores().is_some_and(|n| n < 2) {
        bench.log.note("this process sees one core: not tried (NEURON_RT_VISIBLE_CORES)");
        return Ok(());
    }
    let neff = bench.neff(&kernel_cases::wanted("matmul-tails"));
    let cores = [bench.core.clone(), bench.runtime.core(1)?];
    at_once(&cores, |core| (0..10).try_for_each(|_| kernel_cases::run("matmul-tails", core, &neff)))
}

/// Calls for each in a thread of its own; the first error.
fn at_once<T: Sync>(all: &[T], call: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    std::thread::scope(|scope| {
        let call = &call;
        let threads: Vec<_> = all.iter().map(|one| scope.spawn(move || call(one))).collect();
        threads.into_iter().try_for_each(|t| t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

pub fn program_times(bench: &Bench) -> Result<()> {
    for name in ["matmul-decode", "attention-decode"] {
        let neff = bench.neff(&kernel_cases::wanted(name));
        bench.log.time(&format!("load and unload {name}"), None, 5, || bench.core.load(name, &neff).map(drop))?;
        let bound = bound(bench, name)?;
        bench.log.time(&format!("execute {name}"), None, 200, || bound.run())?;
        kernel_cases::check(name, &bound)?;
    }
    Ok(())
}
