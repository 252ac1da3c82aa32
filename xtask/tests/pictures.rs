//! The pictures of the README and of the book: they show what the tables and the example say now.

use std::fs;
use std::path::{Path, PathBuf};

use xtask::pictures::{FOLDER, chart, recording};

fn checkout() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the checkout")
}

fn picture(name: &str) -> String {
    fs::read_to_string(checkout().join(FOLDER).join(name)).expect("it can be read")
}

#[test]
fn the_chart_shows_the_tables() {
    let drawn = chart::render(checkout()).expect("the tables are whole");
    assert!(drawn == picture(chart::FILE), "the chart is not that of the tables: `make pictures` draws it again");
}

#[test]
fn the_recording_shows_what_the_example_prints() {
    let output = recording::record(checkout()).expect("the example runs");
    assert_eq!(recording::frames(&output).len(), 41, "generations 0 to 40:\n{output}");
    let drawn = recording::render(&output).expect("there are frames");
    assert!(drawn == picture(recording::FILE), "the example prints something else: `make pictures` records it again");
}

#[test]
fn every_picture_is_small_and_readable_on_light_and_dark_pages() {
    let entries = fs::read_dir(checkout().join(FOLDER)).expect("the folder is there");
    let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    // Photographs of a page, which a browser has drawn.
    let (photographs, paths): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| path.extension().unwrap() == "png");
    assert_eq!((paths.len(), photographs.len()), (3, 3), "{paths:?} {photographs:?}");
    let chapter = fs::read_to_string(checkout().join("docs/seeing.md")).expect("it can be read");
    for path in photographs {
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        let bytes = fs::metadata(&path).expect("it can be read").len();
        assert!(bytes < 200_000, "{name} has {bytes} bytes");
        assert!(chapter.contains(&format!("](pictures/{name})")), "the chapter does not show {name}");
    }
    let readme = fs::read_to_string(checkout().join("README.md")).expect("it can be read");
    for path in paths {
        let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
        let text = picture(&name);
        assert!(text.len() < 100_000, "{name} has {} bytes", text.len());
        // An image loads nothing, and has no scripts.
        for word in ["<script", "<image", "@import", "href=\"http"] {
            assert!(!text.contains(word), "{name}: {word}");
        }
        for word in ["viewBox=", "role=\"img\"", "@media (prefers-color-scheme: dark)", "class=\"page\""] {
            assert!(text.contains(word), "{name}: no {word}");
        }
        let (before, _) = readme.split_once(&format!("]({FOLDER}/{name})")).unwrap_or_else(|| panic!("no {name}"));
        let alt = before.rsplit("![").next().expect("an image");
        assert!(alt.len() > 40 && !alt.contains(']'), "{name}: the text in its place says too little: {alt}");
    }
}

#[test]
fn the_readme_shows_before_it_explains() {
    let readme = fs::read_to_string(checkout().join("README.md")).expect("it can be read");
    let order = ["fn main()", "## Run it", "architecture.svg", "chart.svg", "## An app of your own", "## Read it"];
    let places = order.map(|text| readme.find(text).unwrap_or_else(|| panic!("no {text}")));
    assert!(places.is_sorted(), "{:?}", order.iter().zip(places).collect::<Vec<_>>());
}
