//! Dependencies whose feature `std` is on.

use super::cargo;

/// The edges of cargo's tree that lead to the crates of a program, and to those of its tests.
const PROGRAM: &str = "normal,no-proc-macro";
const TESTS: &str = "normal,dev,no-proc-macro";

/// Returns the mistakes that the graph of dependencies shows.
pub fn dependencies() -> Vec<String> {
    let Some(program) = tree(&["--edges", PROGRAM]) else { return Vec::new() };
    let mut found = std_users(&program);
    let (tests, kernel) = (tree(&["--edges", TESTS]), tree(&["--edges", PROGRAM, "--package", "trefoil"]));
    let (Some(tests), Some(kernel)) = (tests, kernel) else { return found };
    let app = packages(&program).next().map(|app| app.name).unwrap_or_default();
    for package in lifted(&program, &tests, &kernel) {
        let id = format!("{}@{}", package.name, package.version.trim_start_matches('v'));
        let edges = format!("{TESTS},features");
        let users = tree(&["--edges", &edges, "--no-dedupe", "--invert", &id]);
        for user in users.iter().flat_map(|users| lifters(users, package.name, app)) {
            found.push(format!(
                "Cargo.toml: the dev-dependency {user} turns the feature std of {} on, and so for the kernel, which \
                 has no std: write default-features = false at {user}, and features = [\"std\"] or [\"alloc\"] if it \
                 asks for one. If {user} turns it on even so, it can't be used here",
                package.name
            ));
        }
    }
    found
}

/// Returns what `cargo tree` prints, a line as `DEPTH|PACKAGE VERSION|FEATURES`.
fn tree(words: &[&str]) -> Option<String> {
    let mut tree = cargo();
    tree.args(["tree", "--quiet", "--prefix", "depth", "--format", "|{p}|{f}"]).args(words);
    let out = tree.output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// A line of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Package<'a> {
    depth: usize,
    name: &'a str,
    version: &'a str,
    has_std: bool,
}

fn packages(tree: &str) -> impl Iterator<Item = Package<'_>> {
    tree.lines().filter_map(|line| {
        let mut parts = line.split('|');
        let (depth, package, features) = (parts.next()?, parts.next()?, parts.next()?);
        let (name, version) = package.split_once(' ')?;
        let has_std = features.split([',', ' ']).any(|feature| feature == "std");
        let version = version.split(' ').next()?;
        Some(Package { depth: depth.parse().ok()?, name, version, has_std })
    })
}

/// Returns the dependencies of the program whose feature `std` is on.
fn std_users(tree: &str) -> Vec<String> {
    let mut direct = "";
    let mut found = Vec::new();
    for Package { depth, name, has_std, .. } in packages(tree) {
        if depth == 1 {
            direct = name;
        }
        if depth == 0 || direct == "trefoil" || !has_std {
            continue;
        }
        let by = if direct == name { String::new() } else { format!(" (a dependency of {direct})") };
        found.push(format!(
            "Cargo.toml: {name}{by} has its feature std on, and there is no std on the machine: write \
             default-features = false at {direct}, and features = [\"alloc\"] if it asks for one"
        ));
    }
    found.dedup();
    found
}

/// Returns the packages of the kernel whose feature `std` is on because of the tests alone. Cargo
/// builds a package once for the program and for its tests.
fn lifted<'a>(program: &str, tests: &'a str, kernel: &str) -> Vec<Package<'a>> {
    let is_in = |tree: &str, package: Package| {
        packages(tree).any(|it| (it.name, it.version) == (package.name, package.version))
    };
    let mut found: Vec<Package> = Vec::new();
    for package in packages(tests).filter(|package| package.has_std && package.depth > 0) {
        let had_std = packages(program).any(|it| it.has_std && it.name == package.name);
        if !had_std && is_in(kernel, package) && !found.iter().any(|it| it.name == package.name) {
            found.push(package);
        }
    }
    found
}

/// Returns the dependencies of the package `app` that turn the feature `std` of `name` on. The
/// lines of `users` lead from `name` to its users, by way of features: `3|serde v1.0.0|`, and
/// `2memchr feature "std"`.
fn lifters<'a>(users: &'a str, name: &str, app: &str) -> Vec<&'a str> {
    let mut path: Vec<&str> = Vec::new();
    let mut found = Vec::new();
    for line in users.lines() {
        let text = line.trim_start_matches(|c: char| c.is_ascii_digit());
        let Ok(depth) = line[..line.len() - text.len()].parse() else { continue };
        path.truncate(depth);
        let text = text.trim_start_matches('|');
        let by_std = path.iter().any(|node| *node == format!("{name} feature \"std\""));
        if let Some(user) = path.last().and_then(|node| node.split(' ').next())
            && by_std
            && text.split(' ').next() == Some(app)
            && user != app
            && !found.contains(&user)
        {
            found.push(user);
        }
        path.push(text);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_with_std_is_named_with_the_one_that_brings_it() {
        let tree = "0|app v0.1.0 (/app)|std\n1|memchr v2.8.3|alloc,default,std\n1|noisy v1.0.0|default\n\
                    2|inner v1.0.0|std\n1|trefoil v0.1.0 (/k)|\n2|log v0.4.35|std\n";
        let found = std_users(tree);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("memchr has its feature std on") && found[0].contains("at memchr,"), "{found:?}");
        assert!(found[1].contains("inner (a dependency of noisy) has") && found[1].contains("at noisy,"), "{found:?}");
    }

    #[test]
    fn a_dev_dependency_is_named_that_turns_std_on_in_a_package_of_the_kernels() {
        let program = "0|app v0.1.0 (/app)|\n1|trefoil v0.1.0 (/k)|\n2|log v0.4.35|\n2|bitflags v2.13.2|\n";
        let tests = "0|app v0.1.0 (/app)|\n1|tester v1.0.0|std\n2|memchr v2.8.3|std\n2|log v0.4.35|std\n\
                     2|bitflags v1.3.2|std\n1|trefoil v0.1.0 (/k)|\n";
        let kernel = "0|trefoil v0.1.0 (/k)|\n1|log v0.4.35|\n1|bitflags v2.13.2|\n";
        let found = lifted(program, tests, kernel);
        assert_eq!(found.iter().map(|it| it.name).collect::<Vec<_>>(), ["log"]);

        let users = "0|log v0.4.35|std\n1|trefoil v0.1.0 (/k)|\n2trefoil feature \"default\"\n\
                     3|app v0.1.0 (/app)|\n1log feature \"std\"\n2|tester v1.0.0|std\n\
                     3tester feature \"default\"\n4|app v0.1.0 (/app)|\n5app feature \"default\" (command-line)\n";
        assert_eq!(lifters(users, "log", "app"), ["tester"]);
    }
}
