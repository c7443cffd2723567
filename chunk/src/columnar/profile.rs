//! How much work a columnar chunk is worth to its writer.

/// How a columnar chunk is written. Every reader reads all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Profile {
    /// Least work: streams at level 1 of Zstandard.
    Fast,
    /// For chunks that are written once and read a few times: level 3.
    #[default]
    Balanced,
    /// For chunks that are kept: groups of 8 MiB at level 19, and an order of magnitude more time.
    Archive,
}

impl Profile {
    /// Raw bytes of a group that this profile is meant for: 1 MiB, and 8 MiB for the archive.
    pub const fn group_bytes(self) -> usize {
        match self {
            Self::Fast | Self::Balanced => 1 << 20,
            Self::Archive => 8 << 20,
        }
    }

    pub(crate) const fn options(self) -> ColumnarOptions {
        match self {
            Self::Fast => ColumnarOptions { level: 1, numbers: 1, relex: false },
            Self::Balanced => ColumnarOptions { level: 3, numbers: 1, relex: true },
            Self::Archive => ColumnarOptions { level: 19, numbers: 19, relex: true },
        }
    }
}

/// What a profile comes down to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ColumnarOptions {
    /// Of Zstandard.
    pub(crate) level: i32,
    /// The same for streams of numbers, in which it finds little but how often each byte comes.
    pub(crate) numbers: i32,
    /// Whether lines that no skeleton fits are taken apart once more, at blanks.
    pub(crate) relex: bool,
}
