//! Logs on disk, the program, and what it answers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use forebay_wal::fs::StdFs;
use forebay_wal::{Options, Time, Wal};
use serde_json::Value;
use tempfile::TempDir;

/// What the program answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

pub(crate) fn walctl() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_walctl"));
    command.stdin(Stdio::null());
    command
}

/// Runs it; whatever it is given, it answers by one of its codes.
pub(crate) fn run(arguments: &[&str], dir: &Path) -> Answer {
    let output = walctl().args(arguments).arg(dir).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap_or(-1);
    let answer = Answer { code, out: text(output.stdout), err: text(output.stderr) };
    assert!((0..=2).contains(&code) && !answer.err.contains("panicked"), "{arguments:?}: {answer:?}");
    answer
}

impl Answer {
    /// The objects that it printed.
    pub(crate) fn objects(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub(crate) fn object(&self) -> Value {
        self.objects().pop().unwrap_or_else(|| panic!("{self:?}"))
    }
}

/// Small segments, as in the golden logs.
pub(crate) fn options() -> Options {
    Options {
        segment_bytes: 8192,
        max_frame: 512,
        salt_seed: Some(42),
        time: Time::frozen(),
        ..Options::default()
    }
}

/// A directory for one log.
pub(crate) struct Log {
    scratch: TempDir,
}

impl Log {
    pub(crate) fn empty() -> Self {
        Self { scratch: tempfile::tempdir().unwrap() }
    }

    /// A copy of a golden log.
    pub(crate) fn golden(name: &str) -> Self {
        let log = Self::empty();
        for entry in std::fs::read_dir(golden(name)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, log.dir().join(path.file_name().unwrap())).unwrap();
        }
        log
    }

    /// As this writes it, and leaves it.
    pub(crate) fn of(write: impl FnOnce(&Wal<StdFs>)) -> Self {
        let log = Self::empty();
        let (wal, _) = Wal::open_in(StdFs, log.dir(), options()).unwrap();
        write(&wal);
        log
    }

    pub(crate) fn dir(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.dir().join(format!("wal-{number:016x}.seg"))
    }

    /// Changes bytes of a file.
    pub(crate) fn edit(&self, number: u64, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = std::fs::read(self.segment(number)).unwrap();
        edit(&mut bytes);
        std::fs::write(self.segment(number), bytes).unwrap();
    }

    /// Every file with its bytes and the time of its last change.
    pub(crate) fn files(&self) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime)> {
        let mut files = BTreeMap::new();
        let mut dirs = vec![self.dir().to_path_buf()];
        while let Some(dir) = dirs.pop() {
            let changed = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
            files.insert(dir.clone(), (Vec::new(), changed(&dir)));
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                match path.is_dir() {
                    true => dirs.push(path),
                    false => {
                        drop(files.insert(path.clone(), (std::fs::read(&path).unwrap(), changed(&path))))
                    }
                }
            }
        }
        files
    }
}

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// All golden logs.
pub(crate) fn all_golden() -> Vec<String> {
    let entries = std::fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().path());
    let mut names: Vec<_> = entries.filter(|path| path.is_dir()).collect();
    names.sort();
    names.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}
