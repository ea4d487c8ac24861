//! The cases of the device layer. They assert; a panic or an error is the case's failure.

use std::ffi::CStr;

use half::bf16;
use longhaul::error::Fault;
use longhaul::neuron::device::DeviceTensor;
use longhaul::neuron::nrt::{Nrt, OPTIONAL_SYMBOLS, Placement, STATUSES, Status, Usage};
use longhaul::neuron::{NeuronError, Result, inspect};
use serde_json::json;

use crate::bench::{Bench, Log};
use crate::kernel_cases;
use crate::programs::Bound;

const TENSOR: &CStr = c"suite";

pub fn library(nrt: &Nrt, log: &Log) -> Result<()> {
    let found = inspect()?;
    let family = found.instance.as_ref().ok().and_then(|i| i.family_name());
    let mut facts = serde_json::to_value(&found).expect("text and numbers have a JSON form");
    facts["family"] = json!(family);
    log.set_facts(facts);
    if found.sdk.is_none() {
        log.note(format!("version {} is not known here", found.version));
    }
    log.note(format!(
        "lacks {} of {} optional functions: {:?}",
        found.missing_symbols.len(),
        OPTIONAL_SYMBOLS.len(),
        found.missing_symbols
    ));
    for (what, error) in
        [("the instance", found.instance.as_ref().err()), ("cores", found.visible_cores.as_ref().err())]
    {
        if let Some(error) = error {
            log.note(format!("does not tell {what}: {error}"));
        }
    }
    // Its names of statuses against ours; they are for people, so another spelling is no failure.
    for info in STATUSES {
        match nrt.status_text(Status(info.code)) {
            Ok(text) if text != info.name => {
                log.note(format!("status {} is {text:?} there, {} here", info.code, info.name))
            }
            _ => {}
        }
    }
    Ok(())
}

pub fn before_init(nrt: &Nrt, log: &Log) -> Result<()> {
    let result = nrt.tensor_allocate(Placement::Device(0), 64, TENSOR);
    log.note(format!("nrt_tensor_allocate: {}", error_of(result)));
    Ok(())
}

pub fn start(bench: &Bench) -> Result<()> {
    bench.log.note(format!("logical cores of this process: {:?}", bench.runtime.n_cores()));
    match bench.core.memory() {
        Ok(memory) => {
            bench.log.note(format!("memory of core 0: {} of {} bytes in use", memory.used_bytes, memory.limit_bytes));
            assert!(memory.used_bytes <= memory.limit_bytes && memory.limit_bytes > 0, "{memory:?}");
            let size = 64 << 20;
            let tensor = bench.core.allocate("suite", size)?;
            let more = bench.core.memory()?.used_bytes.saturating_sub(memory.used_bytes);
            drop(tensor);
            let left = bench.core.memory()?.used_bytes.saturating_sub(memory.used_bytes);
            bench.log.note(format!("{size} bytes more: {more} more in use, {left} after they were freed"));
        }
        Err(missing @ NeuronError::MissingSymbol { .. }) => bench.log.note(missing.to_string()),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Bytes that differ from place to place and from tensor to tensor.
fn pattern(seed: usize, n_bytes: usize) -> Vec<u8> {
    (0..n_bytes).map(|i| ((i * 167 + i / 251 + seed * 91) % 256) as u8).collect()
}

fn contents(tensor: &DeviceTensor) -> Result<Vec<u8>> {
    let mut bytes = vec![0; tensor.size_bytes()];
    tensor.read(0, &mut bytes)?;
    Ok(bytes)
}

/// Not `assert_eq`, whose message would be megabytes.
fn assert_same(got: &[u8], want: &[u8], what: &str) {
    let differ = got.iter().zip(want).position(|(a, b)| a != b);
    assert!(got.len() == want.len() && differ.is_none(), "{what}: byte {differ:?} of {} differs", want.len());
}

pub fn tensors(bench: &Bench) -> Result<()> {
    let sizes = [1, 3, 64, 100, 4096, 65_537, 1 << 20, (16 << 20) + 5];
    let tensors: Vec<DeviceTensor> =
        sizes.iter().map(|size| bench.core.allocate("suite", *size)).collect::<Result<_>>()?;
    for (seed, tensor) in tensors.iter().enumerate() {
        tensor.write(0, &pattern(seed, tensor.size_bytes()))?;
    }
    // After all of them were written: none lies in another.
    for (seed, tensor) in tensors.iter().enumerate() {
        let mut want = pattern(seed, tensor.size_bytes());
        assert_same(&contents(tensor)?, &want, &format!("tensor of {}", want.len()));
        let (at, part) = (want.len() / 3, pattern(seed + 50, want.len() / 2));
        tensor.write(at, &part)?;
        want[at..at + part.len()].copy_from_slice(&part);
        assert_same(&contents(tensor)?, &want, &format!("part of a tensor of {}", want.len()));
        let mut some = vec![0; want.len() - at];
        tensor.read(at, &mut some)?;
        assert_same(&some, &want[at..], &format!("read from {at} of {}", want.len()));
    }
    let numbers: Vec<bf16> = (0..100).map(|i| bf16::from_f32(i as f32 / 4.0)).collect();
    let mut back = vec![bf16::ZERO; 100];
    tensors[4].write_elements(7, &numbers)?;
    tensors[4].read_elements(7, &mut back)?;
    assert_eq!(back, numbers);
    Ok(())
}

pub fn slices(bench: &Bench) -> Result<()> {
    let tensor = bench.core.allocate("suite", 8192)?;
    let mut want = pattern(1, 8192);
    tensor.write(0, &want)?;
    let slice = tensor.slice("slice", 1024, 4096)?;
    let inner = slice.slice("slice of it", 512, 64)?;
    assert_same(&contents(&slice)?, &want[1024..5120], "slice");
    assert_same(&contents(&inner)?, &want[1536..1600], "slice of a slice");
    inner.write(0, &[7; 64])?;
    want[1536..1600].fill(7);
    assert_same(&contents(&tensor)?, &want, "tensor whose slice was written");
    drop((tensor, slice));
    assert_same(&contents(&inner)?, &[7; 64], "slice whose tensor was dropped");
    Ok(())
}

pub fn copy(bench: &Bench) -> Result<()> {
    let (from, to) = (bench.core.allocate("from", 1 << 20)?, bench.core.allocate("to", 1 << 20)?);
    let (source, mut want) = (pattern(1, 1 << 20), pattern(2, 1 << 20));
    from.write(0, &source)?;
    to.write(0, &want)?;
    for (at, source_at, size) in [(0, 0, 4096), (8192, 100, 1), (10_001, 3, 777), (65_536, 0, 512 << 10)] {
        to.copy_from(at, &from, source_at, size)?;
        want[at..at + size].copy_from_slice(&source[source_at..source_at + size]);
        assert_same(&contents(&to)?, &want, &format!("copy of {size} from {source_at} to {at}"));
    }
    to.copy_from(0, &to, 700_000, 5000)?;
    want.copy_within(700_000..705_000, 0);
    assert_same(&contents(&to)?, &want, "copy inside of a tensor");
    assert_same(&contents(&from)?, &source, "source");
    Ok(())
}

pub fn fill(bench: &Bench) -> Result<()> {
    let tensor = bench.core.allocate("suite", 1 << 16)?;
    let mut want = pattern(3, 1 << 16);
    tensor.write(0, &want)?;
    for (at, value, size) in [(0, 0, 1), (5, 0xff, 3), (4096, 0x80, 4096), (20_000, 1, 40_000)] {
        tensor.fill(at, value, size)?;
        want[at..at + size].fill(value);
        assert_same(&contents(&tensor)?, &want, &format!("fill of {size} from {at}"));
    }
    Ok(())
}

pub fn many_tensors(bench: &Bench) -> Result<()> {
    for round in 0..20 {
        let tensors: Vec<DeviceTensor> =
            (0..50).map(|i| bench.core.allocate("suite", 1000 + 4096 * i)).collect::<Result<_>>()?;
        let sets: Vec<_> = (0..20).map(|_| bench.core.tensor_set()).collect::<Result<_>>()?;
        let last = tensors.last().expect("there are fifty");
        last.write(0, &pattern(round, 100))?;
        drop(sets);
    }
    Ok(())
}

pub fn out_of_memory(bench: &Bench) -> Result<()> {
    // A core's share is smaller than this on every instance that there is.
    let size = bench.core.memory().map_or(1 << 42, |m| m.limit_bytes + (1 << 30));
    let size = usize::try_from(size).expect("64 bits");
    let error = bench.core.allocate("too large", size).expect_err("more than there is");
    bench.log.note(error.to_string());
    assert_eq!(error.fault(), Fault::OutOfMemory, "{error}");
    let tensor = bench.core.allocate("small", 4096)?;
    tensor.write(0, &[1; 4096])
}

pub fn no_such_core(bench: &Bench) -> Result<()> {
    let library = bench.runtime.library();
    bench.log.note(format!(
        "nrt_tensor_allocate: {}",
        error_of(library.tensor_allocate(Placement::Device(4095), 64, TENSOR))
    ));
    bench.log.note(format!("nrt_get_vnc_memory_stats: {}", error_of(library.memory_stats(4095))));
    bench.core.allocate("afterwards", 64)?.write(0, &[1; 64])
}

/// The error of a call that must fail, and not so that the device is lost.
fn error_of<T: std::fmt::Debug>(result: Result<T>) -> NeuronError {
    let error = result.expect_err("it must fail");
    assert!(!error.fault().is_fatal(), "{error}");
    error
}

pub fn no_program(bench: &Bench) -> Result<()> {
    let text = b"this is no program, ".repeat(200);
    bench.log.note(format!("{}", error_of(bench.core.load("text", &text))));
    bench.log.note(format!("{}", error_of(bench.core.load("zeros", &[0; 4096]))));
    bench.core.allocate("afterwards", 64)?.write(0, &[1; 64])
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
    bench.log.note(format!("{}", error_of(bench.core.load("half", &neff[..neff.len() / 2]))));
    bench.core.load("whole", &neff).map(drop)
}

/// The program of a case with its inputs written.
fn bound(bench: &Bench, name: &str) -> Result<Bound> {
    kernel_cases::bind(name, &bench.core, &bench.neff(&kernel_cases::wanted(name)))
}

pub fn same_bits(bench: &Bench) -> Result<()> {
    let bound = bound(bench, "matmul-tails")?;
    bound.run()?;
    let first: Vec<bf16> = bound.read("out")?;
    for run in 0..100 {
        bound.tensors["out"].fill(0, 0xff, bound.tensors["out"].size_bytes())?;
        bound.run()?;
        let bits = |x: &[bf16]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(&bound.read("out")?) == bits(&first), "run {run} gave other bits");
    }
    kernel_cases::check("matmul-tails", &bound)
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

pub fn transfer_times(bench: &Bench) -> Result<()> {
    for (name, size, n) in [("4 KiB", 4 << 10, 200), ("1 MiB", 1 << 20, 50), ("64 MiB", 64 << 20, 5)] {
        let (tensor, other) = (bench.core.allocate("suite", size)?, bench.core.allocate("other", size)?);
        let mut bytes = pattern(1, size);
        let log = bench.log;
        log.time(&format!("write {name}"), Some(size), n, || tensor.write(0, &bytes))?;
        log.time(&format!("read {name}"), Some(size), n, || tensor.read(0, &mut bytes))?;
        log.time(&format!("copy {name} on the device"), Some(size), n, || other.copy_from(0, &tensor, 0, size))?;
    }
    bench.log.time("allocate and free 1 MiB", None, 50, || bench.core.allocate("suite", 1 << 20).map(drop))
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
