//! Lines of any bytes from a reader, in bounded memory: a line ends at `\n` or where the input ends, and of one that
//! is too long only the start is kept.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Splits a reader into lines.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: R,
    max_bytes: usize,
}

/// What was read for one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Taken {
    /// Bytes of input, the line's end and what was cut off included.
    pub(super) bytes: u64,
    /// Something was cut off.
    pub(super) cut: bool,
}

impl<R: AsyncBufRead + Unpin> Lines<R> {
    /// The lines of `reader`, cut to `max_bytes`.
    pub(super) fn new(reader: R, max_bytes: usize) -> Self {
        Self { reader, max_bytes }
    }

    /// Puts the next line into `line`, without its `\n`; `None` at the end of input. What is not followed by a line
    /// end is a line too, nothing is not.
    pub(super) async fn next(&mut self, line: &mut Vec<u8>) -> io::Result<Option<Taken>> {
        line.clear();
        let mut taken = Taken { bytes: 0, cut: false };
        loop {
            let available = self.reader.fill_buf().await?;
            if available.is_empty() {
                return Ok((taken.bytes > 0).then_some(taken));
            }
            let end = memchr::memchr(b'\n', available);
            let part = &available[..end.unwrap_or(available.len())];
            let kept = part.len().min(self.max_bytes - line.len());
            line.extend_from_slice(&part[..kept]);
            taken.cut |= kept < part.len();
            let consumed = part.len() + usize::from(end.is_some());
            taken.bytes += consumed as u64;
            self.reader.consume(consumed);
            if end.is_some() {
                return Ok(Some(taken));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::BufReader;

    fn split(input: &[u8], buffer: usize, max_bytes: usize) -> (Vec<Vec<u8>>, u64, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut lines = Lines::new(BufReader::with_capacity(buffer, input), max_bytes);
            let (mut found, mut bytes, mut cut) = (Vec::new(), 0, 0);
            let mut line = Vec::new();
            while let Some(taken) = lines.next(&mut line).await.unwrap() {
                found.push(line.clone());
                bytes += taken.bytes;
                cut += usize::from(taken.cut);
            }
            (found, bytes, cut)
        })
    }

    #[test]
    fn a_last_line_without_a_line_end_counts_and_an_empty_one_does_not() {
        assert_eq!(split(b"a\n\nb\r\nc", 2, 100).0, [&b"a"[..], b"", b"b\r", b"c"]);
        assert_eq!(split(b"a\n", 2, 100).0, [b"a"]);
        assert_eq!(split(b"", 2, 100).0, [b""; 0]);
    }

    proptest! {
        #[test]
        fn lines_are_those_of_a_naive_split_whatever_the_buffer(
            input in proptest::collection::vec(prop_oneof![1 => Just(b'\n'), 4 => any::<u8>()], 0..200),
            buffer in 1_usize..20,
            max_bytes in 1_usize..12,
        ) {
            let mut expected: Vec<&[u8]> = input.split(|&b| b == b'\n').collect();
            if expected.last().is_some_and(|last| last.is_empty()) {
                expected.pop();
            }
            let (found, bytes, cut) = split(&input, buffer, max_bytes);
            prop_assert_eq!(cut, expected.iter().filter(|line| line.len() > max_bytes).count());
            let expected: Vec<_> = expected.iter().map(|line| line[..line.len().min(max_bytes)].to_vec()).collect();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(bytes, input.len() as u64);
        }
    }
}
