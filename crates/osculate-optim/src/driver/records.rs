//! The state of a driver, in and out.

use super::Driver;
use super::ownership::Ownership;
use crate::curvature::ProductMemory;
use crate::optimizer::StatefulOptimizer;
use crate::record::{NOISE, RecordError, StateRecord};
use crate::vector_state::VectorStore;

const GRADIENT: &str = "gradient";
/// Before the names of what is known of the gradient source's products.
const GRADIENT_PRODUCTS: &str = "gradient_";
const STEP_SIZE: &str = "step_size";
const AVERAGING: &str = "averaging";
/// The vector that the first records of LookSAM name without its role.
const FIRST_VECTORS: [&str; 1] = ["orthogonal"];

impl Driver {
    /// What stands before the names of an update's own counters.
    fn prefix(&self, part: usize) -> String {
        if Some(part) == self.first_rule() {
            String::new()
        } else {
            format!("part{part}-")
        }
    }

    /// The first part that is no burn optimizer: the first records know one.
    fn first_rule(&self) -> Option<usize> {
        self.updates().position(|update| !update.is_burn())
    }

    fn is_composed(&self) -> bool {
        self.updates().nth(1).is_some()
    }

    /// Drops the state of a parameter, in all roles: it starts anew in the next step.
    ///
    /// # Errors
    /// [`RecordError::DtypeLost`] where burn's optimizer could not keep the state of the other parameters
    /// through it.
    pub fn forget(&mut self, path: &str) -> Result<(), RecordError> {
        let table = std::mem::take(&mut self.table);
        let result = self
            .updates_mut()
            .into_iter()
            .try_for_each(|update| update.forget(path, &table));
        self.table = table;
        result?;
        self.gradient_state.forget(path);
        self.step_size_state.forget(path);
        self.averaging_state.forget(path);
        self.ownership.forget(path);
        // What waits to be given back to the other parameters finds their identities in the next step.
        self.signature = Default::default();
        Ok(())
    }
}

impl StatefulOptimizer for Driver {
    fn name(&self) -> &str {
        &self.name
    }

    fn to_record(&self) -> StateRecord {
        let mut record = StateRecord::new(&self.name);
        record.set_count("steps", self.steps);
        if let Some(noise) = self.noise.filter(|noise| *noise != 0) {
            record.set_count(NOISE, noise);
        }
        if let Some(age) = self.age {
            record.set_count("age", age);
        }
        if let Some(age) = self.gradient_age {
            record.set_count("gradient_age", age);
        }
        self.products.write(&mut record, "");
        self.gradient_products.write(&mut record, GRADIENT_PRODUCTS);
        for (part, update) in self.updates().enumerate() {
            update.write(&mut record, &self.prefix(part));
            if self.is_composed() && !update.is_burn() {
                record.set_count(&format!("rule.{}", update.name()), 1);
            }
            if self.is_composed() {
                for path in update.paths() {
                    record.set_count(&format!("{path}#part"), part as u64);
                }
            }
        }
        self.gradient_state.write(&mut record, GRADIENT);
        self.step_size_state.write(&mut record, STEP_SIZE);
        self.averaging_state.write(&mut record, AVERAGING);
        for (name, value) in &self.numbers {
            record.set_optional(&format!("{AVERAGING}.{name}"), Some(*value));
        }
        self.ownership.write(&mut record);
        record
    }

    fn load_record(&mut self, record: StateRecord) -> Result<(), RecordError> {
        record.expect(&self.name)?;
        let steps = record.count("steps")?;
        let first_rule = self.first_rule();
        let mut read = Vec::new();
        for (part, update) in self.updates().enumerate() {
            if self.is_composed() && !update.is_burn() {
                record.count(&format!("rule.{}", update.name()))?;
            }
            let own = |path: &str| match record.count(&format!("{path}#part")) {
                Ok(owner) => owner == part as u64,
                Err(_) => update.is_burn() || Some(part) == first_rule,
            };
            read.push(update.read(&record, &self.prefix(part), &own)?);
        }
        let gradient_state = VectorStore::read(&record, GRADIENT, &FIRST_VECTORS);
        let step_size_state = VectorStore::read(&record, STEP_SIZE, &[]);
        let averaging_state = VectorStore::read(&record, AVERAGING, &[]);
        let paths: Vec<String> = read.iter().flat_map(|update| update.paths()).collect();
        let paths = paths.into_iter().chain(gradient_state.paths());
        self.ownership = Ownership::read(&record, paths.chain(averaging_state.paths()));

        for (update, read) in self.updates_mut().into_iter().zip(read) {
            *update = read;
        }
        self.gradient_state = gradient_state;
        self.step_size_state = step_size_state;
        self.averaging_state = averaging_state;
        self.numbers = record.numbers(AVERAGING);
        self.products = ProductMemory::read(&record, "");
        self.gradient_products = ProductMemory::read(&record, GRADIENT_PRODUCTS);
        self.steps = steps;
        if steps > 0 {
            self.noise = Some(record.count(NOISE).unwrap_or(0));
        } else if self.noise != Some(0) {
            // The run of this record has drawn nothing yet.
            self.noise = None;
        }
        let age = record.count("age").ok();
        // The first records, which do not tell their parameters, have one age: under LookSAM its own.
        let reuses = self.gradient.name() == "looksam" && record.parameters.is_empty();
        self.gradient_age = record.count("gradient_age").ok().or(age.filter(|_| reuses));
        self.age = age.filter(|_| !reuses || record.count("gradient_age").is_ok());
        self.signature = Default::default();
        self.fresh.clear();
        Ok(())
    }

    fn state_bytes(&self) -> usize {
        let updates: usize = self.updates().map(|update| update.num_bytes()).sum();
        updates + self.vector_bytes()
    }
}

impl Driver {
    /// Bytes of the vectors that roles other than the update keep.
    pub(super) fn vector_bytes(&self) -> usize {
        let states = [
            &self.gradient_state,
            &self.step_size_state,
            &self.averaging_state,
        ];
        states.into_iter().map(VectorStore::num_bytes).sum()
    }
}
