//! What this machine is, and how much of it the process may use.

use std::path::{Path, PathBuf};

/// The machine, as reports name it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Machine {
    /// The processor's name, as it tells it.
    pub model_name: String,
    /// Processors of the machine.
    pub n_cores: usize,
    /// Processors that this process may use: affinity and cgroup quota.
    pub threads_allowed: usize,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// Memory that this process may use: the least of the machine's and its cgroups' limits.
    pub memory_limit_bytes: u64,
}

/// Looks at the machine. What the operating system does not tell is `unknown`, or zero bytes.
pub fn machine() -> Machine {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let threads_allowed = std::thread::available_parallelism().map_or(1, usize::from);
    let memory_bytes = memory_bytes();
    Machine {
        model_name: field(&cpuinfo, "model name").unwrap_or("unknown").to_string(),
        n_cores: cpuinfo.lines().filter(|l| l.starts_with("processor")).count().max(threads_allowed),
        threads_allowed,
        memory_bytes,
        memory_limit_bytes: known_least([memory_bytes, cgroup_limits().min().unwrap_or(0)]),
    }
}

/// The least of what is known; 0 is not.
fn known_least(bytes: [u64; 2]) -> u64 {
    bytes.into_iter().filter(|bytes| *bytes > 0).min().unwrap_or(0)
}

/// Bytes of the first processor's data cache of this level; half a MiB where the operating system does not tell.
pub fn cache_bytes(level: usize) -> usize {
    let caches = (0..8).map(|i| PathBuf::from(format!("/sys/devices/system/cpu/cpu0/cache/index{i}")));
    let read =
        |folder: &Path, name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default().trim().to_string();
    let found = caches
        .filter(|folder| read(folder, "level") == level.to_string() && read(folder, "type") != "Instruction")
        .find_map(|folder| read(&folder, "size").strip_suffix('K')?.parse::<usize>().ok());
    found.unwrap_or(512) * 1024
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|l| l.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

fn memory_bytes() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = field(&meminfo, "MemTotal").and_then(|v| v.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Memory limits of this process's cgroup (version 2) and of the groups above it.
fn cgroup_limits() -> impl Iterator<Item = u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = groups.lines().find_map(|l| l.strip_prefix("0::/")).unwrap_or("").to_string();
    let root = PathBuf::from("/sys/fs/cgroup");
    let folders: Vec<PathBuf> = Path::new(&own).ancestors().map(|group| root.join(group)).collect();
    folders.into_iter().filter_map(|folder| {
        let text = std::fs::read_to_string(folder.join("memory.max")).ok()?;
        text.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::known_least;

    #[test]
    fn what_is_not_known_is_no_limit() {
        assert_eq!([[0, 0], [0, 7], [9, 0], [9, 7]].map(known_least), [0, 7, 9, 7]);
    }
}
