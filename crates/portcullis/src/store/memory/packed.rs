//! Bodies in less memory: what most of them have in common is a byte, an id is nine.
//!
//! Any text can be packed, and comes back byte by byte.

use crate::Id;

/// A text in which the fragments and ids below are written shorter.
#[derive(Debug)]
pub(super) struct Packed {
    bytes: Box<[u8]>,
    /// The length of the text.
    length: u32,
}

/// A byte up to this one begins a run of so many bytes and one more, which are as in the text.
const LONGEST_RUN: u8 = 0x7f;

/// A byte from this one on stands for the fragment whose number is added to it.
const FRAGMENT: u8 = LONGEST_RUN + 1;

/// Begins an id of 16 hexadecimal digits, of which 8 bytes follow.
const ID: u8 = 0xff;

const DIGITS: usize = 16;

/// What the bodies of authorizations are made of, and some others. Where one begins like another
/// one, the longer one comes first. They are in memory only, so they can be changed freely.
const FRAGMENTS: [&[u8]; 22] = [
    br#"","permissions":["write:orgs/"#,
    br#"","permissions":["read:orgs/"#,
    br#"","permissions":[""#,
    br#"","write:orgs/"#,
    br#"","read:orgs/"#,
    br#"/buckets/"#,
    br#""],"passwordHash":"$argon2id$v=19$m=19456,t=2,p=1$"#,
    br#""],"passwordHash":""#,
    br#""],"createdAt":""#,
    br#"","createdAt":""#,
    br#"","updatedAt":""#,
    br#"{"v":1,"id":""#,
    br#"","token":""#,
    br#"","tokenDigest":""#,
    br#"","status":"active","description":""#,
    br#"","status":"inactive","description":""#,
    br#"","status":"active"}"#,
    br#"","orgID":""#,
    br#"","userID":""#,
    br#"","name":""#,
    br#"","write:"#,
    br#"","read:"#,
];

impl Packed {
    pub(super) fn new(text: &str) -> Option<Self> {
        let length = u32::try_from(text.len()).ok()?;
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        // Of the rest, what is neither a fragment nor an id.
        let mut plain = 0;
        while let Some((before, after)) = rest.split_at_checked(plain) {
            let Some(first) = after.first() else { break };
            if let Some((digits, after)) = after.split_first_chunk::<DIGITS>()
                && let Some(id) = Id::from_digits(digits)
            {
                push_runs(&mut bytes, before);
                bytes.push(ID);
                bytes.extend(id.as_u64().to_be_bytes());
                (rest, plain) = (after, 0);
            } else if let Some((number, after)) = fragment_of(*first, after) {
                push_runs(&mut bytes, before);
                bytes.push(FRAGMENT + number);
                (rest, plain) = (after, 0);
            } else {
                plain += 1;
            }
        }
        push_runs(&mut bytes, rest);
        Some(Self { bytes: bytes.into(), length })
    }

    /// The length of the text.
    pub(super) fn length(&self) -> usize {
        usize::try_from(self.length).unwrap_or(usize::MAX)
    }

    /// The bytes it is packed into.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn unpack(&self) -> Box<str> {
        let mut text = Vec::with_capacity(self.length());
        let mut rest = &*self.bytes;
        while let Some((first, after)) = rest.split_first() {
            rest = match *first {
                run @ ..=LONGEST_RUN => {
                    let (plain, after) = after.split_at(after.len().min(usize::from(run) + 1));
                    text.extend_from_slice(plain);
                    after
                }
                ID => {
                    // What was packed does not end within an id.
                    let Some((id, after)) = after.split_first_chunk() else { break };
                    text.extend_from_slice(&digits_of(*id));
                    after
                }
                fragment => {
                    let fragment = FRAGMENTS.get(usize::from(fragment - FRAGMENT));
                    text.extend_from_slice(fragment.unwrap_or(&&b""[..]));
                    after
                }
            };
        }
        // It was a text, and each part of it is what it was.
        String::from_utf8(text).unwrap_or_default().into_boxed_str()
    }
}

/// Writes the bytes as they are, in as many runs as it takes.
fn push_runs(bytes: &mut Vec<u8>, plain: &[u8]) {
    for run in plain.chunks(usize::from(LONGEST_RUN) + 1) {
        bytes.push(u8::try_from(run.len() - 1).unwrap_or(LONGEST_RUN));
        bytes.extend_from_slice(run);
    }
}

/// Fragments begin with one of three bytes, so that most others are passed over quickly.
fn fragment_of(first: u8, rest: &[u8]) -> Option<(u8, &[u8])> {
    if !matches!(first, b'"' | b'/' | b'{') {
        return None;
    }
    (0..).zip(FRAGMENTS).find_map(|(number, fragment)| Some((number, rest.strip_prefix(fragment)?)))
}

fn digits_of(id: [u8; 8]) -> [u8; DIGITS] {
    let mut digits = [0; DIGITS];
    for (two, byte) in digits.chunks_exact_mut(2).zip(id) {
        let digit = |value: u8| if value < 10 { b'0' + value } else { b'a' + value - 10 };
        two.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    digits
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Texts of parts that are packed, whole and broken, and of others.
    fn text() -> impl Strategy<Value = String> {
        let fragment = prop::sample::select(FRAGMENTS.to_vec());
        let fragment = fragment.prop_map(|it| String::from_utf8(it.to_vec()).unwrap());
        let part = prop_oneof![fragment, "[0-9a-fA-F]{0,40}", "\\PC{0,8}", any::<String>()];
        prop::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in text(), cut in any::<prop::sample::Index>()) {
            let packed = Packed::new(&text).unwrap();
            prop_assert_eq!(&*packed.unpack(), &*text);
            prop_assert_eq!(packed.length(), text.len());
            let at = text.floor_char_boundary_of(cut.index(text.len() + 1));
            let (begin, _) = text.split_at(at);
            prop_assert_eq!(&*Packed::new(begin).unwrap().unpack(), begin);
        }
    }

    #[test]
    fn what_is_longer_than_a_run_comes_back() {
        for length in [0, 1, 127, 128, 129, 255, 256, 257, 5_000] {
            for around in ["", r#"","read:"#] {
                let text = format!("{around}{}{around}", "ü".repeat(length));
                assert_eq!(&*Packed::new(&text).unwrap().unpack(), text, "{length}");
            }
        }
    }

    trait FloorCharBoundary {
        fn floor_char_boundary_of(&self, at: usize) -> usize;
    }

    impl FloorCharBoundary for String {
        fn floor_char_boundary_of(&self, at: usize) -> usize {
            (0..=at).rev().find(|at| self.is_char_boundary(*at)).unwrap_or(0)
        }
    }

    /// If the format of bodies has changed, the fragments should.
    #[test]
    fn an_authorization_takes_less_than_half() {
        let body = r#"{"v":1,"id":"0c0d000000000001","token":"telegraf-0000001","status":"active","description":"agents of site 17","orgID":"0a11000000000001","userID":"0a5e000000000001","permissions":["read:orgs/0a11000000000001/buckets/0b0c000000000001","write:orgs/0a11000000000001/buckets/0b0c000000000001"],"passwordHash":"$argon2id$v=19$m=19456,t=2,p=1$bm90IGEgcmVhbCBzYWx0IQ$bm90IGEgcmVhbCBoYXNoIGF0IGFsbCwgYnV0IGxvbmcu","createdAt":"2024-01-02T03:04:05Z","updatedAt":"2024-02-02T03:04:05Z"}"#;
        let packed = Packed::new(body).unwrap();
        assert_eq!(&*packed.unpack(), body);
        assert!(packed.bytes.len() * 2 < body.len(), "{} of {}", packed.bytes.len(), body.len());
    }
}
