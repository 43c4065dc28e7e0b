//! A library file as the linker sees it, read from its bytes.

use aegis_plugin_api::{
    abi::{AEGIS_ABI_MAJOR, AEGIS_PLUGIN_MAGIC},
    manifest::{ELF_SECTION, MACH_O_SECTION, Manifest},
};
use object::{
    Architecture, BinaryFormat, Endianness, File, Object, ObjectKind, ObjectSection, ObjectSymbol,
    elf,
    read::elf::{Dyn, ElfFile, FileHeader, ProgramHeader},
};

use super::section;
use crate::loader::{Check, Refusal};

const NOT_A_LIBRARY: &str =
    "keep only shared libraries that were built as plugins in a plugin directory";
const BUILD_AGAIN: &str = "copy or build it again; the file is cut or damaged";
const BUILD_FOR_HOST: &str = "build it for this machine";

/// A parsed library. It borrows the file's bytes.
#[derive(Debug)]
pub struct Image<'a> {
    file: File<'a>,
}

impl<'a> Image<'a> {
    /// Parses `bytes` as a shared library of any machine.
    ///
    /// # Errors
    ///
    /// [`Check::Format`]: empty, cut, not a library.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Refusal> {
        if let Some(kind) = foreign_kind(bytes) {
            return Err(format_refusal(kind, NOT_A_LIBRARY));
        }
        let file = File::parse(bytes).map_err(|error| {
            format_refusal(format!("it cannot be parsed: {error}"), BUILD_AGAIN)
        })?;
        match &file {
            File::Elf32(elf) => check_elf(elf)?,
            File::Elf64(elf) => check_elf(elf)?,
            _ if file.kind() != ObjectKind::Dynamic => return Err(wrong_kind(file.kind())),
            _ => {}
        }
        Ok(Self { file })
    }

    /// Whether this machine can load it.
    ///
    /// # Errors
    ///
    /// [`Check::Format`]: other operating system, processor, byte order or
    /// pointer width.
    pub fn check_host(&self) -> Result<(), Refusal> {
        let format = if cfg!(target_vendor = "apple") {
            BinaryFormat::MachO
        } else {
            BinaryFormat::Elf
        };
        if self.file.format() != format {
            return Err(format_refusal(
                format!(
                    "it is a {:?} file, and this machine loads {format:?}",
                    self.file.format()
                ),
                BUILD_FOR_HOST,
            ));
        }
        if let Some(host) = host_architecture()
            && self.file.architecture() != host
        {
            return Err(format_refusal(
                format!(
                    "it is for the architecture {:?}, and this machine is {host:?}",
                    self.file.architecture()
                ),
                BUILD_FOR_HOST,
            ));
        }
        let endianness = if cfg!(target_endian = "little") {
            Endianness::Little
        } else {
            Endianness::Big
        };
        if self.file.endianness() != endianness {
            return Err(format_refusal(
                format!(
                    "its byte order is {:?}, and this machine's is {endianness:?}",
                    self.file.endianness()
                ),
                BUILD_FOR_HOST,
            ));
        }
        if self.file.is_64() != cfg!(target_pointer_width = "64") {
            return Err(format_refusal(
                "its pointers are not as wide as this machine's".to_owned(),
                BUILD_FOR_HOST,
            ));
        }
        Ok(())
    }

    /// The manifest's JSON document.
    ///
    /// # Errors
    ///
    /// [`Check::Manifest`]: none, several, cut, too large.
    pub fn manifest_text(&self) -> Result<&'a [u8], Refusal> {
        let name = match self.file.format() {
            BinaryFormat::MachO => MACH_O_SECTION,
            _ => ELF_SECTION,
        };
        let mut sections = self
            .file
            .sections()
            .filter(|section| section.name_bytes() == Ok(name.as_bytes()));
        let Some(section) = sections.next() else {
            return Err(Refusal::new(
                Check::Manifest,
                format!("it has no section {name}: it is a library, but no plugin"),
                "build it with export_plugin! or with the C header's macro, and do not strip sections",
            ));
        };
        if sections.next().is_some() {
            return Err(Refusal::new(
                Check::Manifest,
                format!("it has several sections {name}"),
                "build one library for each plugin",
            ));
        }
        let data = section.data().map_err(|error| {
            Refusal::new(
                Check::Manifest,
                format!("its section {name} lies outside the file: {error}"),
                BUILD_AGAIN,
            )
        })?;
        section::document(data)
    }

    /// Whether the descriptor that the manifest names is exported and begins
    /// as one. Its bytes in the file are read, not its memory.
    ///
    /// # Errors
    ///
    /// [`Check::Symbol`], or [`Check::Abi`] if it is one of another major.
    pub fn check_symbol(&self, manifest: &Manifest) -> Result<(), Refusal> {
        let fail = |reason: String| {
            Refusal::new(
                Check::Symbol,
                reason,
                "build it again with a current plugin API",
            )
        };
        let wanted = manifest.symbol.as_str();
        // Mach-O prefixes the names of C with an underscore.
        let mangled = format!("_{wanted}");
        let matches = |name: &[u8]| match self.file.format() {
            BinaryFormat::MachO => name == mangled.as_bytes(),
            _ => name == wanted.as_bytes(),
        };
        let defines = |symbol: &object::Symbol<'_, '_>| {
            symbol.is_definition() && symbol.name_bytes().is_ok_and(matches)
        };
        let address = if self.file.format() == BinaryFormat::MachO {
            self.file
                .symbols()
                .find(defines)
                .map(|symbol| symbol.address())
        } else {
            self.file
                .dynamic_symbols()
                .find(defines)
                .map(|symbol| symbol.address())
        };
        let Some(address) = address else {
            return Err(fail(format!(
                "it does not export the symbol {wanted} that its manifest names"
            )));
        };
        let head = self.file.sections().find_map(|section| {
            let data = section.data_range(address, HEAD_BYTES).ok().flatten()?;
            <[u8; HEAD_BYTES as usize]>::try_from(data).ok()
        });
        let Some(head) = head else {
            return Err(fail(format!("its symbol {wanted} is not data of the file")));
        };
        let (magic, major) = split_head(&head);
        if magic != AEGIS_PLUGIN_MAGIC {
            return Err(fail(format!(
                "its symbol {wanted} is no descriptor: it begins with {magic:#018x}"
            )));
        }
        if major != AEGIS_ABI_MAJOR {
            return super::rules::check_major(u64::from(major));
        }
        Ok(())
    }
}

/// `magic`, `struct_size` and `abi_major` of a descriptor.
const HEAD_BYTES: u64 = 14;

fn split_head(head: &[u8; HEAD_BYTES as usize]) -> (u64, u16) {
    let [a, b, c, d, e, f, g, h, _, _, _, _, major_low, major_high] = *head;
    (
        u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        u16::from_ne_bytes([major_low, major_high]),
    )
}

/// Names files that are often put beside plugins by mistake.
fn foreign_kind(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [] => Some("it is empty"),
        [b'!', b'<', b'a', b'r', b'c', b'h', b'>', ..] => Some("it is a static library"),
        [b'#', b'!', ..] => Some("it is a script"),
        [b'M', b'Z', ..] => Some("it is a Windows program or library"),
        [b'P', b'K', 3, 4, ..] => Some("it is a zip archive"),
        [0, b'a', b's', b'm', ..] => Some("it is a WebAssembly module"),
        [0x7f, b'E', b'L', b'F', ..]
        | [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..]
        | [0xfe, 0xed, 0xfa, 0xcf | 0xce, ..] => None,
        [0xca, 0xfe, 0xba, 0xbe, ..] => Some("it is a universal library of several architectures"),
        _ => Some("it is not a library"),
    }
}

fn check_elf<Elf>(file: &ElfFile<'_, Elf>) -> Result<(), Refusal>
where
    Elf: FileHeader<Endian = Endianness>,
{
    let (endian, data) = (file.endian(), file.data());
    let kind = file.elf_header().e_type(endian);
    if kind != elf::ET_DYN {
        return Err(wrong_kind(file.kind()));
    }
    let mut loaded = false;
    for header in file.elf_program_headers() {
        let kind = header.p_type(endian);
        if kind == elf::PT_INTERP {
            return Err(wrong_kind(ObjectKind::Executable));
        }
        if kind == elf::PT_LOAD {
            loaded = true;
            let end = header
                .p_offset(endian)
                .into()
                .checked_add(header.p_filesz(endian).into());
            // The dynamic linker maps segments without asking how long the
            // file is, and a touch beyond its end is a SIGBUS.
            if end.is_none_or(|end| end > data.len() as u64) {
                return Err(format_refusal(
                    format!(
                        "it is cut: {} bytes do not hold all of its segments",
                        data.len()
                    ),
                    BUILD_AGAIN,
                ));
            }
        }
        let dynamic = header.dynamic(endian, data).map_err(|error| {
            format_refusal(
                format!("its dynamic segment cannot be read: {error}"),
                BUILD_AGAIN,
            )
        })?;
        for entry in dynamic.unwrap_or_default() {
            let pie = elf::DF_1_PIE.0;
            if entry.d_tag(endian) == elf::DT_FLAGS_1 && entry.val(endian) & pie != 0 {
                return Err(wrong_kind(ObjectKind::Executable));
            }
        }
    }
    if !loaded {
        return Err(format_refusal("it has nothing to load", BUILD_AGAIN));
    }
    Ok(())
}

fn wrong_kind(kind: ObjectKind) -> Refusal {
    let what = match kind {
        ObjectKind::Executable => "it is an executable, not a shared library",
        ObjectKind::Relocatable => "it is an object file that was not linked",
        ObjectKind::Core => "it is a core dump",
        _ => "it is not a shared library",
    };
    format_refusal(
        what,
        "build it as a shared library: crate-type \"cdylib\", or cc -shared -fPIC",
    )
}

fn format_refusal(reason: impl Into<String>, remedy: &str) -> Refusal {
    Refusal::new(Check::Format, reason, remedy)
}

/// `None` where this program runs on something that is not known here; then
/// the target in the manifest decides alone.
const fn host_architecture() -> Option<Architecture> {
    if cfg!(target_arch = "x86_64") {
        Some(Architecture::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Architecture::Aarch64)
    } else if cfg!(target_arch = "x86") {
        Some(Architecture::I386)
    } else if cfg!(target_arch = "arm") {
        Some(Architecture::Arm)
    } else if cfg!(target_arch = "riscv64") {
        Some(Architecture::Riscv64)
    } else if cfg!(target_arch = "s390x") {
        Some(Architecture::S390x)
    } else if cfg!(target_arch = "powerpc64") {
        Some(Architecture::PowerPc64)
    } else {
        None
    }
}
