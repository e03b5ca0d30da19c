//! The `#[function]` attribute of `gm-plugin-api`, which documents and re-exports it.
//!
//! The author's item stays as it was written. Beside it stands a type that implements one trait of `gm-plugin-api`
//! (what to call) and a static that is exported under the function's name (what the loader finds); all that happens in
//! a call is ordinary code over there. What can be known from the tokens alone is checked here, so that the message can
//! say what to write; what needs types is checked by traits whose messages say it.

mod object;
mod options;
mod plain;
mod signature;

use proc_macro::TokenStream;
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Attribute, Item};

use crate::options::Options;

/// Makes a Gearman function of a `fn`, or of an `impl` block with `new` and `run`. See `gm_plugin_api::function`.
#[proc_macro_attribute]
pub fn function(options: TokenStream, item: TokenStream) -> TokenStream {
    let original = proc_macro2::TokenStream::from(item.clone());
    let expanded = syn::parse(item).and_then(|item: Item| {
        let options = syn::parse::<Options>(options)?;
        match &item {
            Item::Fn(function) => plain::expand(&options, function),
            Item::Impl(block) => object::expand(&options, block),
            other => Err(syn::Error::new(start_of(other), WRONG_ITEM)),
        }
    });
    // The item itself is kept where it is refused, so that one mistake is one error and not ten.
    let beside = expanded.unwrap_or_else(syn::Error::into_compile_error);
    quote::quote!(#original #beside).into()
}

const WRONG_ITEM: &str = "#[function] goes on a `fn`, or, for work with state, on the `impl` block of a type with \
     `new` and `run`";

/// The first token of an item that says what it is: not an attribute, not its visibility.
fn start_of(item: &Item) -> proc_macro2::Span {
    match item {
        Item::Struct(item) => item.struct_token.span(),
        Item::Enum(item) => item.enum_token.span(),
        Item::Mod(item) => item.mod_token.span(),
        Item::Trait(item) => item.trait_token.span(),
        other => other.to_token_stream().span(),
    }
}

/// The `cfg` attributes of an item: what stands beside it has to come and go with it.
fn conditions(attributes: &[Attribute]) -> Vec<&Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect()
}
