//! `#[trefoil::test]`, on the machine and on the host.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::{Error, ItemFn, Result};

use crate::entry;
use crate::options::{Options, take_libtests};

/// Expands the attribute for an image: the function, its line for the runner, its case for the
/// kernel.
pub fn on_the_machine(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut options = Options::parse(options)?;
    let mut function: ItemFn = syn::parse2(item)?;
    entry::check(&function.sig, "#[trefoil::test]")?;
    let ignored = take_libtests(&mut function.attrs, &mut options)?;
    let smp: Vec<String> = options.smp.iter().map(ToString::to_string).collect();
    let mut fields = format!(" | smp {}", if smp.is_empty() { "4".into() } else { smp.join(",") });
    fields += &options.fields;
    if let Some(seconds) = options.timeout {
        fields += &format!(" | timeout {seconds}");
    }
    if let Some(expected) = &options.should_panic {
        fields += " | exit 1 | expect fatal: panic at";
        if !expected.is_empty() {
            fields += &format!(" | expect {expected}");
        }
    }
    if ignored {
        fields += " | ignored";
    }
    fields += "\n";
    let name = function.sig.ident.to_string();
    let call = entry::call(&function.sig);
    Ok(quote! {
        #function
        const _: () = {
            const NAME: &str = ::core::concat!(::core::module_path!(), "::", #name);
            const TEXT: &str = ::core::concat!("@", ::core::module_path!(), "::", #name, #fields);
            #[used]
            #[unsafe(link_section = ".trefoil.tests")]
            static BOOTS: [u8; TEXT.len()] = *TEXT.as_bytes().first_chunk().unwrap();
            #[used]
            #[unsafe(link_section = ".trefoil.cases")]
            static CASE: ::trefoil::testing::Case = ::trefoil::testing::Case {
                name: NAME,
                run: || #call,
            };
        };
    })
}

/// Expands the attribute for the host: a test of libtest's that starts a scheduler.
pub fn on_the_host(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let mut options = Options::parse(options)?;
    if let Some((span, name)) = options.machine_only {
        return Err(Error::new(
            span,
            format!("`{name}` needs the machine: move this test to tests/, where #[trefoil::test] boots one"),
        ));
    }
    let mut function: ItemFn = syn::parse2(item)?;
    entry::check(&function.sig, "#[trefoil::test]")?;
    let ignored = take_libtests(&mut function.attrs, &mut options)?;
    let attributes = core::mem::take(&mut function.attrs);
    let name = function.sig.ident.clone();
    let value = entry::value(&function.sig);
    let timeout = options.timeout.unwrap_or(60);
    let ignore = ignored.then(|| quote!(#[ignore]));
    let should_panic = options.should_panic.as_ref().map(|expected| match &**expected {
        "" => quote!(#[should_panic]),
        expected => quote!(#[should_panic(expected = #expected)]),
    });
    let test = |test: syn::Ident, smp: u32| {
        quote! {
            #(#attributes)*
            #ignore
            #should_panic
            #[::core::prelude::v1::test]
            fn #test() {
                #function
                ::trefoil::run_test(#smp as usize, #timeout, || #value)
            }
        }
    };
    Ok(match &*options.smp {
        [] => test(name, 4),
        [one] => test(name, *one),
        several => several.iter().map(|&smp| test(format_ident!("{name}_smp{smp}"), smp)).collect(),
    })
}
