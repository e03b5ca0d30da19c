//! Steps that fork, and continue in both processes.

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use gm_plugin_api::{Context, Failure, Job, Log, function};

const SIGCHLD: i64 = 17;
const SYS_CLONE: i64 = if cfg!(target_arch = "x86_64") { 56 } else { 220 };

thread_local! {
    /// The process this thread forked last; 0 in that one itself.
    static FORKED: Cell<Option<i32>> = const { Cell::new(None) };
}

unsafe extern "C" {
    fn fork() -> i32;
    fn _Fork() -> i32;
    fn syscall(number: i64, ...) -> i64;
    fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
    fn system(command: *const std::ffi::c_char) -> i32;
}

/// Does the step; nothing where there is none of that name. `step` does any other one.
pub fn step(
    verb: &str,
    rest: &str,
    job: &Job,
    step: impl FnOnce(&str) -> Result<Vec<u8>, Failure>,
) -> Result<Option<Vec<u8>>, Failure> {
    let output = match verb {
        "split" => {
            split(rest)?;
            Vec::new()
        }
        "inchild" if FORKED.get() == Some(0) => step(rest)?,
        "inparent" if FORKED.get() != Some(0) => step(rest)?,
        "inchild" | "inparent" => Vec::new(),
        "ended" => ended()?.into(),
        "asks" => {
            let answers = [job.status(1, 2), job.data("a child's data"), job.warning("a child's warning\n")];
            fs::write(rest, format!("{answers:?} {}", job.stopping()))?;
            Vec::new()
        }
        "dispositions" => {
            fs::write(rest, dispositions(Path::new("/proc/self/status"))?)?;
            Vec::new()
        }
        "brokenpipe" => broken_pipe()?.into(),
        "chatter" => {
            let reporter = job.reporter();
            std::thread::spawn(move || while reporter.data("on and on") {});
            Vec::new()
        }
        "system" => shell(rest, |command| {
            // SAFETY: a string that ends in NUL.
            match unsafe { system(command.as_ptr()) } {
                0 => Ok(()),
                status => Err(format!("system: {status}").into()),
            }
        })?,
        "command" => shell(rest, |command| {
            let command = command.to_str().map_err(|error| error.to_string())?;
            Command::new("sh").args(["-c", command]).status()?;
            Ok(())
        })?,
        _ => return Ok(None),
    };
    Ok(Some(output))
}

/// Makes a process that goes on where this one does.
fn split(how: &str) -> Result<i32, Failure> {
    // SAFETY: the child does what the test says, in a process that has one thread or does not need the others.
    let child = unsafe {
        match how {
            "fork" => fork(),
            "_Fork" => _Fork(),
            "clone" => i32::try_from(syscall(SYS_CLONE, SIGCHLD, 0_i64, 0_i64, 0_i64, 0_i64))?,
            _ => return Err(format!("no such fork: {how}").into()),
        }
    };
    FORKED.set(Some(child));
    Ok(child)
}

/// Makes a process that goes on where this one does, when that has ended: what a worker leaves behind is killed with it.
fn split_and_wait() -> Result<(), Failure> {
    match split("fork")? {
        0 => Ok(()),
        _ => ended().map(drop),
    }
}

/// Waits for the process that was forked last to exit, and returns how it did.
fn ended() -> Result<String, Failure> {
    let child = FORKED.get().ok_or("nothing was forked")?;
    let mut status = 0;
    // SAFETY: the pointer is to a live value.
    if unsafe { waitpid(child, &raw mut status, 0) } != child {
        return Err(std::io::Error::last_os_error().into());
    }
    Ok(if status & 0x7f == 0 { format!("exit {}", status >> 8) } else { format!("signal {}", status & 0x7f) })
}

/// The [`dispositions`] of a shell.
fn shell(file: &str, run: impl FnOnce(&std::ffi::CStr) -> Result<(), Failure>) -> Result<Vec<u8>, Failure> {
    let command = std::ffi::CString::new(format!("grep Sig /proc/self/status > {file}")).map_err(|e| e.to_string())?;
    run(&command)?;
    Ok(dispositions(Path::new(file))?.into())
}

/// Three hexadecimal numbers: of a process's signals those that are blocked, ignored and caught.
fn dispositions(status: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(status)?;
    let of = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim).map(str::to_owned);
    let found = ["SigBlk:", "SigIgn:", "SigCgt:"].map(of);
    Ok(found.map(Option::unwrap_or_default).join(" "))
}

/// Writes to a pipe that nobody reads; the output is what comes of it.
fn broken_pipe() -> Result<String, Failure> {
    let (reader, mut writer) = std::io::pipe()?;
    drop(reader);
    Ok(writer.write_all(b"lost").map_or_else(|error| format!("{:?}", error.kind()), |()| "written".into()))
}

/// Forks where `setting.where` says: `new`, `drop`, or `thread`, which is one of its own. Answers with its process id.
struct Forking(String);

#[function(name = "forking")]
impl Forking {
    fn new(cx: &Context) -> Result<Self, Failure> {
        let place = cx.required("where")?;
        match place {
            "new" => split_and_wait()?,
            "thread" => drop(std::thread::spawn(|| split("fork").is_ok()).join()),
            _ => {}
        }
        Ok(Self(place.into()))
    }

    fn run(&mut self, _job: &Job, _log: &mut Log) -> String {
        std::process::id().to_string()
    }
}

impl Drop for Forking {
    fn drop(&mut self) {
        if self.0 == "drop" {
            let _ = split_and_wait();
        }
    }
}
