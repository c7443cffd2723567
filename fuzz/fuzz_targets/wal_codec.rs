//! Fuzzes [`forebay_fuzz::wal::wal_codec`].
#![cfg_attr(fuzzing, no_main)]

forebay_fuzz::target!(forebay_fuzz::wal::wal_codec);
