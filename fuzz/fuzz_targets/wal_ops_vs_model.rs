//! Fuzzes [`forebay_fuzz::wal::wal_ops_vs_model`].
#![cfg_attr(fuzzing, no_main)]

forebay_fuzz::target!(forebay_fuzz::wal::wal_ops_vs_model);
