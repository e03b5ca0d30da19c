//! Checks JSON against a JSON Schema, as strictly as it can be: no field may be there that the schema does not name.

use serde_json::Value;

/// The keywords that say nothing about what is valid here.
const NOTES: [&str; 8] = ["$schema", "$defs", "title", "description", "default", "format", "minimum", "required"];

/// What is wrong with a value, with its place; empty if nothing is.
///
/// # Panics
///
/// The schema has a keyword that this does not know.
pub fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check(schema, schema, value, "status", &mut found);
    found
}

fn check(root: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let is_valid = |schema: &Value| {
        let mut found = Vec::new();
        check(root, schema, value, place, &mut found);
        found.is_empty()
    };
    for (keyword, rule) in schema.as_object().unwrap() {
        let holds = match keyword.as_str() {
            "$ref" => {
                let target = root.pointer(rule.as_str().unwrap().trim_start_matches('#')).unwrap();
                check(root, target, value, place, found);
                true
            }
            "type" => match rule {
                Value::Array(types) => types.iter().any(|name| has_type(value, name)),
                name => has_type(value, name),
            },
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "anyOf" | "oneOf" => rule.as_array().unwrap().iter().any(is_valid),
            "items" => {
                let items = value.as_array().into_iter().flatten().enumerate();
                items.for_each(|(index, item)| check(root, rule, item, &format!("{place}[{index}]"), found));
                true
            }
            "properties" => {
                check_fields(root, schema, value, place, found);
                true
            }
            known if NOTES.contains(&known) => true,
            unknown => panic!("a test cannot check the keyword {unknown}"),
        };
        if !holds {
            found.push(format!("{place}: {value} does not satisfy {keyword}: {rule}"));
        }
    }
}

fn check_fields(root: &Value, schema: &Value, value: &Value, place: &str, found: &mut Vec<String>) {
    let Some(fields) = value.as_object() else { return };
    for (name, field) in fields {
        match schema["properties"].get(name) {
            Some(rule) => check(root, rule, field, &format!("{place}.{name}"), found),
            None => found.push(format!("{place}.{name} is not in the schema")),
        }
    }
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    found.extend(required.filter(|name| !fields.contains_key(*name)).map(|name| format!("{place}.{name} is missing")));
}

fn has_type(value: &Value, name: &Value) -> bool {
    match name.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        unknown => panic!("no type of JSON Schema: {unknown}"),
    }
}
