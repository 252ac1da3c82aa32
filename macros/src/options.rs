//! The options of `#[trefoil::test]`.

use proc_macro2::TokenStream;
use syn::meta::ParseNestedMeta;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{Attribute, Error, Expr, ExprLit, Lit, LitInt, LitStr, Result};

/// The options of a test.
#[derive(Default)]
pub struct Options {
    /// Numbers of cores; empty if the options say none.
    pub smp: Vec<u32>,
    /// Seconds.
    pub timeout: Option<u64>,
    /// The test passes if it panics, and the report has this text.
    pub should_panic: Option<String>,
    /// The line of the machine's other fields: each with ` | ` before it.
    pub fields: String,
    /// The first option that only a machine has.
    pub machine_only: Option<(proc_macro2::Span, String)>,
}

impl Options {
    /// Reads the words between the parentheses.
    pub fn parse(options: TokenStream) -> Result<Self> {
        let mut read = Self::default();
        syn::meta::parser(|meta| read.option(&meta)).parse2(options)?;
        Ok(read)
    }

    fn option(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        match &*name {
            "smp" => self.smp = smp(&meta.value()?.parse()?)?,
            "timeout" => {
                let seconds: LitInt = meta.value()?.parse()?;
                let limit = seconds.base10_parse().ok().filter(|&s| s > 0);
                self.timeout = Some(limit.ok_or_else(|| Error::new(seconds.span(), "seconds, 1 at least"))?);
            }
            "should_panic" => {
                let has_text = meta.input.peek(syn::Token![=]);
                self.should_panic = Some(if has_text { text(&meta.value()?.parse()?)? } else { String::new() });
            }
            "mem" | "machine" | "append" | "input" | "expect" | "stdin" => {
                let value = text(&meta.value()?.parse()?)?;
                self.field(meta, &format!("{name} {value}"));
            }
            "icount" => self.field(meta, "icount"),
            _ => {
                let known = "smp, mem, machine, timeout, icount, append, stdin, input, should_panic, expect";
                return Err(meta.error(format!("#[trefoil::test] has no such option; there are {known}")));
            }
        }
        Ok(())
    }

    fn field(&mut self, meta: &ParseNestedMeta<'_>, field: &str) {
        self.fields += &format!(" | {field}");
        let name = field.split(' ').next().unwrap_or_default();
        self.machine_only.get_or_insert((meta.path.span(), name.to_string()));
    }
}

/// Reads one number of cores, or a list of them.
fn smp(value: &Expr) -> Result<Vec<u32>> {
    let wrong = |at: &Expr| Error::new(at.span(), "a number of cores from 1 to 64, or a list: smp = [1, 2, 4]");
    let one = |expr: &Expr| match expr {
        Expr::Lit(ExprLit { lit: Lit::Int(n), .. }) => {
            n.base10_parse().ok().filter(|n| (1..=64).contains(n)).ok_or_else(|| wrong(expr))
        }
        _ => Err(wrong(expr)),
    };
    match value {
        Expr::Array(list) if list.elems.is_empty() => Err(wrong(value)),
        Expr::Array(list) => list.elems.iter().map(one).collect(),
        one_only => Ok(vec![one(one_only)?]),
    }
}

/// Reads a text that fits a field: the runner's table has a line for each test, and `|` between the
/// fields. Line ends are written `\n`.
fn text(value: &LitStr) -> Result<String> {
    let text = value.value();
    if text.contains('|') || text.is_empty() {
        return Err(Error::new(value.span(), "a text without `|`, and not an empty one"));
    }
    Ok(text.replace('\n', "\\n"))
}

/// Takes `#[ignore]` and `#[should_panic]` out of a function's attributes, since only libtest knows
/// them. Returns true if the function is ignored.
pub fn take_libtests(attributes: &mut Vec<Attribute>, options: &mut Options) -> Result<bool> {
    let mut ignored = false;
    let mut rest = Vec::new();
    for attribute in core::mem::take(attributes) {
        if attribute.path().is_ident("ignore") {
            ignored = true;
        } else if attribute.path().is_ident("should_panic") {
            let expected = match &attribute.meta {
                syn::Meta::Path(_) => String::new(),
                syn::Meta::NameValue(named) => match &named.value {
                    Expr::Lit(ExprLit { lit: Lit::Str(expected), .. }) => text(expected)?,
                    other => return Err(Error::new(other.span(), "a text")),
                },
                syn::Meta::List(list) => {
                    let mut expected = String::new();
                    list.parse_nested_meta(|meta| {
                        expected = text(&meta.value()?.parse()?)?;
                        Ok(())
                    })?;
                    expected
                }
            };
            options.should_panic = Some(expected);
        } else {
            rest.push(attribute);
        }
    }
    *attributes = rest;
    Ok(ignored)
}
