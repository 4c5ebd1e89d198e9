use std::io::Cursor as Memory;
use std::sync::LazyLock;

use proptest::prelude::*;

use super::writer::{self, Node, Tree};
use super::*;

const PAGE_SIZE: usize = 1_024;

/// Reads everything in the bucket.
fn read(
    file: &mut Bolt<Memory<&[u8]>>,
    bucket: Bucket,
    depth: usize,
    entries: &mut usize,
) -> Result<Tree, BoltError> {
    let is_inline = |bucket: &Bucket| matches!(bucket.root, Root::Inline(..));
    let mut tree = Tree::new();
    let mut cursor = Cursor::new(bucket);
    while let Some((key, value)) = cursor.next(file)? {
        *entries += 1;
        let key = key.to_vec();
        let node = match value {
            Value::Bytes(bytes) => Node::Bytes(bytes.to_vec()),
            Value::Bucket(_) if depth == 0 || *entries > 100_000 => continue,
            Value::Bucket(bucket) if is_inline(&bucket) => {
                Node::Inline(read(file, bucket, depth - 1, entries)?)
            }
            Value::Bucket(bucket) => Node::Bucket(read(file, bucket, depth - 1, entries)?),
        };
        assert!(tree.insert(key, node).is_none());
    }
    Ok(tree)
}

fn read_file(bytes: &[u8]) -> Result<Tree, BoltError> {
    let mut file = Bolt::open(Memory::new(bytes))?;
    let root = file.root();
    read(&mut file, root, 4, &mut 0)
}

fn numbered(count: usize, bytes: usize) -> Tree {
    let value = |number: usize| Node::Bytes(vec![number as u8; bytes]);
    (0..count).map(|number| (format!("key-{number:06}").into_bytes(), value(number))).collect()
}

/// Branches on two levels, long values, and buckets of each kind.
fn sample() -> Tree {
    let mut long = numbered(20, 10);
    long.insert(b"key-000007x".to_vec(), Node::Bytes(vec![7; 5 * PAGE_SIZE]));
    long.insert(b"z".repeat(3 * PAGE_SIZE), Node::Bytes(vec![]));
    Tree::from([
        (b"empty".to_vec(), Node::Bucket(Tree::new())),
        (b"inline".to_vec(), Node::Inline(numbered(5, 3))),
        (b"large".to_vec(), Node::Bucket(numbered(3_000, 40))),
        (b"long".to_vec(), Node::Bucket(long)),
        (
            b"nested".to_vec(),
            Node::Bucket(Tree::from([(b"in".to_vec(), Node::Bucket(numbered(90, 30)))])),
        ),
        (b"value".to_vec(), (&[1, 2, 3]).into()),
    ])
}

fn page_error(result: Result<Tree, BoltError>) -> (u64, Damage) {
    match result {
        Err(BoltError::Page { page, damage }) => (page, damage),
        other => panic!("{other:?}"),
    }
}

/// [IMP-20]
#[test]
fn every_record_of_a_file_is_read_in_order() {
    let tree = sample();
    for page_size in [1_024, 4_096, 65_536] {
        assert_eq!(read_file(&writer::file(page_size, &tree)).unwrap(), tree);
    }
    assert_eq!(read_file(&writer::file(4_096, &Tree::new())).unwrap(), Tree::new());
}

#[test]
fn a_bucket_is_found_by_its_name() {
    let bytes = writer::file(PAGE_SIZE, &sample());
    let mut file = Bolt::open(Memory::new(&*bytes)).unwrap();
    let bucket = file.bucket(b"inline").unwrap().unwrap();
    assert_eq!(read(&mut file, bucket, 0, &mut 0).unwrap(), numbered(5, 3));
    // A value is no bucket.
    for absent in [&b"value"[..], b"valu", b"", b"zzz"] {
        assert!(file.bucket(absent).unwrap().is_none());
    }
}

/// [IMP-20]
#[test]
fn the_later_of_the_undamaged_meta_pages_counts() {
    let tree = sample();
    for page_size in [1_024, 4_096, 65_536] {
        // The transaction 2 is in page 0.
        let whole = writer::file(page_size, &tree);
        let mut older = whole.clone();
        older[page_size + 16 + 16] ^= 0xff;
        assert_eq!(read_file(&older).unwrap(), tree);
        let mut newer = whole.clone();
        newer[16 + 50] ^= 1;
        assert_eq!(read_file(&newer).unwrap(), tree);
        newer[page_size + 16 + 50] ^= 1;
        assert!(matches!(read_file(&newer), Err(BoltError::Meta)));
    }
}

/// [IMP-21]
#[test]
fn another_file_is_refused_as_what_it_is() {
    for foreign in [&b""[..], b"x", b"SQLite format 3\0", &[0; 100_000], &[0xff; 5_000]] {
        assert!(matches!(read_file(foreign), Err(BoltError::Foreign)));
    }
    let mut version = writer::file(PAGE_SIZE, &sample());
    for page in [0, PAGE_SIZE] {
        version[page + 16 + 4] = 3;
    }
    assert!(matches!(read_file(&version), Err(BoltError::Version { version: 3 })));
}

/// [IMP-21]
#[test]
fn a_file_that_is_cut_off_is_refused() {
    let whole = writer::file(PAGE_SIZE, &sample());
    for length in [whole.len() - 1, whole.len() / 2, 5 * PAGE_SIZE, 2 * PAGE_SIZE] {
        match read_file(&whole[..length]) {
            Err(BoltError::Truncated { bytes, expected }) => {
                assert_eq!((bytes, expected), (length as u64, whole.len() as u64));
            }
            other => panic!("{length}: {other:?}"),
        }
    }
    for length in [PAGE_SIZE, 100, 20, 0] {
        assert!(read_file(&whole[..length]).is_err());
    }
    // A file may be longer than its pages.
    let longer = [whole, vec![0xee; 3 * PAGE_SIZE + 5]].concat();
    assert_eq!(read_file(&longer).unwrap(), sample());
}

/// A file with one leaf, which is page 2, and four keys in it.
fn small() -> Vec<u8> {
    let bytes = writer::file(PAGE_SIZE, &numbered(4, 8));
    assert_eq!(bytes.len(), 3 * PAGE_SIZE);
    bytes
}

/// [IMP-21]
#[test]
fn a_damaged_page_is_refused_with_its_number() {
    let damaged = |offset: usize, bytes: &[u8]| {
        let mut file = small();
        let at = 2 * PAGE_SIZE + offset;
        file[at..at + bytes.len()].copy_from_slice(bytes);
        page_error(read_file(&file))
    };
    assert_eq!(damaged(0, &[9]), (2, Damage::Id { found: 9 }));
    assert_eq!(damaged(8, &[16]), (2, Damage::Flags { flags: 16 }));
    assert_eq!(damaged(8, &[3]), (2, Damage::Flags { flags: 3 }));
    assert_eq!(damaged(12, &[1]), (2, Damage::Run { pages: 2 }));
    assert_eq!(damaged(12, &[0xff; 4]), (2, Damage::Run { pages: 1 << 32 }));
    // More elements than there are.
    assert_eq!(damaged(10, &[0xff, 0xff]).0, 2);
    let element = 16 + 16;
    assert_eq!(damaged(element, &[2]), (2, Damage::Element { index: 1 }));
    assert_eq!(damaged(element + 4, &[0xff; 4]), (2, Damage::Element { index: 1 }));
    assert_eq!(damaged(element + 4, &[0]), (2, Damage::Element { index: 1 }));
    assert_eq!(damaged(element + 8, &[0xff; 4]), (2, Damage::Element { index: 1 }));
    assert_eq!(damaged(element + 12, &[0xff; 4]), (2, Damage::Element { index: 1 }));
    // The value is in the way of the next key.
    assert_eq!(damaged(element + 12, &[9]), (2, Damage::Element { index: 2 }));
    // The key `key-000001` becomes `key-000000`.
    let key = 16 + 4 * 16 + 18;
    assert_eq!(damaged(key + 9, b"0"), (2, Damage::Order { index: 1 }));
    // A value of eight bytes as a bucket.
    assert_eq!(damaged(element, &[1]), (2, Damage::Bucket));
}

/// [IMP-21]
#[test]
fn a_page_that_is_used_twice_is_refused_and_not_read_for_ever() {
    let large = writer::file(PAGE_SIZE, &numbered(3_000, 40));
    let root = u64::from_le_bytes(large[32..40].try_into().unwrap());
    let at = root as usize * PAGE_SIZE;
    assert_eq!(large[at + 8], 1, "a branch");
    let with_child = |index: usize, child: u64| {
        let mut file = large.clone();
        let element = at + 16 + index * 16;
        file[element + 8..element + 16].copy_from_slice(&child.to_le_bytes());
        page_error(read_file(&file))
    };
    assert_eq!(with_child(0, root), (root, Damage::Depth));
    assert_eq!(with_child(1, root), (2, Damage::Order { index: 0 }));
    let pages = (large.len() / PAGE_SIZE) as u64;
    for child in [0, 1, pages, u64::MAX] {
        assert_eq!(with_child(0, child), (child, Damage::Range { pages }));
    }
    let first = u64::from_le_bytes(large[at + 24..at + 32].try_into().unwrap());
    assert_eq!(with_child(1, first), (2, Damage::Order { index: 0 }));

    // Leaves without keys have no order.
    let mut empty = large.clone();
    for page in 2..pages as usize {
        let at = page * PAGE_SIZE;
        if empty[at + 8] == 2 {
            empty[at + 10..at + 12].fill(0);
        }
    }
    let (child, element) = (first.to_le_bytes(), at + 16 + 16);
    empty[element + 8..element + 16].copy_from_slice(&child);
    assert_eq!(read_file(&empty).unwrap(), Tree::new());
    let count = u16::from_le_bytes([empty[at + 10], empty[at + 11]]) as usize;
    for index in 0..count {
        let element = at + 16 + index * 16;
        empty[element + 8..element + 16].copy_from_slice(&child);
    }
    assert_eq!(page_error(read_file(&empty)).1, Damage::Twice);
}

/// A program that has the file open reads and changes it at will.
#[test]
fn a_file_that_becomes_shorter_is_an_error_of_reading() {
    let whole = small();
    let meta = Bolt::open(Memory::new(&*whole)).unwrap().meta;
    let mut file = Bolt { file: Memory::new(&whole[..2 * PAGE_SIZE + 100]), meta };
    let root = file.root();
    match read(&mut file, root, 0, &mut 0) {
        Err(BoltError::Io(error)) => {
            assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn debug_shows_no_record() {
    let bytes =
        writer::file(PAGE_SIZE, &Tree::from([(b"b".to_vec(), Node::Inline(numbered(3, 3)))]));
    let mut file = Bolt::open(Memory::new(&*bytes)).unwrap();
    assert_eq!(format!("{:?}", file.bucket(b"b").unwrap().unwrap()), "Bucket { root: Page(2) }");
}

static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(|| writer::file(PAGE_SIZE, &sample()));

fn mutations() -> impl Strategy<Value = Vec<(prop::sample::Index, u8)>> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// [IMP-21] A damaged file is an error or has other records. It takes no longer than a whole one.
    #[test]
    fn a_file_with_random_bytes_in_it_is_read_or_refused(changes in mutations(), small in any::<bool>()) {
        let mut file = if small { self::small() } else { SAMPLE.clone() };
        for (at, byte) in changes {
            // The meta pages have checksums.
            let at = 2 * PAGE_SIZE + at.index(file.len() - 2 * PAGE_SIZE);
            file[at] = byte;
        }
        let _ = read_file(&file);
    }

    /// [IMP-21]
    #[test]
    fn headers_and_elements_with_random_numbers_are_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0..20_usize, 0..300_u16), 1..6),
    ) {
        let mut file = SAMPLE.clone();
        let pages = file.len() / PAGE_SIZE;
        for (page, place, number) in changes {
            let at = (2 + page.index(pages - 2)) * PAGE_SIZE + place * 4;
            file[at..at + 2].copy_from_slice(&number.to_le_bytes());
        }
        let _ = read_file(&file);
    }
}
