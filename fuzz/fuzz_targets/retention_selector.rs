//! Fuzzes [`forebay_fuzz::retention::retention_selector`].
#![cfg_attr(fuzzing, no_main)]

forebay_fuzz::target!(forebay_fuzz::retention::retention_selector);
