//! What is known of the products of earlier steps.

use std::sync::Arc;

use osculate_curvature::{HvpFallback, Provenance};

use crate::record::StateRecord;

/// What the products of a step have shown.
#[derive(Debug, Clone, Default)]
pub(crate) struct Found {
    /// The finite-difference step to begin with next time.
    pub last_step: Option<f64>,
    /// How the products were made, the worst of them; `None` where there were none.
    pub provenance: Option<Provenance>,
    /// Why they were no exact products of the Hessian, where they were not.
    pub fallback: Option<Arc<str>>,
    pub kinks: Kinks,
}

impl Found {
    /// What is known before a step.
    pub(crate) fn before(memory: &ProductMemory) -> Self {
        Self {
            last_step: memory.last_step,
            kinks: memory.kinks,
            ..Self::default()
        }
    }

    /// Takes over what later products of the step have shown.
    pub(crate) fn update(&mut self, later: Found) {
        // Who made no product found nothing.
        if later.provenance.is_some() {
            let kinks = match later.kinks {
                Kinks::Unknown => self.kinks,
                known => known,
            };
            *self = Found { kinks, ..later };
        }
    }
}

/// Whether differences of gradients see kinks of the network.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Kinks {
    /// No difference has been judged.
    #[default]
    Unknown,
    /// Not to speak of.
    Few,
    /// They spoil the products.
    Many,
}

/// What must survive from one Hessian product to the next.
#[derive(Debug, Default)]
pub(crate) struct ProductMemory {
    /// The finite-difference step that worked last: looking for it anew at every estimate would cost
    /// two forward passes. It is part of the state, or a resumed run would differ.
    last_step: Option<f64>,
    /// Why exact products are not possible, once that is known.
    pub(super) fallback: HvpFallback,
    /// Whether that was known after the last step that was made. It is part of the state too.
    differences: bool,
    /// Part of the state as well.
    kinks: Kinks,
}

impl Clone for ProductMemory {
    /// By value: a clone may step another model, of which exact products are possible.
    fn clone(&self) -> Self {
        let fallback = match self.fallback.reason() {
            Some(reason) => HvpFallback::decided(reason),
            None => HvpFallback::default(),
        };
        Self { fallback, ..*self }
    }
}

impl ProductMemory {
    /// Forgets what was found out in a step that was not made.
    pub(crate) fn discard(&mut self) {
        if !self.differences && self.fallback.reason().is_some() {
            self.fallback = HvpFallback::default();
        }
    }

    /// Takes over what a step found, once it has been made.
    pub(crate) fn commit(&mut self, found: &Found) {
        self.last_step = found.last_step;
        self.kinks = found.kinks;
        self.differences = self.fallback.reason().is_some();
    }

    pub(crate) fn last_step(&self) -> Option<f64> {
        self.last_step
    }

    pub(crate) fn kinks(&self) -> Kinks {
        self.kinks
    }

    /// `role` stands before the names.
    pub(crate) fn write(&self, record: &mut StateRecord, role: &str) {
        let name = |name: &str| format!("{role}{name}");
        record.set_optional(&name("finite_difference_step"), self.last_step);
        let differences = self.differences.then_some(1.0);
        record.set_optional(&name("finite_differences"), differences);
        // What else is known of differences says that there are few.
        let known = self.differences || self.last_step.is_some();
        let kinks = match self.kinks {
            Kinks::Few if !known => Some(0.0),
            Kinks::Unknown | Kinks::Few => None,
            Kinks::Many => Some(1.0),
        };
        record.set_optional(&name("kinks"), kinks);
    }

    pub(crate) fn read(record: &StateRecord, role: &str) -> Self {
        let find = |name: &str| record.optional(&format!("{role}{name}"));
        let last_step = find("finite_difference_step");
        let differences = find("finite_differences").is_some();
        Self {
            last_step,
            fallback: if differences {
                HvpFallback::decided("products were not exact before the run was resumed")
            } else {
                HvpFallback::default()
            },
            differences,
            kinks: match find("kinks") {
                Some(kinks) if kinks > 0.0 => Kinks::Many,
                Some(_) => Kinks::Few,
                // A run of differences that judged none goes on as it began.
                None if differences || last_step.is_some() => Kinks::Few,
                None => Kinks::Unknown,
            },
        }
    }
}
