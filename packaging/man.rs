//! The man pages: gm-native(1) and one for each command, made from the definition of the command line. The texts here are
//! what that definition does not know.

use std::fs::File;
use std::io;
use std::path::Path;

use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// When the pages last changed. Not the day of the build, so that two builds give the same files.
const DATE: &str = "2026-11-24";

/// A section: its heading, and terms with what they mean.
type Section = (&'static str, &'static [(&'static str, &'static str)]);

/// What follows the options of gm-native(1).
const SECTIONS: [Section; 4] = [
    (
        "EXIT STATUS",
        &[
            ("0", "Done. With -d: the manager is up; standard error names functions that are not served."),
            ("1", "It failed, or could not start. With status --check: something is wrong."),
            ("2", "Usage or configuration error; nothing was started."),
            ("3", "A command found no manager, or submit no job server."),
            ("4", "The manager refused."),
            ("5", "The deadline passed."),
        ],
    ),
    (
        "SIGNALS",
        &[
            (
                "TERM, INT, QUIT",
                "Stop: workers take no new jobs and finish running ones. graceful_shutdown_wait_time after the first \
                 signal, workers that are left are killed. The fifth signal kills them at once.",
            ),
            ("HUP", "Reload. In the foreground on a terminal: stop."),
            ("USR1", "Reopen the log file, after it was rotated."),
        ],
    ),
    (
        "ENVIRONMENT",
        &[
            ("NO_COLOR", "Do not colour the log on a terminal."),
            ("XDG_STATE_HOME", "Parent of the state directory for users other than root [default: ~/.local/state]."),
            (
                "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID",
                "Set by a service manager that wants to know of the start, reloads and the stop, see sd_notify(3). \
                 Workers do not get them.",
            ),
        ],
    ),
    (
        "FILES",
        &[
            ("./workers", "The libraries, unless you set worker_dir: NAME.so or libNAME.so is the function NAME."),
            (
                "/var/lib/gm-native/INSTANCE",
                "State of a manager that root starts: stored libraries, the lock, and the socket for its commands. For \
                 other users: ~/.local/state/gm-native/INSTANCE.",
            ),
        ],
    ),
];

/// Writes all pages to a directory.
pub fn write(command: clap::Command, dir: &Path) -> io::Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    for verb in command.get_subcommands() {
        page(verb.clone()).generate_to(dir)?;
    }
    let man = page(command);
    let mut file = File::create(dir.join(man.get_filename()))?;
    man.render_title(&mut file)?;
    man.render_name_section(&mut file)?;
    man.render_synopsis_section(&mut file)?;
    man.render_description_section(&mut file)?;
    man.render_options_section(&mut file)?;
    man.render_subcommands_section(&mut file)?;
    let mut more = Roff::new();
    for (heading, entries) in SECTIONS {
        more.control("SH", [heading]);
        for (term, text) in entries {
            more.control("TP", []).text([bold(*term)]).text([roman(*text)]);
        }
    }
    more.to_writer(&mut file)
}

/// The page of a command, which names the program and its version at its foot.
fn page(command: clap::Command) -> Man {
    Man::new(command).date(DATE).source(concat!("gm-native ", env!("CARGO_PKG_VERSION")))
}
