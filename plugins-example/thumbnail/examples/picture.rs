//! Makes a picture to try `thumbnail` with: a PNG of 1600 x 1200, on standard output.
//! `cargo run -p thumbnail --example picture > large.png`

use std::io::{Cursor, Write};

use image::{ImageFormat, Rgb, RgbImage};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shade = |part: u32, whole: u32| (part * 255 / whole) as u8;
    let picture = RgbImage::from_fn(1600, 1200, |x, y| Rgb([shade(x, 1600), shade(y, 1200), (x ^ y) as u8]));
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png)?;
    std::io::stdout().lock().write_all(bytes.get_ref())?;
    Ok(())
}
