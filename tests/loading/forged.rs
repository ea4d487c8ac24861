//! Truncated, damaged and forged files: refused by name, or opened and readable; never a panic.

use longhaul::Error;
use longhaul::spec::WeightSource;
use longhaul::spec::tensors::expected;
use proptest::prelude::*;

use super::folder::{Folder, SINGLE};

/// A safetensors file of this header and so many zero bytes of data.
fn file_of(header: &str, n_data_bytes: usize) -> Vec<u8> {
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + n_data_bytes, 0);
    file
}

fn tensor(name: &str, dtype: &str, shape: &str, offsets: [u64; 2]) -> String {
    format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{},{}]}}"#, offsets[0], offsets[1])
}

/// What is wrong with the file, which must be named first.
#[track_caller]
fn refusal(file: &[u8]) -> String {
    let folder = Folder::tiny();
    folder.write_config();
    folder.write(SINGLE, file);
    let problems = folder.problems();
    assert!(problems.len() == 1 && problems[0].starts_with("model.safetensors: "), "{problems:?}");
    problems[0].clone()
}

#[test]
fn a_file_cut_at_any_byte_of_its_header_and_at_many_of_its_data() {
    let folder = Folder::tiny();
    folder.write_single();
    let whole = std::fs::read(folder.file(SINGLE)).unwrap();
    let header_end = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let data_cuts = (header_end..whole.len()).step_by(61).chain([whole.len() - 1]);
    for len in (0..header_end).chain(data_cuts) {
        folder.write(SINGLE, &whole[..len]);
        folder.assert_problem(&["model.safetensors: "]);
    }
    folder.write(SINGLE, [&whole[..], &[0]].concat());
    folder.assert_problem(&["model.safetensors: ", "promises"]);
    folder.write(SINGLE, &whole);
    assert!(folder.open().is_ok());
}

#[test]
fn a_header_longer_than_the_file() {
    for length in [9, 1 << 20, u64::MAX, u64::MAX - 7, i64::MAX as u64] {
        let mut file = file_of("{}      ", 0);
        file[..8].copy_from_slice(&length.to_le_bytes());
        assert!(refusal(&file).contains(&format!("said to be {length} bytes")));
    }
}

#[test]
fn headers_that_lie() {
    let huge = u64::MAX;
    let cases = [
        ("overlap", [tensor("a", "F32", "[2]", [0, 8]), tensor("b", "F32", "[2]", [4, 12])].join(","), 12),
        ("gap", [tensor("a", "F32", "[1]", [0, 4]), tensor("b", "F32", "[1]", [8, 12])].join(","), 12),
        ("same bytes", [tensor("a", "F32", "[1]", [0, 4]), tensor("b", "F32", "[1]", [0, 4])].join(","), 4),
        ("beyond the end", tensor("a", "F32", "[100]", [0, 400]), 8),
        ("far beyond the end", tensor("a", "U8", &format!("[{}]", huge / 8), [0, huge / 8]), 8),
        ("late start", tensor("a", "F32", "[1]", [huge - 4, huge]), 8),
        ("backwards", tensor("a", "F32", "[1]", [4, 0]), 4),
        ("shape and bytes disagree", tensor("a", "F32", "[3]", [0, 8]), 8),
        ("product overflows", tensor("a", "F32", &format!("[{huge}, {huge}]"), [0, 8]), 8),
        ("bits overflow", tensor("a", "F32", &format!("[{huge}]"), [0, 8]), 8),
        ("negative size", tensor("a", "F32", "[-2]", [0, 8]), 8),
        ("fractional size", tensor("a", "F32", "[2.0]", [0, 8]), 8),
        ("unknown type", tensor("a", "F31", "[2]", [0, 8]), 8),
        ("half a byte", tensor("a", "F4", "[1]", [0, 0]), 0),
        ("no fields", r#""a":{}"#.to_owned(), 0),
        ("no object", r#""a":3"#.to_owned(), 0),
        ("deep nesting", format!(r#""a":{}"#, "[".repeat(100_000)), 0),
    ];
    for (what, body, n_data_bytes) in cases {
        let refusal = refusal(&file_of(&format!("{{{body}}}"), n_data_bytes));
        assert!(refusal.contains("the header"), "{what}: {refusal}");
    }
}

/// Sizes that each fit and whose sum with the header's length would overflow.
#[test]
fn ranges_that_end_at_the_end_of_the_address_space() {
    let size = u64::MAX / 8;
    let ranges = (0..8).map(|i| (i * size, (i + 1) * size)).chain([(8 * size, u64::MAX)]);
    let tensors = ranges.enumerate().map(|(i, (s, e))| tensor(&i.to_string(), "U8", &format!("[{}]", e - s), [s, e]));
    let header = format!("{{{}}}", tensors.collect::<Vec<_>>().join(","));
    assert!(refusal(&file_of(&header, 16)).contains(&format!("promises {} bytes", u64::MAX)));
}

#[test]
fn headers_that_are_no_json_object() {
    for header in ["", "{", "null", "[]", "\u{0}\u{0}", "{\"__metadata__\":{\"a\":3}}"] {
        assert!(refusal(&file_of(header, 0)).contains("the header is wrong"), "{header:?}");
    }
    let mut not_utf8 = file_of("{\"a\":1}", 0);
    not_utf8[10] = 0xff;
    assert!(refusal(&not_utf8).contains("the header is wrong"));
}

#[test]
fn an_empty_header_has_no_tensors() {
    let folder = Folder::tiny();
    folder.write_config();
    folder.write(SINGLE, file_of("{}", 0));
    assert_eq!(folder.problems().len(), folder.tensors.len(), "each is missing");
}

/// Opens the folder; what opens can be read to the end, and what does not is refused with reasons.
fn open_and_read(folder: &Folder) -> Result<(), TestCaseError> {
    match folder.open() {
        Ok(checkpoint) => {
            for spec in expected(checkpoint.config()) {
                let elements = checkpoint.tensor(&spec.name).unwrap().to_f32();
                prop_assert_eq!(elements.len(), spec.n * spec.k);
                prop_assert!(elements.iter().all(|x| x.is_finite()));
            }
        }
        Err(Error::Model { problems, .. }) => prop_assert!(!problems.is_empty()),
        Err(other) => prop_assert!(false, "{other}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn flipped_bits_of_the_weights(
        at in prop::collection::vec((any::<prop::sample::Index>(), 0u8..8), 1..4),
        in_header: bool,
    ) {
        let folder = Folder::tiny();
        folder.write_single();
        let mut file = std::fs::read(folder.file(SINGLE)).unwrap();
        let header_end = 8 + u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
        let range = if in_header { header_end } else { file.len() };
        for (index, bit) in at {
            file[index.index(range)] ^= 1 << bit;
        }
        folder.write(SINGLE, file);
        open_and_read(&folder)?;
    }

    #[test]
    fn flipped_bits_of_the_config(index: prop::sample::Index, bit in 0u8..8) {
        let folder = Folder::tiny();
        folder.write_single();
        let mut config = folder.config.to_string().into_bytes();
        let at = index.index(config.len());
        config[at] ^= 1 << bit;
        folder.write("config.json", config);
        open_and_read(&folder)?;
    }

    #[test]
    fn any_bytes_at_all(file in prop::collection::vec(any::<u8>(), 0..200)) {
        let folder = Folder::tiny();
        folder.write_config();
        folder.write(SINGLE, file);
        open_and_read(&folder)?;
    }

    #[test]
    fn any_sizes_and_offsets(
        dims in prop::collection::vec(any::<u64>(), 0..4),
        start: u64,
        end: u64,
        n_data_bytes in 0usize..64,
    ) {
        let folder = Folder::tiny();
        folder.write_config();
        let header = format!("{{{}}}", tensor("model.norm.weight", "BF16", &format!("{dims:?}"), [start, end]));
        folder.write(SINGLE, file_of(&header, n_data_bytes));
        open_and_read(&folder)?;
    }
}
