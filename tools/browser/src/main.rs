//! `lineament-browser WASM FOLDER`: writes the library and the JavaScript that loads it to a folder.

#[cfg(not(target_arch = "wasm32"))]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [wasm, folder] = &arguments[..] else {
        eprintln!("usage: lineament-browser WASM FOLDER");
        std::process::exit(2);
    };
    let mut bindgen = wasm_bindgen_cli_support::Bindgen::new();
    let made = bindgen.input_path(wasm).out_name("lineament").web(true).and_then(|bindgen| bindgen.typescript(false).generate(folder));
    if let Err(e) = made {
        eprintln!("error: {wasm}: {e:#}");
        std::process::exit(1);
    }
}

#[cfg(target_arch = "wasm32")]
fn main() {}
