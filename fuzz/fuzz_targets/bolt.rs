//! A file of bbolt. The first byte decides whether the rest is the whole file or its pages after the meta pages,
//! which are added with their checksums, and whether the pages have their own numbers, which no generated
//! input would have. Whatever is in it, each bucket has ascending keys, no more entries than fit into the file,
//! and no more bytes than it has.

#![no_main]

use std::io::Cursor as Memory;

use libfuzzer_sys::fuzz_target;
use portcullis_import::bolt::{Bolt, BoltError, Bucket, Cursor, Value};

const PAGE_SIZE: usize = 1_024;
/// Buckets in buckets are read to this depth.
const DEPTH: usize = 3;

fuzz_target!(|data: &[u8]| {
    let Some((mode, rest)) = data.split_first() else { return };
    let file = match mode % 4 {
        0 => rest.to_vec(),
        mode => with_meta_pages(rest, mode > 1),
    };
    // Input that has many buckets in buckets is not read to the end.
    let mut buckets_left = 1_000;
    if let Ok(mut bolt) = Bolt::open(Memory::new(&*file)) {
        let root = bolt.root();
        let _ = read(&mut bolt, root, file.len(), DEPTH, &mut buckets_left);
    }
});

fn read(
    bolt: &mut Bolt<Memory<&[u8]>>,
    bucket: Bucket,
    bytes: usize,
    depth: usize,
    buckets_left: &mut usize,
) -> Result<(), BoltError> {
    let mut cursor = Cursor::new(bucket);
    let mut last: Option<Vec<u8>> = None;
    let (mut entries, mut read_bytes) = (0, 0);
    while let Some((key, value)) = cursor.next(bolt)? {
        assert!(last.is_none_or(|last| *last < *key), "keys ascend");
        last = Some(key.to_vec());
        entries += 1;
        read_bytes += key.len();
        match value {
            Value::Bytes(value) => read_bytes += value.len(),
            Value::Bucket(bucket) if depth > 0 && *buckets_left > 0 => {
                *buckets_left -= 1;
                // A damaged bucket does not hide the next one.
                let _ = read(bolt, bucket, bytes, depth - 1, buckets_left);
            }
            Value::Bucket(_) => {}
        }
    }
    assert!(entries * 16 <= bytes && read_bytes <= bytes, "{entries} entries, {read_bytes} bytes");
    Ok(())
}

fn with_meta_pages(pages: &[u8], have_numbers: bool) -> Vec<u8> {
    let count = pages.len().div_ceil(PAGE_SIZE);
    let mut file = vec![0; (2 + count) * PAGE_SIZE];
    file[2 * PAGE_SIZE..][..pages.len()].copy_from_slice(pages);
    if have_numbers {
        for page in 2..2 + count {
            file[page * PAGE_SIZE..][..8].copy_from_slice(&(page as u64).to_le_bytes());
        }
    }
    for page in [0, 1] {
        let meta = meta((2 + count) as u64, page as u64);
        file[page * PAGE_SIZE + 16..][..meta.len()].copy_from_slice(&meta);
    }
    file
}

/// The root is the first page after the meta pages.
fn meta(pages: u64, transaction: u64) -> Vec<u8> {
    let mut meta = Vec::new();
    for number in [0xed0c_daed, 2, PAGE_SIZE as u32, 0] {
        meta.extend(number.to_le_bytes());
    }
    for number in [2, 0, u64::MAX, pages, transaction] {
        meta.extend(number.to_le_bytes());
    }
    let sum = meta.iter().fold(0xcbf2_9ce4_8422_2325, |sum: u64, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3)
    });
    meta.extend(sum.to_le_bytes());
    meta
}
