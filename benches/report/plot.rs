//! Lines in an SVG. Six plots do not need a crate.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Lines over what grows.
pub(crate) struct Plot {
    /// Of the file.
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
    pub(crate) unit: fn(f64) -> String,
    /// Whether both axes are; otherwise they begin at zero.
    pub(crate) logarithmic: bool,
    pub(crate) series: BTreeMap<String, BTreeMap<u64, f64>>,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 90.0;
const RIGHT: f64 = 560.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 360.0;

/// Distinguishable with colour blindness (Okabe and Ito), and by the shape of the line.
const COLOURS: [&str; 7] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"];
const DASHES: [&str; 3] = ["none", "7 4", "2 3"];

/// Where a value lies between two others, from 0 to 1.
struct Axis {
    from: f64,
    to: f64,
    logarithmic: bool,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64> + Clone, logarithmic: bool, whole: bool) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        let (from, to) = match (logarithmic, whole) {
            // Whole decades, so that lines of two plots look alike.
            (true, true) => (10_f64.powf(least.log10().floor()), 10_f64.powf(most.log10().ceil())),
            (true, false) => (least, most),
            (false, true) => (0.0, most * 1.1),
            (false, false) => (least, most),
        };
        Self { from, to, logarithmic }
    }

    fn place(&self, value: f64) -> f64 {
        let scale = |value: f64| if self.logarithmic { value.ln() } else { value };
        let span = scale(self.to) - scale(self.from);
        if span > 0.0 { (scale(value) - scale(self.from)) / span } else { 0.5 }
    }

    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            let mut ticks = vec![self.from];
            while let Some(last) = ticks.last().filter(|last| **last * 1.01 < self.to) {
                ticks.push(last * 10.0);
            }
            return ticks;
        }
        // Some four to eight of 1, 2 or 5 times a power of ten.
        let rough = (self.to - self.from) / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|of| of * power);
        let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(rough);
        if !step.is_normal() {
            return Vec::new();
        }
        (0..).map(|tick| f64::from(tick) * step).take_while(|tick| *tick <= self.to).collect()
    }
}

impl Plot {
    /// Draws it.
    pub(crate) fn svg(&self) -> String {
        let points = || self.series.values().flatten().map(|(x, y)| (*x as f64, *y));
        let x_axis = Axis::new(points().map(|(x, _)| x), self.logarithmic, false);
        let y_axis = Axis::new(points().map(|(_, y)| y), self.logarithmic, true);
        let across = |x: f64| LEFT + 15.0 + x_axis.place(x) * (RIGHT - LEFT - 30.0);
        let up = |y: f64| BOTTOM - y_axis.place(y) * (BOTTOM - TOP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
        );
        let mut say = |x: f64, y: f64, more: &str, text: &str| {
            let text = escaped(text);
            _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" {more}>{text}</text>");
        };
        say(LEFT, 20.0, "font-size=\"15\" font-weight=\"bold\"", self.title);
        say(LEFT, 40.0, "fill=\"#555555\"", self.y);
        let middle = f64::midpoint(LEFT, RIGHT);
        say(middle, BOTTOM + 42.0, "text-anchor=\"middle\" fill=\"#555555\"", self.x);
        for tick in y_axis.ticks() {
            let text = (self.unit)(tick);
            say(LEFT - 8.0, up(tick) + 4.0, "text-anchor=\"end\"", &text);
        }
        let mut counts: Vec<u64> = self.series.values().flat_map(|of| of.keys().copied()).collect();
        counts.sort_unstable();
        counts.dedup();
        for count in &counts {
            let x = across(*count as f64);
            say(x, BOTTOM + 20.0, "text-anchor=\"middle\"", &thousands(*count));
        }
        for (number, name) in self.series.keys().enumerate() {
            say(RIGHT + 50.0, TOP + 12.0 + 20.0 * number as f64, "", name);
        }
        for tick in y_axis.ticks() {
            let y = up(tick);
            line(&mut svg, (LEFT, y), (RIGHT, y), "stroke=\"#dddddd\"");
        }
        line(&mut svg, (LEFT, BOTTOM), (RIGHT, BOTTOM), "stroke=\"#555555\"");
        line(&mut svg, (LEFT, TOP), (LEFT, BOTTOM), "stroke=\"#555555\"");
        for (number, points) in self.series.values().enumerate() {
            let colour = of(&COLOURS, number);
            let dashes = of(&DASHES, number / COLOURS.len());
            let stroke = format!(
                "stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\" fill=\"none\""
            );
            let places: Vec<(f64, f64)> =
                points.iter().map(|(x, y)| (across(*x as f64), up(*y))).collect();
            let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            _ = writeln!(svg, "<polyline points=\"{}\" {stroke}/>", path.join(" "));
            for (x, y) in places {
                _ = writeln!(
                    svg,
                    "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>"
                );
            }
            let y = TOP + 8.0 + 20.0 * number as f64;
            line(&mut svg, (RIGHT + 15.0, y), (RIGHT + 43.0, y), &stroke);
        }
        svg + "</svg>\n"
    }
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64), more: &str) {
    let ((x1, y1), (x2, y2)) = (from, to);
    _ = writeln!(svg, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {more}/>");
}

/// The one with the number, from the beginning again after the last.
fn of(all: &[&'static str], number: usize) -> &'static str {
    all.iter().cycle().nth(number).copied().unwrap_or_default()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// With commas between thousands.
pub(crate) fn thousands(number: u64) -> String {
    let (rest, last) = (number / 1_000, number % 1_000);
    if rest == 0 { last.to_string() } else { format!("{},{last:03}", thousands(rest)) }
}
