//! Random builders against a list. Whatever is appended, and however blocks are cut, encoded and attached, a
//! read gives the entries that were stored, sorted by time and then by arrival, and its reverse backward.

use std::collections::HashSet;

use forebay_chunk::{
    Append, Builder, BuilderOptions, Chunk, Codec, Direction, EncodedBlock, Format, Limits, PendingBlock,
    Profile, TimeRange,
};
use proptest::prelude::*;

#[path = "support/owned.rs"]
mod owned;
use owned::{Owned, collect, directed};

const LOKI_BLOCK_SIZE: usize = 120;
/// So that a block has about as many entries.
const COLUMNAR_BLOCK_SIZE: usize = 30 * 64;
const DIRECTIONS: [Direction; 2] = [Direction::Forward, Direction::Backward];

#[derive(Debug, Clone)]
enum Step {
    Append(Owned),
    /// The same once more, by its place among those before.
    Again(usize),
    TakeFull,
    Cut,
    Encode(usize),
    Attach(usize),
    Drop(usize),
    Read(i64, i64),
}

fn timestamp() -> impl Strategy<Value = i64> {
    prop_oneof![
        12 => 0i64..20,
        3 => -5i64..5,
        1 => Just(i64::MIN),
        1 => Just(i64::MAX),
        1 => any::<i64>(),
    ]
}

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        Just(Vec::new()),
        "[a-c\u{0}\u{11}]{0,6}".prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..max),
    ]
}

fn entry(metadata: bool) -> impl Strategy<Value = Owned> {
    let pairs = prop::collection::vec((bytes(4), bytes(4)), 0..if metadata { 4 } else { 1 });
    (timestamp(), bytes(40), pairs).prop_map(|(timestamp_ns, line, metadata)| Owned {
        timestamp_ns,
        line,
        metadata,
    })
}

fn step(metadata: bool) -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => entry(metadata).prop_map(Step::Append),
        3 => any::<usize>().prop_map(Step::Again),
        3 => Just(Step::TakeFull),
        1 => Just(Step::Cut),
        3 => any::<usize>().prop_map(Step::Encode),
        3 => any::<usize>().prop_map(Step::Attach),
        1 => any::<usize>().prop_map(Step::Drop),
        2 => (-6i64..22, -6i64..22).prop_map(|(from, through)| Step::Read(from, through)),
    ]
}

fn options() -> impl Strategy<Value = BuilderOptions> {
    let codecs: Vec<Codec> = Codec::ALL.into_iter().filter(|codec| codec.is_supported()).collect();
    let formats = prop::sample::select(vec![Format::LokiV3, Format::LokiV4]);
    let loki = (formats, prop::sample::select(codecs)).prop_map(|(format, codec)| BuilderOptions {
        format,
        codec,
        block_size: LOKI_BLOCK_SIZE,
        ..BuilderOptions::default()
    });
    let profiles = prop::sample::select(vec![Profile::Fast, Profile::Balanced, Profile::Archive]);
    let columnar = profiles.prop_map(|profile| BuilderOptions {
        block_size: COLUMNAR_BLOCK_SIZE,
        // What a chunk of this format says it is.
        codec: Codec::Zstd,
        ..BuilderOptions::columnar(profile)
    });
    prop_oneof![2 => loki, 1 => columnar]
}

fn case() -> impl Strategy<Value = (BuilderOptions, Vec<Step>)> {
    options().prop_flat_map(|options| {
        let steps = prop::collection::vec(step(options.format.has_metadata()), 0..80);
        (Just(options), steps)
    })
}

/// What a builder should hold.
struct Model {
    options: BuilderOptions,
    stored: Vec<Owned>,
    open: HashSet<Owned>,
    open_raw_bytes: usize,
}

impl Model {
    fn new(options: BuilderOptions) -> Self {
        Self { options, stored: Vec::new(), open: HashSet::new(), open_raw_bytes: 0 }
    }

    fn append(&mut self, entry: &Owned) -> Append {
        if !self.open.insert(entry.clone()) {
            return Append::Duplicate;
        }
        self.stored.push(entry.clone());
        self.open_raw_bytes += entry.raw_bytes();
        let BuilderOptions { format, block_size, .. } = self.options;
        let most = block_size / if format == Format::Columnar { 64 } else { 4 };
        if self.open_raw_bytes >= block_size || self.open.len() >= most {
            self.cut();
        }
        Append::Stored
    }

    fn cut(&mut self) {
        self.open.clear();
        self.open_raw_bytes = 0;
    }

    fn read(&self, range: TimeRange, direction: Direction) -> Vec<Owned> {
        let mut sorted: Vec<Owned> =
            self.stored.iter().filter(|entry| range.contains(entry.timestamp_ns)).cloned().collect();
        sorted.sort_by_key(|entry| entry.timestamp_ns);
        directed(sorted, direction)
    }
}

/// The blocks that are out of the builder.
#[derive(Default)]
struct Out {
    pending: Vec<PendingBlock>,
    encoded: Vec<EncodedBlock>,
}

fn take<T>(from: &mut Vec<T>, index: usize) -> Option<T> {
    if from.is_empty() { None } else { Some(from.swap_remove(index % from.len())) }
}

fn run(builder: &mut Builder, model: &mut Model, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut out = Out::default();
    let mut before = Vec::new();
    for step in steps {
        match step {
            Step::Append(entry) => {
                let found = entry.lend(|entry| builder.append(entry));
                prop_assert_eq!(found, Ok(model.append(&entry)));
                before.push(entry);
            }
            Step::Again(index) if !before.is_empty() => {
                let entry = &before[index % before.len()];
                let found = entry.lend(|entry| builder.append(entry));
                prop_assert_eq!(found, Ok(model.append(entry)));
            }
            Step::Again(_) => {}
            Step::TakeFull => out.pending.extend(builder.take_full()),
            Step::Cut => {
                out.pending.extend(builder.cut());
                model.cut();
            }
            Step::Encode(index) => {
                out.encoded.extend(take(&mut out.pending, index).map(PendingBlock::encode))
            }
            Step::Attach(index) => {
                if let Some(block) = take(&mut out.encoded, index) {
                    prop_assert!(builder.attach(block));
                }
            }
            Step::Drop(index) => drop(take(&mut out.pending, index)),
            Step::Read(from, through) => {
                for direction in DIRECTIONS {
                    let range = TimeRange::from(from..through);
                    let found = collect(&mut builder.snapshot(range).entries(direction));
                    prop_assert_eq!(found, Ok(model.read(range, direction)));
                }
            }
        }
    }
    Ok(())
}

/// What the index says has to be so of the blocks it speaks of, and tight.
fn check_index(chunk: &Chunk, model: &Model) -> Result<(), TestCaseError> {
    let mut end = 0;
    let mut rest = &model.stored[..];
    for block in chunk.blocks() {
        prop_assert!(block.offset >= end);
        let checksum = if chunk.format() == Format::Columnar { 0 } else { 4 };
        end = block.offset + block.size_bytes + checksum;
        let (entries, after) =
            rest.split_at(usize::try_from(block.entries).expect("a count of entries in memory"));
        rest = after;
        let times = || entries.iter().map(|entry| entry.timestamp_ns);
        prop_assert_eq!(Some(block.min_ns), times().min());
        prop_assert_eq!(Some(block.max_ns), times().max());
        let raw_bytes: usize = entries.iter().map(Owned::raw_bytes).sum();
        prop_assert_eq!(block.raw_bytes, Some(raw_bytes as u64));
    }
    prop_assert!(rest.is_empty());
    prop_assert!(end < chunk.bytes().len() as u64);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn a_read_gives_what_was_stored_at_every_step_and_from_the_finished_chunk((options, steps) in case()) {
        let mut builder = Builder::new(options).unwrap();
        let mut model = Model::new(options);
        run(&mut builder, &mut model, steps)?;

        let all = model.read(TimeRange::ALL, Direction::Forward);
        let bounds = all.first().map(|first| (first.timestamp_ns, all[all.len() - 1].timestamp_ns));
        prop_assert_eq!(builder.entries(), all.len() as u64);
        prop_assert_eq!(builder.bounds(), bounds);
        prop_assert_eq!(builder.raw_bytes(), all.iter().map(Owned::raw_bytes).sum::<usize>() as u64);
        let snapshot = builder.snapshot(..);
        let Some(encoded) = builder.finish() else {
            prop_assert!(all.is_empty());
            return Ok(());
        };
        prop_assert_eq!(Some((encoded.from_ns, encoded.through_ns)), bounds);

        let chunk = Chunk::open(encoded.bytes, &options.limits).unwrap();
        prop_assert_eq!(chunk.damage(), &[]);
        prop_assert_eq!((chunk.format(), chunk.codec()), (options.format, options.codec));
        prop_assert_eq!((chunk.bounds(), chunk.entry_count()), (bounds, encoded.entries));
        prop_assert_eq!(chunk.raw_bytes(), Some(encoded.raw_bytes));
        check_index(&chunk, &model)?;
        for direction in DIRECTIONS {
            let expected = directed(all.clone(), direction);
            prop_assert_eq!(collect(&mut chunk.entries(.., direction)), Ok(expected.clone()));
            // A snapshot outlives its builder.
            prop_assert_eq!(collect(&mut snapshot.entries(direction)), Ok(expected));
        }
    }

    #[test]
    fn a_range_is_the_filter_of_all_and_two_halves_are_the_whole(
        (options, steps) in case(),
        from in timestamp(),
        middle in timestamp(),
        through in timestamp(),
    ) {
        let mut builder = Builder::new(options).unwrap();
        let mut model = Model::new(options);
        run(&mut builder, &mut model, steps)?;
        let Some(encoded) = builder.finish() else { return Ok(()) };
        let chunk = Chunk::open(encoded.bytes, &options.limits).unwrap();
        let mut times = [from, middle, through];
        times.sort_unstable();
        let [from, middle, through] = times;
        let read = |range: TimeRange, direction| collect(&mut chunk.entries(range, direction)).unwrap();
        for direction in DIRECTIONS {
            for range in [(from..through).into(), (from..=through).into(), TimeRange::loki(from, through)] {
                prop_assert_eq!(read(range, direction), model.read(range, direction));
            }
            let mut halves = [read((from..middle).into(), direction), read((middle..through).into(), direction)];
            if direction == Direction::Backward {
                halves.reverse();
            }
            prop_assert_eq!(halves.concat(), read((from..through).into(), direction));
        }
        let one = read(TimeRange::loki(middle, middle), Direction::Forward);
        prop_assert!(one.iter().all(|entry| entry.timestamp_ns == middle));
    }

    /// Blocks are cut by what is appended alone, so the bytes do not depend on who encoded what when.
    #[test]
    fn when_blocks_are_encoded_does_not_change_the_chunk(
        options in options(),
        entries in prop::collection::vec(entry(false), 1..60),
        eager: bool,
        late in any::<prop::sample::Index>(),
    ) {
        let mut one = Builder::new(options).unwrap();
        let mut other = Builder::new(options).unwrap();
        let mut pending = Vec::new();
        for entry in &entries {
            let found = (entry.lend(|e| one.append(e)), entry.lend(|e| other.append(e)));
            prop_assert_eq!(&found.0, &found.1);
            pending.extend(other.take_full());
            if eager {
                pending.drain(..).for_each(|block| assert!(other.attach(block.encode())));
            }
        }
        if !pending.is_empty() {
            let block = pending.swap_remove(late.index(pending.len()));
            prop_assert!(other.attach(block.encode()));
        }
        prop_assert_eq!(one.finish(), other.finish());
    }
}

#[test]
fn a_line_may_have_65536_pairs() {
    let pairs: Vec<(Vec<u8>, Vec<u8>)> =
        (0..65_536u32).map(|n| (format!("name{}", n % 300).into_bytes(), n.to_le_bytes().to_vec())).collect();
    let entry = Owned { timestamp_ns: 1, line: b"x".to_vec(), metadata: pairs };
    let codecs = Codec::ALL.into_iter().filter(|codec| codec.is_supported());
    let loki = codecs.map(|codec| BuilderOptions { codec, ..BuilderOptions::default() });
    for options in loki.chain([BuilderOptions::columnar(Profile::Balanced)]) {
        let mut builder = Builder::new(options).unwrap();
        assert_eq!(entry.lend(|entry| builder.append(entry)), Ok(Append::Stored));
        let chunk = Chunk::open(builder.finish().unwrap().bytes, &Limits::default()).unwrap();
        let found = collect(&mut chunk.entries(.., Direction::Forward)).unwrap();
        assert!(found == [entry.clone()], "{options:?}");
    }
}
