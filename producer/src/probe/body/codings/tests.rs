use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

use super::*;

/// `<h1>Welcome</h1>`, twenty times, in brotli, which has no encoder here.
const PAGE_IN_BROTLI: &str = "1b3f01f88dc43846f29f4d54c9f38256313e55ca6a3580466c7caab500";
/// Three million zeros.
const ZEROS_IN_BROTLI: &str = "9bbfc62df82700e2b14020cfb705";

fn page() -> Vec<u8> {
    b"<h1>Welcome</h1>".repeat(20)
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A member with everything that its header may have.
fn gzip_with_names(data: &[u8]) -> Vec<u8> {
    let encoder = flate2::GzBuilder::new().filename("a").comment("b").extra(vec![7; 300]);
    let mut encoder = encoder.write(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn raw(data: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    let mut coded = Vec::with_capacity(data.len() + 100);
    zstd_safe::compress(&mut coded, data, 3).unwrap();
    coded
}

fn codings(named: &[&str]) -> Codings {
    let mut headers = HeaderMap::new();
    for named in named {
        headers.append(CONTENT_ENCODING, named.parse().unwrap());
    }
    Codings::of(&headers)
}

/// What a body that comes in pieces of this size decodes to, or how it ends.
fn decoded(named: &[&str], body: &[u8], size: usize) -> Result<Vec<u8>, String> {
    let mut codings = codings(named);
    let mut all = Vec::new();
    for chunk in body.chunks(size) {
        codings.feed(Bytes::copy_from_slice(chunk));
        while let Some(piece) = codings.next_piece().map_err(|name| format!("no {name}"))? {
            all.extend_from_slice(&piece);
        }
    }
    codings.cut().map_or(Ok(all), |name| Err(format!("{name} cut")))
}

fn joined(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[test]
fn bodies_are_decoded_in_pieces_of_any_size() {
    let page = page();
    let br = unhex(PAGE_IN_BROTLI);
    let big: Vec<u8> = (0..200_000u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
    type Case<'a> = (&'a str, Vec<&'a str>, Vec<u8>, &'a [u8]);
    let table: Vec<Case<'_>> = vec![
        ("gzip", vec!["gzip"], gzip(&page), &page),
        ("case", vec!["GZip"], gzip(&page), &page),
        ("x-gzip", vec!["x-gzip"], gzip(&page), &page),
        ("header with everything", vec!["gzip"], gzip_with_names(&page), &page),
        ("members", vec!["gzip"], joined(&[&gzip(&page[..100]), &gzip_with_names(&page[100..])]), &page),
        ("garbage", vec!["gzip"], joined(&[&gzip(&page), b"\0\0garbage"]), &page),
        ("half a header", vec!["gzip"], joined(&[&gzip(&page), &[0x1f, 0x8b]]), &page),
        ("zlib", vec!["deflate"], zlib(&page), &page),
        ("raw", vec!["deflate"], raw(&page), &page),
        ("zlib and garbage", vec!["deflate"], joined(&[&zlib(&page), b"garbage"]), &page),
        ("br", vec!["br"], br.clone(), &page),
        ("br and garbage", vec!["Br"], joined(&[&br, b"garbage"]), &page),
        ("zstd", vec!["zstd"], zstd(&page), &page),
        ("frames", vec!["zstd"], joined(&[&zstd(&page[..7]), &zstd(&page[7..])]), &page),
        ("zstd and garbage", vec!["zstd"], joined(&[&zstd(&page), b"garbage"]), &page),
        ("big gzip", vec!["gzip"], gzip(&big), &big),
        ("big raw", vec!["deflate"], raw(&big), &big),
        ("big zstd", vec!["zstd"], zstd(&big), &big),
        ("in a row", vec!["deflate, gzip"], gzip(&zlib(&page)), &page),
        ("in a row of headers", vec!["br", "identity, zstd,", "gzip"], gzip(&zstd(&br)), &page),
        ("nothing", vec!["gzip, br"], Vec::new(), b""),
        ("none", vec!["identity"], page.clone(), &page),
    ];
    for (name, named, body, expected) in table {
        for size in [1, 7, 1000, 1 << 20] {
            if named == ["identity"] {
                assert!(codings(&named).is_empty());
            } else if size > 1 || body.len() < 10_000 {
                assert_eq!(decoded(&named, &body, size).as_deref(), Ok(expected), "{name} in {size}");
            }
        }
    }
}

#[test]
fn what_is_cut_or_wrong_is_named() {
    let page = page();
    let all = [
        ("gzip", gzip(&page)),
        ("deflate", zlib(&page)),
        ("deflate", raw(&page)),
        ("br", unhex(PAGE_IN_BROTLI)),
        ("zstd", zstd(&page)),
    ];
    for (name, body) in all {
        for end in [2, body.len() / 2, body.len() - 1] {
            let result = decoded(&[name], &body[..end], 5);
            assert_eq!(result, Err(format!("{name} cut")), "{end} of {} bytes", body.len());
        }
        let plain = decoded(&[name], &[b"<html>Not at all</html>".repeat(9), vec![0xff; 99]].concat(), 1000);
        assert_eq!(plain, Err(format!("no {name}")));
    }
    let mut wrong = gzip(&page);
    let crc = wrong.len() - 8;
    wrong[crc] ^= 1;
    assert_eq!(decoded(&["gzip"], &wrong, 1000), Err("no gzip".to_owned()));
}

#[test]
fn unknown_codings_and_too_many_stay() {
    let unknown = codings(&["compress, gzip"]);
    assert_eq!((unknown.stages.len(), unknown.unknown.as_deref()), (1, Some("compress")));
    let many = codings(&["gzip,gzip,gzip", "gzip,gzip,gzip"]);
    assert_eq!((many.stages.len(), many.unknown.as_deref()), (MOST, Some("gzip")));
}

/// However little becomes however much: a piece is a piece, and the windows are small or known.
#[test]
fn a_bomb_comes_in_pieces() {
    let zeros = vec![0; 3_000_000];
    let bombs = [
        (vec!["gzip"], gzip(&zeros)),
        (vec!["br"], unhex(ZEROS_IN_BROTLI)),
        (vec!["zstd"], zstd(&zeros)),
        (vec!["gzip, gzip, zstd"], zstd(&gzip(&gzip(&zeros)))),
    ];
    for (named, bomb) in bombs {
        let mut codings = codings(&named);
        codings.feed(bomb.clone().into());
        let (mut total, mut pieces) = (0, 0);
        while let Some(piece) = codings.next_piece().unwrap() {
            assert!(piece.len() <= PIECE, "{named:?}: {}", piece.len());
            total += piece.len();
            pieces += 1;
        }
        assert_eq!(total, 3_000_000, "{named:?}");
        assert!(pieces > 3_000_000 / PIECE, "{named:?}: {pieces}");
    }
    // A frame of zstd that wants a window of 128 MiB.
    let greedy = [&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3][..], &[0; 20]].concat();
    assert_eq!(decoded(&["zstd"], &greedy, 1000), Err("no zstd".to_owned()));
    let mut window = codings(&["br"]);
    window.feed(unhex(ZEROS_IN_BROTLI).into());
    window.next_piece().unwrap();
    let Some(Stage { coding: Coding::Brotli { state, .. }, .. }) = window.stages.first() else { unreachable!() };
    assert!(window.held() > state.ringbuffer.slice().len(), "what a window takes is known");
}
