//! From registers and a copy of the stack to the calls.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use framehop::aarch64::{CacheAarch64, PtrAuthMask, UnwindRegsAarch64, UnwinderAarch64};
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{Error, ExplicitModuleSectionInfo, FrameAddress, Unwinder};
use object::read::ReadRef;
use object::{Object, ObjectSegment};

use super::module::{Module, range, table};
use super::{CALLS, Call, Modules};
use crate::crash::snapshot::{StackCopy, ThreadSnapshot};
use crate::system::crash_area::{Architecture, STACK_MAX};

/// The calls.
#[derive(Debug)]
pub(super) struct Unwound {
    pub(super) calls: Vec<Call>,
    /// Why the outermost are missing.
    pub(super) end: Option<String>,
}

const WORD: u64 = size_of::<u64>() as u64;
/// How code begins to which a signal handler returns: the system call `rt_sigreturn`.
const SIGNAL_RETURN: [&[u8]; 2] =
    [&[0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05], &[0x68, 0x11, 0x80, 0xd2, 0x01, 0, 0, 0xd4]];

/// Where an address of a pointer is on this processor: the rest may be a signature.
const POINTER: u64 = (1 << 48) - 1;

type SectionInfo = ExplicitModuleSectionInfo<Vec<u8>>;

impl StackCopy {
    fn word(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.checked_sub(self.start)?).ok()?;
        let bytes = self.bytes.get(at..at.checked_add(size_of::<u64>())?)?;
        Some(u64::from_le_bytes(bytes.try_into().ok()?))
    }
}

pub(super) fn unwind(snapshot: &ThreadSnapshot, modules: &mut Modules<'_>) -> Unwound {
    let registers = &snapshot.registers;
    let none = StackCopy { start: registers.sp(), bytes: Vec::new() };
    let stack = snapshot.stack.as_ref().unwrap_or(&none);
    let (pc, mut sp, lr) = (registers.pc(), registers.sp(), registers.lr());
    let mut first = FrameAddress::from_instruction_pointer(pc);
    let mut calls = vec![Call { instruction: pc }];
    if !modules.mappings.is_code(pc) {
        // A call through a wrong pointer: the caller's return address was just stored.
        let caller = match lr {
            Some(lr) => Some(lr & POINTER),
            None => stack.word(sp),
        };
        let caller = caller.filter(|caller| modules.mappings.is_code(caller.saturating_sub(1)));
        let Some(caller) = caller.and_then(FrameAddress::from_return_address) else {
            return Unwound { calls, end: Some(no_caller(snapshot)) };
        };
        if lr.is_none() {
            sp = sp.saturating_add(WORD);
        }
        (first, calls) = (caller, vec![calls[0], Call { instruction: caller.address_for_lookup() }]);
    }
    let mut walk = Walk { modules, stack, calls, seen: BTreeSet::new() };
    let end = match registers.architecture {
        Architecture::X86_64 => {
            let registers = UnwindRegsX86_64::new(pc, sp, registers.fp());
            walk.run(UnwinderX86_64::new(), CacheX86_64::<_>::new(), registers, first)
        }
        Architecture::Aarch64 => {
            let mask = PtrAuthMask::from_max_known_address(POINTER);
            let registers = UnwindRegsAarch64::new_with_ptr_auth_mask(mask, lr.unwrap_or_default(), sp, registers.fp());
            walk.run(UnwinderAarch64::new(), CacheAarch64::<_>::new(), registers, first)
        }
    };
    let end = match (&snapshot.stack, end) {
        (None, _) => Some(no_caller(snapshot)),
        (_, end) => end,
    };
    Unwound { calls: walk.calls, end }
}

fn no_caller(snapshot: &ThreadSnapshot) -> String {
    let sp = snapshot.registers.sp();
    match snapshot.stack {
        None => format!("the callers are unknown: there is no memory at the stack pointer, {sp:#x}"),
        Some(_) if snapshot.mappings.is_none() => "so the callers are unknown".into(),
        Some(_) => "the callers are unknown: the thread executed what is no code, and its stack names no caller".into(),
    }
}

struct Walk<'a, 'm> {
    modules: &'a mut Modules<'m>,
    stack: &'a StackCopy,
    calls: Vec<Call>,
    /// The mappings that the unwinder knows.
    seen: BTreeSet<u64>,
}

impl Walk<'_, '_> {
    /// Collects calls until there are no more. Returns why, unless the outermost was found.
    fn run<U>(
        &mut self,
        mut unwinder: U,
        mut cache: U::Cache,
        mut regs: U::UnwindRegs,
        first: FrameAddress,
    ) -> Option<String>
    where
        U: Unwinder<Module = framehop::Module<Vec<u8>>>,
    {
        let mut at = first;
        loop {
            self.add_module(&mut unwinder, at.address_for_lookup());
            let stack = self.stack;
            let mut read = |address| stack.word(address).ok_or(());
            let step = || unwinder.unwind_frame(at, &mut regs, &mut cache, &mut read);
            let next = match catch_unwind(AssertUnwindSafe(step)) {
                Ok(Ok(Some(next))) => next,
                Ok(Ok(None) | Err(Error::ReturnAddressIsNull)) => break None,
                Ok(Err(error)) => break Some(self.broken(error)),
                Err(_) => break Some("the stack is damaged, or the library's tables for unwinding are".into()),
            };
            let Some(address) = FrameAddress::from_return_address(next) else { break None };
            if !self.modules.mappings.is_code(address.address_for_lookup()) {
                break Some(format!("the stack is damaged: {next:#x}, to which a call would return, is no code"));
            }
            // The interrupted instruction is the next call: it has not called anything.
            at = match self.is_signal_return(next) {
                true => FrameAddress::from_instruction_pointer(next),
                false => address,
            };
            self.calls.push(Call { instruction: at.address_for_lookup() });
            if self.calls.len() > CALLS {
                break Some("the stack is damaged: it has no end".into());
            }
        }
    }

    fn broken(&self, error: Error) -> String {
        let end = self.stack.start.saturating_add(self.stack.bytes.len() as u64);
        match error {
            // Some words of a frame are behind the end of what was saved.
            Error::CouldNotReadStack(address) if address >= end.saturating_sub(WORD) && self.is_cut() => {
                format!("the outer calls are unknown: {} KiB of the stack were saved", STACK_MAX >> 10)
            }
            _ => "the stack is damaged: no caller is found from there on".into(),
        }
    }

    fn is_cut(&self) -> bool {
        self.stack.bytes.len() >= STACK_MAX
    }

    fn add_module<U>(&mut self, unwinder: &mut U, address: u64)
    where
        U: Unwinder<Module = framehop::Module<Vec<u8>>>,
    {
        let Some((mapping, Ok(module))) = self.modules.at(address) else { return };
        if self.seen.insert(mapping.start) {
            let (name, bias) = (mapping.path.clone().unwrap_or_default(), module.bias());
            let addresses = mapping.start..mapping.end;
            let new = || framehop::Module::new(name, addresses, bias, sections(module));
            if let Ok(module) = catch_unwind(AssertUnwindSafe(new)) {
                unwinder.add_module(module);
            }
        }
    }

    /// Whether a signal handler returns to this address.
    fn is_signal_return(&mut self, address: u64) -> bool {
        let Some((mapping, Ok(module))) = self.modules.at(address) else { return false };
        let Some(offset) = mapping.file_offset(address) else { return false };
        SIGNAL_RETURN.iter().any(|code| module.bytes_at(offset, code.len() as u64) == Some(*code))
    }
}

fn sections(module: &Module) -> SectionInfo {
    let Some(elf) = module.elf() else { return SectionInfo::default() };
    let section = |name: &str| elf.section_by_name(name);
    let range = |name| section(name).map(|section| range(&section));
    let data = |name| section(name).and_then(|section| table(&section).map(<[u8]>::to_vec));
    SectionInfo {
        base_svma: 0,
        text_svma: range(".text"),
        got_svma: range(".got"),
        eh_frame_svma: range(".eh_frame"),
        eh_frame: data(".eh_frame"),
        eh_frame_hdr_svma: range(".eh_frame_hdr"),
        eh_frame_hdr: data(".eh_frame_hdr"),
        debug_frame: data(".debug_frame"),
        ..SectionInfo::default()
    }
}

impl Module {
    fn bytes_at(&self, offset: u64, length: u64) -> Option<&[u8]> {
        let elf = self.elf()?;
        let has = |segment: &object::read::elf::ElfSegment64<'_, '_, _, _>| {
            let (start, size) = segment.file_range();
            offset.checked_sub(start).is_some_and(|at| at < size)
        };
        elf.segments().find(has)?;
        elf.data().read_bytes_at(offset, length).ok()
    }
}
