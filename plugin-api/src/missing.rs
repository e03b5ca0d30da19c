//! Stand-ins for methods whose feature is off, because the compiler would only say that there is no such method.
//!
//! Nothing implements the traits, so a call never compiles; the traits provide the error message.

#[cfg(not(feature = "json"))]
mod json {
    use crate::failure::Failure;
    use crate::job::Job;

    #[diagnostic::on_unimplemented(
        message = "`job.json()` needs the feature `json` of gm-plugin-api",
        label = "write `features = [\"json\"]` in the line of gm-plugin-api in Cargo.toml"
    )]
    pub trait NeedsFeature {}

    impl Job {
        #[doc(hidden)]
        pub fn json<T: NeedsFeature>(&self) -> Result<T, Failure> {
            Err("the feature json is off".into())
        }
    }
}

#[cfg(not(feature = "serde"))]
mod serde {
    use crate::context::Context;
    use crate::failure::Failure;

    #[diagnostic::on_unimplemented(
        message = "`cx.settings()` needs the feature `serde` of gm-plugin-api",
        label = "write `features = [\"serde\"]` in the line of gm-plugin-api in Cargo.toml"
    )]
    pub trait NeedsFeature {}

    impl Context {
        #[doc(hidden)]
        pub fn settings<T: NeedsFeature>(&self) -> Result<T, Failure> {
            Err("the feature serde is off".into())
        }
    }
}
