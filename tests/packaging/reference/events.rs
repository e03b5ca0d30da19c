//! The events, from the source of their type: names, fields, and the comments on them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use syn::{Attribute, Expr, Field, Fields, GenericArgument, Item, ItemEnum, Lit, Meta, PathArguments, Type, Variant};

use crate::support::build::repository;

/// Where the type of the events is, and the types of their fields.
const SOURCES: [&str; 13] = [
    "plan.rs",
    "supervisor/event.rs",
    "supervisor/event/death.rs",
    "supervisor/event/examined.rs",
    "supervisor/event/jobs.rs",
    "supervisor/event/queues.rs",
    "supervisor/event/requests.rs",
    "supervisor/event/unresponsive.rs",
    "supervisor/job_disposition.rs",
    "supervisor/out_of_memory.rs",
    "supervisor/rollback.rs",
    "supervisor/worker_state.rs",
    "system/process.rs",
];

/// All types of those files, and of the line that an event is.
struct Types {
    enums: BTreeMap<String, ItemEnum>,
    structs: BTreeMap<String, Fields>,
}

impl Types {
    fn read() -> Self {
        let mut types = Self { enums: BTreeMap::new(), structs: BTreeMap::new() };
        for source in SOURCES.iter().chain(&["control/feed.rs"]) {
            let text = fs::read_to_string(repository().join("manager").join(source)).unwrap();
            for item in syn::parse_file(&text).unwrap().items {
                match item {
                    Item::Enum(item) => drop(types.enums.insert(item.ident.to_string(), item)),
                    Item::Struct(item) => drop(types.structs.insert(item.ident.to_string(), item.fields)),
                    _ => {}
                }
            }
        }
        types
    }
}

/// What serde is told about a type, a variant or a field.
#[derive(Default)]
struct SerdeOptions {
    skip: bool,
    flatten: bool,
    may_be_missing: bool,
    rename: Option<String>,
    tag: Option<String>,
}

impl SerdeOptions {
    fn of(attributes: &[Attribute]) -> Self {
        let mut options = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
            let parsed = attribute.parse_nested_meta(|meta| {
                let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
                let value = || meta.value()?.parse::<syn::LitStr>().map(|text| text.value());
                match name.as_str() {
                    "skip" => options.skip = true,
                    "flatten" => options.flatten = true,
                    "skip_serializing_if" => options.may_be_missing = value().is_ok(),
                    "rename" => options.rename = Some(value()?),
                    "tag" => options.tag = Some(value()?),
                    _ => drop(value()),
                }
                Ok(())
            });
            parsed.unwrap();
        }
        options
    }
}

/// The comment on something, as one line without links.
fn comment(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    };
    let text = attributes.iter().filter_map(line).collect::<Vec<_>>().join(" ");
    let mut plain = String::new();
    for (at, part) in text.split("](crate::").enumerate() {
        plain += if at == 0 { part } else { part.split_once(')').map_or("", |(_, rest)| rest) };
    }
    plain.replace("[`", "`").replace("`]", "`").replace('|', "\\|")
}

/// `WorkerDied` as `worker_died`.
fn snake_case(name: &str) -> String {
    let mut text = String::new();
    for (at, letter) in name.char_indices() {
        text.extend((at > 0 && letter.is_uppercase()).then_some('_'));
        text.extend(letter.to_lowercase());
    }
    text
}

fn variant_name(variant: &Variant) -> String {
    SerdeOptions::of(&variant.attrs).rename.unwrap_or_else(|| snake_case(&variant.ident.to_string()))
}

/// The words of an enum without data.
fn words(item: &ItemEnum) -> String {
    let words = item.variants.iter().filter(|variant| !SerdeOptions::of(&variant.attrs).skip);
    words.map(|variant| format!("`{}`", variant_name(variant))).collect::<Vec<_>>().join(", ")
}

/// What JSON has for a type.
fn json(types: &Types, of: &Type) -> String {
    let path = match of {
        Type::Reference(reference) => return json(types, &reference.elem),
        Type::Path(path) => path.path.segments.last().unwrap(),
        other => panic!("no field of an event has this type yet: {}", std::any::type_name_of_val(other)),
    };
    let inner = || match &path.arguments {
        PathArguments::AngleBracketed(arguments) => match arguments.args.first() {
            Some(GenericArgument::Type(inner)) => json(types, inner),
            _ => panic!("{} without a type", path.ident),
        },
        _ => panic!("{} without a type", path.ident),
    };
    let name = path.ident.to_string();
    match name.as_str() {
        "String" | "str" | "FunctionName" | "ShortHash" | "RecordId" => "text".into(),
        "f64" | "u64" | "u32" | "u8" | "usize" | "i32" => "number".into(),
        "bool" => "true or false".into(),
        "Vec" => format!("list, each {}", inner()),
        "Option" => inner(),
        _ if types.enums.contains_key(&name) => words(&types.enums[&name]),
        _ if types.structs.contains_key(&name) => {
            let fields = types.structs[&name].iter().filter(|field| !SerdeOptions::of(&field.attrs).skip);
            let fields = fields.map(|field| format!("`{}`", field.ident.as_ref().unwrap()));
            format!("object with {}", fields.collect::<Vec<_>>().join(", "))
        }
        _ => panic!("{name} is in none of the files that are read for docs/reference.md"),
    }
}

fn is_option(of: &Type) -> bool {
    matches!(of, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Option"))
}

/// The lines of a type's fields.
fn fields(types: &Types, fields: &Fields) -> String {
    let mut lines = String::new();
    for field in fields {
        let options = SerdeOptions::of(&field.attrs);
        match (options.skip, options.flatten) {
            (true, _) => {}
            (false, true) => lines += &flattened(types, field),
            (false, false) => {
                let name = options.rename.clone().unwrap_or_else(|| field.ident.as_ref().unwrap().to_string());
                lines += &line(types, &name, field, &options, "");
            }
        }
    }
    lines
}

fn line(types: &Types, name: &str, field: &Field, options: &SerdeOptions, only: &str) -> String {
    let absent = match (options.may_be_missing, is_option(&field.ty)) {
        (true, _) => "; may be missing",
        (false, true) => "; or `null`",
        (false, false) => "",
    };
    format!("- `{name}` ({}{absent}{only}): {}\n", json(types, &field.ty), comment(&field.attrs))
}

/// The fields of an enum that are beside its tag. One that several variants have comes once.
fn flattened(types: &Types, field: &Field) -> String {
    let Type::Path(path) = &field.ty else { panic!("only a type with a name is flattened") };
    // The event's own, of which the line knows nothing.
    let Some(item) = types.enums.get(&path.path.segments.last().unwrap().ident.to_string()) else {
        return String::new();
    };
    let tag = SerdeOptions::of(&item.attrs).tag.expect("an enum that is flattened has a tag");
    let mut lines = format!("- `{tag}` ({}): {}\n", words(item), comment(&field.attrs));
    let mut seen: BTreeMap<String, (String, Vec<String>)> = BTreeMap::new();
    let mut order = Vec::new();
    for variant in &item.variants {
        for field in &variant.fields {
            let name = field.ident.as_ref().unwrap().to_string();
            let options = SerdeOptions::of(&field.attrs);
            if !seen.contains_key(&name) {
                order.push(name.clone());
            }
            let (text, variants) = seen.entry(name.clone()).or_default();
            *text = line(types, &name, field, &options, "; only where `TAG`");
            variants.push(format!("`{}`", variant_name(variant)));
        }
    }
    for name in order {
        let (text, variants) = &seen[&name];
        lines += &text.replacen("where `TAG`", &format!("where `{tag}` is {}", variants.join(", ")), 1);
    }
    lines
}

/// The section of the page.
pub(super) fn events() -> String {
    let types = Types::read();
    let mut text = String::from(
        "`gm-native events --json` prints one JSON object a line. A new version may add events and fields. Every event \
         has `event`, its name, and these fields:\n\n",
    );
    text += &fields(&types, &types.structs["EventLine"]);
    for variant in &types.enums["Event"].variants {
        write!(text, "\n### {}\n\n{}\n", variant_name(variant), comment(&variant.attrs)).unwrap();
        let own = match &variant.fields {
            Fields::Unnamed(one) => {
                let Type::Path(path) = &one.unnamed[0].ty else { panic!("{}: a type with a name", variant.ident) };
                fields(&types, &types.structs[&path.path.segments.last().unwrap().ident.to_string()])
            }
            named => fields(&types, named),
        };
        if !own.is_empty() {
            write!(text, "\n{own}").unwrap();
        }
    }
    text
}
