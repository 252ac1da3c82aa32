//! The generated parts of a page: lines between two markers.
//!
//! ```text
//! <!-- NAME:begin -->
//!
//! | what a tool has written |
//!
//! <!-- NAME:end -->
//! ```

/// Returns the line before the part `name`.
pub fn begin(name: &str) -> String {
    format!("<!-- {name}:begin -->")
}

/// Returns the line after it.
pub fn end(name: &str) -> String {
    format!("<!-- {name}:end -->")
}

/// Returns the places of the part `name` in `page`: where its text begins and where it ends.
///
/// # Errors
/// Not exactly one marker of each kind stands alone on a line, in this order.
fn place(page: &str, name: &str) -> Result<(usize, usize), String> {
    let line = |marker: &str| {
        let mut at = 0;
        let lines = page.split_inclusive('\n').map(|line| {
            at += line.len();
            (at - line.len(), at, line)
        });
        match lines.filter(|(_, _, line)| line.trim_end() == marker).collect::<Vec<_>>()[..] {
            [(begin, end, _)] => Ok((begin, end)),
            [] => Err(format!("there is no line {marker}")),
            _ => Err(format!("there is more than one line {marker}")),
        }
    };
    let (begin, end) = (begin(name), end(name));
    let ((_, from), (to, _)) = (line(&begin)?, line(&end)?);
    if from > to {
        return Err(format!("{end} stands before {begin}"));
    }
    Ok((from, to))
}

/// Returns the text of the part `name` of `page`.
///
/// # Errors
/// The markers are not there, once each and in order.
pub fn part<'a>(page: &'a str, name: &str) -> Result<&'a str, String> {
    let (from, to) = place(page, name)?;
    Ok(page[from..to].trim())
}

/// Returns `page` with `text` as its part `name`, and nothing else changed.
///
/// # Errors
/// The markers are not there, once each and in order.
pub fn replace(page: &str, name: &str, text: &str) -> Result<String, String> {
    let (from, to) = place(page, name)?;
    Ok(format!("{}\n{}\n\n{}", &page[..from], text.trim(), &page[to..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_changes_between_its_markers_only() {
        let (b, e) = (begin("x"), end("x"));
        let page = format!("# Page\n\nnot {b} here\n{b}\nold\n{e}\nrest\n");
        assert_eq!(part(&page, "x").unwrap(), "old");
        let new = replace(&page, "x", "\nnew\n").unwrap();
        assert_eq!(new, format!("# Page\n\nnot {b} here\n{b}\n\nnew\n\n{e}\nrest\n"));
        assert_eq!(replace(&new, "x", "new").unwrap(), new, "a second time changes nothing");
    }

    #[test]
    fn a_page_without_its_markers_is_left_alone() {
        let (b, e) = (begin("x"), end("x"));
        for (page, said) in [
            (format!("{b}\n"), format!("no line {e}")),
            (format!("{e}\n"), format!("no line {b}")),
            (format!("{e}\n{b}\n"), format!("{e} stands before {b}")),
            (format!("{b}\n{b}\n{e}\n"), format!("more than one line {b}")),
        ] {
            assert!(replace(&page, "x", "new").unwrap_err().contains(&said), "{page}");
        }
    }
}
