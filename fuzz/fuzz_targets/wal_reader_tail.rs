//! Fuzzes [`forebay_fuzz::wal::wal_reader_tail`].
#![cfg_attr(fuzzing, no_main)]

forebay_fuzz::target!(forebay_fuzz::wal::wal_reader_tail);
