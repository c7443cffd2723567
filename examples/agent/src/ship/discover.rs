//! Which files there are to ship: names, directories and patterns, looked at again whenever asked.
//!
//! Of directories and patterns, files that are no logs are left out: those that begin with a dot, are compressed, or
//! have a zero byte at their start. What is named is shipped whatever it is.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::disk;

/// What `-` stands for.
pub const STANDARD_INPUT: &str = "-";

const COMPRESSED: [&str; 8] = ["gz", "xz", "zst", "bz2", "lz4", "zip", "tar", "journal"];

/// What to ship.
#[derive(Debug, Clone)]
pub struct Sources {
    named: Vec<PathBuf>,
    patterns: Vec<glob::Pattern>,
    standard_input: bool,
    /// Never shipped: the agent's own files.
    own: Vec<PathBuf>,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Files to ship, by name.
    pub files: BTreeSet<PathBuf>,
    /// How many were left out.
    pub skipped: usize,
    /// What nobody named and may not be read, and why.
    pub unreadable: Vec<(PathBuf, io::ErrorKind)>,
    /// What was named and is not there, and why.
    pub troubles: Vec<(PathBuf, io::ErrorKind)>,
}

impl Sources {
    /// Files, directories (without those below them), patterns with `*`, `?`, `[…]` and `**`, and `-` for standard
    /// input. `own` files are not shipped.
    ///
    /// # Errors
    /// The pattern that cannot be read.
    pub fn new(arguments: &[String], own: Vec<PathBuf>) -> Result<Self, glob::PatternError> {
        let mut sources = Self { named: Vec::new(), patterns: Vec::new(), standard_input: false, own };
        for argument in arguments {
            if argument == STANDARD_INPUT {
                sources.standard_input = true;
            } else if argument.contains(['*', '?', '[']) && !Path::new(argument).exists() {
                sources.patterns.push(glob::Pattern::new(argument)?);
            } else {
                sources.named.push(argument.into());
            }
        }
        Ok(sources)
    }

    /// Whether standard input is to be shipped.
    pub fn standard_input(&self) -> bool {
        self.standard_input
    }

    /// Whether anything but standard input is to be shipped.
    pub fn has_files(&self) -> bool {
        !self.named.is_empty() || !self.patterns.is_empty()
    }

    /// Whether a file of this name would be shipped, wherever it is now.
    pub fn wants(&self, path: &Path) -> bool {
        self.named.iter().any(|named| named == path || path.parent() == Some(named))
            || self.patterns.iter().any(|pattern| pattern.matches_path(path))
    }

    /// What there is now.
    pub fn scan(&self) -> Found {
        let mut found = Found::default();
        for path in &self.named {
            match std::fs::metadata(path) {
                Ok(metadata) if metadata.is_dir() => match disk::files_in(path) {
                    Ok(files) => files.into_iter().for_each(|file| self.consider(file, &mut found)),
                    Err(error) => found.troubles.push((path.clone(), error.kind())),
                },
                Ok(_) => _ = found.files.insert(path.clone()),
                Err(error) => found.troubles.push((path.clone(), error.kind())),
            }
        }
        for pattern in &self.patterns {
            let Ok(paths) = glob::glob(pattern.as_str()) else { continue };
            for path in paths {
                match path {
                    Ok(path) if path.is_file() => self.consider(path, &mut found),
                    Ok(_) => {}
                    Err(error) => found.unreadable.push((error.path().to_owned(), error.error().kind())),
                }
            }
        }
        found
    }

    fn consider(&self, path: PathBuf, found: &mut Found) {
        let named_so = |own: &&PathBuf| own.file_name() == path.file_name();
        if found.files.contains(&path) || self.own.iter().filter(named_so).any(|own| same(own, &path)) {
            return;
        }
        match kind(&path, disk::first_bytes(&path)) {
            Kind::Log => _ = found.files.insert(path),
            Kind::Other => found.skipped += 1,
            Kind::Unreadable(why) => found.unreadable.push((path, why)),
        }
    }
}

fn same(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Log,
    Other,
    Unreadable(io::ErrorKind),
}

/// What a file is that nobody named, by its name and how it begins.
fn kind(path: &Path, first_bytes: io::Result<Vec<u8>>) -> Kind {
    let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let compressed = path.extension().and_then(|e| e.to_str()).is_some_and(|e| COMPRESSED.contains(&e));
    match first_bytes {
        _ if hidden || compressed => Kind::Other,
        Ok(bytes) if bytes.contains(&0) => Kind::Other,
        Ok(_) => Kind::Log,
        Err(error) => Kind::Unreadable(error.kind()),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "logs are files of the operating system")]
mod tests {
    use super::*;

    fn found(dir: &Path, arguments: &[&str], own: &[&str]) -> (Vec<String>, usize) {
        let within = |name: &&str| dir.join(name).display().to_string();
        let arguments = arguments.iter().map(within).collect::<Vec<_>>();
        let own = own.iter().map(|name| dir.join(name)).collect();
        let found = Sources::new(&arguments, own).unwrap().scan();
        assert!(found.troubles.is_empty(), "{found:?}");
        let name = |path: &PathBuf| path.strip_prefix(dir).unwrap().display().to_string();
        (found.files.iter().map(name).collect(), found.skipped)
    }

    #[test]
    fn directories_patterns_and_names_give_each_file_once() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("sub/deep")).unwrap();
        for (name, content) in [
            ("a.log", &b"x\n"[..]),
            ("b.log", b""),
            ("c.log.gz", b"x"),
            (".hidden", b"x"),
            ("wtmp", b"\x01\0\0\0x"),
            ("ship.json", b"{}"),
            ("sub/d.log", b"x"),
            ("sub/deep/e.log", b"x"),
        ] {
            std::fs::write(dir.path().join(name), content).unwrap();
        }
        let names = |arguments: &[&str]| found(dir.path(), arguments, &["ship.json"]);
        assert_eq!(names(&["."]).1, 3);
        assert_eq!(names(&[""]), (vec!["a.log".to_owned(), "b.log".to_owned()], 3));
        assert_eq!(names(&["*.log", "a.log"]).0, ["a.log", "b.log"]);
        assert_eq!(names(&["**/*.log"]).0, ["a.log", "b.log", "sub/d.log", "sub/deep/e.log"]);
        assert_eq!(names(&["sub"]).0, ["sub/d.log"]);
        assert_eq!(names(&["wtmp"]).0, ["wtmp"], "what is named is taken");
        assert_eq!(names(&["nothing*"]).0, [""; 0]);
        std::fs::write(dir.path().join("new.log"), "x").unwrap();
        assert_eq!(names(&["n?w.log"]).0, ["new.log"]);
    }

    #[test]
    fn what_nobody_named_is_left_out_where_it_may_not_be_read() {
        let refused = || Err(io::ErrorKind::PermissionDenied.into());
        assert_eq!(
            kind("/var/log/secret".as_ref(), refused()),
            Kind::Unreadable(io::ErrorKind::PermissionDenied)
        );
        assert_eq!(kind("/var/log/a.gz".as_ref(), refused()), Kind::Other);
        assert_eq!(kind("/var/log/syslog".as_ref(), Ok(b"x\n".to_vec())), Kind::Log);
    }

    #[test]
    fn what_is_not_there_is_told() {
        let sources = Sources::new(&["/no/such/file".to_owned(), "-".to_owned()], Vec::new()).unwrap();
        assert!(sources.standard_input());
        let found = sources.scan();
        assert_eq!(found.troubles, [(PathBuf::from("/no/such/file"), io::ErrorKind::NotFound)]);
        Sources::new(&["a[".to_owned()], Vec::new()).unwrap_err();
    }
}
