//! Keeps packaging/gm-native.ini.5, the man page of the configuration file, in step with the table of keys.
//!
//! `GM_WRITE_DOCS=1 cargo test --lib ini_man` rewrites it.

use std::fmt::Write as _;
use std::path::Path;

use super::*;

const PAGE: &str = include_str!("../../packaging/gm-native.ini.5");

/// What precedes the keys.
const HEAD: &str = r#".TH gm\-native.ini 5 2026-11-27 "gm\-native VERSION"
.SH NAME
gm\-native.ini \- configuration of gm\-native
.SH SYNOPSIS
.nf
; A comment. # begins one, too.
[GearmanManager]
worker_dir = /srv/workers
host[] = queue1:4730
host[] = queue2:4730
count = 4

[reverse_string]
timeout = 250ms
setting.user_agent = "reverse; 1.0"
.fi
.SH DESCRIPTION
.BR gm\-native (1)
reads its configuration from the file that you name with
.BR \-c .
An ini file of GearmanManager works unchanged.
.B gm\-native \-c FILE \-Z
prints the effective values, where each came from, and the workers that follow from them.
.PP
The section
.B [GearmanManager]
holds the keys of the manager. Every other section is for the function of that name. Each line is blank, a comment, a
.I [section]
or
.IR "key = value" .
After a value, ; begins a comment, and # does after a space. A value in " or ' keeps the spaces, ; and # in it.
.B ${NAME}
is an environment variable, and
.B ${NAME:\-text}
gives a default, except within '.
.PP
A wrong value is an error with its line, and nothing is started. An unknown key is ignored, with a warning.
.SS Values
.TP
.B switch
1, on, yes, true; 0, off, no, false, or nothing
.TP
.B duration
a number of seconds, or one with us, ms, s, m or h: 0.5, 250ms, 10m
.TP
.B size
a number of bytes, or one with K, M, G or T (of 1024): 64K, 1.5G
.TP
.B list
separated by commas, or repeated as key[] = item
.TP
.B none
not set, where the default is none
"#;

/// What follows them.
const TAIL: &str = r#".SS Settings of a function
.B setting.NAME = value
passes a value to the library under that name. Its documentation says which names it reads.
.SH PLACES
Relative paths start at the directory in which you start gm\-native. The state directory is
.I /var/lib/gm\-native/INSTANCE
for root, and
.I $XDG_STATE_HOME/gm\-native/INSTANCE
or
.I ~/.local/state/gm\-native/INSTANCE
for other users. INSTANCE is the stem of the configuration file and eight hex digits of the hash of its path.
.SH VERBOSITY
0 logs errors and warnings; 1 start and stop, deploys; 2 processes; 3 jobs; 4 debugging; 5 every packet.
.SH SIGNALS
SIGHUP reads the file again. Keys marked with
.I r
need a restart; a warning names those that have changed. If the file is wrong, the manager keeps the old values and logs
why.
.SH SEE ALSO
.BR gm\-native (1),
.BR gm\-native\-check (1),
.BR gm\-native\-status (1)
.PP
docs/configuration.md, and examples/simple.ini and examples/advanced.ini, in the documentation that is installed with
gm\-native.
"#;

/// For roff: `code` is bold, and special characters are escaped.
fn roff(text: &str) -> String {
    let text = text.replace('\\', r"\e").replace('-', r"\-");
    let mut out = String::new();
    for (at, part) in text.split('`').enumerate() {
        match at % 2 {
            0 => out += part,
            _ => write!(out, r"\fB{part}\fR").unwrap(),
        }
    }
    match out.starts_with(['.', '\'']) {
        true => format!(r"\&{out}"),
        false => out,
    }
}

/// A key's entry: name, marks and default, then its meaning.
fn entry(key: &ConfigKey, marks: &[&str]) -> String {
    let default = match key.default {
        "" => "(empty)".to_owned(),
        words => words.replace("see Places", "see PLACES"),
    };
    let marks = if marks.is_empty() { String::new() } else { format!(" ({})", marks.join(", ")) };
    let least = key.least().map(|least| format!("; at least {least}")).unwrap_or_default();
    let meaning = format!("{}{least}", key.meaning.replace("see Verbosity", "see VERBOSITY"));
    format!(".TP\n\\fB{}\\fR = {}{marks}\n{}\n", roff(key.name), roff(&default), roff(&meaning))
}

fn page() -> String {
    let mut page = HEAD.replacen("VERSION", env!("CARGO_PKG_VERSION"), 1);
    page += ".SH KEYS OF THE MANAGER\nEach with its default.\n.I f\nmarks a key that a function's section may have as well, \
             for that function;\n.I r\none that only a restart changes.\n";
    for key in KEYS.iter().filter(|key| key.scope() != KeyScope::Function) {
        let marks = [(key.scope() == KeyScope::Both, "f"), (key.needs_restart, "r")];
        let marks: Vec<&str> = marks.into_iter().filter_map(|(is, mark)| is.then_some(mark)).collect();
        page += &entry(key, &marks);
    }
    page += ".SH KEYS OF A FUNCTION\nBeside those marked with\n.I f\nabove:\n";
    for key in KEYS.iter().filter(|key| key.scope() == KeyScope::Function) {
        page += &entry(key, &[]);
    }
    write!(page, ".SS Not in effect yet\nChecked and shown, but without effect: {}.\n", roff(not_in_effect())).unwrap();
    page + TAIL
}

/// The keys that docs/configuration.md lists as not yet in effect; a test of that page checks the list.
fn not_in_effect() -> &'static str {
    let (_, list) = include_str!("../../docs/configuration.md").split_once("<!-- not yet -->").expect("the list");
    list.split_once("<!-- end -->").expect("its end").0.trim()
}

#[test]
fn the_man_page_has_every_key() {
    let page = page();
    if std::env::var_os("GM_WRITE_DOCS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/gm-native.ini.5");
        std::fs::write(path, page).expect("the page can be written");
        return;
    }
    for (is, should) in PAGE.lines().zip(page.lines()) {
        assert_eq!(is, should, "packaging/gm-native.ini.5 is out of date; GM_WRITE_DOCS=1 cargo test --lib ini_man");
    }
    assert_eq!(PAGE, page);
}
