//! The variables that the runtime reads.

/// The indices of the instance's logical cores that this process sees, in order; `None` if `NEURON_RT_VISIBLE_CORES` is
/// not what AWS documents: a list of indices and inclusive ranges, consecutive.
pub fn visible_cores() -> Option<Vec<u32>> {
    let total = total_cores();
    let Some(text) = set("NEURON_RT_VISIBLE_CORES") else {
        let n = set("NEURON_RT_NUM_CORES").map_or(Some(total), |n| n.parse().ok())?;
        return (n <= total).then(|| (0..n).collect());
    };
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        cores.extend(first..=last);
    }
    let consecutive = cores.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    (consecutive && cores.iter().all(|core| *core < total)).then_some(cores)
}

/// Logical cores of the instance.
pub fn total_cores() -> u32 {
    set("FAKE_NRT_CORES").and_then(|n| n.parse().ok()).unwrap_or(8)
}

/// Bytes of a core's memory.
pub fn hbm_bytes() -> u64 {
    set("FAKE_NRT_HBM").and_then(|n| n.parse().ok()).unwrap_or(1 << 30)
}

/// Physical cores of a logical one, if the process says.
pub fn lnc() -> Option<u32> {
    set("NEURON_LOGICAL_NC_CONFIG").and_then(|n| n.parse().ok())
}

/// What goes wrong from the start.
pub fn faults() -> String {
    set("FAKE_NRT_FAULTS").unwrap_or_default()
}

fn set(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
