#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| engine_postgres::opengauss::decoding::fuzzing::payload(input));
