//! The content of a file of which some changes may be missing.

/// A change of a file, in the order of the calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) what: What,
    /// Whether the call has returned.
    pub(crate) ended: bool,
    pub(crate) fate: Fate,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Write {
        at: u64,
        bytes: Vec<u8>,
    },
    Resize(u64),
    /// A minimum length.
    Grow(u64),
}

/// Whether a change is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It may be. A sync makes it durable.
    Pending,
    Durable,
    /// It may be, and no sync makes it durable: one has failed.
    Doomed,
}

/// How a power cut damages changes that are not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Damage {
    /// None is there.
    Dropped,
    /// All are there.
    Kept,
    /// Those up to some point are there, in each file.
    Prefix,
    /// Any of them are there.
    Reordered,
    /// Those up to some point, and a part of the next one, up to a sector or page.
    Torn,
    /// Of each, any sectors are there; of some only the first half, with zeros after it.
    Sectors,
    /// The file has the length as if they were there, with zeros in the added part.
    Zeros,
}

impl Damage {
    pub(crate) const ALL: [Self; 7] = [
        Self::Dropped,
        Self::Kept,
        Self::Prefix,
        Self::Reordered,
        Self::Torn,
        Self::Sectors,
        Self::Zeros,
    ];
}

const SECTOR: u64 = 512;
const PAGE: u64 = 4_096;

impl What {
    pub(crate) fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, bytes } => write(content, *at, bytes),
            Self::Resize(length) => content.resize(index(*length), 0),
            Self::Grow(length) => grow(content, index(*length)),
        }
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a file that fits into memory")
}

fn grow(content: &mut Vec<u8>, length: usize) {
    content.resize(content.len().max(length), 0);
}

fn write(content: &mut Vec<u8>, at: u64, bytes: &[u8]) {
    let begin = index(at);
    grow(content, begin + bytes.len());
    content[begin..begin + bytes.len()].copy_from_slice(bytes);
}

/// The length of the file for the process.
pub(crate) fn length(base: &[u8], changes: &[Change]) -> u64 {
    changes.iter().fold(base.len() as u64, |length, change| match &change.what {
        What::Write { at, bytes } => length.max(at + bytes.len() as u64),
        What::Resize(to) => *to,
        What::Grow(to) => length.max(*to),
    })
}

/// The content on the disk.
pub(crate) fn materialise(
    base: &[u8],
    changes: &[Change],
    damage: Damage,
    random: &mut fastrand::Rng,
) -> Vec<u8> {
    let mut content = base.to_vec();
    let volatile = changes.iter().filter(|change| change.fate != Fate::Durable).count();
    let point = random.usize(..=volatile);
    let mut number = 0;
    for change in changes {
        if change.fate == Fate::Durable {
            change.what.apply(&mut content);
            continue;
        }
        let what = &change.what;
        match damage {
            Damage::Dropped => {}
            Damage::Kept => what.apply(&mut content),
            Damage::Prefix | Damage::Torn if number < point => what.apply(&mut content),
            Damage::Torn if number == point => tear(what, &mut content, random),
            Damage::Prefix | Damage::Torn => {}
            Damage::Reordered if random.bool() => what.apply(&mut content),
            Damage::Reordered => {}
            Damage::Sectors => scatter(what, &mut content, random),
            Damage::Zeros => match what {
                What::Write { at, bytes } => grow(&mut content, index(*at) + bytes.len()),
                other => other.apply(&mut content),
            },
        }
        number += 1;
    }
    content
}

/// Applies the beginning of a write, up to a boundary of the disk.
fn tear(what: &What, content: &mut Vec<u8>, random: &mut fastrand::Rng) {
    let What::Write { at, bytes } = what else { return };
    let unit = if random.bool() { SECTOR } else { PAGE };
    let (first, last) = (at / unit, (at + bytes.len() as u64) / unit);
    let boundary = random.u64(first..=last) * unit;
    let kept = index(boundary.saturating_sub(*at)).min(bytes.len());
    write(content, *at, &bytes[..kept]);
}

/// Applies a write sector by sector: each is written, or not, or half of it with zeros. Bytes outside of
/// the write keep their value.
fn scatter(what: &What, content: &mut Vec<u8>, random: &mut fastrand::Rng) {
    let What::Write { at, bytes } = what else {
        if random.bool() {
            what.apply(content);
        }
        return;
    };
    let mut done = 0;
    while done < bytes.len() {
        let here = at + done as u64;
        let to_boundary = index(SECTOR - here % SECTOR);
        let piece = &bytes[done..bytes.len().min(done + to_boundary)];
        match random.u8(..16) {
            0 => {
                let mut half = piece.to_vec();
                half[piece.len() / 2..].fill(0);
                write(content, here, &half);
            }
            1..8 => write(content, here, piece),
            _ => {}
        }
        done += piece.len();
    }
}
