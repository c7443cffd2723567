//! Fuzzes [`forebay_fuzz::wal::wal_recover_dir`].
#![cfg_attr(fuzzing, no_main)]

forebay_fuzz::target!(forebay_fuzz::wal::wal_recover_dir);
