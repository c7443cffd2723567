//! A chunk of Loki taken apart and put together again, block by block: the bytes have to be the same.

use super::entries::{Context, Entries};
use super::{encode, format};
use crate::block::Block;
use crate::entry::SymbolPair;
use crate::head::Head;
use crate::{Builder, BuilderOptions, Chunk, Codec, Entry, Limits};

const GOLDEN: &[u8] = include_bytes!("../../tests/golden/v4-none.chunk");

#[test]
fn a_chunk_with_metadata_is_written_as_loki_wrote_it() {
    let chunk = Chunk::open(GOLDEN, &Limits::default()).unwrap();
    let (format, codec, symbols) = (chunk.format(), chunk.codec(), &chunk.parsed().symbols);
    let known: Vec<&[u8]> = symbols.iter().collect();
    let number = |symbol: &[u8]| {
        let number = known.iter().position(|known| *known == symbol).expect("a known symbol");
        u32::try_from(number).unwrap()
    };
    let again = |block: &Block| {
        let Block::Loki(stored) = block else { panic!("{block:?}") };
        let mut entries = Entries::default();
        let budget = usize::MAX;
        let limits = &Limits::default();
        entries.decode(stored, Context { format, codec, symbols, limits, budget }).unwrap();
        let mut head = Head::default();
        for rank in 0..entries.len() {
            let Entry { timestamp_ns, line, metadata } = entries.entry(rank, symbols).unwrap();
            let pair = |(name, value)| SymbolPair { name: number(name), value: number(value) };
            assert!(head.append(timestamp_ns, line, &metadata.iter().map(pair).collect::<Vec<_>>()));
        }
        Block::Loki(encode::block(&head, format, codec))
    };
    let blocks: Vec<Block> = chunk.parsed().blocks.iter().map(again).collect();
    for (block, stored) in blocks.iter().zip(&chunk.parsed().blocks) {
        assert!(block.data() == stored.data(), "block {} differs", stored.number());
    }
    assert!(
        encode::chunk(format, codec, encode::Form::Stored, symbols, &blocks) == GOLDEN,
        "the chunk differs"
    );
}

#[test]
fn two_lines_and_a_label_are_86_bytes() {
    let expected = "012ee56a 04 00 02 03666f6f 03626172 9b9c67a7 02 05 68656c6c6f 03 01 00 01 04 05 776f726c64 \
        01 00 9dd287a6 01 02 02 04 13 12 14 5679242b 0000000000000009 0000000000000006 0000000000000007 \
        000000000000002b";
    let options = BuilderOptions { codec: Codec::None, ..BuilderOptions::default() };
    let mut builder = Builder::new(options).unwrap();
    builder.append(Entry::new(1, "hello").with_metadata(&[("foo", "bar")])).unwrap();
    builder.append(Entry::new(2, "world")).unwrap();
    let bytes = builder.finish().unwrap().bytes;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected.replace(' ', ""));
    assert_eq!(bytes.len(), 86);
    assert_eq!(bytes.get(..4), Some(&format::MAGIC.to_be_bytes()[..]));
}
