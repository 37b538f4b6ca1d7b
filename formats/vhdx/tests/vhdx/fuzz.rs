//! A short run of the fuzz body with a fixed seed; a longer one with `E3_TEST_LONG=1`.

use crate::sample::Draw;

#[test]
fn damaged_files_never_panic_and_never_hang() {
    let runs = if std::env::var("E3_TEST_LONG").is_ok_and(|long| long == "1") {
        20_000
    } else {
        1_500
    };
    for run in 0..runs {
        let mut draw = Draw::new(run);
        let mut input = vec![draw.next() as u8];
        for _ in 0..=draw.below(4) {
            let len = 1 + draw.below(8);
            input.extend([
                draw.below(8) as u8,
                draw.next() as u8,
                draw.next() as u8,
                draw.next() as u8,
                len as u8,
            ]);
            match draw.below(3) {
                0 => input.extend(vec![0; len as usize]),
                1 => input.extend(draw.below(16).to_le_bytes().iter().take(len as usize)),
                _ => input.extend(draw.bytes(len as usize)),
            }
        }
        let result = std::panic::catch_unwind(|| vhdx::fuzzing::fuzz_one(&input));
        assert!(result.is_ok(), "run {run} panics on {input:?}");
    }
}
