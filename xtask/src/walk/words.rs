//! A command line in words, as far as the pages need the shell's rules.

/// A part of a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// A word, without its quotes.
    Word(String),
    /// `&&`, `|`, `;`, `>`, `<`, `(` or `)`.
    Operator(String),
}

/// Divides a command line.
///
/// # Errors
/// A quote is open at the end.
pub fn split(line: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        if quote == Some(c) {
            quote = None;
        } else if quote.is_some() {
            word.get_or_insert_default().push(c);
        } else if c == '\'' || c == '"' {
            quote = Some(c);
            word.get_or_insert_default();
        } else if c == ' ' || "&|;<>()".contains(c) {
            pieces.extend(word.take().map(Piece::Word));
            if c != ' ' {
                let twice = "&|>".contains(c) && chars.next_if_eq(&c).is_some();
                pieces.push(Piece::Operator(if twice { format!("{c}{c}") } else { c.into() }));
            }
        } else {
            word.get_or_insert_default().push(c);
        }
    }
    if quote.is_some() {
        return Err(format!("a quote is open: {line}"));
    }
    pieces.extend(word.map(Piece::Word));
    Ok(pieces)
}

/// The simple commands of a command line, each as its words. The file of a redirection is none.
///
/// # Errors
/// As [`split`].
pub fn simple(line: &str) -> Result<Vec<Vec<String>>, String> {
    let mut commands = vec![Vec::new()];
    let mut is_file = false;
    for piece in split(line)? {
        match piece {
            Piece::Word(_) if is_file => is_file = false,
            Piece::Word(word) => commands.last_mut().expect("there is one").push(word),
            Piece::Operator(operator) if "<>>".contains(&operator) => is_file = true,
            Piece::Operator(_) => commands.push(Vec::new()),
        }
    }
    commands.retain(|command| !command.is_empty());
    Ok(commands)
}

/// Returns the name and the value if `word` sets a variable.
pub fn assignment(word: &str) -> Option<(&str, &str)> {
    let (name, value) = word.split_once('=')?;
    let is_name = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_');
    is_name(name).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_have_no_quotes_and_commands_no_operators() {
        let line = "printf 'a b\\n' | QEMU_ARGS=\"-d int\" make run>x && cd ../y;ls <z";
        let expect: [&[&str]; 4] =
            [&["printf", "a b\\n"], &["QEMU_ARGS=-d int", "make", "run"], &["cd", "../y"], &["ls"]];
        assert_eq!(simple(line).unwrap(), expect);
        assert_eq!(simple("(sleep 1; echo '') | x").unwrap().len(), 3);
        assert!(simple("printf 'a").is_err());
    }

    #[test]
    fn a_variable_is_in_capitals() {
        assert_eq!(assignment("QEMU_ARGS=-d x=y"), Some(("QEMU_ARGS", "-d x=y")));
        assert_eq!((assignment("a=b"), assignment("=b"), assignment("--x=Y")), (None, None, None));
    }
}
