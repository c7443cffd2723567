//! Frames on their way to a segment whose bodies may be compressed: copied, each smaller or as it is.

use super::{Frames, Tally};
use crate::codec::Packer;
use crate::format::{Digest, put, u32_at};
use crate::frame::{FRAME_HEADER_LEN, FrameHeader, Kind, frame_len};
use crate::frames::seal::synced8;
use crate::options::Compression;

impl Frames {
    /// Puts the first `count` frames into the packer's memory, for a segment that is synced up to byte `synced`. None
    /// takes more than it would as it is.
    pub(crate) fn pack(
        &self,
        count: usize,
        (digest, synced): (&Digest, u64),
        (compression, packer): (Compression, &mut Packer),
    ) -> Tally {
        let mut tally = Tally::default();
        packer.out.clear();
        for index in self.first..self.first + count {
            let span = self.spans[index];
            let has_records = matches!(span.kind, Kind::DATA | Kind::STREAM_DATA);
            let at = packer.out.len();
            packer.out.extend_from_slice(&[0; FRAME_HEADER_LEN]);
            let compression = if has_records { compression } else { Compression::None };
            let codec = if span.shared == self.end(index).1 {
                let from = span.at + FRAME_HEADER_LEN;
                let body = usize::try_from(span.body).expect("it lies in memory");
                packer.pack(compression, &self.bytes[from..from + body])
            } else {
                let mut body = std::mem::take(&mut packer.joined);
                body.clear();
                self.pieces_of(index, |piece| body.extend_from_slice(piece));
                let codec = packer.pack(compression, &body);
                packer.joined = body;
                codec
            };
            let body = &packer.out[at + FRAME_HEADER_LEN..];
            let header = FrameHeader {
                body_len: u32::try_from(body.len()).expect("a body is at most max_frame"),
                first_lsn: span.first_lsn,
                records: u32::try_from(span.records).expect("a record takes a byte of a batch of 256 MiB"),
                kind: span.kind,
                codec,
                frag: span.frag,
                synced8: synced8(synced),
                body_crc: digest.sum(body),
            };
            let stored = body.len() as u64;
            let head = header.encode(digest);
            put(&mut packer.out, at, &head);
            packer.out.resize(at + usize::try_from(frame_len(stored)).expect("it lies in memory"), 0);
            tally = tally.then(Tally {
                len: frame_len(stored),
                frames: 1,
                data_bytes: if has_records { stored } else { 0 },
                records: if has_records { span.records } else { 0 },
                payload: span.payload,
                last_hcrc: u32_at(&head, 0),
            });
        }
        tally
    }
}
