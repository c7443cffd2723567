//! Fuzzes [`forebay_fuzz::pipeline::push_otlp`].
#![cfg_attr(fuzzing, no_main)]

forebay_fuzz::target!(forebay_fuzz::pipeline::push_otlp);
