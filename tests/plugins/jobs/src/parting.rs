//! An object whose destructor fails.

use std::cell::RefCell;

use gm_plugin_api::{Context, Failure, Job, Log, function};

/// Answers with its worker's process id. When it is dropped it does what `setting.how` says, `hang` or `panic`; with
/// `never` no job of it ends; with `refuse N` there is none, for a reason of N bytes; with `static` it leaves that to
/// destructors of the thread and of the process.
struct Parting(String);

thread_local! {
    static LAST: RefCell<Option<Hangs>> = const { RefCell::new(None) };
}

/// Hangs when it is dropped.
struct Hangs;

unsafe extern "C" {
    fn atexit(call: extern "C" fn()) -> i32;
}

extern "C" fn hang() {
    loop {
        std::thread::park();
    }
}

#[function(name = "parting")]
impl Parting {
    fn new(cx: &Context) -> Result<Self, Failure> {
        let how = cx.required("how")?;
        if let Some(length) = how.strip_prefix("refuse ") {
            return Err("no ".repeat(length.parse::<usize>()? / 3).into());
        }
        if how == "static" {
            LAST.set(Some(Hangs));
            // SAFETY: the function stays: no library is ever unloaded.
            unsafe { atexit(hang) };
        }
        Ok(Self(how.into()))
    }

    fn run(&mut self, _job: &Job, _log: &mut Log) -> String {
        if self.0 == "never" {
            hang();
        }
        std::process::id().to_string()
    }
}

impl Drop for Parting {
    fn drop(&mut self) {
        match self.0.as_str() {
            "hang" => hang(),
            "panic" => panic!("it cannot part"),
            _ => {}
        }
    }
}

impl Drop for Hangs {
    fn drop(&mut self) {
        hang();
    }
}
