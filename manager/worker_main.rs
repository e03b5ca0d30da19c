//! The worker program: what `gm-native` is as a worker and as a guardian, without everything else. A worker that has no
//! tables of the command line in memory is smaller.

use std::process::ExitCode;

use gm_native::{commands, version};

fn main() -> ExitCode {
    commands::run_if_worker(std::env::args_os().nth(1).as_deref());
    eprintln!(
        "gm-native-worker {}: gm-native starts it for its workers, if it lies beside gm-native and is of the same build; \
         it does nothing by hand",
        version::WITH_REVISION
    );
    ExitCode::from(2)
}
