//! A function's settings as a struct, with the feature `serde`.
//!
//! Settings are text, but a struct has typed fields. So in this deserializer every value is text, which is parsed as
//! whatever type the field requests.

use std::fmt::Display;

use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor};
use serde::{Deserializer, forward_to_deserialize_any};

use crate::context::{Context, malformed};
use crate::failure::Failure;

impl Context {
    /// All settings as one struct, with a field for each. Needs the feature `serde`.
    ///
    /// Numbers, `bool` (`on`, `yes`, `true`, `1` and their opposites), text, unit variants, `Option` and comma lists
    /// can be read; `#[serde(default)]` and the like work as usual.
    ///
    /// ```
    /// use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};
    /// use serde::Deserialize;
    ///
    /// #[derive(Deserialize)]
    /// #[serde(deny_unknown_fields)]
    /// struct Settings {
    ///     servers: Vec<String>,
    ///     #[serde(default)]
    ///     retries: u32,
    /// }
    ///
    /// struct Ask(Settings);
    ///
    /// #[function(name = "ask")]
    /// impl Ask {
    ///     fn new(cx: &Context) -> Result<Self, Failure> {
    ///         Ok(Self(cx.settings()?))
    ///     }
    ///
    ///     fn run(&mut self, _job: &Job, _log: &mut Log) -> JobResult {
    ///         Ok(format!("{} servers, {} retries", self.0.servers.len(), self.0.retries).into())
    ///     }
    /// }
    /// # use gm_plugin_api::testing::TestObject;
    /// # let mut object = TestObject::<Ask>::new(&[("servers", "a, b"), ("retries", "3")]).unwrap();
    /// # assert_eq!(object.run("").text(), "2 servers, 3 retries");
    /// ```
    ///
    /// # Errors
    ///
    /// If a setting is missing or malformed. The message names the section and the key.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        T::deserialize(All(self)).map_err(|error: Wrong| match error.about {
            About::Value(name) => malformed(self.function(), &name, &error.what),
            About::Missing(name) => {
                let misspelling = self.misspelling(name);
                Failure::new(format!("settings of the section [{}]: {}{misspelling}", self.function(), error.what))
            }
            About::Nothing => Failure::new(format!("settings of the section [{}]: {}", self.function(), error.what)),
        })
    }
}

/// What is wrong, and with which setting, if known.
#[derive(Debug)]
struct Wrong {
    about: About,
    what: String,
}

#[derive(Debug)]
enum About {
    /// The value of a setting.
    Value(String),
    /// A setting that is not there.
    Missing(&'static str),
    Nothing,
}

impl Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: Display>(what: T) -> Self {
        Self { about: About::Nothing, what: what.to_string() }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { about: About::Missing(field), what: format!("setting.{field} is missing") }
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        Self::custom(format_args!("setting.{field} is not known; there are: {}", expected.join(", ")))
    }
}

/// All settings, as the fields of a struct or the entries of a map.
#[derive(Clone, Copy)]
struct All<'a>(&'a Context);

impl<'de> Deserializer<'de> for All<'de> {
    type Error = Wrong;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        // Includes missing settings, since a misspelled one is among them.
        fields.iter().for_each(|field| self.0.want(field));
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let pairs = self.0.pairs().map(|(name, text)| (name, Value { cx: self.0, name, text }));
        MapDeserializer::new(pairs).deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The text of one setting.
#[derive(Clone, Copy)]
struct Value<'a> {
    cx: &'a Context,
    name: &'a str,
    text: &'a str,
}

impl<'a> Value<'a> {
    /// The text; marks the setting as read.
    fn read(self) -> &'a str {
        self.cx.want(self.name);
        self.text
    }

    fn wrong(self, what: impl Display) -> Wrong {
        Wrong { about: About::Value(self.name.to_owned()), what: what.to_string() }
    }

    /// Adds the setting's name to an error from a nested deserializer.
    fn named<T>(self, result: Result<T, Wrong>) -> Result<T, Wrong> {
        result.map_err(|error| match error.about {
            About::Value(_) => error,
            About::Missing(_) | About::Nothing => Wrong { about: About::Value(self.name.to_owned()), ..error },
        })
    }
}

impl<'de> IntoDeserializer<'de, Wrong> for Value<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! read_as {
    ($($method:ident => $visit:ident),* $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            let value = self.read().parse().map_err(|error| self.wrong(error))?;
            self.named(visitor.$visit(value))
        }
    )*};
}

impl<'de> Deserializer<'de> for Value<'de> {
    type Error = Wrong;

    read_as! {
        deserialize_i8 => visit_i8, deserialize_i16 => visit_i16, deserialize_i32 => visit_i32,
        deserialize_i64 => visit_i64, deserialize_u8 => visit_u8, deserialize_u16 => visit_u16,
        deserialize_u32 => visit_u32, deserialize_u64 => visit_u64, deserialize_f32 => visit_f32,
        deserialize_f64 => visit_f64,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.named(visitor.visit_borrowed_str(self.read()))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        // Parsed like the ini file's own keys.
        match self.read().to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" | "on" => visitor.visit_bool(true),
            "0" | "false" | "no" | "off" => visitor.visit_bool(false),
            _ => Err(self.wrong("neither yes nor no")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let items = self.read().split(',').map(str::trim).filter(|item| !item.is_empty());
        let items = items.map(|text| Value { text, ..self });
        self.named(visitor.visit_seq(SeqDeserializer::new(items)))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.named(visitor.visit_enum(self.read().into_deserializer()))
    }

    /// For a setting that the struct has no field for: it stays unread.
    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map struct identifier
    }
}
