//! Checkpoints: written whole or not at all, verified before use.

mod manifest;

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::ModuleRecord;
use osculate_optim::{ClosureOptimizer, StateRecord};

use super::error::TrainerError;
use super::state::State;

const MODEL: &str = "model.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const STATE: &str = "trainer.json";
const FILES: [&str; 3] = [MODEL, OPTIMIZER, STATE];

const PREFIX: &str = "step-";
const WRITING: &str = ".writing";
const DAMAGED: &str = "damaged-";

/// The checkpoints of a run.
pub(crate) struct Checkpoints {
    folder: PathBuf,
}

/// A checkpoint as it was read.
pub(crate) struct Loaded {
    pub(crate) path: PathBuf,
    pub(crate) state: State,
    model: ModuleRecord,
    optimizer: StateRecord,
}

/// The newest whole checkpoint, and what is wrong with those after it.
#[derive(Default)]
pub(crate) struct Newest {
    pub(crate) loaded: Option<Loaded>,
    pub(crate) damaged: Vec<String>,
}

impl Checkpoints {
    /// The checkpoints in a folder, which is made where it does not exist.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, TrainerError> {
        fs::create_dir_all(&folder).map_err(TrainerError::output("create", &folder))?;
        let checkpoints = Self { folder };
        // What a run that was killed had not finished.
        let unfinished = checkpoints.folder.join(WRITING);
        remove(&unfinished)?;
        Ok(checkpoints)
    }

    /// Writes a checkpoint, and removes the oldest beyond `keep`.
    pub(crate) fn save<M: Module>(
        &self,
        model: &M,
        optimizer: &dyn ClosureOptimizer<M>,
        state: &State,
        keep: usize,
    ) -> Result<(), TrainerError> {
        let writing = self.folder.join(WRITING);
        remove(&writing)?;
        fs::create_dir(&writing).map_err(TrainerError::output("create", &writing))?;

        save_model(model, &writing.join(MODEL))?;
        optimizer.to_record().save(&writing.join(OPTIMIZER))?;
        let text = serde_json::to_string_pretty(state).map_err(|error| TrainerError::Output {
            action: "write",
            path: writing.join(STATE).display().to_string(),
            source: error.into(),
        })?;
        let path = writing.join(STATE);
        fs::write(&path, text).map_err(TrainerError::output("write", &path))?;
        manifest::seal(&writing, &FILES).map_err(TrainerError::output("write", &writing))?;
        sync_folder(&writing)?;

        let target = self.path(state.step);
        remove(&target)?;
        fs::rename(&writing, &target).map_err(TrainerError::output("rename", &writing))?;
        sync_folder(&self.folder)?;

        let steps = self.steps()?;
        for step in &steps[..steps.len().saturating_sub(keep)] {
            remove(&self.path(*step))?;
        }
        Ok(())
    }

    /// Reads the newest checkpoint that is whole. Damaged ones after it are put out of the way.
    pub(crate) fn newest(&self) -> Result<Newest, TrainerError> {
        let mut damaged = Vec::new();
        let mut loaded = None;
        let mut steps = self.steps()?;
        while let Some(step) = steps.pop() {
            let path = self.path(step);
            match read(&path) {
                Ok(checkpoint) => {
                    loaded = Some(checkpoint);
                    break;
                }
                Err(reason) => damaged.push((path, reason)),
            }
        }
        // Without a whole one everything stays where it is, for the user to look at.
        if loaded.is_some() {
            for (path, _) in &damaged {
                set_aside(path)?;
            }
        }
        let damaged = damaged
            .into_iter()
            .map(|(path, reason)| format!("{}: {reason}", path.display()))
            .collect();
        Ok(Newest { loaded, damaged })
    }

    fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("{PREFIX}{step:09}"))
    }

    /// Steps of the checkpoints, in ascending order.
    fn steps(&self) -> Result<Vec<u64>, TrainerError> {
        let list = || {
            let mut steps = Vec::new();
            for entry in fs::read_dir(&self.folder)? {
                let name = entry?.file_name();
                let step = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
                steps.extend(step.and_then(|step| step.parse::<u64>().ok()));
            }
            steps.sort_unstable();
            Ok(steps)
        };
        list().map_err(TrainerError::output("list", &self.folder))
    }
}

impl Loaded {
    /// Puts the weights into a model and the state into an optimizer.
    pub(crate) fn restore<M: Module>(
        self,
        model: M,
        optimizer: &mut dyn ClosureOptimizer<M>,
    ) -> Result<(M, State), TrainerError> {
        let misfit = |message: String| TrainerError::Checkpoint {
            path: self.path.display().to_string(),
            message,
        };
        let model = model
            .try_load_record(self.model)
            .map_err(|error| misfit(error.to_string()))?;
        optimizer
            .load_record(self.optimizer)
            .map_err(|error| misfit(error.to_string()))?;
        Ok((model, self.state))
    }
}

/// Writes a model's weights to a file, under a temporary name first.
pub(crate) fn save_model<M: Module>(model: &M, path: &Path) -> Result<(), TrainerError> {
    // burn's running statistics hold their last update back until someone asks for it, and a record
    // does not; going to evaluation mode does.
    model
        .valid()
        .into_record()
        .save(path)
        .map_err(|error| TrainerError::Output {
            action: "write",
            path: path.display().to_string(),
            source: std::io::Error::other(error),
        })
}

fn read(folder: &Path) -> Result<Loaded, String> {
    manifest::verify(folder, &FILES)?;
    let text = fs::read_to_string(folder.join(STATE)).map_err(|error| error.to_string())?;
    let state = serde_json::from_str(&text).map_err(|error| format!("{STATE}: {error}"))?;
    let model =
        ModuleRecord::load(folder.join(MODEL)).map_err(|error| format!("{MODEL}: {error}"))?;
    let optimizer =
        StateRecord::load(&folder.join(OPTIMIZER)).map_err(|error| error.to_string())?;
    Ok(Loaded {
        path: folder.to_path_buf(),
        state,
        model,
        optimizer,
    })
}

/// Renames a damaged checkpoint, so that it is neither read nor counted again.
fn set_aside(path: &Path) -> Result<(), TrainerError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!("{DAMAGED}{name}"));
    remove(&aside)?;
    fs::rename(path, &aside).map_err(TrainerError::output("rename", path))
}

fn remove(folder: &Path) -> Result<(), TrainerError> {
    if !folder.exists() {
        return Ok(());
    }
    fs::remove_dir_all(folder).map_err(TrainerError::output("remove", folder))
}

/// Waits until the disk knows the names in a folder.
fn sync_folder(folder: &Path) -> Result<(), TrainerError> {
    if cfg!(unix) {
        fs::File::open(folder)
            .and_then(|file| file.sync_all())
            .map_err(TrainerError::output("flush", folder))?;
    }
    Ok(())
}
