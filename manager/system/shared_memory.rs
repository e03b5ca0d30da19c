//! Memory that the manager shares with its children: a header, an array of items after it, and optionally an array of
//! details on pages of their own, one for each item, in a memfd that both ends map. Every word is an atomic, since two
//! processes access it at once, and one of them may run a plugin that writes where it must not: any bytes have to be a
//! value of the type.

use std::ffi::CStr;
use std::io;
use std::marker::PhantomData;
use std::mem::{align_of, size_of};
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MRemapFlags, MapFlags, ProtFlags, mmap, mremap, munmap};

/// The smallest page size: what a mapping is aligned to.
const PAGE: usize = 4096;

/// A type that may be in shared memory.
///
/// # Safety
/// Any bytes are a value of it, and it is accessed only through atomics.
pub(crate) unsafe trait Shareable: Sync {}

// SAFETY: it has no bytes.
unsafe impl Shareable for () {}

/// How a mapping may be accessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

impl Access {
    fn protection(self) -> ProtFlags {
        match self {
            Self::Read => ProtFlags::PROT_READ,
            Self::Write => ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
        }
    }
}

/// What no one can do to the memory once it is created. Its size is always sealed: access beyond the end of a shrunk
/// file is fatal (SIGBUS).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seal {
    /// Every process that has the descriptor may write.
    Size,
    /// Only the mapping that [`SharedMapping::create`] returns can write (Linux 5.1; before that all can).
    LaterWrites,
}

/// A mapping of a header, items and details, unmapped when dropped. Pages of details take memory only once they are
/// written.
pub(crate) struct SharedMapping<Header, Item = (), Detail = ()> {
    start: NonNull<u8>,
    size: NonZeroUsize,
    items: usize,
    _holds: PhantomData<(Header, Item, Detail)>,
}

// SAFETY: what is in the mapping is accessed only through atomics, from any thread.
unsafe impl<Header: Shareable, Item: Shareable, Detail: Shareable> Send for SharedMapping<Header, Item, Detail> {}
// SAFETY: as above.
unsafe impl<Header: Shareable, Item: Shareable, Detail: Shareable> Sync for SharedMapping<Header, Item, Detail> {}

impl<Header: Shareable, Item: Shareable, Detail: Shareable> SharedMapping<Header, Item, Detail> {
    /// Checked at compile time: all parts are aligned wherever the mapping starts.
    const ALIGNED: () = {
        assert!(align_of::<Header>() <= PAGE && align_of::<Item>() <= PAGE && align_of::<Detail>() <= PAGE);
        assert!(size_of::<Header>().is_multiple_of(align_of::<Item>()));
    };

    /// Creates the memory, all zeros, and maps it. `/proc` shows the name. The descriptor is for the other end.
    ///
    /// # Errors
    /// The system's: out of descriptors or memory.
    pub(crate) fn create(name: &CStr, items: usize, access: Access, seal: Seal) -> io::Result<(OwnedFd, Self)> {
        Self::create_with_rest(name, items, access, seal, 0)
    }

    /// As [`create`](Self::create), with another `rest` bytes behind, which this mapping does not contain.
    ///
    /// # Errors
    /// See [`create`](Self::create).
    pub(crate) fn create_with_rest(
        name: &CStr,
        items: usize,
        access: Access,
        seal: Seal,
        rest: usize,
    ) -> io::Result<(OwnedFd, Self)> {
        let fd = memfd_create(name, MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        let size = if rest == 0 { Self::size(items)?.get() } else { Self::size_with_rest(items, rest)?.get() };
        let size = i64::try_from(size).map_err(|_| io::ErrorKind::InvalidInput)?;
        nix::unistd::ftruncate(&fd, size)?;
        let size_seals = SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_SEAL;
        let mapping = match seal {
            Seal::Size => {
                fcntl(&fd, FcntlArg::F_ADD_SEALS(size_seals))?;
                Self::map(&fd, items, access)?
            }
            Seal::LaterWrites => {
                let mapping = Self::map(&fd, items, access)?;
                fcntl(&fd, FcntlArg::F_ADD_SEALS(size_seals | SealFlag::F_SEAL_FUTURE_WRITE))
                    .or_else(|_| fcntl(&fd, FcntlArg::F_ADD_SEALS(size_seals)))?;
                mapping
            }
        };
        Ok((fd, mapping))
    }

    /// Maps memory that another process created.
    ///
    /// # Errors
    /// The system's, or one that says `fd` is too small: the size is checked, since a later access would be fatal.
    pub(crate) fn map(fd: &OwnedFd, items: usize, access: Access) -> io::Result<Self> {
        let () = Self::ALIGNED;
        let size = Self::size(items)?;
        let there = nix::sys::stat::fstat(fd)?.st_size;
        if usize::try_from(there).unwrap_or(0) < size.get() {
            let text = format!("{there} bytes of shared memory were inherited, and {size} are needed");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        // SAFETY: a fresh shared mapping, of a file that is as large and is never shrunk: its creator seals the size.
        let start = unsafe { mmap(None, size, access.protection(), MapFlags::MAP_SHARED, fd.as_fd(), 0)? };
        Ok(Self { start: start.cast(), size, items, _holds: PhantomData })
    }

    /// Where the rest begins: at a page.
    ///
    /// # Errors
    /// See [`size`](Self::size).
    pub(crate) fn rest_at(items: usize) -> io::Result<usize> {
        let end = Self::size(items)?.get().checked_next_multiple_of(PAGE);
        end.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    fn size_with_rest(items: usize, rest: usize) -> io::Result<NonZeroUsize> {
        let size = Self::rest_at(items)?.checked_add(rest).and_then(NonZeroUsize::new);
        size.ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// Extends the mapping by the rest of the memory, of `rest` bytes, and returns where that is. It needs no descriptor:
    /// the kernel knows what is mapped.
    ///
    /// # Errors
    /// The system's: out of memory.
    pub(crate) fn map_rest(&mut self, rest: usize) -> io::Result<NonNull<u8>> {
        let size = Self::size_with_rest(self.items, rest)?;
        // SAFETY: the range is the one mapped, and nothing is borrowed from it: `self` is borrowed exclusively. The file
        // is as large as that, and its size is sealed.
        let start =
            unsafe { mremap(self.start.cast(), self.size.get(), size.get(), MRemapFlags::MREMAP_MAYMOVE, None)? };
        (self.start, self.size) = (start.cast(), size);
        // SAFETY: within the mapping.
        Ok(unsafe { self.start.add(Self::rest_at(self.items)?) })
    }

    /// How large the memory is, without the rest.
    ///
    /// # Errors
    /// The size overflows, or is 0.
    pub(crate) fn size(items: usize) -> io::Result<NonZeroUsize> {
        let details = items.checked_mul(size_of::<Detail>());
        let size = details.and_then(|details| Self::details_at(items)?.checked_add(details));
        size.and_then(NonZeroUsize::new).ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    /// Where the details begin.
    fn details_at(items: usize) -> Option<usize> {
        let end = items.checked_mul(size_of::<Item>())?.checked_add(size_of::<Header>())?;
        if size_of::<Detail>() == 0 { Some(end) } else { end.checked_next_multiple_of(PAGE) }
    }

    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the mapping starts page-aligned and is as large as a header and the items; any bytes are a header.
        unsafe { self.start.cast::<Header>().as_ref() }
    }

    pub(crate) fn items(&self) -> &[Item] {
        // SAFETY: the mapping holds that many items behind the header, which ends where an item may begin; any bytes are
        // items.
        unsafe { std::slice::from_raw_parts(self.start.add(size_of::<Header>()).cast::<Item>().as_ptr(), self.items) }
    }

    pub(crate) fn details(&self) -> &[Detail] {
        let at = Self::details_at(self.items).unwrap_or(0);
        // SAFETY: `map` computed the size with the same number of items, so there is such a place and the details lie inside
        // the mapping; they begin at a page, and any bytes are details.
        unsafe { std::slice::from_raw_parts(self.start.add(at).cast::<Detail>().as_ptr(), self.items) }
    }
}

impl<Header, Item, Detail> Drop for SharedMapping<Header, Item, Detail> {
    fn drop(&mut self) {
        // SAFETY: the range is the one mapped in `map`, and nothing borrowed from it outlives `self`.
        let _ = unsafe { munmap(self.start.cast(), self.size.get()) };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

    use super::*;

    // SAFETY: an atomic, and any bytes are one.
    unsafe impl Shareable for AtomicU64 {}
    // SAFETY: as above.
    unsafe impl Shareable for AtomicU32 {}

    type Words = SharedMapping<AtomicU64, AtomicU32>;

    #[test]
    fn one_end_reads_what_the_other_writes() {
        let (fd, writer) = Words::create(c"test", 3, Access::Write, Seal::LaterWrites).unwrap();
        let reader = Words::map(&fd, 3, Access::Read).unwrap();
        writer.header().store(7, Relaxed);
        writer.items()[2].store(9, Relaxed);
        assert_eq!((reader.header().load(Relaxed), reader.items().len()), (7, 3));
        assert_eq!(reader.items()[2].load(Relaxed), 9);
    }

    #[test]
    fn details_lie_on_pages_of_their_own() {
        type Detailed = SharedMapping<AtomicU64, AtomicU32, AtomicU64>;
        assert_eq!((Words::size(3).unwrap().get(), Detailed::size(3).unwrap().get()), (20, PAGE + 24));
        let (fd, writer) = Detailed::create(c"test", 3, Access::Write, Seal::Size).unwrap();
        let reader = Detailed::map(&fd, 3, Access::Read).unwrap();
        writer.details()[2].store(9, Relaxed);
        assert_eq!((reader.details().len(), reader.details()[2].load(Relaxed)), (3, 9));
        assert!(reader.items().iter().all(|item| item.load(Relaxed) == 0));
    }

    #[test]
    fn the_rest_is_mapped_when_it_is_needed() {
        let (fd, mut writer) = Words::create_with_rest(c"test", 3, Access::Write, Seal::Size, 10_000).unwrap();
        writer.header().store(7, Relaxed);
        assert_eq!(Words::rest_at(3).unwrap(), PAGE);
        nix::sys::uio::pwrite(&fd, b"at the end", (PAGE + 9_990) as i64).unwrap();
        drop(fd);
        let rest = writer.map_rest(10_000).unwrap();
        assert_eq!(writer.header().load(Relaxed), 7);
        // SAFETY: it was mapped just now.
        assert_eq!(unsafe { std::slice::from_raw_parts(rest.as_ptr().add(9_990), 10) }, b"at the end");
    }

    #[test]
    fn nobody_shrinks_it_and_with_the_seal_nobody_else_writes() {
        for (seal, writes) in [(Seal::Size, true), (Seal::LaterWrites, false)] {
            let (fd, _writer) = Words::create(c"test", 3, Access::Write, seal).unwrap();
            assert!(nix::unistd::ftruncate(&fd, 0).is_err());
            assert_eq!(Words::map(&fd, 3, Access::Write).is_ok(), writes, "{seal:?}");
            assert_eq!(nix::unistd::write(&fd, &[0]).is_ok(), writes, "{seal:?}");
        }
    }

    #[test]
    fn memory_that_is_too_small_is_not_mapped() {
        let (fd, _mapping) = Words::create(c"test", 3, Access::Read, Seal::Size).unwrap();
        let error = Words::map(&fd, 4, Access::Read).err().unwrap();
        assert_eq!(error.to_string(), "20 bytes of shared memory were inherited, and 24 are needed");
        assert!(Words::map(&fd, usize::MAX, Access::Read).is_err());
    }
}
