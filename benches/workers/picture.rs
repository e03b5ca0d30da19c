//! A table's column as a picture.

use plotters::prelude::*;

use crate::report::{self, Table};

const WIDTH: u32 = 860;
const BAR: u32 = 34;
/// The title above the bars and the axis below them.
const AROUND: u32 = 92;
const NAMES: u32 = 190;
const OURS: RGBColor = RGBColor(0xc2, 0x41, 0x0c);
const OTHERS: RGBColor = RGBColor(0x64, 0x74, 0x8b);

/// A bar for each peer as long as its median, with a line from its lowest run to its highest; as SVG.
pub fn bars(table: &Table, figure: &str) -> String {
    let rows = table.column(figure);
    let longest = rows.iter().map(|(_, spread)| spread.max).fold(f64::MIN_POSITIVE, f64::max);
    let mut text = String::new();
    {
        let size = (WIDTH, AROUND + BAR * u32::try_from(rows.len()).unwrap());
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE).unwrap();
        let names: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
        let mut chart = ChartBuilder::on(&area)
            .caption(format!("{}: {figure}", table.title), ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(28)
            .y_label_area_size(NAMES)
            .build_cartesian_2d(0.0..longest * 1.05, (0..rows.len().saturating_sub(1)).into_segmented())
            .unwrap();
        // The first row is drawn at the bottom, hence from the end.
        let name_of = |place: &SegmentValue<usize>| match place {
            SegmentValue::CenterOf(index) => {
                names.get(names.len() - 1 - index).map_or_else(String::new, ToString::to_string)
            }
            _ => String::new(),
        };
        chart
            .configure_mesh()
            .disable_y_mesh()
            .light_line_style(TRANSPARENT)
            .x_label_formatter(&|value| report::number(*value))
            .y_labels(rows.len())
            .y_label_formatter(&name_of)
            .draw()
            .unwrap();
        for (index, (name, spread)) in rows.iter().rev().enumerate() {
            let colour = if name.starts_with("gm-native") { OURS } else { OTHERS };
            let (bottom, top) = (SegmentValue::Exact(index), SegmentValue::Exact(index + 1));
            let mut bar = Rectangle::new([(0.0, bottom), (spread.median, top)], colour.filled());
            bar.set_margin(5, 5, 0, 0);
            let middle = SegmentValue::CenterOf(index);
            let range = PathElement::new([(spread.min, middle.clone()), (spread.max, middle)], BLACK);
            chart.draw_series([bar]).unwrap();
            chart.draw_series([range]).unwrap();
        }
        area.present().unwrap();
    }
    text
}
