//! `#[function]` on a `fn`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Ident, ItemFn, ReturnType};

use crate::options::{Name, Options};
use crate::signature::{self, Mistakes};

/// The items to generate for the function.
pub fn expand(options: &Options, function: &ItemFn) -> syn::Result<TokenStream> {
    let mut mistakes = Mistakes::default();
    signature::check_free(&function.sig, &mut mistakes);
    signature::check(&function.sig, &signature::PLAIN, &mut mistakes);
    mistakes.into_result()?;
    let ident = &function.sig.ident;
    let name = Name::new(options, ident)?;
    let function_name = &name.function;
    // Spanned to the return type, so that errors about a wrong type point there.
    let at = match &function.sig.output {
        ReturnType::Type(_, of) => of.span(),
        ReturnType::Default => ident.span(),
    };
    // The variable has the span wherever it is named: a type that a `macro_rules` macro wrote would not see another
    // `returned`.
    let returned = Ident::new("returned", at);
    let reply = quote_spanned!(at=> ::gm_plugin_api::Reply::reply(#returned));
    let body = quote! {
        struct Exported;
        impl ::gm_plugin_api::__private::Plain for Exported {
            const ABOUT: ::gm_plugin_api::__private::About = ::gm_plugin_api::__private::about!(#function_name);
            #[inline]
            fn run(job: &::gm_plugin_api::Job, log: &mut ::gm_plugin_api::Log) -> ::gm_plugin_api::JobResult {
                let #returned = #ident(job, log);
                #reply
            }
        }
    };
    let exported = quote!(::gm_plugin_api::__private::PlainFunction<Exported>);
    Ok(name.export(&crate::conditions(&function.attrs), &exported, body))
}
