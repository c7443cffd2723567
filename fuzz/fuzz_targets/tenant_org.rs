//! Fuzzes [`forebay_fuzz::tenant::tenant_org`].
#![cfg_attr(fuzzing, no_main)]

forebay_fuzz::target!(forebay_fuzz::tenant::tenant_org);
