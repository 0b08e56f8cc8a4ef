//! Whether this process, and so every program that it starts, ignores `SIGHUP`.

/// As under `nohup`, where a program must not end on it.
pub fn is_ignored() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // SIGHUP is the signal of number 1.
    mask.is_some_and(|mask| mask & 1 == 1)
}
