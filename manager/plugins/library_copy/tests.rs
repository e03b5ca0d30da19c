use std::os::unix::fs::{MetadataExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::*;

struct Place {
    tmp: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let tmp = tempfile::tempdir().unwrap();
        fs::create_dir(tmp.path().join("store")).unwrap();
        Place { tmp }
    }

    fn from(&self) -> PathBuf {
        self.tmp.path().join("x.so")
    }

    fn copy(&self) -> Result<Copied, Rejection> {
        let to = self.tmp.path().join("store/copy");
        Copy { from: &self.from(), to: &to, max_size: 1 << 20, file_policy: None }.make()
    }

    fn left_behind(&self) -> usize {
        fs::read_dir(self.tmp.path().join("store")).unwrap().count()
    }
}

#[test]
fn a_file_of_several_blocks() {
    let place = Place::new();
    let content: Vec<u8> = (0..700_000).map(|n| (n % 251) as u8).collect();
    fs::write(place.from(), &content).unwrap();
    let copied = place.copy().unwrap();
    assert_eq!(copied.hash, ContentHash::of_reader(content.as_slice()).unwrap());
    assert_eq!(copied.source, FileIdentity::of(&fs::metadata(place.from()).unwrap()));
    let copy = place.tmp.path().join("store/copy");
    assert_eq!(fs::read(&copy).unwrap(), content);
    assert_eq!(fs::metadata(&copy).unwrap().mode() & 0o7777, 0o500);
}

#[test]
fn through_a_link_that_a_deploy_may_use() {
    let place = Place::new();
    fs::write(place.tmp.path().join("release"), "content").unwrap();
    symlink("release", place.from()).unwrap();
    assert_eq!(place.copy().unwrap().source.size, 7);
}

/// What it is, how it is made, and the text about it.
type NoFile = (&'static str, fn(&Path), &'static str);

#[test]
fn what_is_no_file() {
    let cases: [NoFile; 6] = [
        ("nothing", |_| {}, "vanished before it could be read"),
        ("a directory", |path| fs::create_dir(path).unwrap(), "is a directory, not a file"),
        (
            "a FIFO nobody writes to",
            |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap(),
            "is a FIFO, not a file",
        ),
        ("a socket", |path| drop(UnixListener::bind(path).unwrap()), "is a socket, not a file"),
        ("a device", |path| symlink("/dev/zero", path).unwrap(), "is a device, not a file"),
        ("a loop", |path| symlink("x.so", path).unwrap(), "cannot be opened: Too many levels of symbolic links"),
    ];
    for (what, make, sentence) in cases {
        let place = Place::new();
        make(&place.from());
        assert_eq!(place.copy().unwrap_err().to_string(), sentence, "{what}");
        assert_eq!(place.left_behind(), 0, "{what}");
    }
}

#[test]
fn more_than_allowed_is_not_copied() {
    let place = Place::new();
    File::create(place.from()).unwrap().set_len((1 << 20) + 1).unwrap();
    assert_eq!(place.copy().unwrap_err(), Rejection::TooLarge { size: (1 << 20) + 1, max: 1 << 20 });
    assert_eq!(place.left_behind(), 0);
    // Exactly the limit is allowed.
    File::create(place.from()).unwrap().set_len(1 << 20).unwrap();
    assert_eq!(place.copy().unwrap().source.size, 1 << 20);
}

#[test]
fn a_file_that_is_still_written_to_is_left_for_later() {
    let place = Place::new();
    fs::write(place.from(), vec![1; 1 << 19]).unwrap();
    let writer = File::options().append(true).open(place.from()).unwrap();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                (&writer).write_all(b"x").unwrap();
                writer.set_len(1 << 19).unwrap();
            }
        });
        // A copy may happen between two writes.
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let rejection = loop {
            match place.copy() {
                Ok(_) => fs::remove_file(place.tmp.path().join("store/copy")).unwrap(),
                Err(rejection) => break rejection,
            }
            assert!(std::time::Instant::now() < deadline, "the change was never seen");
        };
        drop(stop);
        assert_eq!(rejection, Rejection::Changing);
    });
    assert_eq!(place.left_behind(), 0);
}

#[test]
fn an_existing_name_in_the_store_is_not_written_over() {
    let place = Place::new();
    fs::write(place.from(), "new").unwrap();
    let copy = place.tmp.path().join("store/copy");
    symlink(place.tmp.path().join("victim"), &copy).unwrap();
    let rejection = place.copy().unwrap_err().to_string();
    assert!(rejection.ends_with("File exists"), "{rejection}");
    assert!(!place.tmp.path().join("victim").exists());
}

#[test]
fn a_full_disk_is_reported_as_such() {
    let place = Place::new();
    fs::write(place.from(), "content").unwrap();
    let to = Path::new("/dev/full");
    let copy = Copy { from: &place.from(), to, max_size: 1 << 20, file_policy: None };
    let error = OpenOptions::new().write(true).open(to).and_then(|mut full| full.write_all(b"x")).unwrap_err();
    let rejection = copy.store_failed(&error);
    assert_eq!(
        rejection.to_string(),
        "cannot be stored: /dev is full (No space left on device); free space there, or point state_dir elsewhere"
    );
}
