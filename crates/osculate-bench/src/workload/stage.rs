/// What a workload is trained for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Stage {
    /// Runs that are reported.
    #[default]
    Report,
    /// The search for learning rates, which must not see what reported runs are measured on.
    Tuning,
}
