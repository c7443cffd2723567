//! Fuzzes [`forebay_fuzz::trace::tracestate`].
#![cfg_attr(fuzzing, no_main)]

forebay_fuzz::target!(forebay_fuzz::trace::tracestate);
