//! The choice of programs, rounds, side and limit: `ONLY`, `ROUNDS`, `SIDE` and `TIMEOUT`.

use std::time::Duration;

use super::results::Side;

/// A program that both sides have.
#[derive(Debug, PartialEq, Eq)]
pub struct Program {
    /// Its name on both sides.
    pub name: &'static str,
    /// Go runs it a second time without its garbage collector.
    pub collects: bool,
    /// The part of it that is looked at by itself.
    pub part: Option<&'static str>,
}

const fn program(name: &'static str) -> Program {
    Program { name, collects: false, part: None }
}

/// All of them, in the order of the table.
pub const PROGRAMS: [Program; 18] = [
    Program { collects: true, ..program("pskynet") },
    program("pring"),
    program("psieve"),
    program("pcons0"),
    program("pcons128"),
    program("pcham"),
    program("pmsort"),
    Program { part: Some("warm"), ..program("pmatmul") },
    Program { collects: true, ..program("ptrees") },
    Program { collects: true, ..program("pwords") },
    program("pmutex"),
    program("prwlock"),
    program("pselect"),
    program("psleep"),
    Program { collects: true, part: Some("cancel"), ..program("pctx") },
    program("ppipe16"),
    program("ppipe0"),
    program("pchurn"),
];

impl Program {
    /// Returns the words that have Go's guest run the program: with its garbage collector off, then
    /// on.
    pub fn go_words(&self) -> impl Iterator<Item = String> {
        self.collects.then(|| format!("{}:nogc", self.name)).into_iter().chain([self.name.to_string()])
    }
}

/// The choice of comparisons.
#[derive(Debug)]
pub struct Options {
    /// These programs.
    pub programs: Vec<&'static Program>,
    /// So many rounds.
    pub rounds: u32,
    /// The only side to run, if not both.
    pub only_side: Option<Side>,
    /// The longest that a program may take.
    pub limit: Duration,
}

impl Options {
    /// Reads the environment.
    ///
    /// # Errors
    /// A value that makes no sense is named.
    pub fn from_env() -> Result<Self, String> {
        Self::read(|name| std::env::var(name).ok())
    }

    /// Reads the variables that `var` knows.
    ///
    /// # Errors
    /// A value that makes no sense is named.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let var = |name| var(name).filter(|value| !value.is_empty());
        let number = |name, default| match var(name) {
            None => Ok(default),
            Some(value) => match value.parse() {
                Ok(n @ 1..) => Ok(n),
                _ => Err(format!("{name}={value}: wants a number from 1 up")),
            },
        };
        let programs = match var("ONLY") {
            None => PROGRAMS.iter().collect(),
            Some(names) => names.split(',').map(find).collect::<Result<_, _>>()?,
        };
        let only_side = match var("SIDE").as_deref() {
            None | Some("both") => None,
            Some("trefoil") => Some(Side::Trefoil),
            Some("go") => Some(Side::Go),
            Some(side) => return Err(format!("SIDE={side}: wants trefoil, go or both")),
        };
        let limit = Duration::from_secs(number("TIMEOUT", 120)?.into());
        Ok(Self { programs, rounds: number("ROUNDS", 3)?, only_side, limit })
    }

    /// Returns true if that side is run.
    pub fn runs(&self, side: Side) -> bool {
        self.only_side.is_none_or(|only| only == side)
    }

    /// Returns true if every program is run on both sides.
    pub fn is_whole(&self) -> bool {
        self.only_side.is_none() && PROGRAMS.iter().all(|program| self.programs.contains(&program))
    }
}

fn find(name: &str) -> Result<&'static Program, String> {
    let name = name.trim();
    PROGRAMS.iter().find(|program| program.name == name).ok_or_else(|| {
        let names = PROGRAMS.map(|program| program.name).join(", ");
        format!("ONLY: there is no program {name:?}; there are {names}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Options, String> {
        Options::read(|name| vars.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string()))
    }

    #[test]
    fn nothing_said_is_everything_three_times() {
        for options in [read(&[]).unwrap(), read(&[("ONLY", ""), ("SIDE", "both"), ("ROUNDS", "")]).unwrap()] {
            assert_eq!((options.programs.len(), options.rounds, options.limit.as_secs()), (18, 3, 120));
            assert!(options.runs(Side::Go) && options.runs(Side::Trefoil) && options.is_whole());
        }
    }

    #[test]
    fn some_programs_on_one_side_are_no_whole_table() {
        let options = read(&[("ONLY", "pring, pmutex"), ("ROUNDS", "1")]).unwrap();
        assert!(options.programs.iter().map(|p| p.name).eq(["pring", "pmutex"]) && !options.is_whole());
        let options = read(&[("SIDE", "go")]).unwrap();
        assert!(options.runs(Side::Go) && !options.runs(Side::Trefoil) && !options.is_whole());
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        for (name, value, said) in [
            ("ONLY", "pmutex,pmutexx", "no program \"pmutexx\"; there are pskynet, pring,"),
            ("ONLY", "pmutex,", "no program \"\""),
            ("ROUNDS", "0", "ROUNDS=0: wants a number from 1 up"),
            ("TIMEOUT", "soon", "TIMEOUT=soon"),
            ("SIDE", "left", "SIDE=left: wants trefoil, go or both"),
        ] {
            let error = read(&[(name, value)]).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn go_runs_what_collects_twice() {
        let words: Vec<String> = PROGRAMS[..2].iter().flat_map(Program::go_words).collect();
        assert_eq!(words, ["pskynet:nogc", "pskynet", "pring"]);
    }
}
