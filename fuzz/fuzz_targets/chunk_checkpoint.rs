//! Fuzzes [`forebay_fuzz::chunk::chunk_checkpoint`].
#![cfg_attr(fuzzing, no_main)]

forebay_fuzz::target!(forebay_fuzz::chunk::chunk_checkpoint);
