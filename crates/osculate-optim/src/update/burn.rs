//! burn's optimizers as they are.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use burn::lr_scheduler::module_lr_scheduler::{ModuleLearningRate, ModuleLrScheduler};
use burn::module::{Module, ModuleVisitor, Param, ParamGroup, ParamId};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::Tensor;
use osculate_curvature::{FiniteFlags, ParamEntry, ParamVec, assign, unflatten};
use osculate_jvp::ModulePath;
use osculate_linalg::compute_dtype;

use super::burn_entries::{Entries, FIELD};
use super::wide::{has_half, widened};
use super::{Proposal, ProposalKind, Update, UpdateInput};
use crate::driver::{Expense, StepErrorCause};
use crate::parameter::{Parameter, ParameterTable};
use crate::record::{RecordError, StateRecord};

/// Any burn optimizer, with its state keyed by path in records instead of by program-wide identity, and
/// in `F32` for parameters in half precision.
#[derive(Clone)]
pub(crate) struct BurnUpdate {
    optimizer: ModuleOptimizer,
    /// The optimizer before its first step, to load records into.
    pristine: ModuleOptimizer,
    /// A loaded state that waits for the model which tells the identities of its paths.
    pending: Option<Entries>,
    /// The identities of the parameters whose state is kept. burn keeps that of dead ones too.
    live: BTreeMap<String, ParamId>,
    /// Elements of these parameters.
    elements: usize,
    /// Bytes of state for each element, measured on a tensor of two.
    bytes_per_element: OnceLock<f64>,
}

impl std::fmt::Debug for BurnUpdate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BurnUpdate").finish_non_exhaustive()
    }
}

/// A burn optimizer before a step.
pub(crate) struct Snapshot {
    optimizer: ModuleOptimizer,
    live: BTreeMap<String, ParamId>,
    elements: usize,
}

/// A parameter on which the size of a state is measured.
#[derive(Module, Debug)]
struct Tiny {
    weight: Param<Tensor<1>>,
}

impl BurnUpdate {
    pub(crate) fn new(optimizer: ModuleOptimizer) -> Self {
        Self {
            pristine: optimizer.clone(),
            optimizer,
            pending: None,
            live: BTreeMap::new(),
            elements: 0,
            bytes_per_element: OnceLock::new(),
        }
    }

    /// Gives a loaded state to the model's identities. State of a parameter of another shape is dropped;
    /// the paths of these come back.
    pub(crate) fn load_pending(
        &mut self,
        table: &ParameterTable,
    ) -> Result<Vec<String>, RecordError> {
        let Some(mut entries) = self.pending.clone() else {
            return Ok(Vec::new());
        };
        let mut dropped = Vec::new();
        for path in entries.paths() {
            if let Some((_, parameter)) = table.get(&path)
                && !entries.fits(&path, &parameter.shape)
            {
                entries.forget(&path);
                dropped.push(path);
            } else if let Some((_, parameter)) = table.get(&path) {
                entries.check_dtype(&path, compute_dtype(parameter.dtype))?;
            }
        }
        let record = entries.to_burn(|path| table.get(path).map(|(id, _)| id.val()))?;
        self.optimizer = self.pristine.clone().load_record(record);
        let paths = entries.paths().into_iter();
        self.live = paths
            .filter_map(|path| table.get(&path).map(|(id, _)| (path, *id)))
            .collect();
        let known = self.live.keys().filter_map(|path| table.get(path));
        self.elements = known.map(|(_, parameter)| parameter.num_elements()).sum();
        self.pending = None;
        Ok(dropped)
    }

    /// Updates the model's weights with a gradient, leaving out the parameters that `finite` flags.
    ///
    /// burn's optimizers change their state in every update they make, so parameters can only be
    /// left out before, on the host: the flags are read back, all in one transfer.
    pub(crate) fn step<M: Module>(
        &mut self,
        lr: ModuleLearningRate,
        model: M,
        gradient: &ParamVec,
        finite: Option<&FiniteFlags>,
    ) -> M {
        let mut converter = Converter {
            path: ModulePath::default(),
            gradient,
            finite: finite.map(FiniteFlags::to_vec),
            next: 0,
            gradients: GradientsParams::new(),
            tied: false,
            seen: Vec::new(),
        };
        model.visit(&mut converter);
        let Converter {
            gradients,
            tied,
            finite,
            ..
        } = converter;
        for (index, entry) in gradient.layout().entries().iter().enumerate() {
            let updated = finite.as_ref().is_none_or(|finite| finite[index]);
            if updated && self.live.get(&entry.path) != Some(&entry.id) {
                self.live.insert(entry.path.clone(), entry.id);
                self.elements += entry.num_elements();
            }
        }
        let half = has_half(gradient.layout());
        let before = (tied || half).then(|| model.clone());
        let model = match half {
            true => widened(model, gradient.layout()),
            false => model,
        };
        let model = self.optimizer.step(lr, model, gradients);
        match before {
            // burn updates the first of several parameters with one identity only, and wide copies of
            // half-precision parameters.
            Some(before) => {
                let values = ParamVec::of_module(&model, gradient.layout());
                assign(before, &values)
            }
            None => model,
        }
    }

    /// What a step changes.
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            optimizer: self.optimizer.clone(),
            live: self.live.clone(),
            elements: self.elements,
        }
    }

    /// Undoes a step.
    pub(crate) fn restore(&mut self, before: Snapshot) {
        let Snapshot {
            optimizer,
            live,
            elements,
        } = before;
        (self.optimizer, self.live, self.elements) = (optimizer, live, elements);
    }

    /// The rate of each parameter of a vector as burn takes it.
    pub(crate) fn rates(vector: &ParamVec, lrs: &[f64]) -> ModuleLearningRate {
        let base = lrs.first().copied().unwrap_or(0.0);
        let mut scheduler = ModuleLrScheduler::new(base);
        let mut paths: Vec<(f64, Vec<String>)> = Vec::new();
        for (entry, &lr) in vector.layout().entries().iter().zip(lrs) {
            if lr.to_bits() == base.to_bits() {
                continue;
            }
            match paths.iter_mut().find(|(own, _)| *own == lr) {
                Some((_, paths)) => paths.push(entry.path.clone()),
                None => paths.push((lr, vec![entry.path.clone()])),
            }
        }
        for (lr, paths) in paths {
            scheduler = scheduler.with_group(ParamGroup::from_paths(paths), lr);
        }
        scheduler.step()
    }

    /// Bytes of the state by its size on a tensor of two elements: counting would read it back.
    pub(crate) fn estimated_bytes(&self, like: &ParamVec) -> usize {
        let first = like.layout().entries().first();
        first.map_or(0, |entry| self.bytes_of(self.elements, entry))
    }

    fn bytes_of(&self, elements: usize, entry: &ParamEntry) -> usize {
        let per_element = self.bytes_per_element.get_or_init(|| {
            let dtype = entry.compute_dtype();
            let at = (&entry.device, dtype);
            let id = ParamId::new();
            // burn takes the tensor out of autodiff, so it must be in it.
            let tracked = (&entry.device.clone().autodiff(), dtype);
            let weight = Param::initialized(id, Tensor::<1>::ones([2], tracked));
            let mut gradients = GradientsParams::new();
            gradients.register(id, Tensor::<1>::ones([2], at));
            let mut optimizer = self.pristine.clone();
            optimizer.step(0.0, Tiny { weight }, gradients);
            let entries = Entries::from_burn(optimizer.to_record(), |_, _| true);
            if let Err(error) = self.check_reload(&entries) {
                tracing::warn!(%error, "the state of this optimizer can be kept, but not loaded again");
            }
            entries.num_bytes() as f64 / 2.0
        });
        (per_element * elements as f64) as usize
    }

    fn entries(&self) -> Entries {
        match &self.pending {
            Some(entries) => entries.clone(),
            None => Entries::from_burn(self.optimizer.to_record(), |path, id| {
                let live = self.live.get(path);
                live.is_some_and(|live| live.val().to_string() == id)
            }),
        }
    }

    /// Whether a state comes through burn's own records as it is.
    fn check_reload(&self, entries: &Entries) -> Result<(), RecordError> {
        let paths = entries.paths();
        let number = |path: &str| {
            let position = paths.iter().position(|known| known == path)?;
            Some(position as u64 + 1)
        };
        let record = entries.to_burn(number)?;
        let optimizer = self.pristine.clone();
        // burn panics on ranks that its record and its tensors do not agree in.
        let load = AssertUnwindSafe(|| optimizer.load_record(record).to_record());
        let loaded = catch_unwind(load).map_err(|_| RecordError::Format {
            message: "the base optimizer cannot load it: its numbers and tensors do not agree"
                .to_string(),
        })?;
        let loaded = Entries::from_burn(loaded, |_, _| true);
        entries.check_taken_over(&loaded)
    }
}

impl Update for BurnUpdate {
    fn name(&self) -> &str {
        "first-order"
    }

    fn clone_box(&self) -> Box<dyn Update> {
        Box::new(self.clone())
    }

    fn prepare(&mut self, _: UpdateInput<'_>) -> Result<Proposal, StepErrorCause> {
        Ok(Proposal {
            kind: ProposalKind::OnModel,
            hold: None,
            flags: None,
            unclipped: Vec::new(),
            solver_failures: 0,
            refreshed: false,
        })
    }

    fn discard(&mut self) {}

    fn commit(&mut self, _: Option<&FiniteFlags>) {}

    fn as_burn(&mut self) -> Option<&mut BurnUpdate> {
        Some(self)
    }

    fn is_burn(&self) -> bool {
        true
    }

    fn forget(&mut self, path: &str, table: &ParameterTable) -> Result<(), RecordError> {
        if let Some(entries) = &mut self.pending {
            entries.forget(path);
            return Ok(());
        }
        let Some(id) = self.live.get(path).copied() else {
            return Ok(());
        };
        let mut entries = self.entries();
        entries.forget(path);
        match self.check_reload(&entries) {
            Ok(()) => {
                self.optimizer = self.pristine.clone();
                self.live.clear();
                self.elements = 0;
                self.pending = Some(entries);
                Ok(())
            }
            // Under its old identity the state would be used again.
            Err(error) if table.entries.iter().any(|(own, _)| *own == id) => Err(error),
            // The state of a dead identity stays in memory, where burn would round the others.
            Err(_) => {
                self.live.remove(path);
                Ok(())
            }
        }
    }

    fn paths(&self) -> Vec<String> {
        match &self.pending {
            Some(entries) => entries.paths(),
            None => self.live.keys().cloned().collect(),
        }
    }

    fn num_bytes(&self) -> usize {
        self.entries().num_bytes()
    }

    fn expenses(&self, entries: &[ParamEntry], _: &[Parameter]) -> Vec<Expense> {
        let each = entries.iter().map(|entry| Expense {
            path: entry.path.clone(),
            bytes: self.bytes_of(entry.num_elements(), entry),
            refresh: 0.0,
        });
        each.collect()
    }

    fn write(&self, record: &mut StateRecord, _: &str) {
        let entries = self.entries();
        record.tensors.extend(entries.tensors);
        record.scalars.extend(entries.scalars);
    }

    /// The state is loaded once into a copy and compared, because burn drops or converts what it
    /// cannot rebuild without saying so.
    fn read(
        &self,
        record: &StateRecord,
        _: &str,
        own: &dyn Fn(&str) -> bool,
    ) -> Result<Box<dyn Update>, RecordError> {
        let own = |name: &String| {
            name.rsplit_once('#')
                .is_some_and(|(path, field)| field.starts_with(FIELD) && own(path))
        };
        let mut entries = Entries::default();
        for (name, data) in record.tensors.iter().filter(|(name, _)| own(name)) {
            entries.tensors.insert(name.clone(), data.clone());
        }
        for (name, value) in record.scalars.iter().filter(|(name, _)| own(name)) {
            entries.scalars.insert(name.clone(), *value);
        }
        entries.widen();
        self.check_reload(&entries)?;
        Ok(Box::new(Self {
            pending: Some(entries),
            ..Self::new(self.pristine.clone())
        }))
    }
}

/// Turns a vector into burn's gradient container, which is keyed by identity and typed by rank.
struct Converter<'a> {
    path: ModulePath,
    gradient: &'a ParamVec,
    finite: Option<Vec<bool>>,
    next: usize,
    gradients: GradientsParams,
    seen: Vec<ParamId>,
    tied: bool,
}

impl ModuleVisitor for Converter<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let index = self.next;
        let Some(entry) = self.gradient.layout().entries().get(index) else {
            self.tied |= self.seen.contains(&param.id);
            return;
        };
        if entry.path != self.path.as_str() {
            self.tied |= self.seen.contains(&param.id);
            return;
        }
        self.next += 1;
        self.seen.push(param.id);
        if self.finite.as_ref().is_none_or(|finite| finite[index]) {
            let tensor = self.gradient.tensors()[index].clone();
            let tensor = tensor.cast(entry.compute_dtype());
            let tensor = unflatten::<D>(tensor, entry.shape.clone());
            self.gradients.register(param.id, tensor);
        }
    }
}
