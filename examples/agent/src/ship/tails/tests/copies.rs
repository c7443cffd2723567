use super::*;

/// So many lines, long enough to tell a file by its start.
fn text(lines: std::ops::Range<u32>) -> String {
    lines.map(|number| format!("line {number} {}\n", "x".repeat(90))).collect()
}

fn numbers(lines: &[String]) -> Vec<u32> {
    lines.iter().map(|line| line.split(' ').nth(1).unwrap().parse().unwrap()).collect()
}

impl Logs {
    fn copy(&self, from: &str, to: &str) {
        std::fs::copy(self.path(from), self.path(to)).unwrap();
    }

    /// The numbers of the lines that there are a second later.
    fn later(&mut self) -> Vec<u32> {
        self.now_ns += SECOND_NS;
        numbers(&self.lines())
    }
}

#[test]
fn a_copy_of_a_truncated_log_gives_what_was_not_read_of_the_log_and_no_more() {
    for restart in [false, true] {
        let mut logs = Logs::follow("app*");
        logs.write("app.log", &text(0..10));
        assert_eq!(logs.later(), (0..10).collect::<Vec<_>>());
        // Copied while somebody writes on, truncated, and written to again, before anybody looks.
        logs.write("app.log", &text(10..12));
        logs.copy("app.log", "app.log.1");
        logs.truncate("app.log");
        logs.write("app.log", &text(12..13));
        if restart {
            logs.restart();
        }
        let mut found = logs.later();
        let load = logs.load();
        assert!(
            entries(&load).iter().all(|(name, ..)| name.ends_with("/app.log")),
            "in the stream of the log"
        );
        found.extend(numbers(&texts(&load)));
        found.extend(logs.later());
        found.sort_unstable();
        assert_eq!(found, [10, 11, 12], "restarted: {restart}");
        // The next rotation is like the first one.
        logs.rename("app.log.1", "app.log.2");
        logs.write("app.log", &text(13..20));
        assert_eq!(logs.later(), (13..20).collect::<Vec<_>>());
        logs.copy("app.log", "app.log.1");
        assert_eq!(logs.later(), [0; 0]);
        logs.truncate("app.log");
        assert_eq!([logs.later(), logs.later()].concat(), [0; 0]);
        logs.restart();
        assert_eq!([logs.later(), logs.later()].concat(), [0; 0], "nor after a restart");
    }
}

#[test]
fn a_file_that_only_begins_like_a_log_is_read_whole() {
    let mut logs = Logs::follow("app*");
    logs.write("app.log", &text(0..10));
    assert_eq!(logs.later(), (0..10).collect::<Vec<_>>());
    // A log that is not truncated, and one that has other lines.
    logs.write("app-worker.log", &text(0..4));
    assert_eq!(logs.later(), [0; 0], "it may be a copy");
    logs.now_ns += 10 * SECOND_NS;
    assert_eq!(logs.later(), [0, 1, 2, 3]);
    logs.write("app.log.1", &text(0..9));
    logs.write("app.log.1", &text(30..40));
    assert_eq!(logs.later(), [0; 0]);
    logs.truncate("app.log");
    assert_eq!([logs.later(), logs.later()].concat(), (0..9).chain(30..40).collect::<Vec<_>>());
    // Nothing of another name, or another beginning, is waited for.
    logs.write("apple.log", &text(0..4));
    logs.write("app.log.2", &text(50..55));
    assert_eq!(logs.later().len(), 9);
}

/// What was read and is not settled is read again after a crash, and only the copy has it then.
#[test]
fn a_copy_is_left_alone_while_something_is_not_settled() {
    let mut logs = Logs::follow("app*");
    logs.write("app.log", &text(0..10));
    assert_eq!(logs.later(), (0..10).collect::<Vec<_>>());
    logs.write("app.log", &text(10..12));
    logs.now_ns += SECOND_NS;
    assert_eq!(numbers(&texts(&logs.load())), [10, 11]);
    // Under way from here on.
    logs.copy("app.log", "app.log.1");
    logs.truncate("app.log");
    for _ in 0..100 {
        logs.now_ns += SECOND_NS;
        logs.tails.settled(false);
        logs.tails.scan(&logs.sources.scan().files, logs.now_ns).unwrap();
        logs.tails.look(logs.now_ns).unwrap();
    }
    assert_eq!(logs.tails.marks().count(), 1);
    // It was not delivered.
    logs.restart();
    assert_eq!([logs.later(), logs.later()].concat(), [10, 11]);
}
