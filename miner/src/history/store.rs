//! The index as a file: little-endian records behind a header, a checksum at the end. It is a
//! cache: whatever does not read back whole is made anew.

use std::io;
use std::path::Path;

use super::index::{Kept, Name, Record};

/// Changes with the layout, so that another version's file is not misread.
const MAGIC: &[u8] = b"reproduceml history 1\n";

pub(super) fn read(file: &Path) -> Option<Kept> {
    let bytes = std::fs::read(file).ok()?;
    let (body, sum) = bytes.split_last_chunk::<8>()?;
    if checksum(body) != u64::from_le_bytes(*sum) {
        return None;
    }
    let mut reader = Reader { rest: body.strip_prefix(MAGIC)? };
    let identity = reader.text()?;
    let truncated = reader.u8()? != 0;
    let main = reader.records()?;
    let tips = reader.u32()?;
    let mut side_tips = Vec::new();
    for _ in 0..tips {
        side_tips.push((reader.text()?, reader.name()?));
    }
    let side = reader.records()?;
    Some(Kept { identity, truncated, main, side_tips, side })
}

pub(super) fn write(file: &Path, kept: &Kept) -> io::Result<()> {
    let mut out = MAGIC.to_vec();
    put_text(&mut out, &kept.identity);
    out.push(u8::from(kept.truncated));
    put_records(&mut out, &kept.main);
    out.extend((kept.side_tips.len() as u32).to_le_bytes());
    for (name, tip) in &kept.side_tips {
        put_text(&mut out, name);
        out.extend(tip);
    }
    put_records(&mut out, &kept.side);
    out.extend(checksum(&out).to_le_bytes());
    study::files::write_whole(file, &out)
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn put_records(out: &mut Vec<u8>, records: &[Record]) {
    out.extend((records.len() as u32).to_le_bytes());
    out.reserve(records.len() * 72);
    for record in records {
        out.extend(record.name);
        out.extend(record.parent);
        out.extend(record.pr.to_le_bytes());
        out.extend(record.title.to_le_bytes());
        out.extend(record.source.to_le_bytes());
        out.extend(record.revision.to_le_bytes());
        out.push(u8::from(record.is_revert) | u8::from(record.is_reland) << 1);
        put_numbers(out, &record.takes_back);
        put_numbers(out, &record.mentions);
    }
}

fn put_numbers(out: &mut Vec<u8>, numbers: &[u32]) {
    let count = numbers.len().min(255);
    out.push(count as u8);
    for number in numbers.iter().take(count) {
        out.extend(number.to_le_bytes());
    }
}

/// FNV-1a over eight bytes at a time: it guards against a torn file, not against malice.
fn checksum(bytes: &[u8]) -> u64 {
    let (chunks, rest) = bytes.as_chunks::<8>();
    let mix = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
    let hash = chunks.iter().fold(0xcbf2_9ce4_8422_2325, |h, c| mix(h, u64::from_le_bytes(*c)));
    rest.iter().fold(hash, |hash, byte| mix(hash, u64::from(*byte)))
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn name(&mut self) -> Option<Name> {
        self.take()
    }

    fn text(&mut self) -> Option<String> {
        let length = self.u32()? as usize;
        let (head, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        String::from_utf8(head.to_vec()).ok()
    }

    fn numbers(&mut self) -> Option<Vec<u32>> {
        let count = self.u8()?;
        (0..count).map(|_| self.u32()).collect()
    }

    fn records(&mut self) -> Option<Vec<Record>> {
        let count = self.u32()? as usize;
        // No more room than the file could fill.
        let mut records = Vec::with_capacity(count.min(self.rest.len() / 60));
        for _ in 0..count {
            let (name, parent) = (self.name()?, self.name()?);
            let (pr, title, source) = (self.u32()?, self.u64()?, self.u64()?);
            let (revision, flags) = (self.u32()?, self.u8()?);
            records.push(Record {
                name,
                parent,
                pr,
                title,
                source,
                revision,
                is_revert: flags & 1 != 0,
                is_reland: flags & 2 != 0,
                takes_back: self.numbers()?,
                mentions: self.numbers()?,
            });
        }
        Some(records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let record = Record {
            name: [7; 20],
            parent: [6; 20],
            pr: 12,
            title: 3,
            source: 4,
            revision: 5,
            is_revert: true,
            is_reland: false,
            takes_back: vec![0, 1],
            mentions: vec![9],
        };
        Kept {
            identity: "marks".into(),
            truncated: false,
            main: vec![record.clone(), record.clone()],
            side_tips: vec![("release/1".into(), [1; 20])],
            side: vec![record],
        }
    }

    #[test]
    fn it_reads_back_what_it_wrote_and_refuses_anything_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cache/index");
        assert_eq!(read(&file), None);
        write(&file, &kept()).unwrap();
        assert_eq!(read(&file), Some(kept()));
        let whole = std::fs::read(&file).unwrap();
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            std::fs::write(&file, &damaged).unwrap();
            assert_eq!(read(&file), None, "byte {place} changed");
            std::fs::write(&file, &whole[..place]).unwrap();
            assert_eq!(read(&file), None, "cut at {place}");
        }
    }
}
