use std::io::Read;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;

use super::progress::bar;
use super::stop_flag;
use crate::analysis::{Results, analyse};
use crate::cli::{Folders, ReportArgs, StudyArgs, StudyPlan, TuneArgs};
use crate::error::BenchError;
use crate::report::{self, Notation};
use crate::study::{Board, Event, Progress, Store, StudyConfig, run_workers, work};
use crate::trial::{Watch, computes_here};
use crate::workload::Workloads;

/// Where a study is run.
struct Place<'a> {
    workloads: Workloads,
    folders: &'a Folders,
    device_name: Option<&'a str>,
    device: Device,
    stop: Arc<AtomicBool>,
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
            stop: stop_flag(),
        })
    }

    /// Processes that work side by side where nothing is said: one for each core, but on a GPU, which they would
    /// have to share, none.
    fn workers(&self) -> usize {
        if computes_here(&self.device) {
            std::thread::available_parallelism().map_or(1, usize::from)
        } else {
            0
        }
    }

    fn watch(&self) -> Watch<'_> {
        Watch {
            stop: &self.stop,
            ..Watch::default()
        }
    }
}

/// `osculate study`.
pub(super) fn study(args: &StudyArgs, workloads: Workloads) -> Result<ExitCode, BenchError> {
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
            &say,
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let (store, config) = open(&plan, &place)?;
    println!(
        "Study: {} optimizers x {} workloads, {} trials and {} seeds each, in {}",
        config.entrants.len(),
        config.workloads.len(),
        config.budget.trials,
        config.budget.seeds,
        plan.out.display()
    );
    let ended = run(&store, &config, &plan, &place);
    let mut results = results(&store, &config, &place)?;
    results.command = super::typed();
    super::print_results(&results);
    for path in report::write_all(&results, &plan.out)? {
        println!("wrote {}", path.display());
    }
    ended.map(|()| ExitCode::SUCCESS)
}

/// `osculate report`.
pub(super) fn report(args: &ReportArgs, workloads: Workloads) -> Result<ExitCode, BenchError> {
    let place = Place::new(workloads, &args.folders, None)?;
    let (store, config) = Store::open(&args.study, None)?;
    let mut results = results(&store, &config, &place)?;
    results.command = super::typed();
    let out = args.out.as_ref().unwrap_or(&args.study);
    for path in report::write_all(&results, out)? {
        println!("wrote {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// `osculate tune`.
pub(super) fn tune(args: &TuneArgs, workloads: Workloads) -> Result<ExitCode, BenchError> {
    let place = Place::new(workloads, &args.folders, args.device.as_deref())?;
    let plan = args.plan()?;
    let (store, config) = open(&plan, &place)?;
    let ended = run(&store, &config, &plan, &place);
    let results = results(&store, &config, &place)?;
    for workload in &results.workloads {
        let table = report::tuning(workload);
        println!(
            "{}\n{}",
            workload.about.title,
            table.write(Notation::Terminal)
        );
    }
    ended.map(|()| ExitCode::SUCCESS)
}

fn open(plan: &StudyPlan, place: &Place) -> Result<(Store, StudyConfig), BenchError> {
    if let Some(config) = &plan.config {
        config.validate(&place.workloads)?;
    }
    let (store, config) = Store::open(&plan.out, plan.config.as_ref())?;
    config.validate(&place.workloads)?;
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
        eprintln!("warning: {job} is run again: its file is no result: {why}");
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
    let workers = plan.workers.unwrap_or_else(|| place.workers());
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
                Event::SetAside(..) => bar.suspend(|| say(event)),
            },
        )
    } else {
        let mut words = vec![
            "study".to_string(),
            "--worker".to_string(),
            "--out".to_string(),
        ];
        words.push(plan.out.display().to_string());
        words.extend(place.folders.words());
        if let Some(name) = place.device_name {
            words.extend(["--device".to_string(), name.to_string()]);
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

fn say(event: Event) {
    match event {
        Event::Begun(job) => println!("begun: {job}"),
        Event::Done(job) => println!("done: {job}"),
        Event::SetAside(job, aside, why) => eprintln!(
            "warning: {job} is run again: its file, now {}, is no result: {why}",
            aside.display()
        ),
    }
}

/// Sets the flag when standard input ends: when the process that started this one ends or wants it to.
fn stop_with_input(stop: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let mut input = std::io::stdin();
        let mut buffer = [0_u8; 64];
        while input.read(&mut buffer).is_ok_and(|count| count > 0) {}
        stop.store(true, Ordering::Relaxed);
    });
}
