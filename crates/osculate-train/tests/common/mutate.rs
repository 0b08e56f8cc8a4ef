//! Damage to files, drawn by proptest. The tests of the example programs include this file by its path.

use proptest::prelude::*;
use proptest::sample::Index;

/// One change of a file's bytes.
#[derive(Debug, Clone)]
pub enum Change {
    Set(Index, u8),
    Remove(Index, Index),
    Insert(Index, Vec<u8>),
    /// Copies one place over another, as a disk that mixes blocks up.
    Copy(Index, Index, u8),
    Cut(Index),
}

/// Bytes that mean something in some format.
fn telling() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 1..6),
        prop::sample::select(vec![
            "-1",
            "0",
            "1e999",
            "NaN",
            "null",
            "{}",
            "[]",
            "\"\"",
            "\n",
            "\u{0}",
            ",",
            "18446744073709551616",
            "\u{fe0f}",
            "true",
            "[[[[[[",
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ]
}

/// Some changes.
pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::Remove(from, to)),
        2 => (any::<Index>(), telling()).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (any::<Index>(), any::<Index>(), any::<u8>())
            .prop_map(|(from, to, length)| Change::Copy(from, to, length)),
        1 => any::<Index>().prop_map(Change::Cut),
    ];
    proptest::collection::vec(change, 1..5)
}

/// A name of a file or folder, in UTF-8 or not, with what is special to shells, systems and people.
#[cfg(unix)]
#[allow(dead_code, reason = "each suite uses a part")]
pub fn name() -> impl Strategy<Value = std::ffi::OsString> {
    use std::os::unix::ffi::OsStringExt;

    let bytes = prop_oneof![
        "[a-cA-C. \\-é\u{301}\n]{1,4}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 1..5),
    ];
    let usable = |bytes: &Vec<u8>| {
        let reserved = [&b"."[..], b".."].contains(&bytes.as_slice());
        !reserved && !bytes.iter().any(|byte| [0, b'/'].contains(byte))
    };
    let bytes = bytes.prop_filter("a name of a file", usable);
    bytes.prop_map(std::ffi::OsString::from_vec)
}

/// The bytes after all changes.
pub fn changed(bytes: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for change in changes {
        let places = bytes.len() + 1;
        match change {
            Change::Set(at, byte) => {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
            }
            Change::Remove(from, to) => {
                let (from, to) = (from.index(places), to.index(places));
                bytes.drain(from.min(to)..from.max(to));
            }
            Change::Insert(at, more) => {
                let at = at.index(places);
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Copy(from, to, length) => {
                let (from, to) = (from.index(places), to.index(places));
                let end = (from + usize::from(*length)).min(bytes.len());
                let piece = bytes[from..end].to_vec();
                let end = (to + piece.len()).min(bytes.len());
                let fits = end - to;
                bytes[to..end].copy_from_slice(&piece[..fits]);
            }
            Change::Cut(at) => bytes.truncate(at.index(places)),
        }
    }
    bytes
}
