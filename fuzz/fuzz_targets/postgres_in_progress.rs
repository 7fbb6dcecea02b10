#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| engine_postgres::fuzzing::in_progress(input));
