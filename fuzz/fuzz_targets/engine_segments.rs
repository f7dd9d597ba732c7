#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| redeliver_fuzz::fuzz("engine_segments", data));
