#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redeliver_fuzz::fuzz("dead_letter", data));
