//! Stop strings in a stream of text: what may be shown, and when one is complete.

use super::emitter::Visible;

/// Looks for stop strings in text that comes in pieces.
#[derive(Debug, Clone, Default)]
pub(super) struct StopMatcher {
    stops: Vec<String>,
    /// Text that might be the beginning of a stop string.
    held: String,
}

impl StopMatcher {
    pub(super) fn new(stops: Vec<String>) -> Self {
        Self { stops, held: String::new() }
    }

    /// Takes the next piece. Of several stop strings the one that starts first counts, and among those the longest.
    pub(super) fn push(&mut self, piece: &str) -> Visible {
        self.held.push_str(piece);
        let hits = self.stops.iter().filter_map(|stop| self.held.find(stop).map(|at| (at, stop)));
        if let Some((at, stop)) = hits.min_by_key(|(at, stop)| (*at, std::cmp::Reverse(stop.len()))) {
            let stop = Some(stop.clone());
            self.held.truncate(at);
            return Visible { text: self.flush(), stop };
        }
        let shown = self.held.len() - self.undecided_bytes();
        let undecided = self.held.split_off(shown);
        Visible { text: std::mem::replace(&mut self.held, undecided), stop: None }
    }

    /// Takes a piece in which stop strings do not count.
    pub(super) fn pass(&mut self, piece: &str) -> Visible {
        self.held.push_str(piece);
        Visible { text: self.flush(), stop: None }
    }

    /// What was held back, when nothing more comes.
    pub(super) fn flush(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// Bytes of the longest end of `held` that begins a stop string.
    fn undecided_bytes(&self) -> usize {
        let begins = |from: usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[from..]));
        let starts = self.held.char_indices().map(|(from, _)| from);
        starts.into_iter().find(|&from| begins(from)).map_or(0, |from| self.held.len() - from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(stops: &[&str], pieces: &[&str]) -> (Vec<String>, Option<String>) {
        let mut matcher = StopMatcher::new(stops.iter().map(|s| s.to_string()).collect());
        let mut shown = Vec::new();
        for piece in pieces {
            let visible = matcher.push(piece);
            shown.push(visible.text);
            if visible.stop.is_some() {
                return (shown, visible.stop);
            }
        }
        shown.push(matcher.flush());
        (shown, None)
    }

    #[test]
    fn a_stop_string_split_over_pieces_is_never_shown() {
        let (shown, stop) = stream(&["</tool>"], &["ab<", "/to", "ol>cd"]);
        assert_eq!((shown.concat().as_str(), stop.as_deref()), ("ab", Some("</tool>")));
    }

    #[test]
    fn what_only_began_like_one_is_shown_as_soon_as_that_is_clear() {
        let (shown, stop) = stream(&["</tool>"], &["a<", "/", "tea", "<"]);
        assert_eq!(shown, ["a", "", "</tea", "", "<"]);
        assert_eq!(stop, None);
    }

    #[test]
    fn the_first_then_the_longest_counts() {
        assert_eq!(stream(&["c", "bc", "b"], &["abcd"]), (vec!["a".into()], Some("bc".into())));
        let (shown, stop) = stream(&["aab"], &["a", "a", "a", "b"]);
        assert_eq!((shown.concat().as_str(), stop.as_deref()), ("a", Some("aab")), "an overlapping beginning");
    }

    #[test]
    fn characters_of_several_bytes_are_kept_whole() {
        let (shown, stop) = stream(&["é→x"], &["é", "→", "é→", "x"]);
        assert_eq!((shown.concat().as_str(), stop.as_deref()), ("é→", Some("é→x")));
    }
}
