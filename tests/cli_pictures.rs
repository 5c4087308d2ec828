//! `lineament upscale` on files of several pictures, on files with metadata, and on files that would take all memory.

#[path = "common/command.rs"]
mod command;
mod common;

use lineament::Picture;
use lineament::image::{Channels, Encoding, Format, Frames, FramesWriter, Metadata, Plays, Samples, Sequence};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn lineament(arguments: &[&str]) -> Command {
    let mut command = command::lineament();
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    lineament(arguments).output().unwrap()
}

#[track_caller]
fn ok(arguments: &[&str]) {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn picture(k: usize, width: usize, height: usize) -> Picture {
    let pixel = |i: usize| [40 * k as u8, (5 * (i % width)) as u8, (7 * (i / width)) as u8];
    let samples = Samples::U8((0..width * height).flat_map(pixel).collect());
    Picture::from_samples("made", width, height, Channels::Rgb, samples).unwrap()
}

fn write(path: &Path, format: Format, sequence: Sequence, pictures: &[Picture], delays: &[u32]) {
    let file = std::fs::File::create(path).unwrap();
    let encoding = format.into();
    let mut writer = FramesWriter::new(file, "made", &encoding, sequence, pictures.len(), &pictures[0]).unwrap();
    pictures.iter().zip(delays).for_each(|(picture, ms)| writer.add(picture, *ms).unwrap());
    writer.finish().unwrap();
}

/// Returns the sizes and delays of all pictures of a file.
fn read(path: &Path) -> (Sequence, Vec<([usize; 2], u32)>) {
    let mut frames = Frames::open(path).unwrap();
    let mut found = Vec::new();
    while let Some(frame) = frames.next_frame().unwrap() {
        found.push(([frame.picture.width(), frame.picture.height()], frame.delay_ms));
    }
    (frames.sequence(), found)
}

#[test]
fn upscale_keeps_every_frame_and_page() {
    if common::device().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    std::fs::create_dir(at("in")).unwrap();
    let frames: Vec<Picture> = (0..3).map(|k| picture(k, 20, 16)).collect();
    let delays = [33, 250, 1001];
    let moves = Sequence::Animation(Plays::Again(2));
    write(&at("in/a.png"), Format::Png, moves, &frames, &delays);
    write(&at("in/b.webp"), Format::WebP, moves, &frames, &delays);
    let pages = [picture(0, 20, 16), picture(1, 24, 12), picture(2, 16, 16)];
    write(&at("in/scan.tif"), Format::Tiff, Sequence::Pages, &pages, &[0; 3]);
    ok(&["upscale", &text("in"), &text("out"), "--scale", "2"]);
    let expected: Vec<_> = delays.iter().map(|ms| ([40, 32], *ms)).collect();
    assert_eq!(read(&at("out/a.png")), (moves, expected.clone()));
    assert_eq!(read(&at("out/b.webp")), (moves, expected));
    let expected = vec![([40, 32], 0), ([48, 24], 0), ([32, 32], 0)];
    assert_eq!(read(&at("out/scan.tif")), (Sequence::Pages, expected));

    // Into another format with animations, and into one without.
    ok(&["upscale", &text("in/b.webp"), &text("b.gif"), "--scale", "2"]);
    let (sequence, found) = read(&at("b.gif"));
    assert_eq!((sequence, found.len()), (moves, 3));
    for (input, output, problem) in [
        ("in/a.png", "a.jpg", "is an animation of 3 frames, and JPEG shows one picture; choose GIF, PNG or WebP"),
        ("in/scan.tif", "scan.png", "has 3 pages, and PNG holds one; choose TIFF"),
    ] {
        let refused = run(&["upscale", &text(input), &text(output), "--scale", "2"]);
        let stderr = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{stderr}");
        assert!(stderr.contains(&format!("{}: {problem}", text(input))), "{stderr}");
        assert!(!at(output).exists());
    }
}

#[test]
fn upscale_keeps_what_a_photograph_says() {
    if common::device().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    // One entry: the orientation, which says that the left side of the samples is the top.
    let exif = b"MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
    let xmp = b"<x:xmpmeta/>".to_vec();
    let mut photo = picture(1, 24, 16);
    photo.set_metadata(Metadata { exif: Some(exif.clone()), xmp: Some(xmp.clone()), density: Some([300.0; 2]) });
    let bytes = photo.encode(Encoding::from(Format::Jpeg)).unwrap();
    std::fs::write(at("photo.jpg"), bytes).unwrap();
    for output in ["big.jpg", "big.png", "big.webp", "big.tif"] {
        ok(&["upscale", &text("photo.jpg"), &text(output), "--scale", "2"]);
        let big = Picture::open(at(output)).unwrap();
        assert_eq!([big.width(), big.height()], [32, 48], "{output}: turned, once");
        assert_eq!(big.metadata().xmp.as_ref(), Some(&xmp), "{output}");
        // WebP has a resolution only in EXIF, and in TIFF its own orientation counts.
        if output != "big.webp" {
            assert_eq!(big.metadata().density, Some([300.0; 2]), "{output}");
        }
        if output != "big.tif" {
            let mut upright = exif.clone();
            upright[19] = 1;
            assert_eq!(big.metadata().exif.as_ref(), Some(&upright), "{output}");
        }
        ok(&["upscale", &text("photo.jpg"), &text(output), "--scale", "2", "--overwrite", "--strip"]);
        let bare = Picture::open(at(output)).unwrap();
        assert_eq!([bare.width(), bare.height()], [32, 48], "{output}: turned in its samples");
        assert!(bare.metadata().exif.is_none() && bare.metadata().xmp.is_none(), "{output}: {:?}", bare.metadata());
        assert_ne!(bare.metadata().density, Some([300.0; 2]), "{output}");
    }
}

/// Six files of less than a megabyte each that would take two gigabytes each, and a good one.
#[cfg(target_os = "linux")]
#[test]
fn upscale_of_bombs_stays_small() {
    if common::device().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let text = |name: &str| at(name).to_str().unwrap().to_owned();
    std::fs::create_dir(at("in")).unwrap();
    picture(1, 20, 16).save(at("in/good.png")).unwrap();
    // A PNG whose packed profile is replaced by a decompression bomb.
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let block = vec![0; 1 << 20];
    (0..900).for_each(|_| std::io::Write::write_all(&mut packed, &block).unwrap());
    let data = [b"bomb\0\0", &packed.finish().unwrap()[..]].concat();
    let good = std::fs::read(at("in/good.png")).unwrap();
    let mut checksum = flate2::Crc::new();
    checksum.update(b"iCCP");
    checksum.update(&data);
    // After the header, which ends at byte 33.
    let length = (data.len() as u32).to_be_bytes();
    let bomb = [&good[..33], &length, b"iCCP", &data, &checksum.sum().to_be_bytes(), &good[33..]].concat();
    assert!(bomb.len() < 1 << 20);
    (0..6).for_each(|k| std::fs::write(at(&format!("in/{k}.png")), &bomb).unwrap());
    let mut child = lineament(&["upscale", &text("in"), &text("out"), "--scale", "2"])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(line.unwrap_or(0_usize) / 1024);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.matches("its colour profile takes more than 16 MiB; remove it").count(), 6, "{stderr}");
    assert!(at("out/good.png").exists());
    println!("the most memory was {peak} MiB");
    assert!((20..900).contains(&peak), "{peak} MiB");
}
