//! A picture made smaller: PNG or JPEG in, the same kind out. `gearman -f thumbnail < photo.jpg > small.jpg`.
//!
//! Long work: it reports its progress, and ends early when its worker drains. Settings:
//!
//! ```ini
//! [thumbnail]
//! setting.side = 200
//! ```

use std::io::Cursor;

use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};
use image::{ImageFormat, ImageReader, Limits};
use serde::Deserialize;

/// Each worker has one.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Thumbnail {
    /// The longer side of the result, in pixels. A picture that is smaller stays as large as it is.
    side: u32,
    /// The longest side of a picture that is taken, in pixels.
    max_side: u32,
    /// Most memory for a picture, in bytes: a small file can hold a huge one.
    max_memory: u64,
}

impl Default for Thumbnail {
    fn default() -> Self {
        Self { side: 128, max_side: 20_000, max_memory: 256 << 20 }
    }
}

/// Reading, making smaller, writing.
const STEPS: u64 = 3;

#[function(name = "thumbnail")]
impl Thumbnail {
    fn new(cx: &Context) -> Result<Self, Failure> {
        cx.settings()
    }

    fn run(&mut self, job: &Job, log: &mut Log) -> JobResult {
        let mut reader = ImageReader::new(Cursor::new(job.workload())).with_guessed_format()?;
        let format = match reader.format() {
            Some(format @ (ImageFormat::Png | ImageFormat::Jpeg)) => format,
            _ => return Err("the workload is neither PNG nor JPEG".into()),
        };
        reader.limits(self.limits());
        step(job, 0)?;
        let picture = reader.decode()?;
        step(job, 1)?;
        let (width, height) = (picture.width(), picture.height());
        let small = match width.max(height) > self.side {
            true => picture.thumbnail(self.side, self.side),
            false => picture,
        };
        step(job, 2)?;
        let mut out = Cursor::new(Vec::new());
        small.write_to(&mut out, format)?;
        job.status(STEPS, STEPS);
        log.push(format_args!("{width}x{height} to {}x{}", small.width(), small.height()));
        Ok(out.into_inner().into())
    }
}

impl Thumbnail {
    fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.max_image_width = Some(self.max_side);
        limits.max_image_height = Some(self.max_side);
        limits.max_alloc = Some(self.max_memory);
        limits
    }
}

/// Between two steps: whether to go on, and how far it is.
fn step(job: &Job, done: u64) -> Result<(), Failure> {
    if job.stopping() {
        return Err("stopped before the end, since the worker leaves: send it again".into());
    }
    job.status(done, STEPS);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use gm_plugin_api::testing::{TestJob, TestObject};
    use image::{DynamicImage, GenericImageView, RgbImage};

    fn picture(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
        let pixels = RgbImage::from_fn(width, height, |x, y| image::Rgb([x as u8, y as u8, 100]));
        let mut out = Cursor::new(Vec::new());
        DynamicImage::from(pixels).write_to(&mut out, format).unwrap();
        out.into_inner()
    }

    #[test]
    fn makes_smaller_and_keeps_shape_and_format() {
        let mut thumbnail = TestObject::<Thumbnail>::new(&[("side", "40")]).unwrap();
        for (format, width, height, small) in [
            (ImageFormat::Png, 400, 200, (40, 20)),
            (ImageFormat::Jpeg, 200, 400, (20, 40)),
            (ImageFormat::Png, 30, 20, (30, 20)),
        ] {
            let outcome = thumbnail.run(picture(width, height, format));
            let result = outcome.bytes();
            assert_eq!(image::guess_format(result).unwrap(), format);
            assert_eq!(image::load_from_memory(result).unwrap().dimensions(), small);
            assert_eq!(outcome.status, [(0, 3), (1, 3), (2, 3), (3, 3)]);
            assert_eq!(outcome.log_texts(), [format!("{width}x{height} to {}x{}", small.0, small.1)]);
        }
    }

    #[test]
    fn ends_early_when_the_worker_is_to_leave() {
        let mut thumbnail = TestObject::<Thumbnail>::new(&[]).unwrap();
        for after in 0..3 {
            let job = TestJob::new(picture(300, 300, ImageFormat::Png)).stopping_after(after);
            let outcome = thumbnail.run(job);
            assert!(outcome.failure().message.starts_with("stopped before the end"));
            assert_eq!(outcome.status.len() as u64, after);
        }
    }

    #[test]
    fn what_is_no_picture_fails_the_job() {
        let mut thumbnail = TestObject::<Thumbnail>::new(&[("max_side", "100")]).unwrap();
        assert_eq!(thumbnail.run("text").failure().message, "the workload is neither PNG nor JPEG");
        let mut cut = picture(50, 50, ImageFormat::Png);
        cut.truncate(cut.len() / 2);
        thumbnail.run(cut).failure();
        let large = thumbnail.run(picture(200, 10, ImageFormat::Png));
        assert!(large.failure().message.to_lowercase().contains("limit"), "{:?}", large.failure());
    }
}
