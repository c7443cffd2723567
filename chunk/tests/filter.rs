//! Reads of the lines that a filter wants, against a test of every line.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use forebay_chunk::{
    Builder, BuilderOptions, Chunk, Direction, Entry, Limits, LineFilter, Profile, ReadStats, TimeRange,
};
use proptest::prelude::*;

#[path = "support/owned.rs"]
mod owned;
#[path = "support/shapes.rs"]
mod shapes;
use owned::{Owned, collect, directed};
use shapes::{all, built, each_kind, kind, name, opened, skipping};

const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Backward];

/// Lines as programs write them: literals, and values of all kinds. What repeats gets skeletons.
fn log_line() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        3 => (0u64..1200).prop_map(|n| n.to_string()),
        1 => any::<u64>().prop_map(|n| n.to_string()),
        1 => (0u64..1000).prop_map(|n| format!("{n:05}")),
        2 => prop::sample::select(vec!["alice", "bob", "Bob", "eve", "", "al", "ice b"]).prop_map(Into::into),
        1 => any::<u32>().prop_map(|n| format!("{n:08x}")),
        1 => any::<u32>().prop_map(|n| format!("{n:08X}")),
        1 => any::<u128>().prop_map(|n| format!("{n:032x}")),
        1 => any::<[u8; 16]>().prop_map(|b| {
            let hex: Vec<String> = b.iter().map(|b| format!("{b:02x}")).collect();
            [&hex[..4], &hex[4..6], &hex[6..8], &hex[8..10], &hex[10..]].map(|part| part.concat()).join("-")
        }),
        1 => any::<[u8; 4]>().prop_map(|b| format!("{}.{}.{}.{}", b[0], b[1], b[2], b[3])),
        2 => (0u32..60, 0u32..1000).prop_map(|(s, ms)| format!("2026-03-07 12:00:{s:02}.{ms:03}")),
        1 => (1u32..29, 0u32..60).prop_map(|(d, s)| format!("Mar {d:2} 12:00:{s:02}")),
        1 => "[a-z]{1,12}",
    ];
    let shape = prop::sample::select(vec![
        &["user ", " took ", " ms"][..],
        &["", " sshd[", "]: Failed password for ", " from ", " port ", ""],
        &["level=info user=", " id=", ""],
        &["level=error user=", " id=", ""],
        &["{\"a\":\"", "\",\"b\":", "}"],
        &["x", "y"],
    ]);
    let split = (shape, prop::collection::vec(value, 6)).prop_map(|(literals, values)| {
        let mut line = String::new();
        for (literal, value) in literals.iter().zip(&values) {
            line += literal;
            if literals.last() != Some(literal) {
                line += value;
            }
        }
        line.into_bytes()
    });
    prop_oneof![8 => split, 1 => prop::collection::vec(any::<u8>(), 0..30)]
}

/// Some lines, most of them many times with other values, in many of the shapes.
fn lines() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(log_line(), 1..200)
}

/// Where to cut a needle from, or what it is.
#[derive(Debug, Clone)]
enum Cut {
    From(prop::sample::Index, prop::sample::Index, usize),
    /// The same with a byte changed.
    Near(prop::sample::Index, prop::sample::Index, usize, u8),
    Text(Vec<u8>),
}

impl Cut {
    fn of(&self, lines: &[Vec<u8>]) -> Vec<u8> {
        let from = |line: &prop::sample::Index, at: &prop::sample::Index, length: usize| {
            let line = line.get(lines);
            if line.is_empty() {
                return Vec::new();
            }
            let at = at.index(line.len());
            line[at..line.len().min(at + length)].to_vec()
        };
        match self {
            Self::From(line, at, length) => from(line, at, *length),
            Self::Near(line, at, length, byte) => {
                let mut text = from(line, at, *length);
                if let Some(last) = text.last_mut() {
                    *last = *byte;
                }
                text
            }
            Self::Text(text) => text.clone(),
        }
    }
}

fn cut() -> impl Strategy<Value = Cut> {
    let length = prop_oneof![4 => 1usize..8, 3 => 8usize..40];
    prop_oneof![
        6 => (any::<prop::sample::Index>(), any::<prop::sample::Index>(), length.clone())
            .prop_map(|(line, at, length)| Cut::From(line, at, length)),
        2 => (any::<prop::sample::Index>(), any::<prop::sample::Index>(), length, any::<u8>())
            .prop_map(|(line, at, length, byte)| Cut::Near(line, at, length, byte)),
        1 => prop::sample::select(vec![
            &b""[..], b"e", b"error user", b"user=alice ", b" took 7", b"=", b"\xFF", b"12:00", b"Mar  1", b"0",
            b"LEVEL=ERROR", b"ms", b"xaly", b"a\",\"b", b"bob from",
        ])
        .prop_map(|text| Cut::Text(text.to_vec())),
        1 => prop::collection::vec(any::<u8>(), 0..3).prop_map(Cut::Text),
    ]
}

/// Texts, whether a line is to have one or none of them, and whether case counts.
fn conditions() -> impl Strategy<Value = Vec<(Vec<Cut>, bool, bool)>> {
    let texts = prop_oneof![4 => prop::collection::vec(cut(), 1..2), 1 => prop::collection::vec(cut(), 0..4)];
    let is_negated = prop_oneof![3 => Just(false), 1 => Just(true)];
    let in_any_case = prop_oneof![3 => Just(false), 1 => Just(true)];
    prop_oneof![
        3 => prop::collection::vec((texts.clone(), is_negated.clone(), in_any_case.clone()), 1..2),
        1 => prop::collection::vec((texts, is_negated, in_any_case), 0..4),
    ]
}

fn filter_of(conditions: &[(Vec<Cut>, bool, bool)], lines: &[Vec<u8>]) -> LineFilter {
    conditions.iter().fold(LineFilter::new(), |filter, (texts, is_negated, in_any_case)| {
        let mut texts: Vec<Vec<u8>> = texts.iter().map(|cut| cut.of(lines)).collect();
        if *in_any_case {
            texts.iter_mut().for_each(|text| text.make_ascii_uppercase());
        }
        match (is_negated, in_any_case) {
            (false, false) => filter.any_of(texts),
            (true, false) => filter.none_of(texts),
            (false, true) => filter.any_of_in_any_case(texts),
            (true, true) => filter.none_of_in_any_case(texts),
        }
    })
}

/// What a test of each line gives.
fn naive(entries: &[Owned], range: TimeRange, filter: &LineFilter) -> Vec<Owned> {
    let wanted = |entry: &&Owned| range.contains(entry.timestamp_ns) && filter.matches(&entry.line);
    entries.iter().filter(wanted).cloned().collect()
}

fn entries_of(lines: &[Vec<u8>]) -> Vec<Owned> {
    (0..).zip(lines).map(|(n, line)| Owned::new(n * 7 / 3, line)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Property 9, where skeletons are many.
    #[test]
    fn a_filtered_read_of_columns_is_that_of_a_test_of_each_line(
        lines in lines(),
        all_of in prop::collection::vec(conditions(), 8),
        profile in prop::sample::select(vec![Profile::Fast, Profile::Balanced]),
        block_size in prop::sample::select(vec![64 * 64, 1 << 20]),
        repeat in 1usize..4,
    ) {
        let entries = entries_of(&vec![lines.clone(); repeat].concat());
        let options = BuilderOptions { block_size, ..BuilderOptions::columnar(profile) };
        let chunk = built(options, &entries).unwrap();
        for conditions in all_of {
            let filter = filter_of(&conditions, &lines);
            let expected = naive(&entries, TimeRange::ALL, &filter);
            let found = collect(&mut chunk.filter(.., &filter, Direction::Forward));
            prop_assert_eq!(found.as_ref(), Ok(&expected), "{:?}", filter);
        }
    }

    #[test]
    fn a_filtered_read_gives_the_same_in_every_format_range_and_direction(
        options in kind(),
        entries in prop::collection::vec(shapes::entry(false), 1..60),
        conditions in conditions(),
        from in shapes::time(),
        through in shapes::time(),
    ) {
        let lines: Vec<Vec<u8>> = entries.iter().map(|entry| entry.line.clone()).collect();
        let filter = filter_of(&conditions, &lines);
        let mut builder = Builder::new(options).unwrap();
        for entry in &entries {
            entry.lend(|entry| builder.append(entry)).unwrap();
        }
        let snapshot = builder.snapshot(..);
        let chunk = opened(builder.finish().unwrap().bytes);
        for range in [TimeRange::ALL, TimeRange::from(from..=through)] {
            let expected = naive(&all(&chunk), range, &filter);
            for direction in DIRECTIONS {
                let expected = Ok(directed(expected.clone(), direction));
                prop_assert_eq!(&collect(&mut chunk.filter(range, &filter, direction)), &expected);
                prop_assert_eq!(&collect(&mut snapshot.filter_in(range, &filter, direction)), &expected);
                let mut batches = chunk.filter(range, &filter, direction);
                let mut found = Vec::new();
                while let Some(batch) = batches.next_batch().unwrap() {
                    found.extend(batch.map(Owned::from));
                }
                prop_assert_eq!(&Ok(found), &expected);
            }
        }
        // It goes on where it was left.
        let expected = naive(&all(&chunk), TimeRange::ALL, &filter);
        for direction in DIRECTIONS {
            let mut found = Vec::new();
            let mut read = chunk.filter(.., &filter, direction);
            for _ in 0..expected.len() / 2 {
                found.push(Owned::from(read.next().unwrap().unwrap()));
            }
            found.extend(collect(&mut chunk.resume_filter(.., &filter, read.cursor())).unwrap());
            prop_assert_eq!(found, directed(expected.clone(), direction));
            // In a builder too, where blocks are in memory and entries of one time are passed over.
            for taken in 0..expected.len() {
                let mut found = Vec::new();
                let mut read = snapshot.filter_in(.., &filter, direction);
                for _ in 0..taken {
                    found.push(Owned::from(read.next().unwrap().unwrap()));
                }
                let mut rest = snapshot.resume_filter_in(.., &filter, read.cursor());
                found.extend(collect(&mut rest).unwrap());
                prop_assert_eq!(found, directed(expected.clone(), direction));
            }
        }
    }
}

/// Of 6,000 lines, a few of which are rare.
fn large(options: BuilderOptions) -> (Chunk, Vec<Owned>) {
    let mut seed = 1u64;
    let mut next = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let line = |n: u64, next: &mut dyn FnMut(u64) -> u64| match next(10) {
        0..6 => format!("GET /api/v1/items/{} 200 {} bytes in {}ms", next(5000), next(90_000), next(800)),
        6..9 => format!(
            "user {} logged in from 10.{}.{}.1",
            ["ann", "ben", "carl"][usize::try_from(next(3)).unwrap()],
            next(9),
            next(99)
        ),
        _ if n.is_multiple_of(100) => format!("level=error msg=\"disk {} is full\"", next(4)),
        _ => format!("trace {:016x} took {}us", next(1 << 60), next(1 << 20)),
    };
    let entries: Vec<Owned> =
        (0..6_000).map(|n| Owned::new(n as i64, line(n, &mut next).as_bytes())).collect();
    (built(options, &entries).unwrap(), entries)
}

fn stats(chunk: &Chunk, filter: &LineFilter) -> ReadStats {
    let mut read = chunk.filter(.., filter, Direction::Forward);
    while read.next_batch().unwrap().is_some() {}
    read.stats()
}

#[test]
fn large_groups_give_what_a_test_of_each_line_gives() {
    let (chunk, entries) = large(BuilderOptions::columnar(Profile::Fast));
    let texts = [
        "GET",
        "/items/77",
        "77 200",
        "ann logged",
        "ben",
        "disk 2",
        "0ms",
        "trace 0",
        "us",
        "1us",
        "10.3.",
        ".77.1",
        "level=error msg",
        "nothing of it",
        "x",
        "200 5",
        "in 799ms",
        "err",
        "bytes in 5",
        "",
        "e",
        "Ann",
    ];
    for text in texts {
        for filter in [
            LineFilter::new().any_of([text]),
            LineFilter::new().none_of_in_any_case([text]),
            LineFilter::new().any_of(["GET", "ben"]).any_of([text]).none_of(["7"]),
        ] {
            for range in [TimeRange::ALL, TimeRange::from(2000..4_001)] {
                for direction in DIRECTIONS {
                    let expected = directed(naive(&entries, range, &filter), direction);
                    let found = collect(&mut chunk.filter(range, &filter, direction)).unwrap();
                    assert!(found == expected, "{filter:?}: {} of {}", found.len(), expected.len());
                }
            }
        }
    }
}

#[test]
fn what_skeletons_values_and_words_rule_out_is_not_made() {
    let (chunk, _) = large(BuilderOptions::columnar(Profile::Fast));
    let groups = chunk.blocks().len() as u64;
    // A word of no line, which is told by the word filter; and what is told by skeletons and values.
    for (text, decoded_most) in [("level=warning msg", 60_000), ("dora", u64::MAX), ("GOT", u64::MAX)] {
        let found = stats(&chunk, &LineFilter::new().any_of([text]));
        assert_eq!((found.entries, found.lines_tested, found.blocks_pruned), (0, 0, groups), "{text}");
        assert!(found.decoded_bytes <= decoded_most, "{text}: {found:?}");
    }
    // What values tell exactly needs no look either.
    let found = stats(&chunk, &LineFilter::new().any_of(["user ben logged"]).none_of(["from 10.3."]));
    assert!(found.entries > 300);
    assert_eq!((found.lines_tested, found.blocks_pruned), (0, 0));
}

#[test]
fn lines_without_a_skeleton_are_counted_where_they_are_looked_at() {
    let odd = |n: u64| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes().map(|byte| b'A' + byte % 25);
    let line = |n: u64| match n % 100 {
        0 => [&odd(n)[..], &odd(n + 1), b"!", &odd(n + 2)].concat(),
        _ => format!("user {n} logged in").into_bytes(),
    };
    let entries: Vec<Owned> = (0..5_000).map(|n| Owned::new(n as i64, &line(n))).collect();
    let chunk = built(BuilderOptions::columnar(Profile::Fast), &entries).unwrap();
    let found = stats(&chunk, &LineFilter::new().any_of(["!"]));
    assert_eq!((found.entries, found.lines_tested, found.blocks_pruned), (50, 50, 0));
    // None is, where the text is nowhere in them.
    let found = stats(&chunk, &LineFilter::new().any_of(["zz"]));
    assert_eq!((found.entries, found.lines_tested, found.blocks_pruned), (0, 0, 1));
}

#[test]
fn loki_blocks_are_searched_line_by_line() {
    let (chunk, entries) = large(BuilderOptions::default());
    let found = stats(&chunk, &LineFilter::new().any_of(["disk"]));
    let expected = entries.iter().filter(|entry| entry.line.windows(4).any(|text| text == b"disk")).count();
    assert_eq!((found.entries, found.lines_tested), (expected as u64, 6_000));
}

#[test]
fn a_search_takes_no_more_than_the_limits_allow() {
    for options in each_kind() {
        let entries: Vec<Owned> = (0..3000)
            .map(|n| Owned::new(n, format!("{} {n} {}", "a".repeat(50), n * n).as_bytes()))
            .collect();
        let chunk = built(BuilderOptions { block_size: 1 << 20, ..options }, &entries).unwrap();
        let limits = Limits { max_decoded_bytes: 40_000, ..Limits::default() };
        let chunk = Chunk::open(chunk.bytes().clone(), &limits).unwrap();
        let filter = LineFilter::new().any_of(["1", "2"]);
        let found = collect(&mut chunk.filter(.., &filter, Direction::Forward));
        assert!(found.is_err(), "{}", name(&options));
    }
}

#[test]
fn a_damaged_block_that_may_have_wanted_lines_is_reported() {
    for options in each_kind() {
        let entries: Vec<Owned> =
            (0..60).map(|n| Owned::new(n, format!("line {n} of sixty").as_bytes())).collect();
        let chunk = built(options, &entries).unwrap();
        let block = chunk.blocks()[1];
        let mut bytes = chunk.bytes().to_vec();
        bytes[usize::try_from(block.offset + block.size_bytes).unwrap() - 1] ^= 1;
        let chunk = skipping(bytes);
        let mut read = chunk.filter(.., &LineFilter::new().any_of(["0 of", "ne 5"]), Direction::Forward);
        let found = collect(&mut read).unwrap();
        let lost: u64 = chunk.damage().iter().chain(read.damage()).map(|damage| damage.entries_lost()).sum();
        let is_lost = |entry: &Owned| (block.min_ns..=block.max_ns).contains(&entry.timestamp_ns);
        assert!(found.iter().all(|entry| !is_lost(entry)), "{}", name(&options));
        assert_eq!(lost, block.entries, "{}", name(&options));
    }
}

#[test]
fn entries_keep_their_metadata() {
    for options in each_kind().into_iter().filter(|options| options.format.has_metadata()) {
        let mut builder = Builder::new(options).unwrap();
        for n in 0..50i64 {
            let value = n.to_string();
            let pairs = [("n", &value[..])];
            let line = format!("user {} took {} ms", n % 7, n * n);
            builder.append(Entry::new(n, &line).with_metadata(&pairs)).unwrap();
        }
        let chunk = opened(builder.finish().unwrap().bytes);
        let mut read = chunk.filter(.., &LineFilter::new().any_of(["user 3"]), Direction::Backward);
        let mut seen = 0;
        while let Some(entry) = read.next().unwrap() {
            assert_eq!(entry.metadata.value("n").unwrap(), entry.timestamp_ns.to_string().as_bytes());
            seen += 1;
        }
        assert_eq!(seen, 7, "{}", name(&options));
    }
}
