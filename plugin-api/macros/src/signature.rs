//! Checks signatures, with a message for each mistake.
//!
//! Types are recognised by the last segment of their path. So an alias for `Job` is refused, with a message that shows
//! what works; in return, a mistake is reported where it is, before the type checker sees the generated call.

use proc_macro2::Span;
use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::{FnArg, GenericParam, Generics, ReceiverKind, ReturnType, Safety, Signature, Token, Type};

/// The mistakes found so far: all are reported at once.
#[derive(Default)]
pub struct Mistakes(Option<syn::Error>);

impl Mistakes {
    /// Adds an error at some tokens.
    pub fn add(&mut self, under: impl ToTokens, sentence: impl std::fmt::Display) {
        self.push(syn::Error::new_spanned(under, sentence));
    }

    /// Adds an error at a span, because a parenthesis is not a token of its own.
    pub fn add_at(&mut self, place: Span, sentence: impl std::fmt::Display) {
        self.push(syn::Error::new(place, sentence));
    }

    fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// `Ok` if there were no mistakes.
    pub fn into_result(self) -> syn::Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}

/// The expected parameters of one call, as an author writes them.
pub struct Shape {
    /// The correct signature to show in the message, without the body.
    pub example: &'static str,
    /// Each parameter: its name in messages, its type's name, whether it is `&mut`.
    pub parameters: &'static [Parameter],
}

/// One expected parameter.
pub struct Parameter {
    /// As it is written: `job: &Job`.
    pub written: &'static str,
    type_name: &'static str,
    mutable: bool,
}

const JOB: Parameter = Parameter { written: "job: &Job", type_name: "Job", mutable: false };
const LOG: Parameter = Parameter { written: "log: &mut Log", type_name: "Log", mutable: true };
const CONTEXT: Parameter = Parameter { written: "cx: &Context", type_name: "Context", mutable: false };

/// A plain function.
pub const PLAIN: Shape = Shape { example: "(job: &Job, log: &mut Log) -> JobResult", parameters: &[JOB, LOG] };

/// `run` of the object form.
pub const RUN: Shape =
    Shape { example: "fn run(&mut self, job: &Job, log: &mut Log) -> JobResult", parameters: &[JOB, LOG] };

/// `new` of the object form.
pub const NEW: Shape = Shape { example: "fn new(cx: &Context) -> Result<Self, Failure>", parameters: &[CONTEXT] };

/// Checks everything in a signature except its receiver.
pub fn check(signature: &Signature, shape: &Shape, mistakes: &mut Mistakes) {
    check_generics(&signature.generics, mistakes);
    if let Some(token) = &signature.asyncness {
        mistakes.add(
            token,
            "leave `async` out: a job has its thread to itself; what is async goes into `block_on` of a runtime, inside",
        );
    }
    if !matches!(signature.safety, Safety::Default) {
        mistakes.add(&signature.safety, "leave `unsafe` out here: put it around what needs it, inside");
    }
    if let Some(abi) = &signature.abi {
        mistakes.add(abi, "leave `extern` out: #[function] exports the function itself");
    }
    check_parameters(signature, shape, mistakes);
    if let ReturnType::Type(_, of) = &signature.output
        && let Type::ImplTrait(of) = &**of
    {
        mistakes.add(of, "name the type that is returned: bytes, text, or `JobResult`");
    }
}

/// Rejects type and const parameters: one symbol cannot stand for many functions. Lifetimes are fine.
pub fn check_generics(generics: &Generics, mistakes: &mut Mistakes) {
    for parameter in &generics.params {
        if !matches!(parameter, GenericParam::Lifetime(_)) {
            mistakes
                .add(parameter, "a function is not generic: its name stands for one piece of code; write the type out");
        }
    }
}

fn check_parameters(signature: &Signature, shape: &Shape, mistakes: &mut Mistakes) {
    let given: Vec<&Type> = typed(&signature.inputs).collect();
    let in_other_order = given.len() == 2
        && shape.parameters.len() == 2
        && named(given[0], shape.parameters[1].type_name)
        && named(given[1], shape.parameters[0].type_name);
    if in_other_order {
        return mistakes.add(&signature.inputs, format!("the other way round: `{}`", shape.example));
    }
    for (wanted, found) in shape.parameters.iter().zip(&given) {
        if !wanted.fits(found) {
            mistakes.add(found, wanted.sentence(found));
        }
    }
    let missing: Vec<&str> = shape.parameters.iter().skip(given.len()).map(|missing| missing.written).collect();
    if !missing.is_empty() {
        mistakes.add_at(
            signature.paren_token.span.close(),
            format!("`{}` is missing here: write `{}`", missing.join(", "), shape.example),
        );
    }
    for extra in given.iter().skip(shape.parameters.len()) {
        let hint = match shape.parameters.len() {
            1 => "settings come from `cx`",
            _ => "what a job brings is in `job.workload()`",
        };
        mistakes.add(extra, format!("one parameter too many: {hint}; write `{}`", shape.example));
    }
}

fn typed(inputs: &Punctuated<FnArg, Token![,]>) -> impl Iterator<Item = &Type> {
    inputs.iter().filter_map(|input| match input {
        FnArg::Typed(input) => Some(&*input.ty),
        FnArg::Receiver(_) => None,
    })
}

/// Whether a type, or the type that it borrows, has the name `name`.
fn named(of: &Type, name: &str) -> bool {
    match of {
        Type::Reference(of) => named(&of.elem, name),
        Type::Paren(of) => named(&of.elem, name),
        Type::Group(of) => named(&of.elem, name),
        Type::Path(of) => of.path.segments.last().is_some_and(|last| last.ident == name),
        _ => false,
    }
}

impl Parameter {
    fn fits(&self, found: &Type) -> bool {
        let Type::Reference(found) = found else { return false };
        found.mutability.is_some() == self.mutable && named(&found.elem, self.type_name)
    }

    fn sentence(&self, found: &Type) -> String {
        let written = self.written;
        if named(found, self.type_name) {
            let why = match (found, self.mutable) {
                (Type::Reference(_), true) => "a line is written through `&mut`",
                (Type::Reference(_), false) => "it is only read",
                _ => "it is lent",
            };
            return format!("{why}: write `{written}`");
        }
        match self.type_name {
            "Job" => format!("the first parameter is `{written}`; its bytes are `job.workload()`"),
            "Log" => format!("the second parameter is `{written}`"),
            _ => format!("`new` takes `{written}`; the function's settings are in it"),
        }
    }
}

/// The receiver of a plain function: none.
pub fn check_free(signature: &Signature, mistakes: &mut Mistakes) {
    if let Some(receiver) = signature.receiver() {
        mistakes.add(
            receiver,
            "a plain function has no `self`: for state between jobs put #[function] on the `impl` block, with `new` \
             and `run` in it",
        );
    }
}

/// The receiver of `run`: `&mut self`, or `&self`.
pub fn check_borrowed(signature: &Signature, mistakes: &mut Mistakes) {
    match signature.receiver() {
        Some(receiver) if matches!(receiver.kind, ReceiverKind::Reference(..)) => {}
        Some(receiver) => mistakes.add(receiver, "the object is kept for the next job: write `&mut self`"),
        None => mistakes
            .add_at(signature.paren_token.span.open(), format!("`&mut self` is missing here: write `{}`", RUN.example)),
    }
}
