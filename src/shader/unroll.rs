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
//! The bounds are numbers, `const`s, or products and sums of these; the step is 1.
//!
//! In the repeated body, an `if` that compares such sums is decided, and an index that is one becomes a number. The driver would
//! find both by itself, but naga's time to read a function grows with the square of its expressions (30.0, `Typifier::grow`).

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
    let close = end_of_block(after, open).ok_or_else(|| fail("the loop does not end"))?;
    let body = &after[open + 1..close];
    let mut out = text[..at].to_owned();
    for value in begin..end {
        let body = folded(&decided(&substitute(body, name, value), constants), constants);
        out.push('{');
        out += &unroll(&body, constants)?;
        out += "}\n";
    }
    out += &unroll(&after[close + 1..], constants)?;
    Ok(out)
}

/// Returns where the block that opens at `open` closes.
fn end_of_block(text: &str, open: usize) -> Option<usize> {
    let mut depth = 0usize;
    let close = text[open..].char_indices().find(|(_, c)| {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        depth == 0
    });
    close.map(|(i, _)| open + i)
}

/// Returns `text` with every `if` whose condition is constant replaced by the block that it selects. A name that ends in "if" is never
/// taken for one, since what follows it is no comparison.
fn decided(text: &str, constants: &Constants) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("if ") {
        let (before, statement) = rest.split_at(at);
        out += before;
        match selected(statement, constants) {
            // A selected block may hold further conditions.
            Some((block, after)) => {
                out += &decided(block, constants);
                rest = after;
            }
            None => {
                out += "if ";
                rest = &statement["if ".len()..];
            }
        }
    }
    out + rest
}

/// Returns the block that the `if` at the start of `text` selects, and what follows the statement; `None` if its condition is not
/// constant. The block is another `if` after an `else if`.
fn selected<'t>(text: &'t str, constants: &Constants) -> Option<(&'t str, &'t str)> {
    let open = text.find('{')?;
    let holds = condition(&text["if ".len()..open], constants)?;
    let close = end_of_block(text, open)?;
    let block = &text[open..=close];
    let Some(other) = text[close + 1..].trim_start().strip_prefix("else ") else {
        return Some((if holds { block } else { "{}" }, &text[close + 1..]));
    };
    let end = end_of_statement(other)?;
    Some((if holds { block } else { &other[..end] }, &other[end..]))
}

/// Returns where the block, or the `if` with all its branches, at the start of `text` ends.
fn end_of_statement(text: &str) -> Option<usize> {
    let end = end_of_block(text, text.find('{')?)? + 1;
    if !text.starts_with("if ") {
        return Some(end);
    }
    match text[end..].trim_start().strip_prefix("else ") {
        None => Some(end),
        Some(other) => Some(text.len() - other.len() + end_of_statement(other)?),
    }
}

/// Returns whether comparisons joined by `&&`, or by `||`, hold; `None` if that depends on what is not constant.
fn condition(text: &str, constants: &Constants) -> Option<bool> {
    let (separator, decisive) = if text.contains("||") { ("||", true) } else { ("&&", false) };
    let terms: Vec<_> = text.split(separator).map(|term| comparison(term, constants)).collect();
    if terms.contains(&Some(decisive)) {
        return Some(decisive);
    }
    terms.iter().all(Option::is_some).then_some(!decisive)
}

fn comparison(text: &str, constants: &Constants) -> Option<bool> {
    let (operator, at) = ["==", "!=", "<=", ">=", "<", ">"].iter().find_map(|o| Some((*o, text.find(o)?)))?;
    let (a, b) = (evaluate(&text[..at], constants)?, evaluate(&text[at + operator.len()..], constants)?);
    Some(match operator {
        "==" => a == b,
        "!=" => a != b,
        "<=" => a <= b,
        ">=" => a >= b,
        "<" => a < b,
        _ => a > b,
    })
}

/// Returns `text` with every constant index as a number.
fn folded(text: &str, constants: &Constants) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('[') {
        let (before, index) = rest.split_at(at + 1);
        out += before;
        let value = index.find(']').and_then(|end| Some((evaluate(&index[..end], constants)?, end)));
        rest = match value {
            Some((value, end)) => {
                out += &format!("{value}u");
                &index[end..]
            }
            None => index,
        };
    }
    out + rest
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
    use super::{Constants, condition, specialize};

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

    /// Returns what a marked loop of k from 0 to 2 with this body becomes, without spaces.
    fn unrolled(body: &str) -> String {
        let text = format!("const K: u32 = 3u;\n// unroll\nfor (var k = 0u; k < 3u; k++) {{{body}}}\n");
        let (out, _) = specialize(&text, &[]).unwrap();
        out.strip_prefix("const K: u32 = 3u;\n").unwrap().split_whitespace().collect()
    }

    #[test]
    fn constant_conditions_of_unrolled_loops_are_decided() {
        assert_eq!(unrolled("if k == 1u { a(); }"), "{{}}{{a();}}{{}}");
        assert_eq!(unrolled("if k * K + 1u >= 4u { a(); } else { b(); }"), "{{b();}}{{a();}}{{a();}}");
        let chain = "if k == 0u { a(); } else if k == 1u { if k == p.n { b(); } } else { c(); }";
        assert_eq!(unrolled(chain), "{{a();}}{{ifk==p.n{b();}}}{{c();}}".replace("ifk", "if1u"));
        // The condition depends on a value; what follows it, and what the selected block holds, does not.
        let inner = "if k < p.n { a(); } else { if k != 2u { b(); } } c();";
        let of = |k: u32, b: &str| format!("{{if{k}u<p.n{{a();}}else{{{b}}}c();}}");
        assert_eq!(unrolled(inner), of(0, "{b();}") + &of(1, "{b();}") + &of(2, "{}"));
        // A loop in a block that is not selected is not unrolled.
        let nested = "if k > 1u {\n// unroll\nfor (var j = 0u; j < 2u; j++) { a[j * K + k] = gif [k]; }\n}";
        assert_eq!(unrolled(nested), "{{}}{{}}{{{a[2u]=gif[2u];}{a[5u]=gif[2u];}}}");
        // Outside marked loops nothing changes.
        let outside = "if 1u == 2u { a[1u + 1u] = 0.0; }\n";
        let text = format!("{outside}// unroll\nfor (var k = 0u; k < 1u; k++) {{}}\n{outside}");
        assert_eq!(specialize(&text, &[]).unwrap().0, format!("{outside}{{}}\n\n{outside}"));
    }

    #[test]
    fn a_condition_is_constant_if_its_constant_terms_decide() {
        let constants = Constants::from([("K".to_owned(), 3)]);
        for (text, expected) in [
            ("K <= 3u", Some(true)),
            ("K < 3u", Some(false)),
            ("K * 2u + 1u > 6u", Some(true)),
            ("K > 3u", Some(false)),
            ("K >= 4u", Some(false)),
            ("K != 3u", Some(false)),
            ("K == 3u || lane < n", Some(true)),
            ("K == 4u || lane < n", None),
            ("lane < n && K == 4u", Some(false)),
            ("lane < n && K == 3u", None),
            ("K == 3u && K < 4u", Some(true)),
            ("K == 4u || K > 4u", Some(false)),
            ("K << 1u == 6u", None),
            ("K - 1u == 2u", None),
            ("meets(K, 3u)", None),
            ("(K == 3u)", None),
        ] {
            assert_eq!(condition(text, &constants), expected, "{text}");
        }
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
