//! Fuzzes [`forebay_fuzz::ring::ring_records`].
#![cfg_attr(fuzzing, no_main)]

forebay_fuzz::target!(forebay_fuzz::ring::ring_records);
