//! Pictures in and out: what the formats keep, how broken files are refused, and bicubic resizing against external numbers.

mod common;

use lineament::Picture;
use lineament::image::{
    Channel, Channels, Encoding, Format, Frame, Frames, FramesWriter, Metadata, Plays, Rect, Samples, Sequence,
    resize_plane, resize_plane_u8, rgb_to_ycbcr, ycbcr_to_rgb,
};
use lineament::metrics::psnr;
use lineament::ops::resize::{Border, Kernel, Ratio, Resize};
use lineament::rng::Rng;
use std::path::Path;

const ALL_CHANNELS: [Channels; 4] = [Channels::Grey, Channels::GreyAlpha, Channels::Rgb, Channels::Rgba];

fn random(width: usize, height: usize, channels: Channels, bits: u32, seed: u64) -> Picture {
    let mut rng = Rng::new(seed);
    let len = width * height * channels.count();
    let samples = match bits {
        8 => Samples::U8((0..len).map(|_| rng.below(256) as u8).collect()),
        _ => Samples::U16((0..len).map(|_| rng.below(65536) as u16).collect()),
    };
    Picture::from_samples("random", width, height, channels, samples).unwrap()
}

/// Returns a smooth picture, which JPEG keeps well.
fn smooth(width: usize, height: usize, channels: Channels) -> Picture {
    let count = channels.count();
    let samples = (0..width * height * count)
        .map(|i| {
            let (k, j, row) = (i % count, i / count % width, i / count / width);
            (40 + 100 * j / width + 60 * row / height + 20 * k) as u8
        })
        .collect();
    Picture::from_samples("smooth", width, height, channels, Samples::U8(samples)).unwrap()
}

fn message(bytes: &[u8], name: &str) -> String {
    Picture::decode(bytes, name).unwrap_err().to_string()
}

/// Asserts that a message has all parts that a user needs.
#[track_caller]
fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "{part:?} is missing in {message:?}");
    }
}

/// Returns a PNG chunk with its checksum.
fn chunk(kind: &[u8; 4], data: &[u8]) -> Vec<u8> {
    let mut body = kind.to_vec();
    body.extend(data);
    let mut crc = u32::MAX;
    for &byte in &body {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    let mut out = (data.len() as u32).to_be_bytes().to_vec();
    out.extend(body);
    out.extend((!crc).to_be_bytes());
    out
}

/// Returns a PNG of stored (not compressed) rows, each preceded by its filter byte 0.
fn png(width: u32, height: u32, depth: u8, color: u8, extra: &[Vec<u8>], rows: &[u8]) -> Vec<u8> {
    let mut header = width.to_be_bytes().to_vec();
    header.extend(height.to_be_bytes());
    header.extend([depth, color, 0, 0, 0]);
    let (mut a, mut b) = (1u32, 0u32);
    for &byte in rows {
        a = (a + u32::from(byte)) % 65521;
        b = (b + a) % 65521;
    }
    let mut data = vec![0x78, 0x01, 1];
    data.extend((rows.len() as u16).to_le_bytes());
    data.extend((!(rows.len() as u16)).to_le_bytes());
    data.extend(rows);
    data.extend((b << 16 | a).to_be_bytes());
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    out.extend(chunk(b"IHDR", &header));
    out.extend(extra.concat());
    out.extend(chunk(b"IDAT", &data));
    out.extend(chunk(b"IEND", &[]));
    out
}

/// Returns the header of a colour profile, as far as it is read here.
fn profile(space: &[u8; 4]) -> Vec<u8> {
    let mut icc = vec![0; 300];
    icc[..4].copy_from_slice(&300u32.to_be_bytes());
    icc[16..20].copy_from_slice(space);
    icc[36..40].copy_from_slice(b"acsp");
    icc[200] = 77;
    icc
}

#[test]
fn lossless_formats_keep_every_sample() {
    for format in [Format::Png, Format::WebP, Format::Bmp, Format::Tiff] {
        for channels in ALL_CHANNELS {
            for bits in [8, 16] {
                let picture = random(7, 5, channels, bits, 3);
                let back = Picture::decode(&picture.encode(format).unwrap(), "x").unwrap();
                assert_eq!([back.width(), back.height()], [7, 5]);
                let deep = matches!(format, Format::Png | Format::Tiff);
                assert_eq!(back.samples().bits(), if deep { bits } else { 8 }, "{format:?} {channels}");
                for channel in [Channel::Red, Channel::Green, Channel::Blue, Channel::Alpha] {
                    let a = picture.plane(channel, picture.whole()).unwrap();
                    let b = back.plane(channel, back.whole()).unwrap();
                    let allowed = if deep || bits == 8 { 0.0 } else { 0.5001 / 255.0 };
                    assert!(
                        a.iter().zip(&b).all(|(a, b)| (a - b).abs() <= allowed),
                        "{format:?} {channels} {bits} bit {channel:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn png_and_tiff_give_back_the_same_picture() {
    for channels in ALL_CHANNELS {
        for bits in [8, 16] {
            let picture = random(5, 9, channels, bits, 4);
            let mut formats = vec![Format::Png];
            formats.extend((channels != Channels::GreyAlpha).then_some(Format::Tiff));
            for format in formats {
                let back = Picture::decode(&picture.encode(format).unwrap(), "random").unwrap();
                assert_eq!(back, picture, "{format:?}");
            }
        }
    }
}

#[test]
fn jpeg_is_close_and_refuses_alpha() {
    for channels in [Channels::Grey, Channels::Rgb] {
        let picture = smooth(48, 32, channels);
        let back = Picture::decode(&picture.encode(Format::Jpeg).unwrap(), "x.jpg").unwrap();
        assert_eq!(back.channels(), channels);
        let [a, b] = [&picture, &back].map(|p| p.plane(Channel::Y, p.whole()).unwrap());
        assert!(psnr(&a, &b, [32, 48], 0).unwrap() > 40.0);
    }
    let refused = random(4, 4, Channels::Rgba, 8, 1).encode(Format::Jpeg).unwrap_err().to_string();
    assert_eq!(
        refused,
        "random: JPEG has no alpha channel, and the picture has one; save it as PNG, WebP, BMP or TIFF"
    );
    let refused = Picture::new("wide", 20_000, 1, Channels::Grey, 8).unwrap().encode(Format::WebP).unwrap_err();
    says(&refused.to_string(), &["WebP holds at most 16383 pixels", "20000x1", "PNG, JPEG, BMP or TIFF"]);
}

#[test]
fn palette_and_few_bits_become_8_bit() {
    let palette = chunk(b"PLTE", &[255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7]);
    // 2 bits per pixel: indices 0, 1, 2, 3 and 3, 0, 1, 2.
    let rows = [0, 0b00_01_10_11, 0, 0b11_00_01_10];
    let picture = Picture::decode(&png(4, 2, 2, 3, std::slice::from_ref(&palette), &rows), "palette.png").unwrap();
    let expected = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [9, 8, 7], [9, 8, 7], [255, 0, 0], [0, 255, 0], [0, 0, 255]];
    assert_eq!(picture.samples(), &Samples::U8(expected.concat()));
    assert_eq!(picture.channels(), Channels::Rgb);
    let transparent = chunk(b"tRNS", &[128]);
    let picture = Picture::decode(&png(4, 2, 2, 3, &[palette, transparent], &rows), "palette.png").unwrap();
    assert_eq!(picture.channels(), Channels::Rgba);
    assert_eq!(
        picture.plane(Channel::Alpha, Rect { top: 0, left: 0, height: 1, width: 2 }).unwrap(),
        [128. / 255., 1.]
    );
    let picture = Picture::decode(&png(8, 1, 1, 0, &[], &[0, 0b1010_0011]), "bits.png").unwrap();
    assert_eq!(picture.samples(), &Samples::U8(vec![255, 0, 255, 0, 0, 0, 255, 255]));
}

#[test]
fn exif_orientation_is_applied() {
    let picture = smooth(48, 32, Channels::Grey);
    let jpeg = picture.encode(Format::Jpeg).unwrap();
    let at = |p: &Picture, i: usize, j: usize| {
        p.plane(Channel::Y, Rect { top: i, left: j, height: 1, width: 1 }).unwrap()[0] * 255.0
    };
    let plain = Picture::decode(&jpeg, "x.jpg").unwrap();
    for orientation in 1..=8u8 {
        // A big-endian TIFF header and one directory entry: tag 0x0112, type SHORT, one value.
        let mut exif = b"Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
        let mut bytes = jpeg[..2].to_vec();
        bytes.extend([0xFF, 0xE1]);
        bytes.extend((exif.len() as u16 + 2).to_be_bytes());
        bytes.extend(exif);
        bytes.extend(&jpeg[2..]);
        let turned = Picture::decode(&bytes, "x.jpg").unwrap();
        // EXIF 2.32: where row 0 and column 0 of the stored picture are shown.
        let (h, w) = (31, 47);
        let from = |i: usize, j: usize| match orientation {
            1 => (i, j),
            2 => (i, w - j),
            3 => (h - i, w - j),
            4 => (h - i, j),
            5 => (j, i),
            6 => (h - j, i),
            7 => (h - j, w - i),
            _ => (j, w - i),
        };
        let size = if orientation < 5 { [48, 32] } else { [32, 48] };
        assert_eq!([turned.width(), turned.height()], size, "{orientation}");
        for (i, j) in [(0, 0), (3, 17), (size[1] - 1, 0), (size[1] - 2, size[0] - 1)] {
            let (r, s) = from(i, j);
            assert_eq!(at(&turned, i, j), at(&plain, r, s), "orientation {orientation} at {i}, {j}");
        }
    }
}

#[test]
fn icc_profile_is_kept_where_it_fits() {
    let icc = profile(b"RGB ");
    let mut picture = smooth(16, 16, Channels::Rgb);
    picture.set_icc(Some(icc.clone()));
    for format in [Format::Png, Format::Jpeg, Format::WebP, Format::Tiff] {
        let back = Picture::decode(&picture.encode(format).unwrap(), "x").unwrap();
        assert_eq!(back.icc(), Some(&icc[..]), "{format:?}");
    }
    assert_eq!(Picture::decode(&picture.encode(Format::Bmp).unwrap(), "x").unwrap().icc(), None);
    // A profile for ink does not apply to the RGB samples that a decoder made.
    picture.set_icc(Some(profile(b"CMYK")));
    assert_eq!(Picture::decode(&picture.encode(Format::Png).unwrap(), "x").unwrap().icc(), None);
    assert_eq!(picture.crop(Rect { top: 1, left: 2, height: 3, width: 4 }).unwrap().icc(), picture.icc());
}

/// Returns little-endian EXIF with an orientation, a size, a maker, a place, and a second directory, like a thumbnail's.
fn exif(orientation: u16) -> Vec<u8> {
    let mut out = b"II\x2A\0\x08\0\0\0".to_vec();
    let entry = |tag: u16, kind: u16, count: u32, value: u32| {
        [&tag.to_le_bytes()[..], &kind.to_le_bytes(), &count.to_le_bytes(), &value.to_le_bytes()].concat()
    };
    let directory = |entries: &[Vec<u8>], next: u32| {
        [&(entries.len() as u16).to_le_bytes()[..], &entries.concat(), &next.to_le_bytes()].concat()
    };
    let (maker, resolution) = (200, 208);
    // 8: six entries, 86: two entries, 116: one entry, 134: the thumbnail's.
    let main = [
        entry(271, 2, 6, maker),
        entry(274, 3, 1, orientation.into()),
        entry(282, 5, 1, resolution),
        entry(283, 5, 1, resolution),
        entry(34665, 4, 1, 86),
        entry(34853, 4, 1, 116),
    ];
    out.extend(directory(&main, 134));
    out.extend(directory(&[entry(0xA002, 3, 1, 48), entry(0xA003, 4, 1, 32)], 0));
    out.extend(directory(&[entry(1, 2, 2, u32::from_le_bytes(*b"N\0\0\0"))], 0));
    out.extend(directory(&[entry(256, 4, 1, 160)], 0));
    out.resize(maker as usize, 0);
    out.extend(b"Maker\0\0\0");
    out.extend(240u32.to_le_bytes());
    out.extend(1u32.to_le_bytes());
    out
}

const XMP: &[u8] = b"<x:xmpmeta tiff:Orientation=\"6\" exif:Note=\"\xC3\xA9\"/>";

fn everything() -> Metadata {
    Metadata { exif: Some(exif(1)), xmp: Some(XMP.into()), density: Some([300.0, 150.0]) }
}

/// Returns four bytes of the value of an EXIF tag in the directory at `offset`.
fn tag(exif: &[u8], offset: usize, tag: u16) -> Option<u32> {
    let count = u16::from_le_bytes(exif[offset..offset + 2].try_into().unwrap());
    let entries = (0..usize::from(count)).map(|i| &exif[offset + 2 + 12 * i..][..12]);
    let found = entries.into_iter().find(|e| e[..2] == tag.to_le_bytes())?;
    Some(u32::from_le_bytes(found[8..].try_into().unwrap()))
}

#[test]
fn metadata_is_kept_where_the_format_holds_it() {
    let mut picture = smooth(48, 32, Channels::Rgb);
    picture.set_metadata(everything());
    picture.set_icc(Some(profile(b"RGB ")));
    for format in [Format::Png, Format::Jpeg, Format::WebP, Format::Tiff] {
        for quality in [None, Some(80)] {
            let bytes = picture.encode(Encoding { quality, ..format.into() }).unwrap();
            let back = Picture::decode(&bytes, "x").unwrap();
            let Metadata { exif, xmp, density } = back.metadata();
            assert_eq!(xmp.as_deref(), Some(XMP), "{format:?}");
            // WebP has no resolution of its own; EXIF says 240.
            let expected = if format == Format::WebP { [240.0; 2] } else { [300.0, 150.0] };
            assert_eq!(*density, Some(expected), "{format:?}");
            let exif = exif.as_ref().unwrap_or_else(|| panic!("{format:?} has no EXIF"));
            let at = tag(exif, 8, 34665).unwrap() as usize;
            assert_eq!((tag(exif, at, 0xA002), tag(exif, at, 0xA003)), (Some(48), Some(32)), "{format:?}");
            let gps = tag(exif, 8, 34853).unwrap() as usize;
            assert_eq!(tag(exif, gps, 1), Some(u32::from_le_bytes(*b"N\0\0\0")), "{format:?}");
            let maker = tag(exif, 8, 271).unwrap() as usize;
            assert_eq!(&exif[maker..maker + 6], b"Maker\0", "{format:?}");
            assert_eq!(back.icc(), picture.icc());
            // Convert again, from each format to each.
            for next in [Format::Png, Format::Jpeg, Format::WebP, Format::Tiff] {
                let again = Picture::decode(&back.encode(next).unwrap(), "x").unwrap();
                let exif = again.metadata().exif.as_ref().unwrap();
                let maker = tag(exif, 8, 271).unwrap() as usize;
                assert_eq!(&exif[maker..maker + 6], b"Maker\0", "{format:?} {next:?}");
                assert_eq!(again.metadata().xmp, back.metadata().xmp);
            }
        }
        // Stripped, the file has nothing but the profile.
        let bytes = picture.encode(Encoding { strip: true, ..format.into() }).unwrap();
        let back = Picture::decode(&bytes, "x").unwrap();
        assert_eq!((back.metadata(), back.icc()), (&Metadata::default(), picture.icc()), "{format:?}");
    }
    let density = |format| Picture::decode(&picture.encode(format).unwrap(), "x").unwrap().metadata().density;
    assert_eq!((density(Format::Bmp), density(Format::Gif)), (Some([300.0, 150.0]), None));
    // Pictures derived from it keep it, with the new size.
    let large = picture.resize(&Resize::by(Kernel::Bicubic, 3, 2)).unwrap();
    for format in [Format::Jpeg, Format::Tiff] {
        let back = Picture::decode(&large.encode(format).unwrap(), "x").unwrap();
        let exif = back.metadata().exif.as_ref().unwrap();
        let at = tag(exif, 8, 34665).unwrap() as usize;
        assert_eq!((tag(exif, at, 0xA002), tag(exif, at, 0xA003)), (Some(72), Some(48)));
        assert_eq!(back.metadata().density, Some([300.0, 150.0]));
    }
    // A segment of JPEG holds 64 KB.
    let mut much = everything();
    much.xmp = Some(vec![b' '; 70_000]);
    picture.set_metadata(much);
    for (format, expected) in [(Format::Jpeg, None), (Format::Png, Some(70_000)), (Format::WebP, Some(70_000))] {
        let back = Picture::decode(&picture.encode(format).unwrap(), "x").unwrap();
        assert_eq!(back.metadata().xmp.as_ref().map(Vec::len), expected, "{format:?}");
        assert!(back.metadata().exif.is_some());
    }
}

#[test]
fn what_was_turned_says_so_no_more() {
    let mut picture = smooth(48, 32, Channels::Rgb);
    picture.set_metadata(Metadata { exif: Some(exif(6)), ..everything() });
    for format in [Format::Png, Format::Jpeg, Format::WebP] {
        let turned = Picture::decode(&picture.encode(format).unwrap(), "x").unwrap();
        assert_eq!([turned.width(), turned.height()], [32, 48], "{format:?}");
        let Metadata { exif, xmp, .. } = turned.metadata();
        let (exif, xmp) = (exif.as_ref().unwrap(), xmp.as_ref().unwrap());
        assert_eq!(tag(exif, 8, 274), Some(1));
        // The thumbnail is no longer linked.
        assert_eq!(exif[8 + 2 + 6 * 12..][..4], [0; 4]);
        assert!(xmp.windows(20).any(|w| w == b"tiff:Orientation=\"1\""), "{}", String::from_utf8_lossy(xmp));
        let again = Picture::decode(&turned.encode(format).unwrap(), "x").unwrap();
        assert_eq!([again.width(), again.height()], [32, 48], "turned twice");
        let exif = again.metadata().exif.as_ref().unwrap();
        let at = tag(exif, 8, 34665).unwrap() as usize;
        assert_eq!((tag(exif, at, 0xA002), tag(exif, at, 0xA003)), (Some(32), Some(48)));
    }
}

#[test]
fn animations_keep_profile_and_metadata() {
    let mut frames = moving();
    for frame in &mut frames {
        frame.picture.set_metadata(everything());
        frame.picture.set_icc(Some(profile(b"RGB ")));
    }
    for format in [Format::Png, Format::WebP] {
        let (again, _) = all(&write(&frames, Sequence::Animation(Plays::Once), format), "a");
        for frame in again {
            assert_eq!(frame.picture.icc(), Some(&profile(b"RGB ")[..]), "{format:?}");
            assert_eq!(frame.picture.metadata().xmp.as_deref(), Some(XMP), "{format:?}");
            assert!(frame.picture.metadata().exif.is_some());
        }
    }
}

/// Returns a zlib stream of `len` zeros, packed as tightly as possible.
fn zeros(len: usize) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let block = vec![0; 1 << 20];
    for _ in 0..len.div_ceil(block.len()) {
        std::io::Write::write_all(&mut encoder, &block).unwrap();
    }
    encoder.finish().unwrap()
}

#[test]
fn bombs_beside_the_picture_are_refused_before_they_are_unpacked() {
    let rows = [0, 1, 2, 3];
    let file = |extra: &[Vec<u8>]| png(1, 1, 8, 2, extra, &rows);
    let iccp = |packed: &[u8]| chunk(b"iCCP", &[b"bomb\0\0", packed].concat());
    let mib = 1 << 20;
    // Less than a megabyte in the file.
    let bomb = file(&[iccp(&zeros(800 * mib))]);
    assert!(bomb.len() < mib);
    let before = peak();
    let refused = message(&bomb, "bomb.png");
    assert_eq!(
        refused,
        "bomb.png: its colour profile takes more than 16 MiB; remove it with an image editor, or convert the file first"
    );
    let folder = folder();
    let path = folder.path().join("bomb.png");
    std::fs::write(&path, &bomb).unwrap();
    let size = Picture::measure(&path).unwrap();
    assert!(size.working_bytes >= 16 << 20, "{size:?}");
    assert!(Frames::decode(bomb, "bomb.png").unwrap().next_frame().is_err());
    let xmp =
        |packed: u8, text: &[u8]| chunk(b"iTXt", &[b"XML:com.adobe.xmp\0", &[packed, 0, 0, 0][..], text].concat());
    says(&message(&file(&[xmp(1, &zeros(300 * mib))]), "x.png"), &["its XMP metadata takes more than 16 MiB"]);
    // Other texts are not unpacked.
    Picture::decode(&file(&[chunk(b"zTXt", &[b"Comment\0\0", &zeros(300 * mib)[..]].concat())]), "x.png").unwrap();
    let grown = peak() - before;
    assert!(grown < 150 << 20, "{} MiB were taken", grown >> 20);
    // Sensible sizes pass, packed or not.
    let icc = profile(b"RGB ");
    let packed = {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &icc).unwrap();
        encoder.finish().unwrap()
    };
    assert_eq!(Picture::decode(&file(&[iccp(&packed)]), "x").unwrap().icc(), Some(&icc[..]));
    assert_eq!(Picture::decode(&file(&[xmp(0, XMP)]), "x").unwrap().metadata().xmp.as_deref(), Some(XMP));
    // A damaged profile is left out, as before.
    assert_eq!(Picture::decode(&file(&[iccp(b"nonsense")]), "x").unwrap().icc(), None);

    // Unpacked profiles and packets.
    let mut large = smooth(8, 8, Channels::Rgb);
    let mut icc = profile(b"RGB ");
    icc.resize((16 << 20) + 1, 0);
    large.set_icc(Some(icc));
    for format in [Format::WebP, Format::Tiff, Format::Png] {
        says(&message(&large.encode(format).unwrap(), "x"), &["its colour profile takes more than 16 MiB; remove it"]);
    }
    large.set_icc(None);
    large.set_metadata(Metadata { xmp: Some(vec![b' '; (16 << 20) + 1]), ..Metadata::default() });
    for format in [Format::WebP, Format::Tiff, Format::Png] {
        says(&message(&large.encode(format).unwrap(), "x"), &["its XMP metadata takes more than 16 MiB; remove it"]);
    }
    // Many segments in a JPEG, and many chunks in a PNG.
    let jpeg = smooth(8, 8, Channels::Rgb).encode(Format::Jpeg).unwrap();
    let segment = [&[0xFF, 0xEB, 0xFF, 0xFF][..], &[7; 65_533]].concat();
    let many = [&jpeg[..2], &segment.repeat(1100), &jpeg[2..]].concat();
    says(&message(&many, "x.jpg"), &["its metadata takes more than 64 MiB; remove it"]);
    says(&message(&file(&vec![chunk(b"tEXt", &[b'a'; 1 << 20]); 65]), "x"), &["its metadata takes more than 64 MiB"]);
}

/// Returns the peak memory of this process in bytes, or 0 if the system does not tell.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix(" kB")?.parse::<usize>().ok()).unwrap_or(0) << 10
}

#[test]
fn a_huge_header_is_refused_before_anything_is_allocated() {
    let bytes = png(60_000, 60_000, 8, 2, &[], &[0]);
    assert_eq!(
        message(&bytes, "in/huge.png"),
        "in/huge.png: 60000x60000 pixels, RGB, 8 bit, would take 10.1 GiB of memory, the limit is 1 GiB; crop it, make \
         it smaller, or cut it into parts first"
    );
    says(
        &message(&png(u32::MAX >> 1, u32::MAX >> 1, 16, 6, &[], &[0]), "x.png"),
        &["x.png", "too much memory", "smaller"],
    );
    let error = Picture::new("out.png", usize::MAX, 2, Channels::Rgb, 8).unwrap_err().to_string();
    says(&error, &["out.png", "limit is 1 GiB"]);
}

#[test]
fn empty_and_foreign_files_say_what_they_are() {
    assert_eq!(message(&[], "a/empty.png"), "a/empty.png: the file is empty; copy or download it again");
    assert_eq!(
        message(b"<html>404</html>", "photo.jpg"),
        "photo.jpg: expected a JPEG file, as the name says, or another picture (PNG, JPEG, WebP, BMP, TIFF or GIF), got \
         text; convert it to PNG or JPEG first"
    );
    says(&message(b"GIF89a\x01\0\x01\0\0\0\0", "x.gif"), &["x.gif", "GIF file is", "copy or download it again"]);
    says(&message(b"\0\0\0\x18ftypheic\0\0\0\0", "IMG_1.HEIC"), &["IMG_1.HEIC", "HEIC", "convert"]);
    says(
        &message(&[1, 2, 3, 4, 5, 6], "noise"),
        &["noise: expected a picture (PNG, JPEG, WebP, BMP, TIFF or GIF), got a file of an unknown kind; convert"],
    );
}

#[test]
fn content_decides_not_the_name() {
    let picture = random(6, 4, Channels::Rgb, 8, 5);
    let bytes = picture.encode(Format::Png).unwrap();
    assert_eq!(Picture::decode(&bytes, "photo.jpg").unwrap().samples(), picture.samples());
    says(
        &message(&bytes[..bytes.len() / 2], "photo.jpg"),
        &["photo.jpg", "PNG file (by its content, though the name says JPEG)", "truncated"],
    );
}

#[test]
fn truncated_files_say_so() {
    for format in Format::ALL {
        let bytes = random(40, 30, Channels::Rgb, 8, 6).encode(format).unwrap();
        // Not only the last bytes: a PNG whose end chunk is missing has all its pixels.
        for keep in [bytes.len() / 3, bytes.len() / 2, bytes.len() * 9 / 10, bytes.len() - 40] {
            let text = message(&bytes[..keep], "cut");
            says(&text, &["cut: this", format.name(), "truncated", "copy or download it again"]);
        }
    }
}

#[test]
fn damaged_files_are_errors_not_panics() {
    let mut rng = Rng::new(11);
    let picture = |channels| random(9, 7, channels, 16, 8).encode(Format::Png).unwrap();
    let mut seeds: Vec<Vec<u8>> = Vec::new();
    for format in Format::ALL {
        for channels in [Channels::Grey, Channels::Rgb, Channels::Rgba] {
            if format != Format::Jpeg || channels != Channels::Rgba {
                seeds.push(random(9, 7, channels, 16, 8).encode(format).unwrap());
            }
        }
        let sequences = [Sequence::Pages, Sequence::Animation(Plays::Again(2))];
        for sequence in sequences.into_iter().filter(|sequence| format.holds(*sequence)) {
            seeds.push(write(&moving(), sequence, format));
        }
        let mut known = smooth(9, 7, Channels::Rgb);
        known.set_metadata(everything());
        known.set_icc(Some(profile(b"RGB ")));
        seeds.push(known.encode(format).unwrap());
    }
    seeds.push(picture(Channels::GreyAlpha));
    for bytes in seeds {
        for _ in 0..60 {
            let mut damaged = bytes.clone();
            for _ in 0..1 + rng.below(4) {
                // The headers are where damage is most dangerous.
                let end = if rng.below(2) == 0 { damaged.len() } else { damaged.len().min(64) };
                let at = rng.below(end);
                damaged[at] = rng.below(256) as u8;
            }
            let refused = |e: &str| {
                says(e, &["damaged", ": ", ";"]);
                let odd = ["\n", "\\n", "Reason:", "ChunkType", "..", ".;"];
                assert!(odd.iter().all(|odd| !e.contains(odd)), "{e}");
            };
            if let Err(e) = Picture::decode(&damaged, "damaged") {
                refused(&e.to_string());
            }
            let mut frames = match Frames::decode(damaged, "damaged") {
                Ok(frames) => frames,
                Err(e) => {
                    refused(&e.to_string());
                    continue;
                }
            };
            // At most as many as there are, or an error.
            for _ in 0..frames.count().min(10) + 1 {
                match frames.next_frame() {
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(e) => {
                        refused(&e.to_string());
                        break;
                    }
                }
            }
        }
    }
}

/// Returns three frames of 6 × 4: red; a green square with a hole on it; the square gone again.
fn animation(repeat: Option<gif::Repeat>) -> Vec<u8> {
    let palette = [255, 0, 0, 0, 255, 0, 0, 0, 255];
    let mut encoder = gif::Encoder::new(Vec::new(), 6, 4, &palette).unwrap();
    repeat.into_iter().for_each(|repeat| encoder.set_repeat(repeat).unwrap());
    let frame = |size: [u16; 2], at: [u16; 2], delay, dispose, pixels: &[u8]| gif::Frame {
        width: size[0],
        height: size[1],
        left: at[0],
        top: at[1],
        delay,
        dispose,
        transparent: Some(2),
        buffer: pixels.to_vec().into(),
        ..gif::Frame::default()
    };
    use gif::DisposalMethod as D;
    encoder.write_frame(&frame([6, 4], [0, 0], 7, D::Keep, &[0; 24])).unwrap();
    encoder.write_frame(&frame([2, 2], [3, 1], 0, D::Background, &[1, 1, 2, 1])).unwrap();
    encoder.write_frame(&frame([1, 1], [0, 0], 300, D::Keep, &[1])).unwrap();
    encoder.into_inner().unwrap()
}

/// Returns all pictures of a file with their delays, and how they relate.
fn all(bytes: &[u8], name: &str) -> (Vec<Frame>, Sequence) {
    let mut frames = Frames::decode(bytes.to_vec(), name).unwrap();
    let (count, sequence) = (frames.count(), frames.sequence());
    let mut all = Vec::new();
    while let Some(frame) = frames.next_frame().unwrap() {
        all.push(frame);
    }
    assert_eq!(all.len(), count);
    (all, sequence)
}

fn write(frames: &[Frame], sequence: Sequence, encoding: impl Into<Encoding>) -> Vec<u8> {
    let mut out = std::io::Cursor::new(Vec::new());
    let (encoding, first) = (encoding.into(), &frames[0].picture);
    let mut writer = FramesWriter::new(&mut out, "written", &encoding, sequence, frames.len(), first).unwrap();
    frames.iter().for_each(|f| writer.add(&f.picture, f.delay_ms).unwrap());
    writer.finish().unwrap();
    out.into_inner()
}

#[test]
fn the_frames_of_a_gif_are_whole_pictures_with_their_delays() {
    for (repeat, plays) in [
        (None, Plays::Once),
        (Some(gif::Repeat::Finite(3)), Plays::Again(3)),
        (Some(gif::Repeat::Infinite), Plays::Forever),
    ] {
        let (frames, found) = all(&animation(repeat), "a.gif");
        assert_eq!(found, Sequence::Animation(plays));
        assert_eq!(frames.iter().map(|f| f.delay_ms).collect::<Vec<_>>(), [70, 0, 3000]);
        let (red, green) = ([255, 0, 0], [0, 255, 0]);
        let second = |i: usize| if [9, 10, 16].contains(&i) { green } else { red };
        let rgb = |pixel: &dyn Fn(usize) -> [u8; 3]| Samples::U8((0..24).flat_map(pixel).collect());
        assert_eq!(frames[0].picture.samples(), &rgb(&|_| red));
        assert_eq!(frames[1].picture.samples(), &rgb(&second));
        // What the second frame covered became transparent and has the colour of its neighbours.
        let third = |i: usize| match i {
            0 => [0, 255, 0, 255],
            9 | 10 | 15 | 16 => [255, 0, 0, 0],
            _ => [255, 0, 0, 255],
        };
        assert_eq!(frames[2].picture.channels(), Channels::Rgba);
        assert_eq!(frames[2].picture.samples(), &Samples::U8((0..24).flat_map(third).collect()));
        // Written in each animated format and read again.
        for format in [Format::Gif, Format::Png, Format::WebP] {
            let (again, found) = all(&write(&frames, Sequence::Animation(plays), format), "a.gif");
            assert_eq!((found, again), (Sequence::Animation(plays), frames.clone()), "{format:?}");
        }
    }
    let bytes = animation(None);
    let error = Frames::decode(bytes[..bytes.len() - 9].to_vec(), "cut.gif").unwrap_err().to_string();
    says(&error, &["cut.gif", "truncated"]);
    // The picture of an animation is its first frame; a still GIF is a still picture.
    assert_eq!(Picture::decode(&bytes, "a.gif").unwrap().samples(), &Samples::U8([255, 0, 0].repeat(24)));
    let (still, sequence) = all(&random(5, 3, Channels::Rgb, 8, 3).encode(Format::Gif).unwrap(), "a.gif");
    assert_eq!((still.len(), sequence), (1, Sequence::Single));
    assert_eq!(still[0].picture.samples(), random(5, 3, Channels::Rgb, 8, 3).samples());
}

/// Returns frames of few colours with alpha 0 or 255, which every animated format keeps, with delays in milliseconds.
fn moving() -> Vec<Frame> {
    let picture = |k: usize| {
        let pixel = |i: usize| match (i % 16).abs_diff(3 + 2 * k) < 3 && (4..8).contains(&(i / 16)) {
            true => [40 * k as u8, 255, 9, 255],
            false => [200, 90, 30, if k == 2 { 255 } else { 255 * u8::from(!i.is_multiple_of(7)) }],
        };
        Picture::from_samples("a", 16, 12, Channels::Rgba, Samples::U8((0..16 * 12).flat_map(pixel).collect())).unwrap()
    };
    [33, 1, 0, 70_000, 417]
        .into_iter()
        .enumerate()
        .map(|(k, delay_ms)| Frame { picture: picture(k), delay_ms })
        .collect()
}

#[test]
fn animations_keep_frames_delays_and_repetitions() {
    let frames = moving();
    for plays in [Plays::Once, Plays::Again(1), Plays::Again(7), Plays::Forever] {
        let sequence = Sequence::Animation(plays);
        for (format, delays) in [
            (Format::Png, [33, 1, 0, 70_000, 417]),
            (Format::WebP, [33, 1, 0, 70_000, 417]),
            // Hundredths of a second; the sum is correct, and only 0 becomes 0.
            (Format::Gif, [30, 10, 0, 69_990, 420]),
        ] {
            let bytes = write(&frames, sequence, format);
            assert_eq!(Format::of_content(&bytes), Some(format));
            let (again, found) = all(&bytes, "a");
            assert_eq!(found, sequence, "{format:?}");
            assert_eq!(again.iter().map(|f| f.delay_ms).collect::<Vec<_>>(), delays, "{format:?}");
            for (a, b) in frames.iter().zip(&again) {
                assert_eq!(seen(&a.picture), seen(&b.picture), "{format:?}");
            }
            // And then to another format.
            for next in [Format::Gif, Format::WebP, Format::Png] {
                let (last, found) = all(&write(&again, found, next), "a");
                assert_eq!(found, sequence);
                assert!(
                    last.iter().zip(&frames).all(|(a, b)| seen(&a.picture) == seen(&b.picture)),
                    "{format:?} {next:?}"
                );
            }
        }
    }
    // With loss the frames are close and the file is smaller.
    let photo = Picture::decode(include_bytes!("../assets/astronaut.png"), "astronaut").unwrap();
    let part = |k: usize| photo.crop(Rect { top: 100 + 3 * k, left: 200, height: 64, width: 80 }).unwrap();
    let frames: Vec<Frame> = (0..3).map(|k| Frame { picture: part(k), delay_ms: 40 }).collect();
    let lossy = Encoding { quality: Some(90), ..Format::WebP.into() };
    let [small, large] = [lossy, Format::WebP.into()].map(|e| write(&frames, Sequence::Animation(Plays::Forever), e));
    assert!(small.len() < large.len() / 2, "{} {}", small.len(), large.len());
    for (a, b) in all(&small, "a").0.iter().zip(&frames) {
        let [a, b] = [a, b].map(|f| f.picture.plane(Channel::Y, f.picture.whole()).unwrap());
        assert!(psnr(&a, &b, [64, 80], 0).unwrap() > 34.0);
    }
}

/// Returns the visible colour of every pixel.
fn seen(picture: &Picture) -> Vec<[u8; 4]> {
    let Samples::U8(samples) = picture.samples() else { panic!("8 bit") };
    let rgba = |s: &[u8]| if s.get(3) == Some(&0) { [0; 4] } else { [s[0], s[1], s[2], *s.get(3).unwrap_or(&255)] };
    samples.chunks_exact(picture.channels().count()).map(rgba).collect()
}

/// Frames that cover part of the picture, are blended, and are then cleared or undone, as other programs write them.
#[test]
fn animations_of_other_encoders_are_composed() {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, 4, 2);
    encoder.set_color(png::ColorType::Rgba);
    encoder.set_depth(png::BitDepth::Sixteen);
    encoder.set_animated(3, 0).unwrap();
    encoder.set_sep_def_img(true).unwrap();
    let mut writer = encoder.write_header().unwrap();
    let pixels =
        |colour: [u16; 4], n: usize| colour.repeat(n).iter().flat_map(|v| v.to_be_bytes()).collect::<Vec<u8>>();
    let [grey, red, blue] = [[9 * 257, 9 * 257, 9 * 257, 65535], [65535, 0, 0, 65535], [0, 0, 65535, 65535]];
    // The stand-in is not a frame.
    writer.write_image_data(&pixels(grey, 8)).unwrap();
    writer.set_frame_delay(1, 30).unwrap();
    writer.write_image_data(&pixels(red, 8)).unwrap();
    writer.set_frame_dimension(2, 1).unwrap();
    writer.set_frame_position(1, 1).unwrap();
    writer.set_dispose_op(png::DisposeOp::Previous).unwrap();
    writer.set_frame_delay(7, 0).unwrap();
    writer.write_image_data(&pixels(blue, 2)).unwrap();
    writer.set_frame_position(0, 0).unwrap();
    writer.set_blend_op(png::BlendOp::Source).unwrap();
    writer.write_image_data(&pixels([0; 4], 2)).unwrap();
    writer.finish().unwrap();
    let (frames, sequence) = all(&out, "a.png");
    assert_eq!(sequence, Sequence::Animation(Plays::Forever));
    assert_eq!(frames.iter().map(|f| f.delay_ms).collect::<Vec<_>>(), [33, 70, 70]);
    let [red, blue] = [[255, 0, 0, 255], [0, 0, 255, 255]];
    let [mut second, mut third] = [[red; 8]; 2];
    second[5..7].fill(blue);
    third[..2].fill([0; 4]);
    assert_eq!(
        frames.iter().map(|f| seen(&f.picture)).collect::<Vec<_>>(),
        [vec![red; 8], second.into(), third.into()]
    );

    // libwebp writes only what changes from frame to frame, and merges equal frames.
    let mut config = webp::WebPConfig::new().unwrap();
    (config.lossless, config.exact) = (1, 1);
    let frames = moving();
    let rgba: Vec<Vec<u8>> = frames.iter().map(|f| seen(&f.picture).concat()).collect();
    let mut encoder = webp::AnimEncoder::new(16, 12, &config);
    encoder.set_loop_count(3);
    for (k, rgba) in rgba.iter().enumerate() {
        encoder.add_frame(webp::AnimFrame::from_rgba(rgba, 16, 12, 40 * k as i32));
    }
    let (again, sequence) = all(&encoder.try_encode().unwrap(), "a.webp");
    assert_eq!(sequence, Sequence::Animation(Plays::Again(2)));
    assert_eq!(again.iter().map(|f| f.delay_ms).collect::<Vec<_>>(), [40; 5]);
    assert!(again.iter().zip(&frames).all(|(a, b)| seen(&a.picture) == seen(&b.picture)));
}

#[test]
fn the_pages_of_a_tiff_are_all_read_and_written() {
    let pages =
        [random(5, 7, Channels::Grey, 16, 1), random(9, 2, Channels::Rgba, 8, 2), random(3, 3, Channels::Rgb, 16, 3)];
    let frames: Vec<Frame> = pages.iter().map(|p| Frame { picture: p.clone(), delay_ms: 0 }).collect();
    let bytes = write(&frames, Sequence::Pages, Format::Tiff);
    let (again, sequence) = all(&bytes, "scan.tif");
    assert_eq!(sequence, Sequence::Pages);
    for (page, again) in pages.iter().zip(&again) {
        assert_eq!((again.picture.samples(), again.picture.channels()), (page.samples(), page.channels()));
    }
    assert_eq!(again[2].picture.name(), "scan.tif, page 3");
    // The error for a truncated file names the list of pages.
    let error = Frames::decode(bytes[..bytes.len() - 20].to_vec(), "cut.tif").unwrap_err().to_string();
    says(&error, &["cut.tif", "its list of pages", "truncated"]);
    let folder = folder();
    let path = folder.path().join("scan.tif");
    std::fs::write(&path, &bytes).unwrap();
    let size = Picture::measure(&path).unwrap();
    assert_eq!((size.width, size.height, size.frames, size.sequence), (5, 7, 3, Sequence::Pages));
    assert_eq!((size.pixels, size.bytes), (35 + 18 + 9, 9 * 2 * 4));

    // A thumbnail is not a page, wherever it stands; the directories are chained by their offsets.
    let mut out = std::io::Cursor::new(Vec::new());
    let mut encoder = tiff::encoder::TiffEncoder::new_big(&mut out).unwrap();
    for (value, kind) in [(1, 1u32), (2, 0), (3, 4), (4, 2)] {
        let mut page = encoder.new_image::<tiff::encoder::colortype::Gray8>(2, 1).unwrap();
        page.encoder().write_tag(tiff::tags::Tag::NewSubfileType, kind).unwrap();
        page.write_data(&[value; 2]).unwrap();
    }
    let (found, sequence) = all(out.get_ref(), "a.tif");
    assert_eq!((found.len(), sequence), (2, Sequence::Pages));
    assert_eq!(found[0].picture.samples(), &Samples::U8(vec![2; 2]));
    assert_eq!(found[1].picture.samples(), &Samples::U8(vec![4; 2]));
}

#[test]
fn several_pictures_that_are_cut_short_say_so() {
    let cases = [
        (Format::Gif, Sequence::Animation(Plays::Once)),
        (Format::Png, Sequence::Animation(Plays::Once)),
        (Format::WebP, Sequence::Animation(Plays::Once)),
        (Format::Tiff, Sequence::Pages),
    ];
    for (format, sequence) in cases {
        let bytes = write(&moving(), sequence, format);
        for cut in [30, 60, bytes.len() / 4, bytes.len() / 2] {
            let every = |bytes: &[u8]| {
                let mut frames = Frames::decode(bytes.to_vec(), "cut")?;
                while frames.next_frame()?.is_some() {}
                Ok::<_, lineament::Error>(frames.count())
            };
            let error = every(&bytes[..bytes.len() - cut]).unwrap_err().to_string();
            says(&error, &["cut", "truncated", "copy or download it again"]);
        }
    }
}

#[test]
fn formats_that_hold_one_picture_refuse_several() {
    let pages: Vec<Frame> = (0..2).map(|k| Frame { picture: random(4, 4, Channels::Rgb, 8, k), delay_ms: 0 }).collect();
    let scan = Frames::decode(write(&pages, Sequence::Pages, Format::Tiff), "scan.tif").unwrap();
    scan.check_format(Format::Tiff).unwrap();
    let error = scan.check_format(Format::Png).unwrap_err().to_string();
    assert_eq!(
        error,
        "scan.tif: has 2 pages, and PNG holds one; choose TIFF for the output (.tif), or split it into single pages first"
    );
    let film = Frames::decode(animation(None), "a.gif").unwrap();
    [Format::Gif, Format::Png, Format::WebP].iter().for_each(|&format| film.check_format(format).unwrap());
    for format in [Format::Jpeg, Format::Bmp, Format::Tiff] {
        let error = film.check_format(format).unwrap_err().to_string();
        says(
            &error,
            &["a.gif: is an animation of 3 frames, and", format.name(), "shows one picture; choose GIF, PNG or WebP"],
        );
    }
    let mut out = std::io::Cursor::new(Vec::new());
    let writer = |count| {
        FramesWriter::new(
            std::io::Cursor::new(Vec::new()),
            "x",
            &Format::Tiff.into(),
            Sequence::Pages,
            count,
            &pages[0].picture,
        )
    };
    says(&writer(1).unwrap().finish().unwrap_err().to_string(), &["x: 1 fewer pictures were added than announced"]);
    assert!(writer(0).unwrap().add(&pages[0].picture, 0).is_err());
    let sequence = Sequence::Animation(Plays::Once);
    let refused = FramesWriter::new(&mut out, "x.jpg", &Format::Jpeg.into(), sequence, 2, &pages[0].picture);
    says(&refused.unwrap_err().to_string(), &["x.jpg: a JPEG file holds one picture; choose another format for 2"]);
}

#[test]
fn quality_and_names_of_formats() {
    let photo = Picture::decode(include_bytes!("../assets/astronaut.png"), "astronaut").unwrap();
    let photo = photo.crop(Rect { top: 60, left: 180, height: 96, width: 128 }).unwrap();
    let size = |format: Format, quality| photo.encode(Encoding { quality, ..format.into() }).unwrap().len();
    for format in [Format::Jpeg, Format::WebP] {
        let sizes = [30, 75, 95].map(|q| size(format, Some(q)));
        assert!(sizes.is_sorted() && sizes[0] < sizes[2] / 2, "{format:?} {sizes:?}");
    }
    assert_eq!(size(Format::Jpeg, None), size(Format::Jpeg, Some(95)));
    assert_eq!(Picture::decode(&photo.encode(Format::WebP).unwrap(), "x").unwrap().samples(), photo.samples());
    // With loss, grey becomes RGB, and alpha is kept without loss.
    for channels in ALL_CHANNELS {
        let picture = smooth(32, 24, channels);
        let back = picture.encode(Encoding { quality: Some(90), ..Format::WebP.into() }).unwrap();
        let back = Picture::decode(&back, "x").unwrap();
        assert_eq!(back.channels(), if channels.has_alpha() { Channels::Rgba } else { Channels::Rgb });
        let plane = |p: &Picture, channel| p.plane(channel, p.whole()).unwrap();
        assert_eq!(plane(&picture, Channel::Alpha), plane(&back, Channel::Alpha));
        assert!(psnr(&plane(&picture, Channel::Green), &plane(&back, Channel::Green), [24, 32], 0).unwrap() > 34.0);
    }
    for quality in [0, 101] {
        let error = photo.encode(Encoding { quality: Some(quality), ..Format::Jpeg.into() }).unwrap_err().to_string();
        assert_eq!(error, "the quality must lie in 1..=100");
    }
    for (text, format) in [("png", Format::Png), ("JPG", Format::Jpeg), ("jpeg", Format::Jpeg), ("tiff", Format::Tiff)]
    {
        assert_eq!(text.parse::<Format>().unwrap(), format);
    }
    for format in Format::ALL {
        assert_eq!(format.extension().parse::<Format>().unwrap(), format);
    }
    let error = "heic".parse::<Format>().unwrap_err().to_string();
    assert_eq!(error, "expected a picture format (png, jpg, jpeg, webp, bmp, tif, tiff, gif), got \"heic\"");
}

#[test]
fn float_samples_are_refused() {
    let mut out = std::io::Cursor::new(Vec::new());
    let pixels = vec![0u8; 4 * 3 * 4];
    let encoder = image::codecs::tiff::TiffEncoder::new(&mut out);
    image::ImageEncoder::write_image(encoder, &pixels, 2, 2, image::ExtendedColorType::Rgb32F).unwrap();
    says(&message(out.get_ref(), "hdr.tif"), &["hdr.tif", "expected 8 or 16 bit", "convert it to a 16 bit PNG"]);
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn files_are_opened_and_saved_whole() {
    let dir = folder();
    let picture = random(12, 10, Channels::Rgb, 16, 9);
    for (name, format) in [("a.png", Format::Png), ("b.TIF", Format::Tiff), ("c.webp", Format::WebP)] {
        let path = dir.path().join(name);
        picture.save(&path).unwrap();
        picture.save(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), picture.encode(format).unwrap());
        assert_eq!(Picture::open(&path).unwrap().width(), 12);
    }
    // No temporary file remains.
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |name: &str| std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        std::fs::write(dir.path().join("plain"), "").unwrap();
        assert_eq!(mode("a.png"), mode("plain"));
    }
}

#[test]
fn files_that_cannot_be_opened_or_saved_say_why() {
    let dir = folder();
    let at = |name: &str| dir.path().join(name);
    let open = |path: &Path| Picture::open(path).unwrap_err().to_string();
    says(&open(&at("none.png")), &["none.png", "there is no such file", "check the path"]);
    says(&open(dir.path()), &["is a folder, expected a file"]);
    std::fs::write(at("empty.png"), "").unwrap();
    says(&open(&at("empty.png")), &["empty.png", "the file is empty", "download it again"]);

    let picture = random(4, 4, Channels::Rgba, 8, 2);
    let save = |path: &Path| picture.save(path).unwrap_err().to_string();
    says(&save(&at("x.heic")), &["x.heic", "end the name in .png, .jpg, .jpeg, .webp, .bmp, .tif, .tiff, .gif"]);
    says(&save(&at("x")), &["the extension must name a format"]);
    says(&save(&at("x.jpg")), &["x.jpg", "JPEG has no alpha channel", "PNG, WebP, BMP or TIFF"]);
    says(&save(&at("no/such/x.png")), &["no/such/x.png", "there is no folder", "create it first"]);
    std::fs::create_dir(at("folder.png")).unwrap();
    says(&save(&at("folder.png")), &["folder.png", "is a folder", "name a file"]);
    // /proc lets nobody, root included, create files.
    #[cfg(target_os = "linux")]
    says(&save(Path::new("/proc/x.png")), &["/proc/x.png", "cannot be written", "choose a folder"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
}

#[test]
fn a_failed_save_leaves_the_older_file() {
    let dir = folder();
    let path = dir.path().join("x.jpg");
    random(4, 4, Channels::Rgb, 8, 1).save(&path).unwrap();
    let before = std::fs::read(&path).unwrap();
    random(4, 4, Channels::Rgba, 8, 1).save(&path).unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn ycbcr_is_matlabs() {
    // rgb2ycbcr([1 1 1]), ([0 0 0]) and ([1 0 0]) times 255, from the toolbox's documentation of BT.601.
    for (rgb, expected) in [
        ([1.0, 1.0, 1.0], [235.0, 128.0, 128.0]),
        ([0.0, 0.0, 0.0], [16.0, 128.0, 128.0]),
        ([1.0, 0.0, 0.0], [81.481, 90.203, 240.0]),
    ] {
        let got = rgb_to_ycbcr(rgb).map(|v| v * 255.0);
        assert!(got.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-9), "{rgb:?}: {got:?}");
        let back = ycbcr_to_rgb(rgb_to_ycbcr(rgb));
        assert!(back.iter().zip(rgb).all(|(a, b)| (a - b).abs() < 1e-12), "{rgb:?}: {back:?}");
    }
}

#[test]
fn planes_give_back_the_picture() {
    for bits in [8, 16] {
        for channels in ALL_CHANNELS {
            let picture = random(9, 6, channels, bits, 12);
            let mut copy = Picture::new("random", 9, 6, channels, bits).unwrap();
            for rect in [
                Rect { top: 0, left: 0, height: 6, width: 4 },
                Rect { top: 0, left: 4, height: 3, width: 5 },
                Rect { top: 3, left: 4, height: 3, width: 5 },
            ] {
                let plane = |channel| picture.plane(channel, rect).unwrap();
                if channels.is_grey() {
                    copy.put_grey(rect, &plane(Channel::Y)).unwrap();
                } else {
                    copy.put_ycbcr(rect, &plane(Channel::Y), &plane(Channel::Cb), &plane(Channel::Cr)).unwrap();
                }
                if channels.has_alpha() {
                    copy.put_alpha(rect, &plane(Channel::Alpha)).unwrap();
                }
            }
            assert_eq!(copy, picture, "{channels} {bits} bit");
        }
    }
    let mut grey = Picture::new("grey.png", 4, 4, Channels::Grey, 8).unwrap();
    says(&grey.put_ycbcr(grey.whole(), &[], &[], &[]).unwrap_err().to_string(), &["grey.png", "put_grey"]);
    assert!(grey.put_grey(grey.whole(), &[0.0; 15]).is_err());
    says(
        &grey.plane(Channel::Y, Rect { top: usize::MAX, left: 0, height: 2, width: 1 }).unwrap_err().to_string(),
        &["grey.png", "reaches beyond"],
    );
}

#[test]
fn a_rectangle_resized_alone_has_the_bits_of_the_whole() {
    let picture = random(23, 17, Channels::Rgba, 16, 13);
    let mut ops: Vec<Resize> = [2, 3, 4].map(|scale| Resize::by(Kernel::Bicubic, scale, 1)).into();
    ops.push(Resize::by(Kernel::Bicubic, 2, 5));
    ops.push(Resize {
        scale: [Ratio { num: 7, den: 3 }, Ratio { num: 3, den: 2 }],
        ..Resize::by(Kernel::Bilinear, 1, 1)
    });
    for op in ops {
        let [height, width] = [op.scale[0].size_of(17), op.scale[1].size_of(23)];
        let all = Rect { top: 0, left: 0, height, width };
        for channel in [Channel::Y, Channel::Cb, Channel::Cr, Channel::Alpha] {
            let whole = picture.resized_rect(channel, all, &op).unwrap();
            let plane = picture.plane(channel, picture.whole()).unwrap();
            assert_eq!(whole, resize_plane(&plane, [17, 23], &op).unwrap());
            for rect in [
                Rect { top: 0, left: 0, height: 1, width: 1 },
                Rect { top: height / 2, left: 1, height: height - height / 2, width: width - 2 },
                Rect { top: 2, left: width - 3, height: 3, width: 3 },
            ] {
                let alone = picture.resized_rect(channel, rect, &op).unwrap();
                for (k, v) in alone.iter().enumerate() {
                    let (i, j) = (rect.top + k / rect.width, rect.left + k % rect.width);
                    assert_eq!(v.to_bits(), whole[i * width + j].to_bits(), "{op:?} {rect:?} {i} {j}");
                }
            }
        }
    }
    let all = Rect { top: 0, left: 0, height: 34, width: 46 };
    let op = Resize::by(Kernel::Bicubic, 2, 1);
    assert_eq!(picture.bicubic_rect(Channel::Y, all, 2).unwrap(), picture.resized_rect(Channel::Y, all, &op).unwrap());
    assert!(picture.bicubic_rect(Channel::Y, Rect { top: 1, ..all }, 2).is_err());
    assert!(picture.bicubic_rect(Channel::Y, all, 0).is_err());
}

#[test]
fn planes_of_a_wrong_size_are_refused() {
    let error = resize_plane(&[0.0f32; 5], [2, 3], &Resize::by(Kernel::Bicubic, 2, 1)).unwrap_err().to_string();
    assert_eq!(error, "a plane of [height, width] [2, 3] needs height · width numbers, got 5");
    assert!(resize_plane_u8(&[], [0, 3], &Resize::by(Kernel::Bicubic, 2, 1)).is_err());
}

const SET5: [&str; 5] = ["baby", "bird", "butterfly", "head", "woman"];

/// Returns a Set5 picture without the rows and columns past a multiple of `scale`.
fn set5(folder: &Path, name: &str, scale: usize) -> Picture {
    let picture = Picture::open(folder.join(format!("{name}_GT.png"))).unwrap();
    let [height, width] = [picture.height(), picture.width()].map(|s| s - s % scale);
    picture.crop(Rect { top: 0, left: 0, height, width }).unwrap()
}

#[test]
fn bicubic_on_set5_gives_the_papers_numbers() {
    let Some(folder) = common::shared("data/sr/set5") else { return };
    for (scale, expected) in [(2, 33.66), (3, 30.39), (4, 28.42)] {
        let mut total = 0.0;
        for name in SET5 {
            let picture = set5(&folder, name, scale);
            let size = [picture.height(), picture.width()];
            let truth: Vec<f32> = picture.luma_u8().into_iter().map(|v| f32::from(v) / 255.0).collect();
            let small = resize_plane(&truth, size, &Resize::by(Kernel::Bicubic, 1, scale as u32)).unwrap();
            let small_size = size.map(|s| s / scale);
            let large = resize_plane(&small, small_size, &Resize::by(Kernel::Bicubic, scale as u32, 1)).unwrap();
            total += psnr(&truth, &large, size, scale).unwrap();
        }
        let mean = total / SET5.len() as f64;
        println!("bicubic x{scale}: {mean:.4} dB");
        assert!((mean - expected).abs() < 0.01, "x{scale}: {mean} dB, expected {expected}");
    }
}

#[test]
fn low_resolution_pictures_of_set5_are_ours() {
    let (Some(folder), Some(small)) = (common::shared("data/sr/set5"), common::shared("data/sr/set5_lr")) else {
        return;
    };
    for scale in [2, 3, 4] {
        for (index, name) in SET5.iter().enumerate() {
            // They were made when MATLAB repeated the border pixel; with that border, not one sample differs.
            let op = Resize { border: Border::Clamp, ..Resize::by(Kernel::Bicubic, 1, scale as u32) };
            let ours = set5(&folder, name, scale).resize(&op).unwrap();
            let theirs = Picture::open(small.join(format!("img_{:03}_SRF_{scale}_LR.png", index + 1))).unwrap();
            assert_eq!(ours.samples(), theirs.samples(), "x{scale} {name}");
            // With today's mirrored border the interior is the same.
            let today = set5(&folder, name, scale).resize(&Resize::by(Kernel::Bicubic, 1, scale as u32)).unwrap();
            let inside = Rect { top: 2, left: 2, height: ours.height() - 4, width: ours.width() - 4 };
            let [a, b] = [&today, &ours].map(|p| p.crop(inside).unwrap());
            assert_eq!(a.samples(), b.samples(), "x{scale} {name}");
        }
    }
}
