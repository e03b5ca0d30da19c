//! The `#[function]` attribute of `gm-plugin-api`, which documents and re-exports it.
//!
//! The author's item is left as written. The macro adds a type that implements one trait of `gm-plugin-api` (what to
//! call) and a static that is exported under the function's name (what the loader finds). Everything that happens in a
//! call is ordinary code in `gm-plugin-api`. What can be checked from the tokens alone is checked here, so that the
//! message can say what to write; what needs types is checked by traits, with custom messages.

mod object;
mod options;
mod plain;
mod signature;

use proc_macro::TokenStream;
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Attribute, Item};

use crate::options::Options;

/// Turns a `fn`, or an `impl` block with `new` and `run`, into a Gearman function. See `gm_plugin_api::function`.
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
    // The item is emitted even if it is rejected, so that one mistake causes one error and not ten.
    let beside = expanded.unwrap_or_else(syn::Error::into_compile_error);
    quote::quote!(#original #beside).into()
}

const WRONG_ITEM: &str = "#[function] goes on a `fn`, or, for work with state, on the `impl` block of a type with \
     `new` and `run`";

/// The first token that determines the kind of an item, after attributes and visibility.
fn start_of(item: &Item) -> proc_macro2::Span {
    match item {
        Item::Struct(item) => item.struct_token.span(),
        Item::Enum(item) => item.enum_token.span(),
        Item::Mod(item) => item.mod_token.span(),
        Item::Trait(item) => item.trait_token.span(),
        other => other.to_token_stream().span(),
    }
}

/// The `cfg` attributes of an item, which the generated items must carry, too.
fn conditions(attributes: &[Attribute]) -> Vec<&Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).collect()
}
