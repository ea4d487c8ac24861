//! The cases of device memory. They assert; a panic or an error is the case's failure.

use half::bf16;
use longhaul::error::Fault;
use longhaul::neuron::Result;
use longhaul::neuron::device::DeviceTensor;

use crate::bench::Bench;

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
    let size = bench.core.memory().map_or(1 << 42, |m| m.limit_bytes.saturating_add(1 << 30));
    let size = usize::try_from(size).expect("64 bits");
    let error = bench.core.allocate("too large", size).expect_err("more than there is");
    bench.log.note(error.to_string());
    assert_eq!(error.fault(), Fault::OutOfMemory, "{error}");
    let tensor = bench.core.allocate("small", 4096)?;
    tensor.write(0, &[1; 4096])
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
