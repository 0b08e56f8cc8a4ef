use burn::module::Module;

use crate::bound::Bound;
use crate::error::JvpError;
use crate::program::Program;
use crate::tensors::Tensors;

/// Programs of one function, by the shapes and element types that it was called with.
///
/// Loaders give a shorter batch at the end of an epoch, and evaluation uses batches of another
/// size: with a cache each is recorded once. Keep one cache for each function: what the function
/// computes is not compared, and neither are the constants that it was recorded with.
///
/// ```
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Device, Tensor};
/// use osculate_jvp::ProgramCache;
///
/// let device = Device::flex();
/// let model: Linear = LinearConfig::new(3, 2).init(&device);
/// let mut cache = ProgramCache::new(8);
/// for rows in [4, 4, 3, 4] {
///     let x = Tensor::<2>::ones([rows, 3], &device);
///     cache.bind(&model, &x, |model: &Linear, x| model.forward(x.clone()).mean())?;
/// }
/// assert_eq!(cache.len(), 2);
/// # Ok::<(), osculate_jvp::JvpError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ProgramCache {
    /// The most recently used last.
    programs: Vec<Program>,
    capacity: usize,
}

impl ProgramCache {
    /// A cache of at most `capacity` programs, and of at least one.
    pub fn new(capacity: usize) -> Self {
        Self {
            programs: Vec::new(),
            capacity: capacity.max(1),
        }
    }

    /// Number of programs kept.
    pub fn len(&self) -> usize {
        self.programs.len()
    }

    /// Whether nothing was recorded yet.
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    /// The function at these weights and inputs. It is recorded if no kept program fits; the
    /// program that was not used for longest makes room.
    ///
    /// # Errors
    /// As [`Program::record`].
    pub fn bind<M, I, O>(
        &mut self,
        module: &M,
        inputs: &I,
        f: impl FnOnce(&M, &I) -> O,
    ) -> Result<Bound, JvpError>
    where
        M: Module,
        I: Tensors,
        O: Tensors,
    {
        for index in (0..self.programs.len()).rev() {
            match self.programs[index].bind(module, inputs) {
                Ok(bound) => {
                    let program = self.programs.remove(index);
                    self.programs.push(program);
                    return Ok(bound);
                }
                Err(JvpError::Mismatch { .. } | JvpError::Count { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let program = Program::record(module, inputs, f)?;
        let bound = program.bind(module, inputs)?;
        if self.programs.len() == self.capacity {
            self.programs.remove(0);
        }
        self.programs.push(program);
        Ok(bound)
    }
}
