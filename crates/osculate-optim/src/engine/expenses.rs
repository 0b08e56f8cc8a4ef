//! What a block rule will keep of parameters and spend on them.

use osculate_curvature::ParamEntry;

use super::rule::BlockRule;
use super::units::units;
use crate::driver::Expense;
use crate::parameter::Parameter;

/// One for each unit of blocks.
pub(crate) fn expenses<R: BlockRule>(
    rule: &R,
    entries: &[ParamEntry],
    parameters: &[Parameter],
) -> Vec<Expense> {
    let units = units(rule, entries, parameters).into_iter();
    let each = units.map(|unit| {
        let entry = &entries[unit.members[0]];
        let compute = entry.compute_dtype();
        let (mut bytes, mut refresh) = (0, 0.0);
        for group in unit.partition.groups() {
            if group.num_elements() == 0 {
                continue;
            }
            let sizes = rule.fields(&group.dims, compute).into_iter().map(|field| {
                let kept = match entry.device.supports_dtype(field.dtype) {
                    true => field.dtype,
                    false => compute,
                };
                field.len * kept.size()
            });
            bytes += group.count * sizes.sum::<usize>();
            refresh += group.count as f64 * rule.refresh_multiplications(&group.dims);
        }
        Expense {
            path: unit.key,
            bytes,
            refresh,
        }
    });
    each.collect()
}
