//! Removes what the local object store leaves behind where a process dies in the middle of a put: it writes to
//! `name#number` and renames, and its listings hide such files, so nobody else sees them.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// Removes the files in `dir` and below that a put wrote to and nobody touched since `age` before `wall_ns`; answers how
/// many. What cannot be read or removed is logged and left.
#[expect(clippy::disallowed_methods, reason = "the edge: the directory is the local object store's own")]
pub(super) fn remove_leftovers(dir: &Path, wall_ns: i64, age: Duration) -> u64 {
    let now = UNIX_EPOCH + Duration::from_nanos(u64::try_from(wall_ns).unwrap_or(0));
    let Some(before) = now.checked_sub(age) else { return 0 };
    let mut removed = 0;
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "directory of objects not read");
                continue;
            }
        };
        for entry in entries.flatten() {
            let path = entry.path();
            match entry.metadata() {
                Ok(found) if found.is_dir() => dirs.push(path),
                Ok(found) if is_leftover(&path) && found.modified().is_ok_and(|at| at < before) => {
                    match std::fs::remove_file(&path) {
                        Ok(()) => removed += 1,
                        Err(error) => tracing::warn!(file = %path.display(), %error, "leftover not removed"),
                    }
                }
                _ => {}
            }
        }
    }
    removed
}

/// `name#digits`: the store takes no object of such a name.
fn is_leftover(path: &Path) -> bool {
    let number = path.file_name().and_then(|name| name.to_str()?.rsplit_once('#')).map(|(_, number)| number);
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests: files are real")]
mod tests {
    use super::*;

    #[test]
    fn only_old_files_that_a_put_wrote_to_go() {
        let dir = tempfile::tempdir().unwrap();
        let files =
            ["tenant/a/b:c#1", "tenant/a/b:c#12", "tenant/a/b:c", "tenant/a/b#", "tenant/x#1y", "#1/kept"];
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        let hour = Duration::from_hours(1);
        let now = std::fs::metadata(dir.path().join("#1/kept")).unwrap().modified().unwrap();
        let now_ns = i64::try_from(now.duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
        assert_eq!(remove_leftovers(dir.path(), now_ns, hour), 0, "they are young");
        let later_ns = now_ns + 2 * i64::try_from(hour.as_nanos()).unwrap();
        assert_eq!(remove_leftovers(dir.path(), later_ns, hour), 2);
        let left = files.iter().filter(|file| dir.path().join(file).exists()).count();
        assert_eq!(left, 4);
        assert_eq!(remove_leftovers(&dir.path().join("nowhere"), later_ns, hour), 0);
    }
}
