//! The probe: a short-lived process that copies, checks and loads an untrusted file. If that goes wrong, it goes wrong
//! here: the probe may hang, crash, exit or lie, and the manager only reads messages or an exit status.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::error::Error as _;
use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};

use gm_plugin_api::abi::{C_MAGIC, ENTRY_SIZE, INTERFACE_MAJOR, INTERFACE_MINOR, MAGIC};
use gm_plugin_api::c_abi::C_ENTRY_SIZE;
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use object::read::ReadCache;

use super::content_hash::ContentHash;
use super::display_path::{clipped, escaped};
use super::elf::{self, ElfFacts, ElfRequirements, EntryKind, LibraryReferences, Machine};
use super::glibc::GlibcVersion;
use super::identity::FileIdentity;
use super::library_copy::{self, Copy, make_place};
use super::loader::{self, LoadError, Loaded};
use super::loader_words;
use super::name::FunctionName;
use super::rejection::{Rejection, is_transient};
use super::report::{self, LoadableLibrary, MAX_MESSAGE, ProbeMessage, ProbeReport, ProbeRequest, decode, encode};
use super::siblings::{Sibling, SiblingSearch};
use crate::system::errors::{reason, reason_at};
use crate::system::spawn::{CHANNEL_FD, inherited};
use crate::system::{child_exit, file_size_limit, fork, handlers};

/// The hidden argument that makes the program a probe.
pub const ROLE: &str = "--gm-native-probe";

/// Exit code of a probe whose channel to the manager does not work any more.
pub const EXIT_NOT_REPORTED: i32 = 121;

/// Exit code of a probe that did not get a readable request.
pub const EXIT_NO_ORDER: i32 = 122;

/// How much of a layout report is kept: 200 lines are usual. Escaping may turn one byte into several.
const MAX_DETAIL: usize = 8 * 1024;

/// The most libraries from elsewhere to report: all must fit into one message.
const MAX_ELSEWHERE: usize = 128;

/// The kinds of entries that this manager loads.
pub const KINDS: &[EntryKind] =
    &[EntryKind { magic: MAGIC, size: ENTRY_SIZE as u64 }, EntryKind { magic: C_MAGIC, size: C_ENTRY_SIZE as u64 }];

/// Serves one request: reads it from the channel (a SOCK_SEQPACKET socket), carries it out, reports. Returns the
/// process's exit code; the process must end by `_exit`, without the library's destructors. Blocks as long as the file
/// systems and the library's constructors do: for a process that has a deadline and nothing to lose.
pub fn serve(channel: impl AsFd) -> i32 {
    let mut bytes = vec![0; MAX_MESSAGE];
    let order: ProbeRequest = match receive(&channel, &mut bytes).ok().and_then(|order| decode(order).ok()) {
        Some(order) => order,
        None => return EXIT_NO_ORDER,
    };
    let report = run(&order, |word| send_message(&channel, &encode(&word).map_err(io::Error::other)?));
    let sent = report::last_word(report).map_err(io::Error::other).and_then(|bytes| send_message(&channel, &bytes));
    if sent.is_ok() { 0 } else { EXIT_NOT_REPORTED }
}

/// Carries out one request: copy, pre-check, load, layout check. `send` sends the messages that precede the report: if
/// the start of loading cannot be reported, nothing is loaded. A rejection leaves no copy.
pub fn run(order: &ProbeRequest, send: impl FnMut(ProbeMessage) -> io::Result<()>) -> ProbeReport {
    let mut copies = ProbeCopies::default();
    let result = check_and_load(order, &mut copies, send);
    if result.is_err() {
        // Best effort: the manager removes them too.
        copies.0.iter().for_each(|copy| drop(fs::remove_file(copy)));
    }
    ProbeReport { nonce: order.nonce.clone(), result }
}

/// The copies made so far.
#[derive(Default)]
struct ProbeCopies(Vec<PathBuf>);

fn check_and_load(
    order: &ProbeRequest,
    copies: &mut ProbeCopies,
    mut send: impl FnMut(ProbeMessage) -> io::Result<()>,
) -> Result<LoadableLibrary, Rejection> {
    let (hash, source, facts) = copy_and_check(order, copies)?;
    runs_into_no_entry(&facts)?;
    let mut search = SiblingSearch::new(parent(&order.candidate), source, order.file_policy);
    // None of our own descriptors may be open when the library runs: it may close what is not its own.
    let siblings = take_siblings(order, source.size, &facts.links, &mut search, copies);
    // The manager watches only the places that the probe reports.
    for part in report::parts(&order.nonce, &search.looked)? {
        send(part).map_err(|error| cannot_report(&error))?;
    }
    let mut siblings = siblings?;
    send(ProbeMessage::Loading { nonce: order.nonce.clone() }).map_err(|error| cannot_report(&error))?;
    let symbol = format!("{}{}", order.prefix, order.function);
    let before = loader::objects();
    let loaded = loader::load(&order.copy_to, &symbol)
        .map_err(|error| search.explain(refused(error, &order.copy_to, &symbol)))?;
    let elsewhere = elsewhere(&before, parent(&order.copy_to));
    // With LD_LIBRARY_PATH the loader uses others.
    siblings.retain(|sibling| loader::is_loaded(order.copy_to.with_file_name(&sibling.path).as_os_str()));
    Ok(LoadableLibrary {
        siblings: siblings.clone(),
        elsewhere,
        ..found(hash.with_siblings(&siblings), source, facts, &loaded)
    })
}

/// What else was loaded with it, from other places than ours.
fn elsewhere(before: &BTreeSet<PathBuf>, place: &Path) -> Vec<String> {
    let now = loader::objects();
    let foreign = now.difference(before).filter(|path| path.is_absolute() && !path.starts_with(place));
    foreign.filter_map(|path| path.to_str()).map(ToOwned::to_owned).take(MAX_ELSEWHERE).collect()
}

fn cannot_report(error: &io::Error) -> Rejection {
    Rejection::ProbeDied { how: format!("could not reach the manager ({})", reason(error)) }
}

/// Checks everything about the file itself that can be checked before it is loaded.
fn copy_and_check(
    order: &ProbeRequest,
    copies: &mut ProbeCopies,
) -> Result<(ContentHash, FileIdentity, ElfFacts), Rejection> {
    let copy =
        Copy { from: &order.candidate, to: &order.copy_to, max_size: order.max_size, file_policy: order.file_policy };
    make_place(parent(&order.copy_to))?;
    copies.0.push(order.copy_to.clone());
    let copied = copy.make()?;
    let facts = check(&copied.file, |data| elf::check(data, &expect(&order.prefix, &order.function)))?;
    Ok((copied.hash, copied.source, facts))
}

/// Copies what the library needs from beside it to beside its copy, and checks that.
fn take_siblings(
    order: &ProbeRequest,
    size: u64,
    links: &LibraryReferences,
    search: &mut SiblingSearch<'_>,
    copies: &mut ProbeCopies,
) -> Result<Vec<Sibling>, Rejection> {
    let (from, to) = (parent(&order.candidate), parent(&order.copy_to));
    let (mut siblings, mut total, max) = (Vec::new(), size, order.max_size);
    let mut too_large = None;
    let taken = search.run(links, loader::is_loaded, |path, file| {
        let size = file.metadata().map_or(0, |meta| meta.len());
        total = total.saturating_add(size);
        if total > max {
            too_large = Some(Rejection::TooLargeTogether { size: total, max });
            return Err(Rejection::TooLarge { size, max });
        }
        let to = to.join(path);
        copies.0.push(to.clone());
        let place = parent(&order.copy_to);
        let mut dirs: Vec<&Path> = parent(&to).ancestors().take_while(|dir| *dir != place).collect();
        dirs.reverse();
        dirs.into_iter().try_for_each(make_place)?;
        // Its owner was checked when it was opened.
        let copied = Copy { from: &from.join(path), to: &to, max_size: max, file_policy: None }.of(file)?;
        siblings.push(Sibling { path: path.to_owned(), hash: copied.hash });
        check(&copied.file, |data| elf::check_needed(data, &Machine::HOST, GlibcVersion::running()))
    });
    match too_large {
        Some(rejection) => Err(rejection),
        None => taken.map(|()| siblings),
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// The pre-check. A failing disk does not mean that the file is damaged.
fn check<T>(
    file: &File,
    check: impl for<'a> FnOnce(&'a ReadCache<&'a ErrorCapturingFile<'a>>) -> Result<T, Rejection>,
) -> Result<T, Rejection> {
    let noting = ErrorCapturingFile { file, failed: Cell::new(None) };
    let checked = check(&ReadCache::new(&noting));
    match noting.failed.take() {
        Some(error) => Err(Rejection::CannotRead(reason(&error))),
        None => checked,
    }
}

/// A file that keeps a read's error, of which `object` only reports that there was one.
struct ErrorCapturingFile<'a> {
    file: &'a File,
    failed: Cell<Option<io::Error>>,
}

impl Read for &ErrorCapturingFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.file).read(buffer).map_err(|error| self.note(error))
    }
}

impl Seek for &ErrorCapturingFile<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        (&*self.file).seek(to).map_err(|error| self.note(error))
    }
}

impl ErrorCapturingFile<'_> {
    /// Interrupted reads are repeated, and seeks to invalid offsets are due to the file's content.
    fn note(&self, error: io::Error) -> io::Error {
        let again = io::Error::from(error.kind());
        if is_transient(&error) && error.kind() != io::ErrorKind::Interrupted {
            self.failed.set(Some(error));
        }
        again
    }
}

fn expect<'a>(prefix: &'a str, function: &'a FunctionName) -> ElfRequirements<'a> {
    ElfRequirements { prefix, function, kinds: KINDS, machine: Machine::HOST, glibc: GlibcVersion::running() }
}

/// Loads a function from the file itself instead of a copy, with the same checks and the same sentences: for authors
/// who try a library, where a debugger has to find it under its name.
///
/// # Errors
/// Why it cannot be used.
pub fn load_in_place(path: &Path, prefix: &str, function: &FunctionName) -> Result<Loaded, Rejection> {
    // It was not seen before, so it cannot have vanished.
    fs::metadata(path).map_err(|error| Rejection::cannot_open(reason_at(path, &error), &error))?;
    let file = library_copy::open(path)?;
    let facts = check(&file, |data| elf::check(data, &expect(prefix, function)))?;
    runs_into_no_entry(&facts)?;
    let identity = file.metadata().map(|meta| FileIdentity::of(&meta));
    drop(file);
    // A name without a directory means one in the current directory.
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let identity = identity.map_err(|error| Rejection::CannotRead(reason(&error)))?;
    let mut search = SiblingSearch::new(dir, identity, None);
    search.run(&facts.links, loader::is_loaded, |_, file| {
        check(file, |data| elf::check_needed(data, &Machine::HOST, GlibcVersion::running()))
    })?;
    // The loader would find it here, but not in the store.
    if let Some(rejection) = search.unreachable(loader::is_installed) {
        return Err(rejection);
    }
    let symbol = format!("{prefix}{function}");
    loader::load(path, &symbol).map_err(|error| search.explain(refused(error, path, &symbol)))
}

/// A C function with the same name as an entry does no harm if the program has it already, as libc's `write`: the
/// loader looks there first. Any other is looked for in the library itself first, where it finds the entry.
fn runs_into_no_entry(facts: &ElfFacts) -> Result<(), Rejection> {
    match facts.called.iter().find(|symbol| !loader::is_in_the_program(symbol)) {
        None => Ok(()),
        Some(symbol) => Err(Rejection::CallsItsEntry { symbol: clipped(symbol.as_bytes(), 252) }),
    }
}

/// The result, as text for a log line, short enough for a message.
fn found(hash: ContentHash, source: FileIdentity, facts: ElfFacts, loaded: &Loaded) -> LoadableLibrary {
    let text = |text: &str| clipped(text.as_bytes(), 200);
    let (major, minor) = loaded.interface();
    LoadableLibrary {
        hash,
        siblings: Vec::new(),
        elsewhere: Vec::new(),
        source,
        name: text(loaded.name()),
        functions: facts.functions,
        version: text(loaded.version()),
        interface: format!("{major}.{minor}"),
        compiler: text(loaded.compiler()),
        unwinds: loaded.unwinds(),
        object: loaded.is_object(),
        has_go: loader::has_go(),
        needed: facts.needed,
        glibc: facts.glibc.map(|version| version.to_string()),
    }
}

/// The loader's error as a sentence that follows the candidate's path, which may differ from the path loaded.
fn refused(error: LoadError, loaded_from: &Path, symbol: &str) -> Rejection {
    let symbol = symbol.to_owned();
    match error {
        LoadError::Open { source, .. } => {
            // libloading's own text is "dlopen failed".
            let words = source.source().map_or_else(|| source.to_string(), ToString::to_string);
            loader_words::rejection(&words, &loaded_from.to_string_lossy())
        }
        // In a probe, which loads one library only, a library always gets what it brings along.
        LoadError::NotItsOwn { .. } | LoadError::AnothersLibrary { .. } => {
            Rejection::NotLoadable { reason: clipped(error.to_string().as_bytes(), 300), detail: String::new() }
        }
        LoadError::NoEntry { .. } => {
            Rejection::NoEntry { symbol, hint: "although its symbol table has it: build it again".into(), others: 1 }
        }
        LoadError::NotAnEntry { .. } => Rejection::NotAnEntry { symbol, what: "something else".into() },
        LoadError::CEntry { wrong, .. } => {
            Rejection::CEntry { symbol, wrong: clipped(wrong.to_string().as_bytes(), 300) }
        }
        LoadError::Interface { built, .. } => {
            Rejection::Interface { built: clipped(built.as_bytes(), 100), ours: ours() }
        }
        LoadError::Layout { report, .. } => Rejection::Layout { ours: ours(), detail: cut(&report, MAX_DETAIL) },
    }
}

/// This manager's version of the interface.
fn ours() -> String {
    format!("{INTERFACE_MAJOR}.{INTERFACE_MINOR}")
}

/// A text of several lines, each safe for a log line, together no longer than a message may be.
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

fn send_message(channel: &impl AsFd, bytes: &[u8]) -> io::Result<()> {
    loop {
        match send(channel.as_fd().as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// The child: serves the one request on the inherited channel, and ends without running any destructor.
pub fn main() -> ! {
    let Some(channel) = inherited(CHANNEL_FD) else {
        eprintln!("gm-native: {ROLE} is how the manager looks at libraries; it does nothing by hand");
        child_exit::now(2);
    };
    // A library's constructors may fork, and the child must not report a second time.
    let prepared = fork::watch(fork::report_on_stderr)
        .and_then(|()| handlers::catch_broken_pipes())
        .and_then(|()| file_size_limit::catch());
    if let Err(error) = prepared {
        eprintln!("gm-native: the probe could not start: {}", reason(&error));
        child_exit::now(EXIT_NO_ORDER);
    }
    // Not dropped: a library may have closed it, and closing it twice would abort us.
    child_exit::now(serve(&channel))
}
