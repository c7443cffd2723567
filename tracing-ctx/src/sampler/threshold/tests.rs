use super::*;

fn text(probability: f64) -> String {
    Threshold::from_probability(probability).unwrap().to_string()
}

/// Worked out by hand: 2^56 - round(p * 2^56), in hexadecimal, zeros at the end cut off.
#[test]
fn a_probability_is_written_as_the_specification_says() {
    assert_eq!(text(1.0), "0");
    assert_eq!(text(0.75), "4");
    assert_eq!(text(0.5), "8");
    assert_eq!(text(0.25), "c");
    assert_eq!(text(0.125), "e");
    assert_eq!(text(0.0625), "f");
    // The float next to 0.1 is 0x1.999999999999a * 2^-4, so 0x1999999999999a of 2^56 are sampled.
    assert_eq!(text(0.1), "e6666666666666");
    // 0x1.47ae147ae147b * 2^-7 is 0x28f5c28f5c28f.6 of 2^56, rounded down.
    assert_eq!(text(0.01), "fd70a3d70a3d71");
    // A third: 0x1.5555555555555 * 2^-2, so 0x55555555555554 of 2^56.
    assert_eq!(text(1.0 / 3.0), "aaaaaaaaaaaaac");
}

#[test]
fn the_borders_of_what_is_a_probability_are_exact() {
    let least = 2_f64.powi(-56);
    assert_eq!(Threshold::from_probability(least), Some(Threshold::RAREST));
    assert_eq!(Threshold::from_probability(least * 1.5), Threshold::new((1 << 56) - 2));
    assert_eq!(Threshold::from_probability(least / 2.0), Some(Threshold::RAREST));
    assert_eq!(Threshold::from_probability(least / 4.0), Some(Threshold::RAREST), "rather than never");
    assert_eq!(Threshold::from_probability(f64::from_bits(1)), Some(Threshold::RAREST));
    assert_eq!(Threshold::from_probability(1.0_f64.next_down()), Threshold::new(8));
    for none in [0.0, -0.0, -least, 1.0_f64.next_up(), f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        assert_eq!(Threshold::from_probability(none), None, "{none}");
    }
    assert_eq!(Threshold::new((1 << 56) - 1), Some(Threshold::RAREST));
    assert_eq!(Threshold::new(1 << 56), None);
    assert_eq!(Threshold::RAREST.to_string(), "ffffffffffffff");
}

#[test]
fn a_threshold_tells_its_probability_and_how_many_one_stands_for() {
    for probability in [1.0, 0.5, 0.25, 0.1, 0.001, 2_f64.powi(-56)] {
        let threshold = Threshold::from_probability(probability).unwrap();
        assert!((threshold.probability() - probability).abs() <= 2_f64.powi(-57));
        assert_eq!(threshold.adjusted_count(), 1.0 / threshold.probability());
    }
    assert_eq!(Threshold::ALL.adjusted_count(), 1.0);
}

#[test]
fn a_trace_is_kept_from_the_threshold_on() {
    let half = Threshold::new(1 << 55).unwrap();
    assert!(!half.keeps((1 << 55) - 1));
    assert!(half.keeps(1 << 55));
    assert!(!half.keeps(0xff << 56), "bits above the 56 do not count");
    assert!(Threshold::ALL.keeps(0));
    assert!(Threshold::RAREST.keeps((1 << 56) - 1) && !Threshold::RAREST.keeps((1 << 56) - 2));
}

#[test]
fn a_text_is_read_strictly_and_means_the_beginning_of_a_fraction() {
    assert_eq!("0".parse(), Ok(Threshold::ALL));
    assert_eq!("00000000000000".parse(), Ok(Threshold::ALL));
    assert_eq!("8".parse(), Ok(Threshold(1 << 55)));
    assert_eq!("80".parse(), Ok(Threshold(1 << 55)));
    assert_eq!("00000000000001".parse(), Ok(Threshold(1)));
    assert_eq!("123456789abcde".parse(), Ok(Threshold(0x12_3456_789a_bcde)));
    let refused = |text: &str| text.parse::<Threshold>().unwrap_err();
    assert_eq!(refused(""), ThresholdError::Length { found: 0 });
    assert_eq!(refused("000000000000000"), ThresholdError::Length { found: 15 });
    assert_eq!(refused("C"), ThresholdError::Malformed { at: 0 });
    assert_eq!(refused("c "), ThresholdError::Malformed { at: 1 });
    assert_eq!(refused("0x8"), ThresholdError::Malformed { at: 1 });
    assert_eq!(refused("é"), ThresholdError::Malformed { at: 0 });
    assert_eq!(refused("").to_string(), "threshold of 0 bytes, expected 1 to 14");
}

#[test]
fn what_is_written_reads_back_and_has_no_zeros_at_its_end() {
    for step in 0..1000_u64 {
        let number = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8;
        for number in [number, number & 0xffff_0000, number << 40 & (VALUES - 1), number >> 20] {
            let threshold = Threshold::new(number).unwrap();
            let text = threshold.to_string();
            assert_eq!(text.parse(), Ok(threshold));
            let padded = format!("{number:014x}");
            let expected = padded.trim_end_matches('0');
            assert_eq!(text, if expected.is_empty() { "0" } else { expected });
        }
    }
}
