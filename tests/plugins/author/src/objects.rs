//! The object form, and every way in which `new` and a destructor can go wrong.

use gm_plugin_api::{Context, Failure, Job, Log, function};

use crate::end_process;

/// Functions whose `new` does what their name says.
macro_rules! starts {
    ($($name:ident => $how:expr;)*) => {$(
        struct $name;

        #[function]
        impl $name {
            fn new(cx: &Context) -> Result<Self, Failure> {
                let _ = cx;
                $how
            }

            fn run(&mut self, _job: &Job, _log: &mut Log) -> &'static str {
                "served"
            }
        }
    )*};
}

starts! {
    NewFails => Err("no database".into());
    NewPanics => panic!("no idea");
    NewExits => std::process::exit(3);
    NewCrashes => end_process("abort").map(|_| Self);
    NewHangs => loop {
        std::thread::park();
    };
    NewGivesUp => std::process::exit(125);
}

/// Counts its jobs. `setting.mark` names a file: while it is there no object can be made. `panic PATH` makes that file
/// and panics. `setting.journal` names a file to which each object writes when it is made and dropped.
struct Fragile {
    jobs: u64,
    journal: Option<String>,
}

#[function]
impl Fragile {
    fn new(cx: &Context) -> Result<Self, Failure> {
        if cx.setting("mark").is_some_and(|mark| std::path::Path::new(mark).exists()) {
            return Err("there is a mark".into());
        }
        let made = Self { jobs: 0, journal: cx.setting("journal").map(Into::into) };
        made.note("made");
        Ok(made)
    }

    fn run(&mut self, job: &Job, _log: &mut Log) -> Result<String, Failure> {
        match job.text()?.split_once(' ') {
            Some(("panic", mark)) => {
                std::fs::write(mark, "")?;
                panic!("asked to");
            }
            None if job.workload() == b"panic" => panic!("asked to"),
            _ => self.jobs += 1,
        }
        Ok(format!("{} of {}", self.jobs, std::process::id()))
    }
}

impl Fragile {
    fn note(&self, what: &str) {
        let Some(journal) = &self.journal else { return };
        let file = std::fs::OpenOptions::new().append(true).create(true).open(journal);
        let _ = file.and_then(|mut file| std::io::Write::write_all(&mut file, format!("{what}\n").as_bytes()));
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.note("dropped");
    }
}

/// Its destructor ends the process, as `setting.how` says.
struct DropCrashes(String);

#[function]
impl DropCrashes {
    fn new(cx: &Context) -> Result<Self, Failure> {
        Ok(Self(cx.required("how")?.into()))
    }

    fn run(&mut self, _job: &Job, _log: &mut Log) -> &'static str {
        "served"
    }
}

impl Drop for DropCrashes {
    fn drop(&mut self) {
        log::info!("it is dropped");
        let _ = end_process(&self.0);
    }
}
