//! The rules for lines and sentences: width, length, subjects, openings.

use super::markdown::Kind;
use super::prose::Sentence;

/// The most columns of a line of prose.
const COLUMNS: usize = 100;
/// The most words of a sentence.
const WORDS: usize = 30;
/// A sentence this short is a label; it has no part in the share of openings.
const LABEL: usize = 2;

/// Returns true if `line` has too many columns and is not a single link.
pub fn too_wide(line: &str) -> bool {
    line.chars().count() > COLUMNS && !is_link(line)
}

/// Returns true if a line is one link, with slashes of a comment or a list marker before it at
/// most.
fn is_link(line: &str) -> bool {
    let line = line.trim_start_matches(|c: char| c.is_whitespace() || "/!-*>".contains(c)).trim_end();
    let end = line.strip_prefix('[').and_then(|l| l.find("](").or_else(|| l.find("]: ")).map(|at| at + 4));
    match end {
        Some(end) => line.get(end..).is_some_and(|rest| !rest.contains(' ')),
        None => line.contains("://") && !line.contains(' '),
    }
}

/// Returns true if a sentence has too many words.
pub fn too_long(sentence: &Sentence) -> bool {
    sentence.len() > WORDS
}

/// Returns true if a comment on unsafe code points elsewhere in place of a fact, or names only the
/// number of a rule.
pub fn names_no_fact(comment: &str) -> bool {
    let Some(fact) = comment.strip_prefix("SAFETY:") else { return false };
    let fact = fact.trim().trim_end_matches('.');
    let pointers = ["as above", "as below", "as in ", "as for ", "as there", "see "];
    let is_number = |word: &str| word.trim_end_matches([',', '.']).parse::<u32>().is_ok() || word == "and";
    fact.split_whitespace().all(is_number)
        || pointers.iter().any(|pointer| (fact.to_string() + " ").starts_with(pointer))
}

const SUBJECTS: [&str; 4] = ["who", "what", "whoever", "whatever"];
const INTERROGATIVES: [&str; 9] = ["who", "what", "which", "how", "where", "when", "why", "whether", "whose"];
const CONJUNCTIONS: [&str; 15] = [
    "and", "but", "or", "nor", "so", "because", "since", "if", "when", "while", "until", "unless", "although", "then",
    "where",
];
const PREPOSITIONS: [&str; 6] = ["about", "of", "on", "at", "to", "from"];
/// Verbs that an indirect question follows, in all regular forms.
const ASKING: [&str; 29] = [
    "say",
    "know",
    "ask",
    "see",
    "show",
    "decide",
    "learn",
    "tell",
    "look",
    "read",
    "count",
    "name",
    "remember",
    "choose",
    "explain",
    "describe",
    "measure",
    "print",
    "list",
    "record",
    "note",
    "understand",
    "wonder",
    "check",
    "test",
    "compare",
    "depend",
    "report",
    "find",
];
const IRREGULAR: [&str; 11] =
    ["said", "knew", "known", "saw", "seen", "shown", "told", "chose", "chosen", "found", "understood"];

/// Returns a word without punctuation and markup, in small letters.
fn bare(word: &str) -> String {
    word.trim_matches(|c: char| !c.is_alphanumeric() && c != '`').to_lowercase()
}

fn asks(word: &str) -> bool {
    let regular = |stem: &&str| {
        let end = word.strip_prefix(stem).or_else(|| word.strip_prefix(stem.strip_suffix('e')?));
        end.is_some_and(|end| ["", "s", "d", "ed", "ing"].contains(&end))
    };
    ASKING.iter().any(regular) || IRREGULAR.contains(&word)
}

/// Returns the places in `sentence` where "who" or "what" is the subject of a clause.
///
/// Questions have not, nor have indirect ones: after a verb such as "says", as far as the sentence
/// goes, and in a cell below a label that ends with such a verb. A heading is no sentence.
pub fn subjects(sentence: &Sentence) -> Vec<usize> {
    if matches!(sentence.kind, Kind::Heading | Kind::Label) || sentence.is_question() {
        return Vec::new();
    }
    let words: Vec<String> = sentence.words.iter().map(|w| bare(&w.1)).collect();
    let mut asked = sentence.label.split_whitespace().last().is_some_and(|word| asks(&bare(word)));
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        let before = |n: usize| at.checked_sub(n).map_or("", |at| words[at].as_str());
        let follows = asks(before(1)) || (PREPOSITIONS.contains(&before(1)) && asks(before(2)));
        asked |= follows && INTERROGATIVES.contains(&word.as_str());
        let is_quoted = sentence.words[at].1.contains(&format!("\"{word}\""));
        if !asked && !is_quoted && SUBJECTS.contains(&word.as_str()) && opens_clause(sentence, at, before(1)) {
            found.push(at);
        }
    }
    found
}

fn opens_clause(sentence: &Sentence, at: usize, before: &str) -> bool {
    let text = |at: usize| sentence.words[at].1.as_str();
    let after_break = |last: &str| last.ends_with([',', ';', ':']) || ["–", "—", "-"].contains(&last);
    at == 0 || text(at).starts_with('(') || after_break(text(at - 1)) || CONJUNCTIONS.contains(&before)
}

const PRONOUNS: [&str; 8] = ["it", "this", "that", "they", "these", "those", "he", "she"];

/// Returns true if a sentence opens with a pronoun.
pub fn opens_with_pronoun(sentence: &Sentence) -> bool {
    let first = sentence.words.first().map(|w| bare(&w.1)).unwrap_or_default();
    let first = first.split(['\'', '’']).next().unwrap_or_default();
    has_opening(sentence) && PRONOUNS.contains(&first)
}

/// Returns true if a sentence is counted in the share of openings.
pub fn has_opening(sentence: &Sentence) -> bool {
    !matches!(sentence.kind, Kind::Heading | Kind::Label) && sentence.len() > LABEL
}

#[cfg(test)]
mod tests {
    use super::super::markdown::parse;
    use super::super::prose::sentences;
    use super::*;

    fn all(text: &str) -> Vec<Sentence> {
        parse((1..).zip(text.lines())).blocks.iter().flat_map(sentences).collect()
    }

    fn subjects_in(text: &str) -> usize {
        all(text).iter().map(|s| subjects(s).len()).sum()
    }

    #[test]
    fn a_line_has_100_columns_at_most() {
        assert!(!too_wide(&"…".repeat(100)));
        assert!(too_wide(&format!("// {}", "a ".repeat(49))));
        let long = "a/".repeat(60);
        assert!(!too_wide(&format!("//! <https://{long}>")));
        assert!(!too_wide(&format!("- [a name of words](https://{long})")));
        assert!(!too_wide(&format!("[name]: ../{long}")));
        assert!(too_wide(&format!("see https://{long} for more")));
        assert!(too_wide(&format!("- [a name](https://{long}), and more")));
    }

    #[test]
    fn a_sentence_has_30_words_at_most() {
        let words = |n: usize| vec!["Word"; n].join(" ");
        assert!(!all(&format!("{}. {}.", words(29), words(30))).iter().any(too_long));
        assert!(all(&words(31)).iter().all(too_long));
        assert!(all(&format!("{}: {}; {}", words(10), words(10), words(11))).iter().all(too_long));
        assert!(!all(&format!("`{}` {}", words(10), words(29))).iter().any(too_long));
    }

    #[test]
    fn a_number_or_a_pointer_is_no_fact() {
        for text in [
            "SAFETY: 1.",
            "SAFETY: 1. and 2.",
            "SAFETY: as above; and more.",
            "SAFETY: as in `pop`.",
            "SAFETY: see `f`",
        ] {
            assert!(names_no_fact(text), "{text}");
        }
        for text in [
            "SAFETY: the G is parked.",
            "SAFETY: 1. it is parked. 2. nobody looks.",
            "as above",
            "SAFETY: assigned once.",
        ] {
            assert!(!names_no_fact(text), "{text}");
        }
    }

    #[test]
    fn who_is_no_subject() {
        for text in [
            "Who runs has a P.",
            "The lock is free, and whoever comes next takes it.",
            "It waits; what is due goes first.",
            "A G (whatever woke it) runs.",
            "If what it read is stale, it reads again.",
            "**Whoever** holds it says who runs next.",
        ] {
            assert_eq!(subjects_in(text), 1, "{text}");
        }
    }

    #[test]
    fn a_question_may_ask_who() {
        for text in [
            "Who runs?",
            "The table says who runs, what waits, and who is next.",
            "A thief learns about what it steals, and what it leaves.",
            "The G for what it waits.",
            "## What it costs",
            "| program | shows |\n|---|---|\n| a | who gets it |",
            "`who` is a command, and \"what\" is a word.",
        ] {
            assert_eq!(subjects_in(text), 0, "{text}");
        }
        assert_eq!(subjects_in("| what | why |\n|---|---|\n| a | who gets it |"), 1);
    }

    #[test]
    fn a_pronoun_at_the_start_is_an_opening() {
        let openings = |text: &str| all(text).iter().filter(|s| opens_with_pronoun(s)).count();
        assert_eq!(openings("It runs again. **This** one waits. That's all of it. (They are few.)"), 4);
        assert_eq!(openings("The G runs: it waits. `It` is code here. Item by item. Its own P."), 0);
        assert_eq!(openings("# It is a heading"), 0);
        assert_eq!(openings("It runs."), 0, "a label");
    }
}
