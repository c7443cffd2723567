//! How a ring of 128 tokens an instance behaves from 10 to 10,000 instances, as a table on standard output and as a
//! picture in the file that is named.

use std::error::Error;
use std::hint::black_box;

use allocation_counter::measure as allocations;
use forebay_ring::{Operation, Ring};
use forebay_ring_peers::fleet::{Fleet, Tokens, options};
use forebay_ring_peers::keys;
use forebay_ring_peers::others::Bisected;
use forebay_ring_peers::rounds::{contender, measure, time};
use plotters::prelude::*;

const SIZES: [u16; 7] = [10, 30, 100, 300, 1_000, 3_000, 10_000];
const TOKENS: usize = 128;

/// What is drawn, in nanoseconds.
const CURVES: [(&str, RGBColor); 5] = [
    ("build", RED),
    ("update of states", MAGENTA),
    ("get, RF 3, 3 zones", BLUE),
    ("owner", GREEN),
    ("partition_point", BLACK),
];

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("name the file of the picture")?;
    println!(
        "| instances | tokens | get ns | owner ns | partition_point ns | build ms | states µs | bytes a token |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut curves: [Vec<(f64, f64)>; 5] = Default::default();
    for instances in SIZES {
        let row = row(instances);
        for (curve, value) in curves.iter_mut().zip(row) {
            curve.push((instances.into(), value));
        }
    }
    draw(&path, &curves)
}

fn row(instances: u16) -> [f64; 5] {
    let fleet = Fleet::new(instances, Tokens::Random(TOKENS), 3);
    let mut ring = None;
    let built = allocations(|| ring = Some(Ring::build(&options(true), &fleet.members, 0)));
    let ring = ring.expect("it was built").expect("within all limits");
    let bisected = Bisected::new(&fleet);
    let figures = measure(
        &mut [
            contender("get", |key| ring.get(key, Operation::WRITE)),
            contender("owner", |key| ring.owner(key)),
            contender("partition_point", |key| bisected.place(key)),
        ],
        &keys::random(keys::KEYS),
        61,
    );
    let times = if instances < 1_000 { 41 } else { 7 };
    let build = time(times, || Ring::build(&options(true), &fleet.members, 0).is_ok());
    let states = time(101, || black_box(ring.updated(&fleet.members, 1)).is_ok());
    // The 4 of the record are the membership's.
    let bytes = 4.0 + built.bytes_current as f64 / ring.token_count() as f64;
    println!(
        "| {instances} | {} | {:.1} | {:.1} | {:.1} | {:.2} | {:.1} | {bytes:.1} |",
        ring.token_count(),
        figures[0].median,
        figures[1].median,
        figures[2].median,
        build.median / 1e6,
        states.median / 1e3,
    );
    [build.median, states.median, figures[0].median, figures[1].median, figures[2].median]
}

fn draw(path: &str, curves: &[Vec<(f64, f64)>; 5]) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::new(path, (840, 520)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("a ring of 128 tokens an instance", ("sans-serif", 24))
        .margin(16)
        .x_label_area_size(50)
        .y_label_area_size(84)
        .build_cartesian_2d((10.0..10_000.0_f64).log_scale(), (1.0..1e9_f64).log_scale())?;
    let duration = |ns: &f64| match *ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.0} µs", ns / 1e3),
        ns if ns < 1e9 => format!("{:.0} ms", ns / 1e6),
        ns => format!("{:.0} s", ns / 1e9),
    };
    chart
        .configure_mesh()
        .label_style(("sans-serif", 17))
        .axis_desc_style(("sans-serif", 18))
        .x_desc("instances")
        .y_desc("median of one call")
        .x_label_formatter(&|instances| format!("{instances:.0}"))
        .y_label_formatter(&duration)
        .light_line_style(WHITE)
        .draw()?;
    for (points, (name, colour)) in curves.iter().zip(CURVES) {
        chart
            .draw_series(LineSeries::new(points.iter().copied(), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .label_font(("sans-serif", 17))
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}
