//! The lines of a manifest that matter for an image.

/// The parts of a manifest that matter here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The name of the dependency on the kernel.
    pub kernel: String,
    /// The build script, if it has an unusual name.
    pub build: Option<String>,
    /// The tests with a harness of their own.
    pub own_harness: Vec<String>,
    /// The package's name, which `src/main.rs` has unless told.
    pub package: String,
    /// The entries `[[bin]]`.
    bins: Vec<Bin>,
    /// Programs without an entry are none.
    only_entries: bool,
    /// The profiles that abort at a panic.
    aborting: Vec<String>,
}

/// An entry `[[bin]]`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Bin {
    name: String,
    path: String,
    has_no_tests: bool,
}

impl Manifest {
    /// Reads a manifest. Returns `None` if the kernel is no dependency of the package.
    pub fn parse(text: &str) -> Option<Self> {
        let mut it = Self::default();
        let mut table = "";
        let mut test = "";
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                table = line.trim_matches(['[', ']']);
                test = "";
                if table == "bin" {
                    it.bins.push(Bin::default());
                }
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let (key, value) = (key.trim(), value.trim());
            let quoted = || value.split('"').nth(1).unwrap_or_default();
            match (table, key) {
                ("package", "name") => it.package = quoted().into(),
                ("package", "autobins") => it.only_entries = value.starts_with("false"),
                ("bin", _) => {
                    let Some(bin) = it.bins.last_mut() else { continue };
                    match key {
                        "name" => bin.name = quoted().into(),
                        "path" => bin.path = quoted().into(),
                        "test" => bin.has_no_tests = value.starts_with("false"),
                        _ => {}
                    }
                }
                ("package", "build") => it.build = Some(quoted().into()),
                ("test", "name") => test = value.split('"').nth(1).unwrap_or_default(),
                ("test", "harness") if value.starts_with("false") => it.own_harness.push(test.into()),
                ("dependencies", _) if key == "trefoil" || value.contains("package = \"trefoil\"") => {
                    it.kernel = key.trim_matches('"').into();
                }
                (_, "panic") if table.starts_with("profile.") && quoted() == "abort" => {
                    it.aborting.push(table.into());
                }
                _ => {}
            }
        }
        (!it.kernel.is_empty()).then_some(it)
    }

    /// Returns the name of the program in `file` if `cargo test` builds unit tests of it.
    pub fn tested_bin(&self, file: &str) -> Option<String> {
        let name = file.strip_prefix("src/bin/").and_then(|name| name.strip_suffix(".rs"));
        let name = name.or((file == "src/main.rs").then_some(&self.package))?;
        match self.bins.iter().find(|bin| bin.path == file || (bin.path.is_empty() && bin.name == name)) {
            Some(bin) => (!bin.has_no_tests).then(|| bin.name.clone()),
            None => (!self.only_entries).then(|| name.into()),
        }
    }

    /// Returns the mistakes that this text alone shows.
    pub fn mistakes(&self) -> Vec<String> {
        let line = |profile: &String| format!("Cargo.toml: remove panic = \"abort\" from [{profile}]: Trefoil unwinds");
        self.aborting.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_matter_are_found() {
        let text = "[package]\nname = \"app\"\nbuild = \"link.rs\" # ours\n\n[dependencies]\n\
                    trefoil-kernel = { package = \"trefoil\", path = \"k\" }\nlog = \"0.4\"\n\n\
                    [[test]]\nname = \"machine\"\nharness = false\n\n[[test]]\nname = \"host\"\n\n\
                    [profile.release]\npanic = \"abort\"\n";
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.kernel, "trefoil-kernel");
        assert_eq!(manifest.build.as_deref(), Some("link.rs"));
        assert_eq!(manifest.own_harness, ["machine"]);
        assert_eq!(
            manifest.mistakes(),
            ["Cargo.toml: remove panic = \"abort\" from [profile.release]: Trefoil unwinds"]
        );
        assert_eq!(manifest.tested_bin("src/main.rs").as_deref(), Some("app"));
        assert_eq!(Manifest::parse("[dependencies]\nlog = \"0.4\"\n"), None);
    }

    #[test]
    fn a_program_without_an_entry_that_turns_tests_off_is_tested() {
        let text = "[package]\nname = \"app\"\n\n[dependencies]\ntrefoil = \"0.1\"\n\n\
                    [[bin]]\nname = \"app\"\npath = \"src/main.rs\"\ntest = false\n\n\
                    [[bin]]\nname = \"two\"\ntest = false\n\n[[bin]]\nname = \"three\"\n";
        let manifest = Manifest::parse(text).unwrap();
        let tested = ["src/main.rs", "src/bin/two.rs", "src/bin/three.rs", "src/bin/four.rs", "tests/five.rs"];
        assert_eq!(tested.map(|file| manifest.tested_bin(file).is_some()), [false, false, true, true, false]);
        let manifest = Manifest::parse(&text.replace("[package]\n", "[package]\nautobins = false\n")).unwrap();
        assert_eq!(manifest.tested_bin("src/bin/four.rs"), None);
    }
}
