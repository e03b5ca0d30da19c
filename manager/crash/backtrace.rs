//! The calls that a thread was in, from its snapshot and the files that were mapped: addresses first, then their names.
//!
//! Everything here is hostile input: the snapshot, for a plugin can scribble on it, and the files. Every number is
//! checked or bounded, and a panic in a parser costs only what that parser was at. A parser may still take all memory or
//! never end, so this runs in a process that may die.

mod debug_file;
mod files;
mod module;
mod names;
mod own_code;
mod unwind;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) use files::open_module;
pub(crate) use module::{ModuleData, Unreadable};
pub(crate) use own_code::OwnCode;

use super::report::Frame;
use super::snapshot::ThreadSnapshot;
use crate::logging::excerpt;
use crate::system::mappings::{Mapping, Mappings};
use module::Module;
use names::TablesMax;

/// Frames of a report. A frame of inlined code counts.
const FRAMES: usize = 200;
/// Calls that are looked at: a whole copy of a stack has fewer.
const CALLS: usize = 10_000;
/// Files that are opened.
const MODULES: usize = 64;
/// The longest function name or path. Names of C++ templates have no end.
const NAME: usize = 400;

/// Opens the file that is mapped there.
pub(crate) type Open<'a> = &'a dyn Fn(&Mapping) -> Result<ModuleData, Unreadable>;

/// The calls, the innermost first, and why there are no more of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Backtrace {
    pub(crate) frames: Vec<Frame>,
    pub(crate) note: Option<String>,
}

/// An address that a thread was at or returns to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Call {
    /// In the instruction: that of a call, of all but the innermost.
    instruction: u64,
}

/// The files that are mapped, as far as they were needed, by the first address of the mapping.
struct Modules<'a> {
    mappings: &'a Mappings,
    open: Open<'a>,
    opened: BTreeMap<u64, Result<Module, Unreadable>>,
}

impl<'a> Modules<'a> {
    /// The mapping of an address, and its file.
    fn at(&mut self, address: u64) -> Option<(&'a Mapping, Result<&Module, &Unreadable>)> {
        let mapping = self.mappings.at(address)?;
        if !self.opened.contains_key(&mapping.start) {
            let module = match self.opened.len() {
                MODULES.. => Err(Unreadable::TooMany),
                _ => (self.open)(mapping).and_then(|data| Module::new(data, mapping)),
            };
            self.opened.insert(mapping.start, module);
        }
        self.opened.get(&mapping.start).map(|module| (mapping, module.as_ref()))
    }

    /// Which files could not be read, and why.
    fn unread(&self) -> Vec<String> {
        let named = |mapping: &'a Mapping| mapping.path.as_deref().map(shown);
        let mut unread: Vec<String> = self
            .opened
            .iter()
            .filter_map(|(start, module)| Some((self.mappings.at(*start)?, module.as_ref().err()?)))
            .filter_map(|(mapping, reason)| Some(format!("{} {reason}", named(mapping)?)))
            .collect();
        unread.dedup();
        unread
    }
}

/// Finds the calls and names them.
pub(crate) fn backtrace(snapshot: &ThreadSnapshot, open: Open<'_>, own: &OwnCode) -> Backtrace {
    let mappings = Mappings::parse(snapshot.mappings.as_deref().unwrap_or_default());
    let mut modules = Modules { mappings: &mappings, open, opened: BTreeMap::new() };
    let unwound = unwind::unwind(snapshot, &mut modules);
    let mut notes = Vec::new();
    if snapshot.mappings.is_none() {
        notes.push(
            "the list of mapped files was not saved: no descriptor was free, /proc cannot be read (after chroot), or the \
             library has given the thread a stack for signal handlers (sigaltstack) that is too small"
                .to_owned(),
        );
    }
    let mut frames = named_frames(&unwound.calls, &mut modules, own);
    let more = frames.len().saturating_sub(FRAMES);
    frames.truncate(FRAMES);
    if more > 0 {
        notes.push(format!("{more} more calls are left out"));
    }
    notes.extend(unwound.end);
    notes.extend(modules.unread());
    Backtrace { frames, note: Some(notes.join("; ")).filter(|note| !note.is_empty()) }
}

fn named_frames(calls: &[Call], modules: &mut Modules<'_>, own: &OwnCode) -> Vec<Frame> {
    // One file after the other: what is known of its lines takes memory.
    let mut by_mapping: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for call in calls.iter().take(FRAMES) {
        if let Some((mapping, Ok(_))) = modules.at(call.instruction) {
            by_mapping.entry(mapping.start).or_default().push(call.instruction);
        }
    }
    let mut named: BTreeMap<u64, Vec<Frame>> = BTreeMap::new();
    for (start, mut addresses) in by_mapping {
        addresses.sort_unstable();
        addresses.dedup();
        let Some((mapping, Ok(module))) = modules.at(start) else { continue };
        let path = mapping.path.as_deref().unwrap_or_default();
        let name_all = || names::name(module, &addresses, TablesMax(own.tables_max(path)));
        named.extend(catch_unwind(AssertUnwindSafe(name_all)).unwrap_or_default());
    }
    calls.iter().flat_map(|call| frames_of(call, &named, modules, own)).collect()
}

/// The frames of one call: that of its function, and before it those of functions inlined into that.
fn frames_of(call: &Call, named: &BTreeMap<u64, Vec<Frame>>, modules: &mut Modules<'_>, own: &OwnCode) -> Vec<Frame> {
    let address = call.instruction;
    let (mapping, offset) = match modules.at(address) {
        Some((mapping, Ok(module))) => (Some(mapping), module.offset(address)),
        Some((mapping, Err(_))) => (Some(mapping), mapping.file_offset(address)),
        None => (None, None),
    };
    let path = mapping.and_then(|mapping| mapping.path.as_deref()).unwrap_or_default();
    let unnamed = || vec![Frame::default()];
    let mut frames = named.get(&address).filter(|frames| !frames.is_empty()).cloned().unwrap_or_else(unnamed);
    for frame in &mut frames {
        (frame.address, frame.module, frame.offset) = (address, shown(path), offset.unwrap_or_default());
        frame.own = own.contains(path) && own_code::is_own(frame.function.as_deref(), frame.file.as_deref());
        frame.function = frame.function.as_deref().map(shown);
        frame.file = frame.file.as_deref().map(shown);
    }
    frames
}

/// Foreign text on one line, and not too long.
fn shown(text: &str) -> String {
    excerpt(text.as_bytes(), NAME).into_owned()
}

#[cfg(test)]
mod tests;
