use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

use burn::tensor::Device;
use osculate_program::{Interrupt, Output, complain};

use super::interrupt;
use super::progress::bar;
use crate::analysis::{Results, WorkloadResults, analyse};
use crate::cli::{Folders, ReportArgs, StudyArgs, StudyPlan, TuneArgs};
use crate::error::BenchError;
use crate::report::{self, Notation};
use crate::shell;
use crate::study::{Board, Event, Job, Progress, Store, StudyConfig, run_workers, work};
use crate::trial::{Watch, computes_here};
use crate::workload::Workloads;

/// Where a study is run.
struct Place<'a> {
    workloads: Workloads,
    folders: &'a Folders,
    device_name: Option<&'a str>,
    device: Device,
    stop: Interrupt,
}

impl<'a> Place<'a> {
    fn new(
        workloads: Workloads,
        folders: &'a Folders,
        device_name: Option<&'a str>,
    ) -> Result<Self, BenchError> {
        let cifar = folders.cifar.as_deref();
        Ok(Self {
            workloads: workloads.with_folders(cifar, folders.wikitext.as_deref())?,
            folders,
            device_name,
            device: osculate::device::select(device_name)?,
            stop: interrupt()?,
        })
    }

    fn watch(&self) -> Watch<'_> {
        Watch {
            stop: self.stop.flag(),
            ..Watch::default()
        }
    }
}

/// Processes that work side by side where nothing is said: one for each core, but on a GPU, which they would
/// have to share, none.
pub(super) fn processes(device: &Device) -> usize {
    if computes_here(device) {
        std::thread::available_parallelism().map_or(1, usize::from)
    } else {
        0
    }
}

/// `osculate study`.
pub(super) fn study(
    args: &StudyArgs,
    workloads: Workloads,
    out: &Output,
) -> Result<u8, BenchError> {
    let place = Place::new(workloads, &args.folders, args.device.as_deref())?;
    let plan = args.plan()?;
    if args.worker {
        stop_with_input(place.stop.clone());
        let (store, config) = Store::open(&plan.out, None)?;
        work(
            &store,
            &config,
            &place.workloads,
            &place.device,
            &place.watch(),
            &|event| say(event, out),
        )?;
        return Ok(0);
    }
    let (store, config) = open(&plan, &place)?;
    out.tell(format_args!(
        "Study: {} optimizers x {} workloads, {} trials and {} seeds each, in {}",
        config.entrants.len(),
        config.workloads.len(),
        config.budget.trials,
        config.budget.seeds,
        plan.out.display()
    ));
    let ended = run(&store, &config, &plan, &place);
    let mut results = results(&store, &config, &place)?;
    results.command = config.command(&plan.out);
    // What cannot be said is not lost, and what cannot be kept is said.
    let written = report::write_all(&results, &plan.out);
    super::print_results(&results, out);
    let page = written?;
    out.tell(format_args!("All tables and pictures: {}", page.display()));
    if !results.complete {
        out.tell("This goes on with it:");
        // In one line, to be copied.
        out.say(format_args!("  {}", results.command));
    }
    ended.map(|()| 0)
}

/// `osculate report`.
pub(super) fn report(
    args: &ReportArgs,
    workloads: Workloads,
    out: &Output,
) -> Result<u8, BenchError> {
    let place = Place::new(workloads, &args.folders, None)?;
    let (store, config) = Store::open(&args.study, None)?;
    let mut results = results(&store, &config, &place)?;
    results.command = config.command(&args.study);
    let folder = args.out.as_ref().unwrap_or(&args.study);
    let page = report::write_all(&results, folder)?;
    out.tell(format_args!("All tables and pictures: {}", page.display()));
    Ok(0)
}

/// `osculate tune`.
pub(super) fn tune(args: &TuneArgs, workloads: Workloads, out: &Output) -> Result<u8, BenchError> {
    let place = Place::new(workloads, &args.folders, args.device.as_deref())?;
    let plan = args.plan()?;
    let (store, config) = open(&plan, &place)?;
    let ended = run(&store, &config, &plan, &place);
    let results = results(&store, &config, &place)?;
    let tried = |workload: &WorkloadResults| -> usize {
        workload.entrants.iter().map(|one| one.tuning.len()).sum()
    };
    for workload in &results.workloads {
        out.say(&workload.about.title);
        if tried(workload) == 0 {
            out.say("no trial has ended");
            continue;
        }
        out.say(report::tuning(workload).write(Notation::of(out)));
        let edges: Vec<&str> = workload
            .entrants
            .iter()
            .filter(|entrant| entrant.at_edge().is_some())
            .map(|entrant| entrant.label.as_str())
            .collect();
        if results.complete && !edges.is_empty() {
            out.tell(format_args!(
                "The best rate is the lowest or the highest that was tried, of: {}. A larger --width may find a \
                 better one.",
                edges.join(", ")
            ));
        }
    }
    if !results.complete {
        let ended: usize = results.workloads.iter().map(tried).sum();
        out.tell(format_args!(
            "{ended} of {} trials have ended and are kept. This goes on with them:",
            config.budget.trials * config.entrants.len(),
        ));
        out.say(format_args!("  {}", shell::typed()));
    }
    ended.map(|()| 0)
}

fn open(plan: &StudyPlan, place: &Place) -> Result<(Store, StudyConfig), BenchError> {
    let asked = match &plan.config {
        Some(config) => {
            config.validate(&place.workloads)?;
            Some(config.clone().on_data_of(&place.workloads)?)
        }
        None => None,
    };
    let (store, config) = Store::open(&plan.out, asked.as_ref())?;
    config.validate(&place.workloads)?;
    let now = config.clone().on_data_of(&place.workloads)?;
    if let Some(difference) = now.difference(&config) {
        return Err(BenchError::Usage(format!(
            "the study in {} was begun on other data: {difference}",
            plan.out.display()
        )));
    }
    Ok((store, config))
}

/// Works on a study to its end, in this process or in others.
fn run(
    store: &Store,
    config: &StudyConfig,
    plan: &StudyPlan,
    place: &Place,
) -> Result<(), BenchError> {
    let mut board = Board::new(store, config, &place.workloads)?;
    let (before, corrupt) = board.read_all()?;
    for (job, why) in &corrupt {
        complain(format_args!(
            "warning: {job} is run again: its file is no result: {why}"
        ));
    }
    if before.done == before.all {
        return Ok(());
    }
    let bar = bar(before.all);
    let show = |progress: Progress| {
        bar.set_position(progress.done as u64);
        bar.set_message(format!("{} of {} trials", progress.done, progress.all));
    };
    show(before);
    bar.reset_eta();
    let workers = plan.workers.unwrap_or_else(|| processes(&place.device));
    let ended = if workers == 0 {
        work(
            store,
            config,
            &place.workloads,
            &place.device,
            &place.watch(),
            &|event| match event {
                Event::Begun(job) => bar.set_message(job.to_string()),
                Event::Done(_) => bar.inc(1),
                Event::SetAside(job, aside, why) => {
                    bar.suspend(|| complain(set_aside(job, &aside, &why)));
                }
            },
        )
    } else {
        let mut words = ["study", "--worker", "--out"].map(OsString::from).to_vec();
        words.push(plan.out.clone().into());
        words.extend(place.folders.words());
        if let Some(name) = place.device_name {
            words.extend(["--device", name].map(OsString::from));
        }
        run_workers(workers, &words, &plan.out, &place.watch(), || {
            show(board.read_all()?.0);
            Ok(())
        })
    };
    bar.finish_and_clear();
    ended
}

fn results(store: &Store, config: &StudyConfig, place: &Place) -> Result<Results, BenchError> {
    let mut board = Board::new(store, config, &place.workloads)?;
    let (progress, _) = board.read_all()?;
    let complete = progress.done == progress.all;
    analyse(&board, store, config, complete, &place.device)
}

fn say(event: Event, out: &Output) {
    match event {
        Event::Begun(job) => out.say(format_args!("begun: {job}")),
        Event::Done(job) => out.say(format_args!("done: {job}")),
        Event::SetAside(job, aside, why) => complain(set_aside(job, &aside, &why)),
    }
}

fn set_aside(job: &Job, aside: &Path, why: &str) -> String {
    let aside = aside.display();
    format!("warning: {job} is run again: its file, now {aside}, is no result: {why}")
}

/// Sets the flag when standard input ends: when the process that started this one ends or wants it to.
pub(super) fn stop_with_input(stop: Interrupt) {
    std::thread::spawn(move || {
        let mut input = std::io::stdin();
        let mut buffer = [0_u8; 64];
        while input.read(&mut buffer).is_ok_and(|count| count > 0) {}
        stop.trigger();
    });
}
