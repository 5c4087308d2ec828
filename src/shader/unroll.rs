//! Straight-line code from loops: fixes a shader's `const` values and unrolls the loops marked `// unroll`.
//!
//! Mesa's lavapipe broadcasts a word of workgroup memory at the cost of a scalar load only if the address is constant and
//! outside loops and branches (Mesa 22.3, `emit_load_mem`), and its own unroller stops at about 30 iterations. So a kernel
//! that depends on this writes
//!
//! ```wgsl
//! const K: u32 = 4u;
//! …
//!     // unroll
//!     for (var k = 0u; k < K; k++) { c += w[k] * v[k]; }
//! ```
//!
//! This is valid WGSL as written. The driver receives it with the launch's value of `K` and the body repeated K times.
//! The bounds are numbers, `const`s, or products and sums of these; the step is 1. Nothing else is rewritten.

use std::collections::BTreeMap;

/// The line before a loop to unroll.
pub const MARK: &str = "// unroll\n";

/// A launch's values by name.
pub type Values<'v> = Vec<(&'v str, f64)>;

/// Constants by name.
type Constants = BTreeMap<String, u64>;

/// Returns `text` with its `const NAME: u32 = …;` lines set to `values`, all constants, and the values that name no such line.
/// Lines that cannot be evaluated stay unchanged.
pub fn set_constants<'v>(text: &str, values: &[(&'v str, f64)]) -> (String, Constants, Values<'v>) {
    let mut constants = Constants::new();
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let declared = line.strip_prefix("const ").and_then(|rest| {
            let (name, value) = rest.split_once(": u32 = ")?;
            let given = values.iter().find(|(n, _)| *n == name).map(|(_, v)| *v as u64);
            Some((name, given.or_else(|| evaluate(value.split_once(';')?.0, &constants))?))
        });
        match declared {
            Some((name, value)) => {
                constants.insert(name.to_owned(), value);
                out += &format!("const {name}: u32 = {value}u;\n");
            }
            None => {
                out += line;
                out.push('\n');
            }
        }
    }
    let rest = values.iter().filter(|(n, _)| !constants.contains_key(*n)).copied().collect();
    (out, constants, rest)
}

/// Applies [`set_constants`], then unrolls every marked loop.
///
/// # Errors
/// A mark is not followed by a loop of the form above, or the loop's bounds are not constants. The message quotes the line.
pub fn specialize<'v>(text: &str, values: &[(&'v str, f64)]) -> Result<(String, Values<'v>), String> {
    let (text, constants, rest) = set_constants(text, values);
    Ok((unroll(&text, &constants)?, rest))
}

fn unroll(text: &str, constants: &Constants) -> Result<String, String> {
    let Some(at) = text.find(MARK) else { return Ok(text.to_owned()) };
    let after = &text[at + MARK.len()..];
    let line = after.trim_start().lines().next().unwrap_or_default().to_owned();
    let fail = |problem: &str| format!("// unroll: {problem}: {line}");
    let open = after.find('{').ok_or_else(|| fail("no loop follows"))?;
    let head = after[..open].trim();
    let inner = head
        .strip_prefix("for (var ")
        .and_then(|h| h.strip_suffix(')'))
        .ok_or_else(|| fail("expected `for (var NAME = A; NAME < B; NAME++) {`"))?;
    let mut parts = inner.split(';').map(str::trim);
    let (Some(begin), Some(end), Some(step), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(fail("expected three parts"));
    };
    let (name, begin) = begin.split_once(" = ").ok_or_else(|| fail("expected `var NAME = A`"))?;
    let end = end.strip_prefix(name).and_then(|e| e.trim().strip_prefix("< ")).ok_or_else(|| fail("expected <"))?;
    if step != format!("{name}++") {
        return Err(fail("the step must be 1"));
    }
    let constant = |e: &str| evaluate(e, constants).ok_or_else(|| fail(&format!("{e} is not a constant")));
    let (begin, end) = (constant(begin)?, constant(end)?);
    let mut depth = 0usize;
    let close = after[open..]
        .char_indices()
        .find(|(_, c)| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth == 0
        })
        .map(|(i, _)| open + i)
        .ok_or_else(|| fail("the loop does not end"))?;
    let body = &after[open + 1..close];
    let mut out = text[..at].to_owned();
    for value in begin..end {
        let mut inner_constants = constants.clone();
        inner_constants.insert(name.to_owned(), value);
        out.push('{');
        out += &unroll(&substitute(body, name, value), &inner_constants)?;
        out += "}\n";
    }
    out += &unroll(&after[close + 1..], constants)?;
    Ok(out)
}

/// Returns `text` with every whole word `name` replaced by `value`.
fn substitute(text: &str, name: &str, value: u64) -> String {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut out = String::with_capacity(text.len());
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut String| {
        if word == name && !out.ends_with('.') {
            *out += &format!("{value}u");
        } else {
            *out += word;
        }
        word.clear();
    };
    for c in text.chars() {
        if is_word(c) {
            word.push(c);
        } else {
            flush(&mut word, &mut out);
            out.push(c);
        }
    }
    flush(&mut word, &mut out);
    out
}

/// Evaluates a sum of products of numbers and constants, without parentheses.
fn evaluate(expression: &str, constants: &Constants) -> Option<u64> {
    expression.split('+').map(|sum| product(sum, constants)).sum()
}

fn product(text: &str, constants: &Constants) -> Option<u64> {
    text.split('*')
        .map(|factor| {
            let factor = factor.trim();
            constants.get(factor).copied().or_else(|| factor.strip_suffix('u').unwrap_or(factor).parse().ok())
        })
        .product()
}

#[cfg(test)]
mod tests {
    use super::specialize;

    #[test]
    fn loops_become_straight_lines_and_what_is_not_marked_stays() {
        let text = "const K: u32 = 2u;\nconst L: u32 = K * 2u;\nfn f() {\n// unroll\nfor (var k = 0u; k < K; k++) {\n  // unroll\n  for (var j = k; j < 3u; j++) { a[k] += kk.k * b[j]; }\n}\nfor (var k = 0u; k < L; k++) {}\n}\n";
        let (out, rest) = specialize(text, &[("K", 3.0), ("WG", 64.0)]).unwrap();
        assert_eq!(rest, [("WG", 64.0)]);
        assert!(out.contains("const K: u32 = 3u;") && out.contains("const L: u32 = 6u;"), "{out}");
        for (k, j) in [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)] {
            assert!(out.contains(&format!("a[{k}u] += kk.k * b[{j}u];")), "{k} {j} in {out}");
        }
        assert_eq!(out.matches("+=").count(), 6);
        assert!(out.contains("for (var k = 0u; k < L; k++) {}"));
        assert_eq!(specialize("fn f() {}\n", &[]).unwrap().0, "fn f() {}\n");
    }

    #[test]
    fn a_loop_that_cannot_be_unrolled_is_named() {
        for (text, part) in [
            ("// unroll\nfor (var k = 0u; k < p.n; k++) {}\n", "p.n is not a constant"),
            ("// unroll\nfor (var k = 0u; k < 4u; k += 2u) {}\n", "step must be 1"),
            ("// unroll\nlet k = 4u;\n", "no loop follows"),
            ("// unroll\nfor (var k = 0u; k < 4u; k++) {\n", "does not end"),
            ("// unroll\nwhile k < 4u {}\n", "expected `for"),
        ] {
            let problem = specialize(text, &[]).unwrap_err();
            assert!(problem.contains(part), "{problem}");
        }
    }
}
