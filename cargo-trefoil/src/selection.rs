//! The words of a test image: which tests run, and how much is shown. As libtest has them.

use clap::Parser;

use crate::boots::Boot;

/// The words after `cargo test … --`.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "cargo test --", about = "Boots a test image once for each test", disable_version_flag = true)]
pub struct Selection {
    /// Tests whose name contains one of these words run; without words, all
    pub filters: Vec<String>,
    /// A word is the whole name
    #[arg(long)]
    pub exact: bool,
    /// Tests whose name contains this word do not run
    #[arg(long, value_name = "WORD")]
    pub skip: Vec<String>,
    /// Only the ignored tests run
    #[arg(long)]
    pub ignored: bool,
    /// The ignored tests run, too
    #[arg(long, conflicts_with = "ignored")]
    pub include_ignored: bool,
    /// Show the output of tests that pass
    #[arg(long, alias = "no-capture", alias = "show-output")]
    pub nocapture: bool,
    /// List the tests
    #[arg(long)]
    pub list: bool,
    /// Show a character for each test
    #[arg(short, long)]
    pub quiet: bool,
    /// How many machines run at the same time
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub test_threads: Option<u16>,
    /// `pretty`, or `terse`, which is the same as --quiet
    #[arg(long, value_name = "FORM", default_value = "pretty", value_parser = ["pretty", "terse"])]
    pub format: String,
    /// Accepted: nothing is coloured
    #[arg(long, value_name = "WHEN")]
    pub color: Option<String>,
}

impl Selection {
    /// Reads the words.
    ///
    /// # Errors
    /// A word that is no option of this list; the text says so.
    pub fn parse_words(words: &[String]) -> Result<Self, clap::Error> {
        Self::try_parse_from(std::iter::once("test").chain(words.iter().map(String::as_str)))
    }

    /// Returns true if the names select this boot. A name with and without its number of cores is
    /// a whole name.
    pub fn names(&self, boot: &Boot) -> bool {
        let is = |word: &String| match self.exact {
            true => boot.name == *word || boot.name.rsplit_once("::smp").is_some_and(|(name, _)| name == word),
            false => boot.name.contains(word.as_str()),
        };
        (self.filters.is_empty() || self.filters.iter().any(is)) && !self.skip.iter().any(is)
    }

    /// Returns true for one character a test.
    pub fn is_terse(&self) -> bool {
        self.quiet || self.format == "terse"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boots;

    fn chosen(words: &[&str]) -> Vec<String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let selection = Selection::parse_words(&words).unwrap();
        let boots = boots::parse("send | smp 1,2\nsend_late | smp 1\nrecv | smp 1").unwrap();
        boots.iter().filter(|boot| selection.names(boot)).map(|boot| boot.name.clone()).collect()
    }

    #[test]
    fn words_choose_as_libtests_do() {
        assert_eq!(chosen(&[]), ["send::smp1", "send::smp2", "send_late::smp1", "recv::smp1"]);
        assert_eq!(chosen(&["late", "recv"]), ["send_late::smp1", "recv::smp1"]);
        assert_eq!(chosen(&["--exact", "send"]), ["send::smp1", "send::smp2"]);
        assert_eq!(chosen(&["--exact", "send::smp2"]), ["send::smp2"]);
        assert_eq!(chosen(&["send", "--skip", "late"]), ["send::smp1", "send::smp2"]);
    }

    #[test]
    fn an_unknown_option_is_named() {
        let error = Selection::parse_words(&["--nocaptur".into()]).unwrap_err().to_string();
        assert!(error.contains("--nocaptur") && error.contains("--nocapture"), "{error}");
    }
}
