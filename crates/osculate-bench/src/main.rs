//! The `osculate` command.

use std::process::ExitCode;

use osculate_bench::workload::Workloads;

fn main() -> ExitCode {
    osculate_bench::command::run(Workloads::built_in())
}
