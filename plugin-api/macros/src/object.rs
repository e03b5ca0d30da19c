//! `#[function]` on an `impl` block: a type with `new` and `run`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Ident, ImplItem, ItemImpl, PathArguments, ReturnType, Signature, Type};

use crate::options::{Name, Options};
use crate::signature::{self, Mistakes};

/// The items to generate for the block.
pub fn expand(options: &Options, block: &ItemImpl) -> syn::Result<TokenStream> {
    if let Some((of, _)) = &block.trait_ {
        let sentence = "put #[function] on the type's own block: `impl Name { fn new ... fn run ... }`";
        return Err(syn::Error::new_spanned(of, sentence));
    }
    let mut mistakes = Mistakes::default();
    signature::check_generics(&block.generics, &mut mistakes);
    mistakes.into_result()?;
    let mut mistakes = Mistakes::default();
    let ident = type_name(&block.self_ty)?;
    let new = method(block, "new");
    let run = method(block, "run");
    match new {
        Some(new) => check_new(new, &mut mistakes),
        None => mistakes.add(ident, missing(ident, &signature::NEW)),
    }
    match run {
        Some(run) => {
            signature::check_borrowed(run, &mut mistakes);
            signature::check(run, &signature::RUN, &mut mistakes);
        }
        None => mistakes.add(ident, missing(ident, &signature::RUN)),
    }
    mistakes.into_result()?;
    let name = Name::new(options, ident)?;
    let body = implementation(ident, &name.function, new, run);
    let exported = quote!(::gm_plugin_api::__private::ObjectFunction<#ident>);
    Ok(name.export(&crate::conditions(&block.attrs), &exported, body))
}

fn missing(ident: &Ident, shape: &signature::Shape) -> String {
    format!("`{ident}` needs `{}` in this block", shape.example)
}

/// The identifier of a type, which becomes the function's name.
fn type_name(of: &Type) -> syn::Result<&Ident> {
    let wrong =
        || syn::Error::new_spanned(of, "#[function] needs a type of this crate, called by one word: `impl Name`");
    let Type::Path(path) = of else { return Err(wrong()) };
    let segment = path.path.segments.last().filter(|_| path.path.segments.len() == 1).ok_or_else(wrong)?;
    match segment.arguments {
        PathArguments::None => Ok(&segment.ident),
        _ => Err(syn::Error::new_spanned(
            &segment.arguments,
            "the object outlives every call: its type has no parameters, and owns what it holds (`String`, not `&str`)",
        )),
    }
}

fn method<'a>(block: &'a ItemImpl, name: &str) -> Option<&'a Signature> {
    block.items.iter().find_map(|item| match item {
        ImplItem::Fn(item) if item.sig.ident == name => Some(&item.sig),
        _ => None,
    })
}

fn check_new(new: &Signature, mistakes: &mut Mistakes) {
    if let Some(receiver) = new.receiver() {
        mistakes.add(receiver, format!("`new` makes the object: write `{}`", signature::NEW.example));
    }
    signature::check(new, &signature::NEW, mistakes);
    if let ReturnType::Default = new.output {
        mistakes.add_at(
            new.paren_token.span.close(),
            format!("`new` returns the object: write `{}`", signature::NEW.example),
        );
    }
}

fn implementation(ident: &Ident, function: &str, new: Option<&Signature>, run: Option<&Signature>) -> TokenStream {
    let returns = |of: Option<&Signature>| match of.map(|of| &of.output) {
        Some(ReturnType::Type(_, of)) => Some((**of).clone()),
        _ => None,
    };
    // Spanned to the return types, so that errors about a wrong type point there. The variable must have the same span
    // wherever it is used: with a type from a `macro_rules` macro, hygiene would otherwise tell them apart.
    let at = returns(new).map_or(ident.span(), |of| of.span());
    let cx = Ident::new("cx", at);
    let made = match returns(new) {
        Some(of) if is_self(&of, ident) => quote!(Ok(<#ident>::new(#cx))),
        _ => quote_spanned!(at=> ::gm_plugin_api::__private::Made::made(<#ident>::new(#cx))),
    };
    let at = returns(run).map_or(ident.span(), |of| of.span());
    let returned = Ident::new("returned", at);
    let reply = quote_spanned!(at=> ::gm_plugin_api::Reply::reply(#returned));
    quote! {
        impl ::gm_plugin_api::Object for #ident {
            const ABOUT: ::gm_plugin_api::__private::About = ::gm_plugin_api::__private::about!(#function);
            fn make(#cx: &::gm_plugin_api::Context) -> ::core::result::Result<Self, ::gm_plugin_api::Failure> {
                #made
            }
            #[inline]
            fn serve(
                &mut self,
                job: &::gm_plugin_api::Job,
                log: &mut ::gm_plugin_api::Log,
            ) -> ::gm_plugin_api::JobResult {
                let #returned = <#ident>::run(self, job, log);
                #reply
            }
        }
    }
}

fn is_self(of: &Type, ident: &Ident) -> bool {
    matches!(of, Type::Path(of) if of.path.is_ident("Self") || of.path.is_ident(ident))
}
