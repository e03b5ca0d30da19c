//! The probe: a short-lived process in which a stranger's file is copied, checked and loaded. Everything that can go
//! wrong with it goes wrong here: it may hang, crash, exit or lie, and the manager reads a message or an exit status.

use std::cell::Cell;
use std::error::Error as _;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use gm_plugin_api::abi::{C_MAGIC, ENTRY_SIZE, INTERFACE_MAJOR, INTERFACE_MINOR, MAGIC};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use object::read::ReadCache;

use super::copy::{self, Copy};
use super::elf::{self, EntryKind, Expect, Facts, Machine};
use super::glibc::GlibcVersion;
use super::hash::ContentHash;
use super::identity::Identity;
use super::loader::{self, LoadError, Loaded};
use super::loader_words;
use super::name::FunctionName;
use super::refusal::{Refusal, passes};
use super::report::{Found, MAX_MESSAGE, ProbeOrder, ProbeReport, ProbeWord, decode, encode};
use super::text::{clipped, escaped};
use crate::system::errors::{reason, reason_at};
use crate::system::spawn::{CHANNEL_FD, inherited};
use crate::system::{exit, fork, handlers};

/// The hidden argument that makes the program a probe.
pub const ROLE: &str = "--gm-native-probe";

/// Exit code of a probe whose descriptor to the manager does not work any more.
pub const EXIT_UNHEARD: i32 = 121;

/// Exit code of a probe that got no order it could read.
pub const EXIT_NO_ORDER: i32 = 122;

/// Longest mismatch report that is kept: 200 lines are usual. Escaping may make several bytes of one.
const MAX_DETAIL: usize = 8 * 1024;

/// The entries this manager can load, and the one it can name.
pub const KINDS: &[EntryKind] =
    &[EntryKind { magic: MAGIC, size: Some(ENTRY_SIZE as u64) }, EntryKind { magic: C_MAGIC, size: None }];

/// Serves one order: reads it from the channel (a SOCK_SEQPACKET socket), obeys, reports. Returns the exit code of the
/// process, which is to end by `_exit`: the library's destructors are not the probe's business. Blocks for as long as
/// the file systems and the library's constructors do; for a process that has a deadline and nothing to lose.
pub fn serve(channel: impl AsFd) -> i32 {
    let mut bytes = vec![0; MAX_MESSAGE];
    let order: ProbeOrder = match receive(&channel, &mut bytes).ok().and_then(|order| decode(order).ok()) {
        Some(order) => order,
        None => return EXIT_NO_ORDER,
    };
    let loading = || say(&channel, &ProbeWord::Loading { nonce: order.nonce.clone() });
    let report = run(&order, loading);
    if say(&channel, &ProbeWord::Report(Box::new(report))).is_ok() { 0 } else { EXIT_UNHEARD }
}

/// Obeys one order: copy, pre-check, load, layout check. `loading` is called before the first code of the library runs;
/// where it fails nothing is loaded. On a refusal no copy is left.
pub fn run(order: &ProbeOrder, loading: impl FnOnce() -> io::Result<()>) -> ProbeReport {
    let result = look(order, loading);
    if result.is_err() {
        // Best effort: the manager removes it too.
        let _ = fs::remove_file(&order.copy_to);
    }
    ProbeReport { nonce: order.nonce.clone(), result }
}

fn look(order: &ProbeOrder, loading: impl FnOnce() -> io::Result<()>) -> Result<Found, Refusal> {
    // Of our own descriptors none may be open when the library runs: it may close what is not its own.
    let (hash, source, facts) = inspect(order)?;
    runs_into_no_entry(&facts)?;
    loading().map_err(|e| Refusal::ProbeDied { how: format!("could not reach the manager ({})", reason(&e)) })?;
    let symbol = format!("{}{}", order.prefix, order.function);
    let loaded = loader::load(&order.copy_to, &symbol).map_err(|e| refused(e, &order.copy_to, &symbol))?;
    Ok(found(hash, source, facts, &loaded))
}

/// All that can be known before it is loaded.
fn inspect(order: &ProbeOrder) -> Result<(ContentHash, Identity, Facts), Refusal> {
    let copy = Copy { from: &order.candidate, to: &order.copy_to, max_size: order.max_size, trust: order.trust };
    let copied = copy.make()?;
    let facts = check(&copied.file, &expect(&order.prefix, &order.function))?;
    Ok((copied.hash, copied.source, facts))
}

/// The pre-check. A disk that fails is no damage of the file's.
fn check(file: &File, expect: &Expect<'_>) -> Result<Facts, Refusal> {
    let noting = Noting { file, failed: Cell::new(None) };
    let checked = elf::check(&ReadCache::new(&noting), expect);
    match noting.failed.take() {
        Some(error) => Err(Refusal::CannotRead(reason(&error))),
        None => checked,
    }
}

/// A file that keeps the error of a read, of which `object` says only that there was one.
struct Noting<'a> {
    file: &'a File,
    failed: Cell<Option<io::Error>>,
}

impl Read for &Noting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.file).read(buffer).map_err(|error| self.note(error))
    }
}

impl Seek for &Noting<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self.file).seek(to).map_err(|error| self.note(error))
    }
}

impl Noting<'_> {
    /// Reads that were only interrupted are repeated, and seeks to nowhere come of what the file says.
    fn note(&self, error: io::Error) -> io::Error {
        let again = io::Error::from(error.kind());
        if passes(&error) && error.kind() != io::ErrorKind::Interrupted {
            self.failed.set(Some(error));
        }
        again
    }
}

fn expect<'a>(prefix: &'a str, function: &'a FunctionName) -> Expect<'a> {
    Expect { prefix, function, kinds: KINDS, machine: Machine::HOST, glibc: GlibcVersion::running() }
}

/// Loads a function from the very file, not from a copy, with the same checks and the same sentences: for an author's
/// trial of a library, where a debugger has to find it under its name.
///
/// # Errors
/// Why it cannot be used.
pub fn load_in_place(path: &Path, prefix: &str, function: &FunctionName) -> Result<Loaded, Refusal> {
    // Here nobody has seen it before, so it cannot have vanished.
    fs::metadata(path).map_err(|error| Refusal::cannot_open(reason_at(path, &error), &error))?;
    let file = copy::open(path)?;
    let facts = check(&file, &expect(prefix, function))?;
    runs_into_no_entry(&facts)?;
    drop(file);
    let symbol = format!("{prefix}{function}");
    loader::load(path, &symbol).map_err(|error| refused(error, path, &symbol))
}

/// A C function that is called as an entry is named does no harm where the program has it already, as libc's `write`:
/// the loader asks there first. Any other is looked for in the library itself first, where the entry is.
fn runs_into_no_entry(facts: &Facts) -> Result<(), Refusal> {
    match facts.called.iter().find(|symbol| !loader::is_in_the_program(symbol)) {
        None => Ok(()),
        Some(symbol) => Err(Refusal::CallsItsEntry { symbol: clipped(symbol.as_bytes(), 252) }),
    }
}

/// What the loader found, in words that are fit for a log line and not too many for a message.
fn found(hash: ContentHash, source: Identity, facts: Facts, loaded: &Loaded) -> Found {
    let text = |text: &str| clipped(text.as_bytes(), 200);
    let (major, minor) = loaded.interface();
    Found {
        hash,
        source,
        name: text(loaded.name()),
        functions: facts.functions,
        version: text(loaded.version()),
        interface: format!("{major}.{minor}"),
        compiler: text(loaded.compiler()),
        unwinds: loaded.unwinds(),
        object: loaded.is_object(),
        needed: facts.needed,
        glibc: facts.glibc.map(|version| version.to_string()),
    }
}

/// The loader's error in a sentence that follows the candidate's path, which may be another than the one loaded from.
fn refused(error: LoadError, loaded_from: &Path, symbol: &str) -> Refusal {
    let symbol = symbol.to_owned();
    match error {
        LoadError::Open { source, .. } => {
            // libloading's own text is "dlopen failed".
            let words = source.source().map_or_else(|| source.to_string(), ToString::to_string);
            loader_words::refusal(&words, &loaded_from.to_string_lossy())
        }
        LoadError::NoEntry { .. } => {
            Refusal::NoEntry { symbol, hint: "although its symbol table has it: build it again".into() }
        }
        LoadError::NotAnEntry { .. } => Refusal::NotAnEntry { symbol, what: "something else".into() },
        LoadError::ForC { .. } => Refusal::LaterEntry { symbol },
        LoadError::Interface { built, .. } => {
            Refusal::Interface { built: clipped(built.as_bytes(), 100), ours: ours() }
        }
        LoadError::Layout { report, .. } => Refusal::Layout { ours: ours(), detail: cut(&report, MAX_DETAIL) },
    }
}

/// The interface of this manager.
fn ours() -> String {
    format!("{INTERFACE_MAJOR}.{INTERFACE_MINOR}")
}

/// A text of several lines, each fit for a log line, together not longer than a message may carry.
fn cut(text: &str, max: usize) -> String {
    let head = &text[..text.floor_char_boundary(max)];
    head.lines().map(|line| escaped(line.as_bytes())).collect::<Vec<_>>().join("\n")
}

fn receive<'a>(channel: &impl AsFd, bytes: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    loop {
        match recv(channel.as_fd().as_raw_fd(), bytes, MsgFlags::empty()) {
            Ok(n) => return Ok(&bytes[..n]),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}

fn say(channel: &impl AsFd, word: &ProbeWord) -> io::Result<()> {
    let bytes = encode(word).map_err(io::Error::other)?;
    loop {
        match send(channel.as_fd().as_raw_fd(), &bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// The child: serves the one order that comes over the inherited channel, and ends without running any destructor.
pub fn main() -> ! {
    let Some(channel) = inherited(CHANNEL_FD) else {
        eprintln!("gm-native: {ROLE} is how the manager looks at libraries; it does nothing by hand");
        exit::now(2);
    };
    // A library's constructors may fork, and the child must not report a second time.
    if let Err(error) = fork::watch(fork::tell_on_stderr).and_then(|()| handlers::catch_broken_pipes()) {
        eprintln!("gm-native: the probe could not start: {}", reason(&error));
        exit::now(EXIT_NO_ORDER);
    }
    // Not dropped: a library may have closed it, and closing it twice would be an abort of our own.
    exit::now(serve(&channel))
}
