//! The `osculate` command.

use std::process::ExitCode;

use mimalloc::MiMalloc;
use osculate_bench::workload::Workloads;

/// Training frees and asks for the same large blocks in every step; glibc gives them back to the system and
/// faults them in again.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    osculate_bench::command::run(Workloads::built_in())
}
