//! The times of a group's rows, which are in order: evenly spaced, near a straight line, or gap by gap,
//! whichever takes the least. `FORMAT.md` draws the stream.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::bits;
use super::column::{unpack_each, unpack_from};
use super::stream::Kind;
use crate::loki::format::{Reader, put_uvarint, put_varint};
use crate::{Error, Section};

/// Powers of ten that times may be multiples of: nanoseconds to seconds.
const SCALES: [u8; 3] = [9, 6, 3];
/// Gaps of one frame.
const FRAME: usize = 128;
/// Slopes are in units for so many rows.
const SLOPE_ROWS: u32 = 16;

const CONSTANT: u8 = 0;
const LINEAR: u8 = 1;
const DELTA: u8 = 2;

/// Appends the stream of these times, which ascend.
pub(crate) fn encode(times: &[i64], out: &mut Vec<u8>) {
    let Some(&first) = times.first() else { return };
    let fits = |scale: &u8| times.iter().all(|time| time.checked_rem(unit(*scale)) == Some(0));
    let scale = SCALES.into_iter().find(fits).unwrap_or(0);
    let unit = unit(scale);
    let start = first.checked_div(unit).unwrap_or(first);
    // From the first time, in units: up to 64 bits.
    let since = times.iter().map(|time| time.abs_diff(first));
    let since: Vec<u64> = match unit.unsigned_abs() {
        // A division takes as long as all else here.
        1 => since.collect(),
        unit => since.map(|since| since.checked_div(unit).unwrap_or(0)).collect(),
    };
    let gaps: Vec<u64> = since.iter().zip(since.iter().skip(1)).map(|(a, b)| b.saturating_sub(*a)).collect();
    let (mode, body) = constant(&gaps)
        .or_else(|| linear(&since, delta_bytes(&gaps)))
        .unwrap_or_else(|| (DELTA, delta(&gaps)));
    out.extend_from_slice(&[scale, mode]);
    put_varint(out, start);
    out.extend_from_slice(&body);
}

fn unit(scale: u8) -> i64 {
    10i64.saturating_pow(scale.into())
}

type Body = Option<(u8, Vec<u8>)>;

fn constant(gaps: &[u64]) -> Body {
    let gap = gaps.first().copied().unwrap_or(0);
    gaps.iter().all(|other| *other == gap).then(|| {
        let mut body = Vec::new();
        put_uvarint(&mut body, gap);
        (CONSTANT, body)
    })
}

/// The line that fits best, in the sense of least squares, and how far each time is above it; if that takes less than
/// `most` bytes.
fn linear(since: &[u64], most: usize) -> Body {
    let slope = slope(since)?;
    let mut above = Vec::with_capacity(since.len());
    let (mut least, mut greatest) = (0i64, 0i64);
    for (&since, at) in since.iter().zip(line(slope)) {
        let distance = i64::try_from(i128::from(since).checked_sub(at)?).ok()?;
        (least, greatest) = (least.min(distance), greatest.max(distance));
        above.push(distance);
    }
    let width = bits::width(greatest.abs_diff(least));
    let mut body = Vec::new();
    put_varint(&mut body, slope);
    put_varint(&mut body, least);
    body.push(u8::try_from(width).ok()?);
    if bits::packed_len(since.len(), width)?.saturating_add(body.len()) > most {
        return None;
    }
    bits::pack(above.into_iter().map(|above| above.abs_diff(least)), width, &mut body);
    Some((LINEAR, body))
}

/// The heights of a line at 0, 1, 2…
fn line(slope: i64) -> impl Iterator<Item = i128> {
    let mut height = 0i128;
    std::iter::repeat_with(move || {
        let at = height >> SLOPE_ROWS;
        height = height.saturating_add(slope.into());
        at
    })
}

fn slope(since: &[u64]) -> Option<i64> {
    // With x = 2 i - (n - 1) the slope is 2 sum(x t) / sum(x x), and sum(x x) is n (n n - 1) / 3.
    let n = i64::try_from(since.len()).ok()?;
    let mut sum = 0i128;
    let mut x = 1i64.checked_sub(n)?;
    for &since in since {
        sum = sum.checked_add(i128::from(x).wrapping_mul(i128::from(since)))?;
        x = x.wrapping_add(2);
    }
    let n = i128::from(n);
    let squares = n.checked_mul(n.checked_mul(n)?.checked_sub(1)?)?.checked_div(3)?;
    let slope = sum.checked_mul(2i128.checked_shl(SLOPE_ROWS)?)?.checked_div(squares)?;
    i64::try_from(slope).ok()
}

/// What [`delta`] takes.
fn delta_bytes(gaps: &[u64]) -> usize {
    let frames = gaps.chunks(FRAME).map(|frame| frame_width(frame).1 as usize);
    frames.fold(0, |sum, bytes| sum.saturating_add(bytes).saturating_add(2))
}

fn delta(gaps: &[u64]) -> Vec<u8> {
    let mut body = Vec::new();
    for frame in gaps.chunks(FRAME) {
        let (width, _) = frame_width(frame);
        let over = |gap: u64| gap.checked_shr(width).unwrap_or(0);
        let exceptions = || (0u8..).zip(frame).filter(|(_, gap)| over(**gap) > 0);
        body.push(u8::try_from(width).expect("at most 64"));
        body.push(u8::try_from(exceptions().count()).expect("at most 128"));
        let mask = u64::MAX.checked_shr(64u32.saturating_sub(width)).unwrap_or(0);
        bits::pack(frame.iter().map(|gap| gap & mask), width, &mut body);
        for (place, gap) in exceptions() {
            body.push(place);
            put_uvarint(&mut body, over(*gap));
        }
    }
    body
}

/// The width at which a frame takes the fewest bytes, its exceptions included, and these bytes.
fn frame_width(frame: &[u64]) -> (u32, u32) {
    let mut counts = [0u32; 65];
    for gap in frame {
        if let Some(count) = counts.get_mut(usize::try_from(bits::width(*gap)).unwrap_or(0)) {
            *count = count.saturating_add(1);
        }
    }
    let len = u32::try_from(frame.len()).expect("at most 128");
    // An exception has a byte for its place, and one for each seven bits that are over: from one width to the next lower
    // all exceptions get a bit, and every seventh of them a byte.
    let (mut above, mut ages, mut extra) = (0u32, [0u32; 7], 0u32);
    let mut best = (64, u32::MAX);
    for (width, count) in (0u32..65).zip(&counts).rev() {
        let bytes = width.saturating_mul(len).div_ceil(8).saturating_add(above).saturating_add(extra);
        if bytes <= best.1 {
            best = (width, bytes);
        }
        // Those of this width are exceptions to the next one, by one bit.
        ages.rotate_right(1);
        let [first, ..] = &mut ages;
        *first = first.saturating_add(*count);
        extra = extra.saturating_add(*first);
        above = above.saturating_add(*count);
    }
    best
}

/// The times of a group of `rows` rows, which the directory says to be from `min_ns` to `max_ns`. It is checked that they
/// ascend.
pub(crate) fn decode(bytes: &[u8], group: usize, rows: usize, bounds: (i64, i64)) -> Result<Vec<i64>, Error> {
    let (times, reader) = parse(bytes, group, rows)?;
    let all =
        times.all(rows).ok_or_else(|| reader.corrupt("times that do not ascend, or of more than 64 bits"))?;
    check_bounds(&reader, (all.first().copied(), all.last().copied()), bounds)?;
    Ok(all)
}

/// The same without a look at each: whether they ascend is not known then, only that the first and the last are those.
pub(crate) fn open(bytes: &[u8], group: usize, rows: usize, bounds: (i64, i64)) -> Result<Times<'_>, Error> {
    let (times, reader) = parse(bytes, group, rows)?;
    let ends = rows.checked_sub(1).map(|last| (times.at(0), times.at(last)));
    check_bounds(&reader, (ends.map(|ends| ends.0), ends.map(|ends| ends.1)), bounds)?;
    Ok(times)
}

fn check_bounds(
    reader: &Reader<'_>,
    found: (Option<i64>, Option<i64>),
    (min_ns, max_ns): (i64, i64),
) -> Result<(), Error> {
    if found == (Some(min_ns), Some(max_ns)) {
        return Ok(());
    }
    Err(reader.corrupt(format!("times from {found:?}, the directory says {min_ns} to {max_ns} ns")))
}

/// The times of some rows as they are stored.
#[derive(Debug)]
pub(crate) struct Times<'a> {
    /// The first time, in units.
    start: i64,
    /// Nanoseconds of a unit.
    unit: i64,
    since: Since<'a>,
}

/// How many units after the first time each row is.
#[derive(Debug)]
enum Since<'a> {
    Even { gap: u64 },
    Line { slope: i64, least: i64, width: u8, packed: &'a [u8] },
    List(Vec<u64>),
}

impl Times<'_> {
    /// The time of a row. Nothing in particular for one that is not there, or where it has more than 64 bits.
    #[inline]
    pub(crate) fn at(&self, row: usize) -> i64 {
        let number = row as u64;
        self.time(match &self.since {
            Since::Even { gap } => gap.wrapping_mul(number),
            Since::Line { slope, least, width, packed } => {
                let height = slope.wrapping_mul(number.cast_signed()) >> SLOPE_ROWS;
                let above = unpack_from(packed, *width, row, 1).next().unwrap_or(0);
                above.wrapping_add_signed(height.wrapping_add(*least))
            }
            Since::List(since) => since.get(row).copied().unwrap_or(0),
        })
    }

    #[inline]
    fn time(&self, since: u64) -> i64 {
        self.start.wrapping_add_unsigned(since).wrapping_mul(self.unit)
    }

    /// All times; `None` if they do not ascend, or have more than 64 bits.
    fn all(&self, rows: usize) -> Option<Vec<i64>> {
        let mut times = Vec::with_capacity(rows);
        // As long as they ascend in units, none of them has more than 64 bits if neither the first nor the last has.
        let (mut last, mut ascend) = (0u64, true);
        let mut next = |since: u64| {
            ascend &= since >= last;
            last = since;
            self.time(since)
        };
        match &self.since {
            Since::Even { gap } => {
                gap.checked_mul(rows.saturating_sub(1) as u64)?;
                times.extend((0u64..).take(rows).map(|row| next(gap.wrapping_mul(row))));
            }
            Since::Line { slope, least, width, packed } => {
                times.resize(rows, 0);
                let mut places = times.iter_mut();
                let (mut height, mut over) = (0i64, false);
                unpack_each(packed, *width, 0, rows, |above| {
                    let base = (height >> SLOPE_ROWS).wrapping_add(*least);
                    let (since, is_over) = above.overflowing_add_signed(base);
                    over |= is_over;
                    height = height.wrapping_add(*slope);
                    if let Some(place) = places.next() {
                        *place = next(since);
                    }
                });
                ascend &= !over;
            }
            Since::List(since) => times.extend(since.iter().map(|&since| next(since))),
        }
        self.start.checked_mul(self.unit)?;
        self.start.checked_add_unsigned(last)?.checked_mul(self.unit)?;
        ascend.then_some(times)
    }
}

/// Reads all but the numbers of the rows that are stored so that each can be read alone.
fn parse(bytes: &[u8], group: usize, rows: usize) -> Result<(Times<'_>, Reader<'_>), Error> {
    let mut reader = Reader::new(bytes, 0, Section::Values { group, kind: Kind::Time.byte() });
    let [scale, mode] = reader.array()?;
    if scale != 0 && !SCALES.contains(&scale) {
        return Err(reader.corrupt(format!("times in units of 10^{scale} ns")));
    }
    let start = reader.varint()?;
    let since = match mode {
        CONSTANT => Since::Even { gap: reader.uvarint()? },
        LINEAR => read_linear(&mut reader, rows)?,
        DELTA => Since::List(read_delta(&mut reader, rows)?),
        _ => return Err(reader.corrupt(format!("times in mode {mode}"))),
    };
    if !reader.is_empty() {
        return Err(reader.corrupt(format!("{} bytes behind the times", reader.rest().len())));
    }
    Ok((Times { start, unit: unit(scale), since }, reader))
}

fn read_linear<'a>(reader: &mut Reader<'a>, rows: usize) -> Result<Since<'a>, Error> {
    let (slope, least) = (reader.varint()?, reader.varint()?);
    let [width] = reader.array()?;
    let at = reader.clone();
    let corrupt = || at.corrupt(format!("{rows} times of {width} bits above a line"));
    let packed = bits::packed_len(rows, width.into()).filter(|_| width <= 64).ok_or_else(corrupt)?;
    let packed = reader.bytes(packed)?;
    if i32::try_from(least).is_ok() && slope.unsigned_abs() < 1 << 40 && rows < 1 << 22 {
        // Nothing of it needs more than 64 bits then, but what is packed may.
        return Ok(Since::Line { slope, least, width, packed });
    }
    let mut since = Vec::new();
    if !bits::unpack(packed, width.into(), rows, &mut since) {
        return Err(corrupt());
    }
    for (since, at) in since.iter_mut().zip(line(slope)) {
        let time = i128::from(least).checked_add(at).and_then(|base| base.checked_add(i128::from(*since)));
        *since = time.and_then(|time| u64::try_from(time).ok()).ok_or_else(corrupt)?;
    }
    Ok(Since::List(since))
}

fn read_delta(reader: &mut Reader<'_>, rows: usize) -> Result<Vec<u64>, Error> {
    let mut since = Vec::with_capacity(rows.min(reader.rest().len().saturating_mul(64)));
    since.push(0);
    while since.len() < rows {
        let at = reader.clone();
        let first = since.len();
        let len = rows.saturating_sub(first).min(FRAME);
        let [width, exceptions] = reader.array()?;
        let width = u32::from(width);
        let corrupt =
            || at.corrupt(format!("a frame of {len} gaps of {width} bits, {exceptions} exceptions"));
        let packed = bits::packed_len(len, width).filter(|_| width <= 64).ok_or_else(corrupt)?;
        let packed = reader.bytes(packed)?;
        if !bits::unpack(packed, width, len, &mut since) {
            return Err(corrupt());
        }
        let gaps = since.get_mut(first..).unwrap_or_default();
        for _ in 0..exceptions {
            let [place] = reader.array()?;
            let over = reader.uvarint()?;
            let gap = gaps.get_mut(usize::from(place)).ok_or_else(corrupt)?;
            let high = over.checked_shl(width).filter(|high| high.checked_shr(width) == Some(over));
            *gap |= high.ok_or_else(corrupt)?;
        }
    }
    let mut sum = 0u64;
    for gap in &mut since {
        sum = sum.checked_add(*gap).ok_or_else(|| reader.corrupt("gaps of more than 64 bits"))?;
        *gap = sum;
    }
    Ok(since)
}

#[cfg(test)]
#[expect(clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(times: &[i64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(times, &mut out);
        out
    }

    fn back(bytes: &[u8], times: &[i64]) -> Result<Vec<i64>, Error> {
        let bounds = (times[0], times[times.len() - 1]);
        let found = decode(bytes, 0, times.len(), bounds)?;
        let alone = open(bytes, 0, times.len(), bounds).unwrap();
        assert!((0..times.len()).all(|row| alone.at(row) == found[row]), "one by one");
        Ok(found)
    }

    /// As the 64 bits of splitmix64.
    fn mix(n: i64) -> u64 {
        let x = n.cast_unsigned().wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (x ^ x >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ x >> 31
    }

    #[test]
    fn evenly_spaced_times_take_no_bytes_a_row() {
        for (start, gap) in [(0, 0), (i64::MIN, 1), (1_772_884_800_000_000_000, 1_000_000_000)] {
            let times: Vec<i64> = (0..5000).map(|row| start + gap * row).collect();
            let bytes = encoded(&times);
            assert_eq!(bytes[1], CONSTANT);
            assert!(bytes.len() < 20);
            assert_eq!(back(&bytes, &times), Ok(times));
        }
    }

    #[test]
    fn jitter_takes_the_bits_of_the_jitter_and_no_more() {
        let times: Vec<i64> = (0..8000)
            .map(|n| 1_772_884_800_000_000_000 + 5_000_000 * n + (mix(n) % 5_000_000).cast_signed())
            .collect();
        let bytes = encoded(&times);
        assert_eq!(bytes[1], LINEAR);
        // 5,000,000 are 23 bits.
        assert!(bytes.len() <= 8000 * 23 / 8 + 32, "{} bytes", bytes.len());
        assert_eq!(back(&bytes, &times), Ok(times));
    }

    #[test]
    fn a_second_of_many_lines_takes_a_few_bits() {
        let times: Vec<i64> = (0..8000).map(|row| 1_000_000_000 * (1_772_884_800 + row / 50)).collect();
        let bytes = encoded(&times);
        assert_eq!(bytes[0], 9, "in seconds");
        assert!(bytes.len() < 8000 / 8, "{} bytes", bytes.len());
        assert_eq!(back(&bytes, &times), Ok(times));
    }

    #[test]
    fn the_ends_of_time_are_kept() {
        for times in
            [&[i64::MIN, i64::MAX][..], &[i64::MIN, -1, 0, 0, i64::MAX], &[i64::MAX], &[i64::MIN, i64::MIN]]
        {
            assert_eq!(back(&encoded(times), times).as_deref(), Ok(times));
        }
    }

    #[test]
    fn bursts_far_apart_go_gap_by_gap() {
        let times: Vec<i64> =
            (0..4000).map(|row: i64| row / 300 * 3_600_000_000_000 + row * 7 % 300).collect();
        let mut times = times;
        times.sort_unstable();
        let bytes = encoded(&times);
        assert_eq!(bytes[1], DELTA);
        assert!(bytes.len() < 4000, "{} bytes", bytes.len());
        assert_eq!(back(&bytes, &times), Ok(times));
    }

    #[test]
    fn times_that_lie_are_refused() {
        let times = [10, 12, 15];
        let good = encoded(&times);
        assert!(decode(&good, 0, 3, (10, 14)).is_err());
        assert!(decode(&good, 0, 3, (9, 15)).is_err());
        assert!(decode(&good, 0, 30, (10, 15)).is_err());
        assert!(decode(&good, 0, 2, (10, 15)).is_err());
        for broken in [
            &[][..],
            &[0],
            &[1, 0, 20, 0],                                                     // scale
            &[0, 3, 20, 0],                                                     // mode
            &[0, CONSTANT, 20, 1, 0],                                           // something behind
            &[9, CONSTANT, 20, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1], // gap of 64 bits
            &[0, LINEAR, 20, 0, 0, 65, 0, 0, 0],                                // width
            &[0, LINEAR, 20, 1, 0, 0],                                          // falls below its start
            &[0, DELTA, 20, 2, 1, 0, 5, 1], // an exception behind the frame
            &[0, DELTA, 20, 64, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], // and past 64 bits
        ] {
            assert!(decode(broken, 0, 3, (10, 10)).is_err(), "{broken:?}");
        }
        for end in 0..good.len() {
            assert!(back(&good[..end], &times).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_times_come_back(
            mut times in prop_oneof![
                prop::collection::vec(any::<i64>(), 1..300),
                prop::collection::vec(0i64..1000, 1..600),
                prop::collection::vec((0i64..1000).prop_map(|n| n * 1_000_000), 1..300),
            ],
        ) {
            times.sort_unstable();
            prop_assert_eq!(back(&encoded(&times), &times), Ok(times));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), rows in 1usize..400) {
            let mut bytes = bytes;
            let _ = decode(&bytes, 0, rows, (0, 0));
            if let [scale, mode, ..] = &mut bytes[..] {
                (*scale, *mode) = (*scale % 4 * 3, *mode % 3);
                let _ = decode(&bytes, 0, rows, (0, 0));
            }
        }
    }
}
