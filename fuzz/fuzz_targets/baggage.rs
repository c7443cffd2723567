//! Fuzzes [`forebay_fuzz::trace::baggage`].
#![cfg_attr(fuzzing, no_main)]

forebay_fuzz::target!(forebay_fuzz::trace::baggage);
