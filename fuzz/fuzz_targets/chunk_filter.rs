//! Fuzzes [`forebay_fuzz::columnar::chunk_filter`].
#![cfg_attr(fuzzing, no_main)]

forebay_fuzz::target!(forebay_fuzz::columnar::chunk_filter);
