//! gdb's Python part, which is in this program: written into a folder for one run.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Name and text of each module.
const MODULES: [(&str, &str); 9] = [
    ("__init__", include_str!("../../gdb/trefoil_gdb/__init__.py")),
    ("commands", include_str!("../../gdb/trefoil_gdb/commands.py")),
    ("cores", include_str!("../../gdb/trefoil_gdb/cores.py")),
    ("goroutines", include_str!("../../gdb/trefoil_gdb/goroutines.py")),
    ("layout", include_str!("../../gdb/trefoil_gdb/layout.py")),
    ("packed", include_str!("../../gdb/trefoil_gdb/packed.py")),
    ("printers", include_str!("../../gdb/trefoil_gdb/printers.py")),
    ("stacks", include_str!("../../gdb/trefoil_gdb/stacks.py")),
    ("view", include_str!("../../gdb/trefoil_gdb/view.py")),
];

/// A folder of one run, which only this user can read. Removed at the end.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Makes the folder, with the package `trefoil_gdb` in it.
    ///
    /// # Errors
    /// The folder or a file can't be written.
    pub fn new() -> Result<Self, String> {
        let scratch = Self(std::env::temp_dir().join(format!("trefoil-gdb-{}", std::process::id())));
        let package = scratch.0.join("trefoil_gdb");
        let fail = |e: std::io::Error| format!("{}: {e}", package.display());
        let _ = std::fs::remove_dir_all(&scratch.0);
        std::fs::DirBuilder::new().mode(0o700).create(&scratch.0).map_err(fail)?;
        std::fs::create_dir(&package).map_err(fail)?;
        for (name, text) in MODULES {
            std::fs::write(package.join(name).with_extension("py"), text).map_err(fail)?;
        }
        Ok(scratch)
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_of_the_package_is_in_this_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("gdb/trefoil_gdb");
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "py"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        assert_eq!(files, MODULES.map(|(name, _)| name));
    }
}
