//! Plants faults in shaders one by one, which the checks must catch: a test of [`super::check`] itself.
//!
//! A fault is a small change of a kind that people make: a comparison that wrongly includes or excludes its limit, a size or an
//! index one too large, a missing barrier, a constant 1 % off. The changed shader runs with the driver's bounds checks on the
//! operation's cases, small ones first, until one of them fails.

use super::check::case_on_adapter;
use super::judge::References;
use crate::error::Result;
use crate::exec::Device;
use crate::ops::{Case, Source};
use crate::shader::{forget, reflect};
use pollster::block_on;

/// A change of a shader's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Line number, from 1.
    pub line: usize,
    /// What was changed to what, and the original line.
    pub what: String,
    text: String,
}

/// The result of planting faults in one shader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Harvest {
    pub caught: usize,
    /// The faults that no case noticed.
    pub survived: Vec<Fault>,
}

/// Returns `text` with its comments replaced by spaces, byte for byte.
fn without_comments(text: &str) -> String {
    let blank = |line: &str| {
        let code = line.find("//").unwrap_or(line.len());
        // A character of several bytes becomes the same number of spaces.
        format!("{}{}", &line[..code], " ".repeat(line.len() - code))
    };
    text.split('\n').map(blank).collect::<Vec<_>>().join("\n")
}

/// Returns whether the `len` bytes at `at` are a whole word.
fn is_word(code: &str, at: usize, len: usize) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    !code[..at].ends_with(is_part) && !code[at + len..].starts_with(is_part)
}

/// Returns the members of `struct P`, each with its type.
fn members(code: &str) -> Vec<(&str, &str)> {
    let Some(body) = code.find("struct P {").and_then(|at| code[at + 10..].split('}').next()) else {
        return Vec::new();
    };
    body.split(',').filter_map(|member| member.split_once(':')).map(|(name, ty)| (name.trim(), ty.trim())).collect()
}

/// Returns `code` with spaces in place of the functions that no entry calls: shared text may contain some.
fn without_unused_functions(code: &str) -> String {
    // A function reaches from its `fn` at the beginning of a line to the first `}` at the beginning of a line.
    let starts = code.match_indices("\nfn ").map(|(at, _)| at + 1);
    let functions: Vec<(usize, &str)> =
        starts.map(|at| (at, &code[at..][..code[at..].find("\n}").map_or(code.len() - at, |len| len + 2)])).collect();
    let name = |text: &'_ str| text[3..].split('(').next().unwrap_or_default().to_owned();
    let is_entry =
        |at: usize| code[..at].trim_end().lines().next_back().is_some_and(|line| line.starts_with("@compute"));
    let mut used: Vec<bool> = functions.iter().map(|(at, _)| is_entry(*at)).collect();
    // Without entries, the text is not a whole shader.
    if !used.contains(&true) {
        return code.to_owned();
    }
    let mut open: Vec<usize> = (0..used.len()).filter(|&k| used[k]).collect();
    while let Some(caller) = open.pop() {
        let body = functions[caller].1;
        for (k, (_, text)) in functions.iter().enumerate() {
            let call = format!("{}(", name(text));
            if !used[k] && body.match_indices(&call).any(|(at, _)| is_word(body, at, call.len() - 1)) {
                used[k] = true;
                open.push(k);
            }
        }
    }
    let mut code = code.to_owned();
    for ((at, text), _) in functions.iter().zip(used).filter(|(_, used)| !used) {
        let blank: String = text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        code.replace_range(*at..*at + text.len(), &blank);
    }
    code
}

/// Returns every fault of the known kinds in the functions of `text` that an entry reaches.
pub fn faults(text: &str) -> Vec<Fault> {
    let code = without_unused_functions(&without_comments(text));
    let mut found = Vec::new();
    let mut plant = |at: usize, len: usize, new: &str| {
        let line = code[..at].matches('\n').count();
        let first = code[..at].rfind('\n').map_or(0, |n| n + 1);
        let whole = code[first..].lines().next().unwrap_or_default().trim();
        let what = format!("`{}` → `{new}` in: {whole}", &code[at..at + len]);
        found.push(Fault { line: line + 1, what, text: [&text[..at], new, &text[at + len..]].concat() });
    };
    for (from, to) in [(" < ", " <= "), (" <= ", " < "), (" > ", " >= "), (" >= ", " > ")] {
        code.match_indices(from).for_each(|(at, _)| plant(at, from.len(), to));
    }
    for barrier in ["workgroupBarrier();", "storageBarrier();", "textureBarrier();"] {
        code.match_indices(barrier).for_each(|(at, _)| plant(at, barrier.len(), ""));
    }
    for (name, ty) in members(&code) {
        let member = format!("p.{name}");
        let new = if ty == "f32" { format!("({member} * 1.01)") } else { format!("({member} + 1u)") };
        for (at, _) in code.match_indices(&member).filter(|(at, _)| is_word(&code, *at, member.len())) {
            plant(at, member.len(), &new);
        }
    }
    for (at, _) in code.match_indices('[') {
        let end = code[at..]
            .char_indices()
            .scan(0, |depth, (k, c)| {
                *depth += i32::from(c == '[') - i32::from(c == ']');
                Some((k, *depth))
            })
            .find(|(_, depth)| *depth == 0);
        if let Some((len, _)) = end.filter(|(len, _)| *len > 1) {
            let index = &code[at + 1..at + len];
            // The front end accepts one of the two, depending on the type of the index.
            plant(at + 1, len - 1, &format!("({index}) + 1u"));
            plant(at + 1, len - 1, &format!("({index}) + 1"));
        }
    }
    let bytes = code.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let begins =
            bytes[at].is_ascii_digit() && !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '.');
        let len = bytes[at..].iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
        if let (true, Ok(value)) = (begins && code[at..at + len].contains('.'), code[at..at + len].parse::<f64>())
            && value != 0.0
        {
            plant(at, len, &format!("{:?}", value * 1.01));
        }
        at += len.max(1);
    }
    found.sort_by(|a, b| (a.line, &a.what).cmp(&(b.line, &b.what)));
    found
}

/// Plants every fault in the shader `stem` of the operation of `cases`, and checks each. `advance` is called with the number of
/// faults done and their total; its error ends the harvest. If no case has the shader, the harvest is empty.
///
/// Changed texts stay in memory until the process ends, a few kilobytes each.
///
/// # Errors
/// That of `advance`.
pub fn harvest(
    device: &Device,
    cases: &[Case],
    stem: &str,
    advance: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Harvest> {
    let of_case = |case: &Case| case.op.kernels().iter().find(|kernel| kernel.stem() == stem).copied();
    let mut cases: Vec<&Case> = cases.iter().filter(|case| of_case(case).is_some()).collect();
    cases.sort_by_key(|case| case.real);
    let Some(original) = cases.first().and_then(|case| of_case(case)) else { return Ok(Harvest::default()) };
    let mut cases: Vec<(&Case, References)> = cases.into_iter().map(|case| (case, References::new(false))).collect();
    let all = faults(original.source.text);
    let mut harvest = Harvest::default();
    for (k, fault) in all.iter().enumerate() {
        advance(k, all.len())?;
        let changed = Source::new(original.stem(), String::leak(fault.text.clone()));
        // A shader that no front end accepts could not ship.
        if reflect(&changed).is_err() {
            continue;
        }
        let caught_by = cases.iter_mut().position(|(case, references)| {
            match block_on(case_on_adapter(device, case, original.with_source(changed), references)) {
                Ok(None) => false,
                Ok(Some(reports)) => reports.iter().any(|r| !r.is_ok()),
                Err(_) => true,
            }
        });
        device.forget(changed.text);
        forget(changed.text);
        match caught_by {
            Some(k) => {
                // It probably catches the next one too.
                cases[..=k].rotate_right(1);
                harvest.caught += 1;
            }
            None => harvest.survived.push(fault.clone()),
        }
    }
    Ok(harvest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_that_no_entry_calls_have_no_faults() {
        let text = "fn used(a: f32) -> f32 {\n    return a * 2.5;\n}\nfn unused() -> f32 {\n    return 3.5;\n}\n@compute @workgroup_size(64)\nfn forward() {\n    y = used(1.0);\n}\n";
        let lines: Vec<usize> = faults(&format!("\n{text}")).iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [3, 10]);
    }

    #[test]
    fn faults_of_every_kind_are_planted() {
        let text = "struct P { len: u32, k: f32 }\nfn f() {\n    if i >= p.len { return; } // if i < 1.5\n    workgroupBarrier();\n    y[i] = 0.5 * p.k + 0.0;\n}\n";
        let found = faults(text);
        let what: Vec<(usize, &str)> = found.iter().map(|f| (f.line, f.what.split(" in: ").next().unwrap())).collect();
        assert_eq!(
            what,
            [
                (3, "` >= ` → ` > `"),
                (3, "`p.len` → `(p.len + 1u)`"),
                (4, "`workgroupBarrier();` → ``"),
                (5, "`0.5` → `0.505`"),
                (5, "`i` → `(i) + 1`"),
                (5, "`i` → `(i) + 1u`"),
                (5, "`p.k` → `(p.k * 1.01)`"),
            ]
        );
        assert!(found.iter().all(|f| f.text != text && f.text.contains("// if i < 1.5")));
    }
}
