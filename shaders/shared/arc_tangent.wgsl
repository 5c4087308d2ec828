// arc_tangent: atan(a) to a few units in the last place. WGSL's own atan has an error of 4096. Above tan(3π/8) and above tan(π/8) the
// argument is turned by π/2 or π/4. Source: reduction and polynomial of Moshier's Cephes, atanf.c.

fn arc_tangent(a: T) -> T {
    let size = abs(a);
    let is_large = size > T(2.414213562373095);
    let is_medium = size > T(0.4142135623730950);
    let turned = select((size - T(1.0)) / (size + T(1.0)), T(-1.0) / size, is_large);
    let x = select(size, turned, is_medium);
    let z = x * x;
    let y = (((T(8.05374449538e-2) * z - T(1.38776856032e-1)) * z + T(1.99777106478e-1)) * z - T(3.33329491539e-1)) * z * x + x;
    let turn = select(select(T(0.0), T(0.7853981633974483), is_medium), T(1.5707963267948966), is_large);
    return select(turn + y, -(turn + y), a < T(0.0));
}
