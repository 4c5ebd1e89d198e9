//! The median of several runs, for each row and each point by itself: a neighbour on the machine
//! spoils some figures of a run, and seldom the same ones twice.

use portcullis_benches::results::{POINT, ROW, list};
use serde_json::{Value, json};

/// Merges what one bench saved in each of several runs into one.
pub fn of(saved: &[Value]) -> Value {
    let mut runs = Vec::new();
    let (mut rows, mut points) = (Vec::new(), Vec::new());
    for saved in saved {
        let before = runs.len();
        runs.extend(list(&saved["runs"]));
        for (all, key) in [(&mut rows, "rows"), (&mut points, "points")] {
            all.extend(list(&saved[key]).into_iter().map(|mut value| {
                value["run"] = json!(value["run"].as_u64().unwrap_or_default() + before as u64);
                value
            }));
        }
    }
    let rows: Vec<Value> = groups(rows, &ROW).into_iter().map(middle_row).collect();
    let points = groups(points, &POINT).into_iter();
    let points: Vec<Value> = points.map(|of| middle(of, |point| point["y"].as_f64())).collect();
    json!({ "runs": runs, "rows": rows, "points": points })
}

/// Groups values with the same keys, in the order of the first of each.
fn groups(values: Vec<Value>, keys: &[&str]) -> Vec<Vec<Value>> {
    let mut groups: Vec<Vec<Value>> = Vec::new();
    for value in values {
        let same = |of: &&mut Vec<Value>| keys.iter().all(|key| of[0][*key] == value[*key]);
        match groups.iter_mut().find(same) {
            Some(group) => group.push(value),
            None => groups.push(vec![value]),
        }
    }
    groups
}

/// The median row, with the range of the ratios of all.
fn middle_row(rows: Vec<Value>) -> Value {
    let ratios: Vec<f64> = rows.iter().filter_map(|row| row["ratio"].as_f64()).collect();
    let mut middle = middle(rows, |row| row["ratio"].as_f64().or_else(|| figure(row)));
    if ratios.len() > 1 {
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        middle["between"] = json!([least, most]);
    }
    middle
}

fn middle(mut values: Vec<Value>, by: impl Fn(&Value) -> Option<f64>) -> Value {
    let number = |value: &Value| by(value).unwrap_or(f64::INFINITY);
    values.sort_by(|one, other| number(one).total_cmp(&number(other)));
    // Of an even number the higher one.
    values.swap_remove(values.len() / 2)
}

/// The number at the beginning of the figure; times in nanoseconds.
fn figure(row: &Value) -> Option<f64> {
    let text = row["here"].as_str()?;
    let (number, unit) = text.split_once(' ').unwrap_or((text, ""));
    let scale = match unit {
        "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => 1.0,
    };
    Some(number.parse::<f64>().ok()? * scale)
}
