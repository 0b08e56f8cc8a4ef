//! Checkpoints: written whole or not at all, verified before use.

mod manifest;

use std::fs;
use std::path::{Path, PathBuf};

use burn::module::Module;
use burn::store::ModuleRecord;
use osculate_optim::{ClosureOptimizer, StateRecord, settled};

use super::error::TrainerError;
use super::state::State;

const MODEL: &str = "model.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const STATE: &str = "trainer.json";
/// The weights at the best evaluation, where there was one.
const BEST: &str = "best.bpk";
const FILES: [&str; 3] = [MODEL, OPTIMIZER, STATE];

const PREFIX: &str = "step-";
const WRITING: &str = ".writing";
const DAMAGED: &str = "damaged-";
const REPLACED: &str = ".replaced-";

/// The checkpoints of a run.
pub(crate) struct Checkpoints {
    folder: PathBuf,
}

/// A checkpoint as it was read.
pub(crate) struct Loaded {
    pub(crate) path: PathBuf,
    pub(crate) state: State,
    /// File of the weights at the best evaluation that the state names.
    pub(crate) best: Option<PathBuf>,
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
        remove(&checkpoints.folder.join(WRITING))?;
        checkpoints.restore_replaced()?;
        Ok(checkpoints)
    }

    /// Writes a checkpoint, and removes the oldest beyond `keep`. `best` is the file of the weights at
    /// the best evaluation, where the state names one.
    pub(crate) fn save<M: Module>(
        &self,
        model: &M,
        optimizer: &dyn ClosureOptimizer<M>,
        state: &State,
        best: &Path,
        keep: usize,
    ) -> Result<(), TrainerError> {
        let writing = self.folder.join(WRITING);
        remove(&writing)?;
        fs::create_dir(&writing).map_err(TrainerError::output("create", &writing))?;
        fill(&writing, model, optimizer, state, best).inspect_err(|_| {
            // What is half written must not fill a disk that may be full. The first error is the one to
            // report.
            let _ = remove(&writing);
        })?;

        let target = self.path(state.step);
        let replaced = replaced(&target);
        if target.exists() {
            rename(&target, &replaced)?;
        }
        rename(&writing, &target)?;
        sync_folder(&self.folder)?;
        remove(&replaced)?;

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

    /// Puts checkpoints back that were about to be replaced when the run was killed.
    fn restore_replaced(&self) -> Result<(), TrainerError> {
        for path in entries(&self.folder)? {
            let name = file_name(&path);
            let Some(name) = name.strip_prefix(REPLACED) else {
                continue;
            };
            let target = path.with_file_name(name);
            if target.exists() {
                remove(&path)?;
            } else {
                rename(&path, &target)?;
            }
        }
        Ok(())
    }

    fn path(&self, step: u64) -> PathBuf {
        self.folder.join(format!("{PREFIX}{step:09}"))
    }

    /// Steps of the checkpoints, in ascending order.
    fn steps(&self) -> Result<Vec<u64>, TrainerError> {
        let mut steps: Vec<u64> = entries(&self.folder)?
            .iter()
            .filter_map(|path| {
                let step = file_name(path).strip_prefix(PREFIX)?.parse().ok()?;
                // `step-+3` and `step-3` are names of someone else's.
                (*path == self.path(step)).then_some(step)
            })
            .collect();
        steps.sort_unstable();
        Ok(steps)
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

/// Writes the files of a checkpoint to a folder, and has the disk take them.
fn fill<M: Module>(
    to: &Path,
    model: &M,
    optimizer: &dyn ClosureOptimizer<M>,
    state: &State,
    best: &Path,
) -> Result<(), TrainerError> {
    save_model(model, &to.join(MODEL))?;
    optimizer.to_record().save(&to.join(OPTIMIZER))?;
    let text = serde_json::to_string_pretty(state).map_err(|error| TrainerError::Output {
        action: "write",
        path: to.join(STATE).display().to_string(),
        source: error.into(),
    })?;
    let path = to.join(STATE);
    fs::write(&path, text).map_err(TrainerError::output("write", &path))?;
    let mut files = FILES.to_vec();
    if state.best.is_some() {
        // A copy, not a link: a later best must not reach into a checkpoint.
        fs::File::open(best)
            .and_then(|mut file| copy(&mut file, &to.join(BEST)))
            .map_err(TrainerError::output("copy", best))?;
        files.push(BEST);
    }
    manifest::seal(to, &files).map_err(TrainerError::output("write", to))?;
    sync_folder(to)
}

/// Writes a model's weights to a file, under a temporary name first.
pub(crate) fn save_model<M: Module>(model: &M, path: &Path) -> Result<(), TrainerError> {
    settled(model)
        .into_record()
        .save(path)
        .map_err(|error| TrainerError::Output {
            action: "write",
            path: path.display().to_string(),
            source: std::io::Error::other(error),
        })
}

/// Makes the file of the best weights that of a checkpoint: the run may have found better ones after
/// it, of which the checkpoint knows nothing. Those are kept as `aside`, not lost. Without weights in the
/// checkpoint there are no best ones. Says whether there is something new aside.
pub(crate) fn restore_best(
    from: Option<&Path>,
    to: &Path,
    aside: &Path,
) -> Result<bool, TrainerError> {
    let read = |path: &Path| fs::read(path).map_err(TrainerError::output("read", path));
    let wanted = from.map(read).transpose()?;
    let there = if to.exists() { Some(read(to)?) } else { None };
    if there == wanted {
        return Ok(false);
    }
    if there.is_some() {
        rename(to, aside)?;
    }
    if let Some(mut bytes) = wanted.as_deref() {
        let restoring = to.with_extension("restoring");
        copy(&mut bytes, &restoring).map_err(TrainerError::output("write", &restoring))?;
        rename(&restoring, to)?;
    }
    Ok(there.is_some())
}

/// Copies content to a file, in the place of one that is there. A copied file's permissions stay behind: a
/// copy that cannot be written to could not be flushed.
fn copy(from: &mut impl std::io::Read, to: &Path) -> std::io::Result<()> {
    let mut file = fs::File::create(to)?;
    std::io::copy(from, &mut file)?;
    file.sync_all()
}

fn read(folder: &Path) -> Result<Loaded, String> {
    let listed = manifest::verify(folder, &FILES)?;
    let text = fs::read_to_string(folder.join(STATE)).map_err(|error| error.to_string())?;
    let mut state: State =
        serde_json::from_str(&text).map_err(|error| format!("{STATE}: {error}"))?;
    let best = listed
        .iter()
        .any(|name| name == BEST)
        .then(|| folder.join(BEST));
    if best.is_none() {
        // Without its weights a record of the best is worth nothing.
        state.best = None;
    }
    let model =
        ModuleRecord::load(folder.join(MODEL)).map_err(|error| format!("{MODEL}: {error}"))?;
    let optimizer =
        StateRecord::load(&folder.join(OPTIMIZER)).map_err(|error| error.to_string())?;
    Ok(Loaded {
        path: folder.to_path_buf(),
        state,
        best,
        model,
        optimizer,
    })
}

/// Removes the checkpoints in a folder, and nothing else.
pub(crate) fn clear(folder: &Path) -> Result<(), TrainerError> {
    if !folder.exists() {
        return Ok(());
    }
    for path in entries(folder)? {
        let name = file_name(&path);
        let own = name.strip_prefix(DAMAGED).unwrap_or(&name);
        if own.starts_with(PREFIX) || own.starts_with(REPLACED) || own == WRITING {
            remove(&path)?;
        }
    }
    Ok(())
}

/// What is in a folder.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, TrainerError> {
    let list = || {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect::<std::io::Result<_>>()
    };
    list().map_err(TrainerError::output("list", folder))
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// Where a checkpoint goes while another takes its place.
fn replaced(target: &Path) -> PathBuf {
    target.with_file_name(format!("{REPLACED}{}", file_name(target)))
}

fn rename(from: &Path, to: &Path) -> Result<(), TrainerError> {
    fs::rename(from, to).map_err(TrainerError::output("rename", from))
}

/// Renames a damaged checkpoint, so that it is neither read nor counted again.
fn set_aside(path: &Path) -> Result<(), TrainerError> {
    let aside = path.with_file_name(format!("{DAMAGED}{}", file_name(path)));
    remove(&aside)?;
    rename(path, &aside)
}

fn remove(path: &Path) -> Result<(), TrainerError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        // A file or a link in the place of a checkpoint.
        Ok(_) => fs::remove_file(path),
        Err(_) => return Ok(()),
    };
    removed.map_err(TrainerError::output("remove", path))
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
