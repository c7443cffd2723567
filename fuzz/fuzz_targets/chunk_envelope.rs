//! Fuzzes [`forebay_fuzz::chunk::chunk_envelope`].
#![cfg_attr(fuzzing, no_main)]

forebay_fuzz::target!(forebay_fuzz::chunk::chunk_envelope);
