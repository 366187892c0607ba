//! The functions of a vDSO: the library that the kernel puts into every process, with system calls that need no kernel.

/// A function, by its place from the beginning of the library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// The functions of an ELF library that is in memory as it is in its file. `None` if it is not one.
pub(super) fn functions(image: &[u8]) -> Option<Vec<Function>> {
    let elf = Elf::new(image)?;
    let dynamic = elf.segment(PT_DYNAMIC)?;
    let (symbols, names) = (elf.dynamic_entry(dynamic, DT_SYMTAB)?, elf.dynamic_entry(dynamic, DT_STRTAB)?);
    let layout = elf.layout;
    // Linkers put the names behind the last symbol.
    let count = names.checked_sub(symbols)? / layout.symbol;
    let function = |number: u64| {
        let symbol = symbols + number * layout.symbol;
        let name = elf.text(names + elf.number(symbol, 4)?)?;
        let offset = elf.number(symbol + layout.symbol_value, layout.word)?;
        let size = elf.number(symbol + layout.symbol_value + layout.word, layout.word)?;
        Some(Function { name, offset, size })
    };
    Some((0..count).filter_map(function).filter(|function| function.offset != 0).collect())
}

const PT_DYNAMIC: u64 = 2;
const DT_STRTAB: u64 = 5;
const DT_SYMTAB: u64 = 6;

/// Where things are in a file of one class: elf(5).
#[derive(Clone, Copy)]
struct Layout {
    word: u64,
    /// In the header: where the table of segments is, the size of one, and their number.
    segments: [u64; 3],
    /// In a segment: where it begins in the file.
    segment_offset: u64,
    symbol: u64,
    /// In a symbol: its value, with its size behind.
    symbol_value: u64,
}

const ELF32: Layout =
    Layout { word: 4, segments: [28, 42, 44], segment_offset: 4, symbol: 16, symbol_value: 4 };
const ELF64: Layout =
    Layout { word: 8, segments: [32, 54, 56], segment_offset: 8, symbol: 24, symbol_value: 8 };

struct Elf<'i> {
    image: &'i [u8],
    layout: Layout,
}

impl<'i> Elf<'i> {
    fn new(image: &'i [u8]) -> Option<Self> {
        let layout = match image.strip_prefix(b"\x7fELF")?.first()? {
            1 => ELF32,
            2 => ELF64,
            _ => return None,
        };
        Some(Self { image, layout })
    }

    fn number(&self, at: u64, bytes: u64) -> Option<u64> {
        let at = usize::try_from(at).ok()?;
        let field = self.image.get(at..at.checked_add(bytes as usize)?)?;
        Some(field.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// A place in the file.
    fn place(&self, at: u64, bytes: u64) -> Option<u64> {
        self.number(at, bytes).filter(|place| *place < self.image.len() as u64)
    }

    fn text(&self, at: u64) -> Option<String> {
        let rest = self.image.get(usize::try_from(at).ok()?..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        String::from_utf8(rest[..end].to_vec()).ok()
    }

    /// Where the first segment of a kind begins.
    fn segment(&self, kind: u64) -> Option<u64> {
        let Layout { word, segments: [table, size, count], segment_offset, .. } = self.layout;
        let (table, size) = (self.place(table, word)?, self.number(size, 2)?);
        let mut segments = (0..self.number(count, 2)?).map(|number| table + number * size);
        let segment = segments.find(|segment| self.number(*segment, 4) == Some(kind))?;
        self.place(segment + segment_offset, word)
    }

    fn dynamic_entry(&self, dynamic: u64, tag: u64) -> Option<u64> {
        let word = self.layout.word;
        let tags = (0..).map(|number| dynamic + number * 2 * word);
        let mut tags =
            tags.map_while(|at| Some((at, self.number(at, word)?))).take_while(|(_, tag)| *tag != 0);
        let (at, _) = tags.find(|(_, found)| *found == tag)?;
        self.place(at + word, word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_library_has_no_functions() {
        assert_eq!(functions(b""), None);
        assert_eq!(functions(b"\x7fELF\x02"), None);
        assert_eq!(functions(&[b"\x7fELF\x02", &[0xff; 100][..]].concat()), None);
        assert_eq!(functions(&[b"\x7fELF\x01", &[0; 4096][..]].concat()), None);
    }
}
