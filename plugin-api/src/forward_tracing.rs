//! Forwards events of the `tracing` crate to the manager's log.

use std::fmt::{Debug, Write};
use std::sync::OnceLock;

use tracing_core::field::{Field, Visit};
use tracing_core::span::{Attributes, Id, Record};
use tracing_core::{Dispatch, Event, Level, LevelFilter, Metadata, Subscriber, callsite, dispatcher};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

use crate::abi::{Host, level};
use crate::{logging, panics};

static INSTALLED: OnceLock<()> = OnceLock::new();

struct Forward(&'static Host);

/// A span's fields, as text, kept with the span.
struct Fields(String);

/// Installs itself as the library's subscriber, unless the author has set another one.
pub(crate) fn install(host: &'static Host) {
    INSTALLED.get_or_init(|| {
        let subscriber = Registry::default().with(Forward(host));
        // An error means that there is one already.
        let _ = dispatcher::set_global_default(Dispatch::new(subscriber));
    });
}

/// Makes the crate's macros check again which levels are enabled; they cache the answer in statics.
pub(crate) fn set_wanted() {
    callsite::rebuild_interest_cache();
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Forward {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        logging::wanted(number(*metadata.level()))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match logging::highest() {
            0 => LevelFilter::OFF,
            level::ERROR => LevelFilter::ERROR,
            level::WARN => LevelFilter::WARN,
            level::INFO => LevelFilter::INFO,
            level::DEBUG => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        })
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = String::new();
        attributes.record(&mut Text(&mut fields));
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Fields(fields));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(Fields(fields)) = span.extensions_mut().get_mut()
        {
            values.record(&mut Text(fields));
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut text = String::new();
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            text.push_str(span.name());
            if let Some(Fields(fields)) = span.extensions().get()
                && !fields.is_empty()
            {
                let _ = write!(text, "{{{fields}}}");
            }
            text.push_str(": ");
        }
        let mut own = String::new();
        event.record(&mut Text(&mut own));
        text.push_str(&own);
        let metadata = event.metadata();
        let level = number(*metadata.level());
        (self.0.log)(panics::current_job(), level, metadata.target().into(), text.as_str().into());
    }
}

/// Formats fields for people: the message, then `name=value`, separated by spaces.
struct Text<'a>(&'a mut String);

impl Text<'_> {
    fn add(&mut self, field: &Field, value: std::fmt::Arguments<'_>) {
        if !self.0.is_empty() {
            self.0.push(' ');
        }
        // Writing to a String fails only if a value's own formatting does.
        let _ = match field.name() {
            "message" => write!(self.0, "{value}"),
            name => write!(self.0, "{name}={value}"),
        };
    }
}

impl Visit for Text<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format_args!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, format_args!("{value}"));
    }
}

fn number(of: Level) -> u8 {
    match of {
        Level::ERROR => level::ERROR,
        Level::WARN => level::WARN,
        Level::INFO => level::INFO,
        Level::DEBUG => level::DEBUG,
        Level::TRACE => level::TRACE,
    }
}
