//! Fuzzes [`forebay_fuzz::pipeline::logql`].
#![cfg_attr(fuzzing, no_main)]

forebay_fuzz::target!(forebay_fuzz::pipeline::logql);
