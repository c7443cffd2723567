use std::fs::OpenOptions;
use std::io::Write;

use regex::bytes::Regex;
use tempfile::TempDir;

use super::super::discover::Sources;
use super::super::joiner::Joiner;
use super::*;

mod copies;

const SECOND_NS: u64 = 1_000_000_000;

/// A directory of logs and those who follow them, at a time of the test's.
struct Logs {
    dir: TempDir,
    sources: Sources,
    tails: Tails,
    reading: Reading,
    now_ns: u64,
    state: State,
}

impl Logs {
    fn follow(pattern: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pattern = dir.path().join(pattern).display().to_string();
        let sources = Sources::new(&[pattern], Vec::new()).unwrap();
        let reading = Reading::new(Joiner::new(None, 100), 1 << 20);
        Self { dir, sources, tails: Tails::new(true), reading, now_ns: 0, state: State::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn truncate(&self, name: &str) {
        OpenOptions::new().write(true).open(self.path(name)).unwrap().set_len(0).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    fn load(&mut self) -> Load {
        self.reading.wall_ns = i64::try_from(self.now_ns).unwrap();
        self.tails.settled(true);
        self.tails.scan(&self.sources.scan().files, self.now_ns).unwrap();
        self.tails.look(self.now_ns).unwrap();
        let mut load = Load::default();
        self.tails.fill(&mut load, &mut self.reading, self.now_ns).unwrap();
        load
    }

    /// The lines that there are now, settled.
    fn lines(&mut self) -> Vec<String> {
        let load = self.load();
        self.tails.forget();
        self.state = self.tails.state();
        texts(&load)
    }

    fn restart(&mut self) {
        self.tails = Tails::new(true);
        let sources = &self.sources;
        self.tails.restore(&self.state, self.now_ns, |path| sources.wants(path));
    }
}

/// The lines of a load, whatever their streams.
fn texts(load: &Load) -> Vec<String> {
    entries(load).into_iter().map(|(_, _, text)| text).collect()
}

/// File name, time and text of each line.
fn entries(load: &Load) -> Vec<(String, String, String)> {
    let body = load.parcel.encode(0..load.parcel.len(), super::super::Packing::None);
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let mut entries = Vec::new();
    for stream in body["streams"].as_array().unwrap() {
        let name = stream["stream"]["filename"].as_str().unwrap();
        for value in stream["values"].as_array().unwrap() {
            entries.push((
                name.to_owned(),
                value[0].as_str().unwrap().to_owned(),
                value[1].as_str().unwrap().to_owned(),
            ));
        }
    }
    entries
}

#[test]
fn a_file_that_grows_gives_each_line_once_when_its_end_is_there() {
    let mut logs = Logs::follow("*.log");
    logs.write("a.log", "one\ntw");
    assert_eq!(logs.lines(), ["one"]);
    assert_eq!(logs.lines(), [""; 0]);
    logs.write("a.log", "o\nthree\n");
    assert_eq!(logs.lines(), ["two", "three"]);
    logs.write("b.log", "other\n");
    assert_eq!(logs.lines(), ["other"], "a file that came later");
    logs.now_ns += 60 * SECOND_NS;
    logs.write("a.log", "unfinished");
    assert_eq!(logs.lines(), [""; 0], "however long it takes");
}

#[test]
fn a_rotated_file_is_read_to_its_end_beside_its_successor() {
    for pattern in ["app.log", "app.log*"] {
        let mut logs = Logs::follow(pattern);
        logs.write("app.log", "one\n");
        assert_eq!(logs.lines(), ["one"]);
        logs.write("app.log", "two\n");
        logs.rename("app.log", "app.log.1");
        assert_eq!(logs.lines(), ["two"], "{pattern}: no successor yet");
        logs.write("app.log", "four\n");
        logs.write("app.log.1", "three\nlast");
        let mut lines = logs.lines();
        lines.sort();
        assert_eq!(lines, ["four", "three"], "{pattern}: whoever writes it has not noticed yet");
        logs.now_ns += 600 * SECOND_NS;
        logs.rename("app.log.1", "app.log.2");
        assert_eq!(logs.lines(), [""; 0], "{pattern}: nothing again");
        logs.remove("app.log.2");
        assert_eq!(logs.lines(), [""; 0]);
        logs.now_ns += 5 * SECOND_NS;
        assert_eq!(logs.lines(), ["last"], "{pattern}: it is over");
        assert_eq!(logs.state.files.len(), 1);
    }
}

/// It was left at the rename once, where it had been quiet before.
#[test]
fn a_file_that_was_quiet_before_it_was_rotated_is_followed_as_long_as_it_is_there() {
    let mut logs = Logs::follow("app.log");
    let long = "x".repeat(300);
    logs.write("app.log", &format!("{long}\n"));
    assert_eq!(logs.lines().len(), 1);
    logs.now_ns += 60 * SECOND_NS;
    logs.rename("app.log", "app.log.1");
    assert_eq!(logs.lines(), [""; 0]);
    logs.now_ns += SECOND_NS;
    logs.write("app.log.1", "late\n");
    assert_eq!(logs.lines(), ["late"]);
    logs.now_ns += 3_600 * SECOND_NS;
    assert_eq!(logs.lines(), [""; 0]);
    assert!(logs.tails.files.values().all(|tail| tail.file.is_none()), "closed after an hour");
    logs.rename("app.log.1", "app.log.2");
    logs.write("app.log.2", "later\n");
    logs.now_ns += 60 * SECOND_NS;
    assert_eq!(logs.lines(), ["later"], "and found again where it grows after all");
}

#[test]
fn files_that_are_gone_are_forgotten() {
    let mut logs = Logs::follow("*.log");
    for number in 0..100 {
        let name = format!("{number}.log");
        logs.write(&name, "one\n");
        assert_eq!(logs.lines(), ["one"]);
        logs.remove(&name);
        assert_eq!(logs.lines(), [""; 0]);
        logs.now_ns += 5 * SECOND_NS;
        assert_eq!(logs.lines(), [""; 0]);
    }
    assert_eq!((logs.state.files.len(), logs.state.streams.len()), (0, 0));
    // Closed with a name, and removed later.
    logs.write("a.log", &"one\n".repeat(100));
    assert_eq!(logs.lines().len(), 100);
    logs.rename("a.log", "a.old");
    assert_eq!(logs.lines(), [""; 0]);
    logs.now_ns += 3_600 * SECOND_NS;
    assert_eq!(logs.lines(), [""; 0]);
    assert_eq!(logs.state.files.len(), 1);
    logs.remove("a.old");
    logs.now_ns += 60 * SECOND_NS;
    assert_eq!(logs.lines(), [""; 0]);
    assert_eq!(logs.state.files.len(), 0);
}

#[test]
fn the_number_of_a_file_that_is_gone_may_be_given_to_another() {
    let mut logs = Logs::follow("*.log");
    logs.write("a.log", "done 01\n");
    assert_eq!(logs.lines(), ["done 01"]);
    logs.remove("a.log");
    assert_eq!(logs.lines(), [""; 0]);
    logs.now_ns += 5 * SECOND_NS;
    let load = logs.load();
    assert!(load.parcel.is_empty() && logs.tails.files.values().all(|tail| tail.file.is_some()));
    logs.tails.forget();
    // Whether it has the same number is up to the file system.
    logs.write("b.log", "done 02\n");
    assert_eq!(logs.lines(), ["done 02"]);
    // So it is given it here: closed, and another file by all but its number.
    logs.tails.files.values_mut().for_each(|tail| (tail.file, tail.wanted) = (None, false));
    logs.rename("b.log", "c.log");
    logs.write("c.log", "done 03\n");
    let load = logs.load();
    let c = logs.path("c.log").display().to_string();
    assert!(entries(&load).iter().all(|(name, ..)| *name == c));
    assert_eq!(
        texts(&load),
        ["done 02", "done 03"],
        "from its start, since it cannot be told from a new one"
    );
}

#[test]
fn a_file_that_was_overwritten_under_another_name_is_read_from_its_start() {
    let mut logs = Logs::follow("*.log");
    logs.write("a.log", "one\n");
    assert_eq!(logs.lines(), ["one"]);
    logs.rename("a.log", "b.log");
    logs.now_ns += 6 * SECOND_NS;
    assert_eq!(logs.lines(), [""; 0]);
    std::fs::write(logs.path("b.log"), "two\n").unwrap();
    let later = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    File::options().write(true).open(logs.path("b.log")).unwrap().set_modified(later).unwrap();
    assert_eq!(logs.lines(), ["two"]);
}

#[test]
fn after_a_restart_a_number_alone_does_not_make_a_file_the_one_that_was_read() {
    let mut logs = Logs::follow("*.log");
    logs.write("a.log", "start\n");
    assert_eq!(logs.lines(), ["start"]);
    // The number is given to another file that begins the same.
    logs.rename("a.log", "b.log");
    logs.write("b.log", "more\n");
    logs.restart();
    let load = logs.load();
    let b = logs.path("b.log").display().to_string();
    assert!(entries(&load).iter().all(|(name, ..)| *name == b));
    assert_eq!(texts(&load), ["start", "more"]);
}

#[test]
fn numbers_that_changed_over_a_boot_make_no_file_new() {
    let long = format!("{}\n", "x".repeat(300));
    for (text, inode_too, rotated) in
        [(&*long, true, false), (&*long, false, false), (&*long, false, true), ("one\n", false, true)]
    {
        let mut logs = Logs::follow("a.log");
        logs.write("a.log", text);
        let load = logs.load();
        logs.state =
            State { files: logs.tails.before(&load.pieces).into_values().collect(), ..State::default() };
        let mut pieces = load.pieces;
        let keys = logs
            .state
            .files
            .iter_mut()
            .map(|mark| &mut mark.key)
            .chain(pieces.iter_mut().map(|piece| &mut piece.key));
        for key in keys {
            key.device += 1;
            key.inode += u64::from(inode_too) << 40;
        }
        logs.write("a.log", "more\n");
        if rotated {
            logs.rename("a.log", "a.log.1");
            logs.write("a.log", "new\n");
        }
        logs.restart();
        let mut again = Load::default();
        logs.tails.redo(&pieces, &mut again, &mut logs.reading);
        assert_eq!(entries(&again), entries(&Load { pieces, ..load }));
        let mut lines = logs.lines();
        lines.sort();
        assert_eq!(lines, ["more", "new"][..1 + usize::from(rotated)]);
    }
}

#[test]
fn a_file_that_is_removed_is_read_to_its_end() {
    let mut logs = Logs::follow("*");
    logs.write("a", "one\n");
    assert_eq!(logs.lines(), ["one"]);
    logs.write("a", "two\nthree");
    std::fs::remove_file(logs.path("a")).unwrap();
    assert_eq!(logs.lines(), ["two"]);
    logs.now_ns += 6 * SECOND_NS;
    assert_eq!(logs.lines(), ["three"]);
    assert!(logs.tails.files.values().all(|tail| tail.file.is_none()), "and its space is given back");
}

#[test]
fn a_truncated_file_is_read_from_its_start() {
    let mut logs = Logs::follow("a.log");
    logs.write("a.log", "one\ntwo\n");
    assert_eq!(logs.lines().len(), 2);
    logs.truncate("a.log");
    assert_eq!(logs.lines(), [""; 0]);
    logs.write("a.log", "new\n");
    assert_eq!(logs.lines(), ["new"]);
    logs.truncate("a.log");
    // File systems count time in steps of some milliseconds.
    let later = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    logs.write("a.log", "xyz\n");
    File::options().write(true).open(logs.path("a.log")).unwrap().set_modified(later).unwrap();
    assert_eq!(logs.lines(), ["xyz"], "as long as it was");
    logs.truncate("a.log");
    logs.write("a.log", "longer than what was there\nbefore\n");
    assert_eq!(logs.lines(), ["longer than what was there", "before"], "it grew past the old offset unseen");
}

#[test]
fn offsets_survive_a_restart_whatever_happened_to_the_names_meanwhile() {
    let mut logs = Logs::follow("app.log");
    logs.write("app.log", "one\n");
    assert_eq!(logs.lines(), ["one"]);
    logs.restart();
    assert_eq!(logs.lines(), [""; 0], "nothing happened");
    logs.write("app.log", "two\n");
    logs.rename("app.log", "app.log.1");
    logs.write("app.log", "three\n");
    logs.restart();
    let mut lines = logs.lines();
    lines.sort();
    assert_eq!(lines, ["three", "two"], "rotated");
    logs.truncate("app.log");
    logs.write("app.log", "fourth line\n");
    logs.restart();
    assert_eq!(logs.lines(), ["fourth line"], "truncated");
    std::fs::remove_file(logs.path("app.log")).unwrap();
    logs.write("app.log", "fifth line!\n");
    logs.restart();
    assert_eq!(logs.lines(), ["fifth line!"], "removed, and another of the same length in its place");
}

#[test]
fn a_batch_that_was_under_way_is_the_same_after_a_restart() {
    let mut logs = Logs::follow("*.log");
    logs.reading = Reading::new(Joiner::new(Some(Regex::new("^[a-z]").unwrap()), 12), 1 << 20);
    logs.write("a.log", "one\none\n at x\nmuch too long a line for this\nend\n at y\n");
    logs.write("b.log", "two\ntwo\n");
    logs.now_ns = 5 * SECOND_NS;
    let mut first = logs.load();
    logs.now_ns += 2 * SECOND_NS;
    logs.reading.wall_ns = 7_000_000_000;
    logs.tails.look(logs.now_ns).unwrap();
    logs.tails.fill(&mut first, &mut logs.reading, logs.now_ns).unwrap();
    let sent = entries(&first);
    assert_eq!(texts(&first), ["one", "one\n at x", "much too lon", "end\n at y", "two", "two"]);
    let after = logs.tails.state();
    logs.state.files = logs.tails.before(&first.pieces).into_values().collect();
    logs.now_ns += 100 * SECOND_NS;
    logs.write("a.log", "more\n");
    logs.rename("a.log", "a.old");
    logs.restart();
    let mut again = Load::default();
    logs.tails.redo(&first.pieces, &mut again, &mut logs.reading);
    assert_eq!(entries(&again), sent);
    assert_eq!(again.pieces, first.pieces);
    let offsets = |state: &State| state.files.iter().map(|mark| (mark.key, mark.offset)).collect::<Vec<_>>();
    assert_eq!(offsets(&logs.tails.state()), offsets(&after));
    assert_eq!(logs.tails.state().streams, after.streams);
}

#[test]
fn a_batch_whose_bytes_are_gone_is_not_made_up() {
    for written in ["xx", "other lines, and more than before\n"] {
        let mut logs = Logs::follow("a.log");
        logs.write("a.log", "one\ntwo\n");
        let load = logs.load();
        logs.state.files = logs.tails.before(&load.pieces).into_values().collect();
        logs.truncate("a.log");
        logs.write("a.log", written);
        logs.restart();
        let mut again = Load::default();
        logs.tails.redo(&load.pieces, &mut again, &mut logs.reading);
        assert!(again.parcel.is_empty(), "{written}");
        assert_eq!(logs.lines().len(), written.matches('\n').count(), "what is there now is read");
    }
}

#[test]
fn a_batch_ends_at_its_size_and_files_take_turns() {
    let mut logs = Logs::follow("*.log");
    logs.reading.batch_bytes = 300;
    for name in ["a.log", "b.log"] {
        logs.write(name, &"0123456789\n".repeat(100));
    }
    let mut lines = 0;
    let mut streams = BTreeSet::new();
    for _ in 0..2 {
        let load = logs.load();
        assert!((300..400).contains(&load.parcel.bytes()), "{}", load.parcel.bytes());
        streams.extend(entries(&load).into_iter().map(|(name, ..)| name));
        lines += load.parcel.len();
    }
    assert_eq!(streams.len(), 2);
    loop {
        let load = logs.load();
        if load.parcel.is_empty() {
            break;
        }
        lines += load.parcel.len();
    }
    assert_eq!(lines, 200);
}

#[test]
fn files_that_are_not_followed_are_read_to_their_end_one_after_the_other() {
    let mut logs = Logs::follow("*.log");
    logs.tails = Tails::new(false);
    logs.write("a.log", "one\ntwo");
    logs.write("b.log", "");
    logs.write("c.log", "three\n");
    assert!(!logs.tails.is_done() || logs.tails.files.is_empty());
    assert_eq!(logs.lines(), ["one", "two", "three"]);
    assert!(logs.tails.is_done());
    assert_eq!((logs.tails.opened(), logs.tails.bytes_left()), (3, 0));
}

#[test]
fn a_file_that_nobody_asks_for_any_more_is_remembered_and_left_alone() {
    let mut logs = Logs::follow("*.log");
    logs.write("a.log", "one\n");
    logs.write("b.log", "one\n");
    assert_eq!(logs.lines().len(), 2);
    logs.write("a.log", "two\n");
    logs.write("b.log", "two\n");
    let all = std::mem::replace(
        &mut logs.sources,
        Sources::new(&[logs.dir.path().join("b.log").display().to_string()], Vec::new()).unwrap(),
    );
    logs.restart();
    assert_eq!(logs.lines().len(), 1);
    logs.sources = all;
    logs.restart();
    assert_eq!(logs.lines(), ["two"]);
}
