//! `#[trefoil::main]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse::Parser;
use syn::{Error, ItemFn, Result, ReturnType, Signature, Type};

/// Expands the attribute.
pub fn main(options: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let function: ItemFn = syn::parse2(item)?;
    check(&function.sig, "#[trefoil::main]")?;
    let mut stack = quote!(::trefoil::DEFAULT_STACK);
    let option = syn::meta::parser(|meta| {
        if !meta.path.is_ident("stack") {
            return Err(meta.error("#[trefoil::main] has one option, `stack = BYTES`"));
        }
        let bytes: syn::Expr = meta.value()?.parse()?;
        stack = quote!(#bytes);
        Ok(())
    });
    option.parse2(options)?;
    let call = call(&function.sig);
    Ok(quote! {
        #function
        const _: () = {
            #[unsafe(no_mangle)]
            extern "Rust" fn __trefoil_main() -> u8 {
                #call
            }
            #[unsafe(no_mangle)]
            static __TREFOIL_MAIN_STACK: usize = #stack;
            #[used]
            #[unsafe(link_section = ".trefoil.main")]
            static MARK: u8 = 0;
            ::core::assert!(
                __TREFOIL_MAIN_STACK > 0 && __TREFOIL_MAIN_STACK <= 1 << 30,
                "the stack of `main` must be 1 byte to 1 GiB"
            );
        };
    })
}

/// Checks that a function can be called by the kernel. `attribute` names itself in the error.
pub fn check(sig: &Signature, attribute: &str) -> Result<()> {
    let wrong = |what: &str| Err(Error::new_spanned(sig, format!("{attribute}: the function must not {what}")));
    if !sig.inputs.is_empty() {
        return wrong("have parameters");
    }
    if !sig.generics.params.is_empty() {
        return wrong("be generic");
    }
    if sig.abi.is_some() || sig.unsafety.is_some() {
        return wrong("be `extern` or `unsafe`");
    }
    Ok(())
}

/// Returns the expression that calls the function and gives its value.
pub fn value(sig: &Signature) -> TokenStream {
    let name = &sig.ident;
    if sig.asyncness.is_some() { quote!(::trefoil::task::block_on(#name())) } else { quote!(#name()) }
}

/// Returns the expression that calls the function and gives the exit status.
pub fn call(sig: &Signature) -> TokenStream {
    let value = value(sig);
    match &sig.output {
        // It does not return, so there is nothing to report.
        ReturnType::Type(_, kind) if matches!(**kind, Type::Never(_)) => value,
        _ => quote!(::trefoil::runtime::Termination::report(#value).into()),
    }
}
