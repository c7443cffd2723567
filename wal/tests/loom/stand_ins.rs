//! What the queue's files ask of others that are bound to a file system: nothing that two threads share.

pub(crate) mod codec {
    use super::options::Compression;

    #[derive(Default)]
    pub(crate) struct Packer {
        pub(crate) out: Vec<u8>,
        pub(crate) joined: Vec<u8>,
    }

    impl Packer {
        pub(crate) fn pack(&mut self, _: Compression, body: &[u8]) -> u8 {
            self.out.extend_from_slice(body);
            0
        }
    }
}

pub(crate) mod options {
    #[derive(Clone, Copy)]
    pub(crate) enum Compression {
        None,
    }
}

pub(crate) mod segment {
    pub(crate) fn longest_body(capacity: u64, _: (u64, u32), _: u32) -> u64 {
        capacity
    }
}

pub(crate) mod truncate {
    #[derive(Debug, Clone)]
    pub(crate) struct Truncated;
}
