//! Whether the command line selects cases.

/// Options of criterion that stand alone; all others are followed by a value.
const FLAGS: [&str; 9] =
    ["--bench", "--exact", "--list", "--noplot", "--quick", "--quiet", "--verbose", "--discard-baseline", "--test"];

/// Filters on the command line: arguments that are neither options nor their values.
pub fn n_filters() -> usize {
    let mut is_value = false;
    std::env::args()
        .skip(1)
        .filter(|argument| {
            let is_option = argument.starts_with('-');
            let is_filter = !is_option && !is_value;
            is_value = is_option && !argument.contains('=') && !FLAGS.contains(&argument.as_str());
            is_filter
        })
        .count()
}
