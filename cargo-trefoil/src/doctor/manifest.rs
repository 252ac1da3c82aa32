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
    /// The profiles that abort at a panic.
    aborting: Vec<String>,
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
            }
            let Some((key, value)) = line.split_once('=') else { continue };
            let (key, value) = (key.trim(), value.trim());
            let quoted = || value.split('"').nth(1).unwrap_or_default();
            match (table, key) {
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
        assert_eq!(Manifest::parse("[dependencies]\nlog = \"0.4\"\n"), None);
    }
}
