//! Fuzzes [`forebay_fuzz::pipeline::push_json`].
#![cfg_attr(fuzzing, no_main)]

forebay_fuzz::target!(forebay_fuzz::pipeline::push_json);
