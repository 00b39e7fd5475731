//! Output without colours: frameworks tell compilers to use them always, and a coloured error line
//! does not begin with a file's name.

/// Takes the control sequences (ECMA-48, `ESC [ … letter`) out of output that comes in pieces.
#[derive(Debug, Default)]
pub(crate) struct Plain {
    state: State,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Text,
    /// After the escape character.
    Escape,
    /// Inside a control sequence.
    Sequence,
}

const ESCAPE: u8 = 0x1b;

impl Plain {
    /// The text of the next piece.
    pub(crate) fn strip(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(bytes.len());
        for byte in bytes {
            self.state = match (self.state, *byte) {
                (_, ESCAPE) => State::Escape,
                (State::Text, byte) => {
                    text.push(byte);
                    State::Text
                }
                (State::Escape, b'[') => State::Sequence,
                // Other escapes are one character long; a line end is never part of one.
                (State::Escape, byte) => {
                    if byte == b'\n' {
                        text.push(byte);
                    }
                    State::Text
                }
                (State::Sequence, b'\n') => {
                    text.push(b'\n');
                    State::Text
                }
                (State::Sequence, 0x40..=0x7e) => State::Text,
                (State::Sequence, _) => State::Sequence,
            };
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_go_and_text_stays_however_it_is_cut() {
        let coloured =
            b"\x1b[01m\x1b[Ka.cpp:1:2:\x1b[m\x1b[K \x1b[01;31m\x1b[Kerror: \x1b[mx\n[1/2] ok";
        let plain = "a.cpp:1:2: error: x\n[1/2] ok";
        for size in [1, 3, coloured.len()] {
            let mut stripper = Plain::default();
            let text: Vec<u8> =
                coloured.chunks(size).flat_map(|piece| stripper.strip(piece)).collect();
            assert_eq!(String::from_utf8(text).unwrap(), plain, "pieces of {size}");
        }
    }

    #[test]
    fn an_unfinished_sequence_ends_with_its_line() {
        assert_eq!(Plain::default().strip(b"a\x1b[31\nb\x1b\nc"), b"a\nb\nc");
    }
}
