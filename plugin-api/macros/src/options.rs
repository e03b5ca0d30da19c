//! `#[function(name = "...", prefix = "...")]`, and the names that follow from it.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Ident, LitStr, Token};

/// The options in `#[function(...)]`.
#[derive(Default)]
pub struct Options {
    name: Option<LitStr>,
    prefix: Option<LitStr>,
}

impl Parse for Options {
    fn parse(input: ParseStream) -> syn::Result<Self> {
        let mut options = Self::default();
        while !input.is_empty() {
            if input.peek(LitStr) {
                let text: LitStr = input.parse()?;
                return Err(syn::Error::new(text.span(), format!("write `name = {:?}`", text.value())));
            }
            let key = input.call(Ident::parse_any)?;
            let slot = match key.to_string().as_str() {
                "name" => &mut options.name,
                "prefix" => &mut options.prefix,
                _ => return Err(syn::Error::new(key.span(), unknown(&key))),
            };
            if slot.is_some() {
                return Err(syn::Error::new(key.span(), format!("`{key}` is given twice: leave one out")));
            }
            let wanted = |_: syn::Error| syn::Error::new(key.span(), format!("write `{key} = \"...\"`"));
            input.parse::<Token![=]>().map_err(wanted)?;
            *slot = Some(input.parse::<LitStr>().map_err(wanted)?);
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(options)
    }
}

fn unknown(key: &Ident) -> String {
    format!("#[function] has no option `{key}`: it takes `name = \"...\"` and `prefix = \"...\"`")
}

/// A function's names, and the span for errors about them.
pub struct Name {
    /// The name that is registered with the job servers.
    pub function: String,
    /// The name of the exported symbol.
    pub symbol: String,
    span: Span,
}

/// The longest name that still fits into a file name with `lib` in front and `.so` at the end.
const LONGEST: usize = 255 - "lib.so".len();

impl Name {
    /// The names for an item with the identifier `ident`.
    pub fn new(options: &Options, ident: &Ident) -> syn::Result<Self> {
        let (function, span) = match &options.name {
            Some(name) => (name.value(), name.span()),
            None => (ident.unraw().to_string(), ident.span()),
        };
        let hint = match &options.name {
            Some(_) => proposal(&function),
            None => "; write `#[function(name = \"...\")]`".into(),
        };
        check(&function).map_err(|wrong| syn::Error::new(span, wrong + &hint))?;
        let mut symbol = function.clone();
        if let Some(prefix) = &options.prefix {
            symbol.insert_str(0, &prefix.value());
            check(&symbol).map_err(|wrong| syn::Error::new(prefix.span(), wrong + &proposal(&prefix.value())))?;
        }
        Ok(Self { function, symbol, span })
    }

    /// The exported static for a type that implements `Export`, and a guard against a second one of the same name.
    pub fn export(&self, conditions: &[&Attribute], exported: &TokenStream, body: TokenStream) -> TokenStream {
        let symbol = &self.symbol;
        // Spanned to the name, but with the macro's hygiene, so that an author's `#![forbid(unsafe_code)]` does not
        // apply.
        let span = self.span.resolved_at(Span::call_site());
        let entry = quote_spanned! {span=>
            // A test program is not a plugin, and a symbol such as `write` in it would override the C library's.
            #[cfg_attr(not(test), unsafe(export_name = #symbol))]
            #[allow(dead_code)]
            static ENTRY: ::gm_plugin_api::abi::Entry = ::gm_plugin_api::abi::entry::<#exported>();
        };
        let only_one = self.only_one();
        quote! {
            #(#conditions)*
            #only_one
            #(#conditions)*
            const _: () = {
                #body
                #entry
            };
        }
    }

    /// Two functions of the same name in different modules would fail only at link time, with a message about symbols.
    /// Exported macros all live in the crate root, so a second one is an error at once, and its name explains it.
    fn only_one(&self) -> TokenStream {
        let mut speaking = String::new();
        for c in self.symbol.chars() {
            match c {
                '_' | 'a'..='z' | 'A'..='Z' | '0'..='9' => speaking.push(c),
                // Kept distinct, because `fetch-url` and `fetch_url` may both exist.
                _ => speaking.push_str(&format!("_x{:x}_", u32::from(c))),
            }
        }
        let guard = format_ident!("only_one_function_of_a_library_can_be_named_{}", speaking, span = self.span);
        quote_spanned! {self.span=>
            #[doc(hidden)]
            #[macro_export]
            macro_rules! #guard { () => {}; }
        }
    }
}

/// Whether a name can be a symbol and a file name: allowed is what both common linkers accept in an export list.
fn check(name: &str) -> Result<(), String> {
    let plain = name.replace("::", "_");
    let first = plain.chars().next();
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if !first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_') {
        return Err(format!("{name:?} cannot be exported: a function's name begins with a letter or `_`"));
    }
    if let Some(wrong) = plain.chars().find(|&c| !allowed(c)) {
        return Err(format!(
            "{name:?} cannot be exported because of {wrong:?}: a function's name is made of ASCII letters, digits, \
             `_`, `-`, `.` and `::`"
        ));
    }
    if name.len() > LONGEST {
        return Err(format!("a name of {} bytes cannot be the file name of a library: at most {LONGEST}", name.len()));
    }
    Ok(())
}

/// The end of an error about an invalid name: a similar, valid name.
fn proposal(name: &str) -> String {
    let near: String = name.chars().map(|c| if check(&format!("a{c}")).is_ok() { c } else { '_' }).collect();
    let near = if check(&near).is_ok() { near } else { format!("_{near}") };
    if check(&near).is_ok() { format!("; write `{near:?}`") } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for good in
            ["a", "reverse_string", "Sum", "_x9", "fetch-url", "Image::resize", "v1.2", "write", &"n".repeat(249)]
        {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "9a", "-a", ".a", "größe", "a b", "a:b", "a:::b", "a/b", "a+b", "a@b", "a*", &"n".repeat(250)]
        {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_name_that_cannot_be_has_one_near_it() {
        for (name, near) in [
            ("turn around", "; write `\"turn_around\"`"),
            ("9a", "; write `\"_9a\"`"),
            ("größe", "; write `\"gr__e\"`"),
            ("a:b", "; write `\"a_b\"`"),
            (&"n".repeat(250), ""),
        ] {
            assert_eq!(proposal(name), near, "{name}");
        }
    }

    #[test]
    fn name_and_prefix() {
        let ident = syn::parse_str::<Ident>("r#type").unwrap();
        for (options, function, symbol) in [
            ("", "type", "type"),
            ("name = \"fetch-url\"", "fetch-url", "fetch-url"),
            ("prefix = \"x_\"", "type", "x_type"),
            ("name = \"a\", prefix = \"my.\"", "a", "my.a"),
        ] {
            let name = Name::new(&syn::parse_str(options).unwrap(), &ident).unwrap();
            assert_eq!((name.function.as_str(), name.symbol.as_str()), (function, symbol), "{options}");
        }
    }
}
