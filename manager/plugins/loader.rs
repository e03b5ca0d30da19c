//! stub
use gm_plugin_api::abi::*;
use std::path::Path;
pub struct Loaded;
pub fn load(_: &Path, _: &str) -> Result<Loaded, std::io::Error> {
    unimplemented!()
}
impl Loaded {
    pub fn new(&self, _: &RawContext<'_>) -> Result<RawState, RawFail> {
        unimplemented!()
    }
    pub fn run(&self, _: RawState, _: &RawJob<'_>) -> RResult<RVec<u8>, RawFail> {
        unimplemented!()
    }
    pub fn drop(&self, _: RawState) {}
    pub fn set_level(&self, _: u8) {}
}
