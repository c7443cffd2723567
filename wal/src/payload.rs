//! Bytes on their way into the log.

use bytes::Bytes;

/// A record to append: anything that is bytes.
///
/// Up to 16 KiB are copied once, into the frame that is written. Longer ones are written from where they are:
/// [`Bytes`], `Vec<u8>` and `String` are kept as they are, borrowed bytes are copied first.
#[derive(Debug, Clone, Default)]
pub struct Payload<'a>(Source<'a>);

#[derive(Debug, Clone)]
enum Source<'a> {
    Borrowed(&'a [u8]),
    Owned(Vec<u8>),
    Shared(Bytes),
}

/// Records from this size on are not copied into frames.
pub(crate) const SHARED_FROM: usize = 16 << 10;

impl Payload<'_> {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match &self.0 {
            Source::Borrowed(bytes) => bytes,
            Source::Owned(bytes) => bytes,
            Source::Shared(bytes) => bytes,
        }
    }

    /// Makes a long record one that outlives the call, so that this is not done under a lock.
    #[inline]
    pub(crate) fn settle(&mut self) {
        if self.as_slice().len() < SHARED_FROM {
            return;
        }
        let shared = match std::mem::take(&mut self.0) {
            Source::Borrowed(bytes) => Bytes::copy_from_slice(bytes),
            Source::Owned(bytes) => bytes.into(),
            Source::Shared(bytes) => bytes,
        };
        self.0 = Source::Shared(shared);
    }

    /// Takes out a long record that was settled.
    #[inline]
    pub(crate) fn take_shared(&mut self) -> Option<Bytes> {
        match &mut self.0 {
            Source::Shared(bytes) if bytes.len() >= SHARED_FROM => Some(std::mem::take(bytes)),
            _ => None,
        }
    }
}

impl Default for Source<'_> {
    fn default() -> Self {
        Self::Borrowed(&[])
    }
}

impl PartialEq for Payload<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for Payload<'_> {}

impl From<Bytes> for Payload<'_> {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Self(Source::Shared(bytes))
    }
}

impl From<Vec<u8>> for Payload<'_> {
    #[inline]
    fn from(bytes: Vec<u8>) -> Self {
        Self(Source::Owned(bytes))
    }
}

impl From<String> for Payload<'_> {
    #[inline]
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl<'a> From<&'a [u8]> for Payload<'a> {
    #[inline]
    fn from(bytes: &'a [u8]) -> Self {
        Self(Source::Borrowed(bytes))
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Payload<'a> {
    #[inline]
    fn from(bytes: &'a [u8; N]) -> Self {
        bytes.as_slice().into()
    }
}

impl<'a> From<&'a Vec<u8>> for Payload<'a> {
    #[inline]
    fn from(bytes: &'a Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl<'a> From<&'a str> for Payload<'a> {
    #[inline]
    fn from(text: &'a str) -> Self {
        text.as_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_equal_where_their_bytes_are() {
        assert_eq!(Payload::from("ab"), Payload::from(vec![b'a', b'b']));
        assert_eq!(Payload::from(&b"ab"[..]), Payload::from(Bytes::from_static(b"ab")));
        assert_ne!(Payload::from("ab"), Payload::default());
    }

    #[test]
    fn only_long_records_are_kept_as_they_are() {
        for (len, kept) in [(0, false), (SHARED_FROM - 1, false), (SHARED_FROM, true)] {
            let bytes = vec![1; len];
            let all = [Payload::from(&bytes), bytes.clone().into(), Bytes::from(bytes.clone()).into()];
            for mut payload in all {
                payload.settle();
                assert_eq!(payload.as_slice(), bytes);
                assert_eq!(payload.take_shared().is_some(), kept, "{len} bytes");
            }
        }
    }
}
