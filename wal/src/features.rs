//! What a segment may have beyond the plain format, and what its log is called.

use std::fmt;

/// What the readers of a segment must know beyond the plain format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Features(
    /// The bits in the file.
    pub u32,
);

impl Features {
    /// The plain format.
    pub const NONE: Self = Self(0);
    /// Records of named streams.
    pub const STREAMS: Self = Self(1 << 0);
    /// Groups end at multiples of [`Header::commit_align`](crate::format::Header::commit_align).
    pub const COMMIT_ALIGN: Self = Self(1 << 1);
    /// Bodies may be compressed.
    pub const COMPRESSION: Self = Self(1 << 2);
    /// Reserved; this version refuses it.
    pub const ENCRYPTION: Self = Self(1 << 3);
    /// The file had an earlier life: behind its frames lies what that left.
    pub const RECYCLED: Self = Self(1 << 4);

    /// What this version can read.
    pub const KNOWN: Self =
        Self(Self::STREAMS.0 | Self::COMMIT_ALIGN.0 | Self::COMPRESSION.0 | Self::RECYCLED.0);

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it has all of the other.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Those that this version does not know.
    #[must_use]
    pub const fn unknown(self) -> Self {
        Self(self.0 & !Self::KNOWN.0)
    }
}

/// What a log is called, in every segment's header: at most 40 bytes, meant for people and for telling one log from
/// another.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Label {
    len: u8,
    /// Zeros behind `len`.
    bytes: [u8; Self::MAX],
}

impl Label {
    /// Longest label in bytes.
    pub const MAX: usize = 40;

    /// A label of these bytes, if they are not too many.
    pub fn new(label: &[u8]) -> Option<Self> {
        let mut bytes = [0; Self::MAX];
        bytes.get_mut(..label.len())?.copy_from_slice(label);
        Some(Self { len: u8::try_from(label.len()).ok()?, bytes })
    }

    /// Its bytes; none where a log has no label.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

impl Default for Label {
    fn default() -> Self {
        Self { len: 0, bytes: [0; Self::MAX] }
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().escape_ascii().fmt(f)
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_has_at_most_forty_bytes() {
        assert_eq!(Label::new(&[7; 40]).unwrap().as_bytes(), [7; 40]);
        assert_eq!(Label::new(&[7; 41]), None);
        assert_eq!(Label::new(b""), Some(Label::default()));
        assert_eq!(Label::new(b"ingester-1\n").unwrap().to_string(), "ingester-1\\n");
    }

    #[test]
    fn what_is_not_known_is_told_apart() {
        let features = Features::STREAMS.with(Features::ENCRYPTION).with(Features(1 << 31));
        assert!(features.has(Features::STREAMS) && !features.has(Features::RECYCLED));
        assert_eq!(features.unknown(), Features(1 << 31 | 1 << 3));
        assert_eq!(Features::KNOWN.unknown(), Features::NONE);
    }
}
