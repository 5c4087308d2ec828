#![no_main]

#[path = "../mutate.rs"]
mod mutate;
#[path = "../../src/import/onnx/proto.rs"]
#[allow(dead_code)]
mod proto;
#[path = "../readers.rs"]
#[allow(dead_code)]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| readers::onnx(bytes));

// Half of the mutations are libFuzzer's, of bytes; the others change what the bytes mean and leave a file that can be read.
libfuzzer_sys::fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let changed = if seed % 2 == 0 { mutate::network(&data[..size], seed) } else { None };
    match changed.filter(|bytes| bytes.len() <= max_size) {
        Some(bytes) => {
            data[..bytes.len()].copy_from_slice(&bytes);
            bytes.len()
        }
        None => libfuzzer_sys::fuzzer_mutate(data, size, max_size),
    }
});
