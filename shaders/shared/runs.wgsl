// runs: sums of what equal indices have chosen, shared by gather, resample and scatter_add. The indices of each line are sorted by counting
// ranks in chunks, then by searching the other chunks; equal indices keep their order. The including shader has `indices`, scratch t0 to t2,
// `term(at)`, element `at` of the tensor [outer, count, inner] that the indices have chosen from [outer, rows, inner], and in `P`:
//   rows, inner: sizes; count: indices per line; lines: 1, or outer · inner; stride: between neighbours in a line of indices; chunk: indices
//   ranked together

override WG: u32 = 64u;
// Terms added up before they are added to the sum: fewer roundings than in one long sum.
const PART = 64u;

fn index_of(line: u32, j: u32) -> u32 {
    return indices[(line / p.stride * p.count + j) * p.stride + line % p.stride];
}

struct Chosen { at: u32, is_inside: bool }

// The element of [outer, rows, inner] that element `at` of [outer, count, inner] stands for; if it is not inside, any number.
fn chosen(at: u32) -> Chosen {
    let within = at % p.inner;
    let outer = at / p.inner / p.count;
    let row = index_of((outer * p.inner + within) % p.lines, at / p.inner % p.count);
    return Chosen((outer * p.rows + row) * p.inner + within, row < p.rows);
}

// t0: the j whose index comes at each place of the chunk.
fn place_in_chunk(thread: u32) {
    let line = thread / p.count;
    let j = thread % p.count;
    let own = index_of(line, j);
    let first = j - j % p.chunk;
    var rank = first;
    for (var k = first; k < min(first + p.chunk, p.count); k++) {
        let other = index_of(line, k);
        if other < own || (other == own && k < j) { rank++; }
    }
    t0[line * p.count + rank] = j;
}

// t1: the j whose index comes at each place of the line.
fn place(thread: u32) {
    let line = thread / p.count;
    let j = t0[thread];
    let own = index_of(line, j);
    let own_first = thread % p.count / p.chunk * p.chunk;
    var rank = thread % p.count - own_first;
    for (var first = 0u; first < p.count; first += p.chunk) {
        if first != own_first {
            // The first place in this chunk whose index comes later than the own one.
            var low = first;
            var high = min(first + p.chunk, p.count);
            while low < high {
                let middle = (low + high) / 2u;
                let other = index_of(line, t0[line * p.count + middle]);
                if other < own || (other == own && first < own_first) {
                    low = middle + 1u;
                } else {
                    high = middle;
                }
            }
            rank += low - first;
        }
    }
    t1[line * p.count + rank] = j;
}

// t2: the first place in a line whose index is not below each row.
fn find_run(thread: u32) {
    let line = thread / p.rows;
    let row = thread % p.rows;
    var low = 0u;
    var high = p.count;
    while low < high {
        let middle = (low + high) / 2u;
        if index_of(line, t1[line * p.count + middle]) < row {
            low = middle + 1u;
        } else {
            high = middle;
        }
    }
    t2[thread] = low;
}

// The sum of the terms that element i of [outer, rows, inner] gets.
fn run_sum(i: u32) -> f32 {
    let within = i % p.inner;
    let row = i / p.inner % p.rows;
    let outer = i / p.inner / p.rows;
    let line = (outer * p.inner + within) % p.lines;
    let first = t2[line * p.rows + row];
    var sum = 0.0;
    var part = 0.0;
    for (var k = first; k < p.count; k++) {
        let j = t1[line * p.count + k];
        if index_of(line, j) != row { break; }
        if (k - first) % PART == 0u {
            sum += part;
            part = 0.0;
        }
        part += term((outer * p.count + j) * p.inner + within);
    }
    return sum + part;
}
