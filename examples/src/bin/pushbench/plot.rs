//! A curve as a picture: SVG, written by hand, the same bytes for the same values.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
/// Room for the numbers of the axes, and for the title.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 38.0;
/// Lines across, about.
const LINES: f64 = 5.0;

/// A curve and what it shows.
#[derive(Debug, Clone)]
pub(crate) struct Curve<'a> {
    pub(crate) title: &'a str,
    /// What the axes count.
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
    /// By rising x, both from 0 up.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Curve<'_> {
    /// The picture.
    pub(crate) fn svg(&self) -> String {
        let highest = |of: fn(&(f64, f64)) -> f64| self.points.iter().map(of).fold(0.0, f64::max);
        let (x, y) = (Axis::up_to(highest(|p| p.0)), Axis::up_to(highest(|p| p.1)));
        let at_x = |value: f64| LEFT + value / x.end * (WIDTH - LEFT - RIGHT);
        let at_y = |value: f64| HEIGHT - BOTTOM - value / y.end * (HEIGHT - TOP - BOTTOM);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#fff\"/>\n"
        );
        let mut put = |line: String| {
            out.push_str(&line);
            out.push('\n');
        };
        put(text(LEFT, 18.0, "start", self.title));
        for value in y.ticks() {
            let (right, at) = (WIDTH - RIGHT, at_y(value));
            put(format!(r##"<path d="M{LEFT:.1} {at:.1}H{right:.1}" stroke="#ddd"/>"##));
            put(text(LEFT - 6.0, at + 4.0, "end", &value.to_string()));
        }
        for value in x.ticks() {
            put(text(at_x(value), HEIGHT - BOTTOM + 16.0, "middle", &value.to_string()));
        }
        put(text(WIDTH - RIGHT, HEIGHT - 6.0, "end", self.x));
        put(text(WIDTH - RIGHT, 18.0, "end", self.y));
        let mut line = String::new();
        for (px, py) in &self.points {
            // To a string it cannot fail.
            let _ =
                write!(line, "{}{:.1},{:.1}", if line.is_empty() { "" } else { " " }, at_x(*px), at_y(*py));
        }
        put(format!(r##"<polyline points="{line}" fill="none" stroke="#06c" stroke-width="1.5"/>"##));
        out.push_str("</svg>\n");
        out
    }
}

/// From 0 to a round number.
struct Axis {
    step: f64,
    end: f64,
}

impl Axis {
    fn up_to(highest: f64) -> Self {
        // No less, so that what stands at the lines is whole.
        let highest = highest.max(LINES);
        let power = 10_f64.powf((highest / LINES).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|n| n * power);
        let step = steps.into_iter().find(|step| highest / step <= LINES).unwrap_or(steps[3]);
        Self { step, end: (highest / step).ceil() * step }
    }

    fn ticks(&self) -> impl Iterator<Item = f64> + '_ {
        (0_u8..).map(|n| f64::from(n) * self.step).take_while(|value| *value <= self.end)
    }
}

fn text(x: f64, y: f64, anchor: &str, text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(r##"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="#333">{escaped}</text>"##)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers_above_the_highest_value() {
        let axis = |highest| {
            let axis = Axis::up_to(highest);
            (axis.step, axis.end, axis.ticks().count())
        };
        assert_eq!(axis(0.0), (1.0, 5.0, 6));
        assert_eq!(axis(5.0), (1.0, 5.0, 6));
        assert_eq!(axis(187.0), (50.0, 200.0, 5));
        assert_eq!(axis(1_201.0), (500.0, 1_500.0, 4));
    }

    #[test]
    fn the_picture_has_every_point_within_its_frame_and_escapes_what_it_is_told() {
        let points = (0..=10).map(|n| (f64::from(n) * 60.0, 100.0 + f64::from(n % 3))).collect();
        let svg = Curve { title: "a < b & c", x: "seconds", y: "MB", points }.svg();
        assert!(svg.contains(">a &lt; b &amp; c</text>"), "{svg}");
        let line = svg.split("<polyline points=\"").nth(1).unwrap().split('"').next().unwrap();
        let points: Vec<(f64, f64)> = line
            .split(' ')
            .map(|point| point.split_once(',').unwrap())
            .map(|(x, y)| (x.parse().unwrap(), y.parse().unwrap()))
            .collect();
        assert_eq!(points.len(), 11);
        assert!(points.iter().all(|(x, y)| (LEFT..=WIDTH - RIGHT).contains(x) && (TOP..HEIGHT).contains(y)));
        assert!(points.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn no_points_are_a_picture_too() {
        let svg = Curve { title: "", x: "", y: "", points: Vec::new() }.svg();
        assert!(svg.ends_with("</svg>\n") && svg.contains("points=\"\""));
    }
}
