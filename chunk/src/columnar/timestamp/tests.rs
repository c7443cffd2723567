use super::*;

fn find(text: &str) -> Option<Stamp> {
    let line = text.as_bytes();
    let width = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if width == 0 { after_letters(line, 0, &mut false) } else { after_digits(line, 0, width) }
}

fn printed(stamp: Stamp) -> String {
    let mut out = [0; 40];
    let bytes = stamp.format.print(stamp.value, &mut out);
    String::from_utf8(out[..bytes].to_vec()).unwrap()
}

#[test]
fn each_format_prints_what_it_read() {
    let texts = [
        "Jun  9 06:06:01",
        "Jun  9 06:06:01 2005",
        "2015-07-29 19:29:03",
        "2015-07-29 19:29:03,816",
        "2015-07-29 19:29:03.816",
        "2015-07-29 19:29:03.816001",
        "2015-07-29T19:29:03",
        "2015-07-29T19:29:03.000",
        "2015-07-29T19:29:03.000009",
        "17/May/2015:18:05:42",
        "081110 220637",
        "2005-07-15-23.49.42.308319",
        "Sun Dec 04 20:32:37 2005",
        "2015-07-29T19:29:03.123456789",
        "2015-07-29 19:29:03.999999999",
        "2015/07/29 19:29:03",
        "2015/07/29 19:29:03.123456",
        "21:27:07",
        "21:27:07.761",
        "21:27:07,761",
        "Sat Jul  9 12:16:49 2005",
        "Feb 09 00:00:00",
        "Feb 09 00:00:00 2024",
        "2015-07-29T19:29:03,816",
        "2015/07/29 19:29:03.816",
        "00:00:00.000001",
    ];
    for (index, text) in texts.iter().enumerate() {
        let stamp = find(text).unwrap_or_else(|| panic!("{text}"));
        assert_eq!(usize::from(stamp.format.number()), index + 1, "{text}");
        assert_eq!(stamp.bytes, text.len(), "{text}");
        assert_eq!(printed(stamp), *text);
        assert!(text.len() <= MAX_BYTES);
    }
    assert_eq!(texts.len(), LAYOUTS.len());
}

#[test]
fn what_would_print_otherwise_is_no_time() {
    for text in [
        "2015-02-29 00:00:00",
        "2015-02-30 00:00:00",
        "2015-13-01 00:00:00",
        "2015-00-10 00:00:00",
        "2015-01-00 00:00:00",
        "2015-01-32 00:00:00",
        "2015-01-01 24:00:00",
        "2015-01-01 23:60:00",
        "2015-01-01 23:59:60",
        "1969-12-31 23:59:59",
        "2262-01-01 00:00:00",
        "Feb 30 00:00:00",
        "Mon Dec 04 20:32:37 2005",
        "29/Feb/2015:00:00:00",
        "24:00:60",
        "Jun 9 06:06:01",
        "2015-07/29 19:29:03",
        "150229 000000",
        "0811100 220637",
        "081110 2206377",
    ] {
        assert_eq!(find(text), None, "{text}");
    }
}

#[test]
fn every_day_from_1970_to_2261_goes_both_ways() {
    for days in (0..days_before(LAST_YEAR + 1)).step_by(1) {
        let (year, month, day) = civil(days);
        assert_eq!(calendar::days(year, month, day), Some(days));
    }
    assert_eq!(civil(days_before(LAST_YEAR + 1) - 1), (2261, 12, 31));
    assert_eq!(civil(0), (1970, 1, 1));
}

#[test]
fn values_beyond_what_a_format_prints_are_refused() {
    let mut out = [0; 40];
    for number in 1..=26 {
        let format = Format::from_number(number).unwrap();
        assert_eq!(format.print(u64::MAX, &mut out), 0);
        assert_ne!(format.print(0, &mut out), 0);
    }
    assert!(Format::from_number(0).is_none() && Format::from_number(27).is_none());
}

#[test]
fn a_fraction_of_another_width_is_left_to_the_line() {
    assert_eq!(find("2015-07-29 19:29:03.81").unwrap().bytes, 19);
    assert_eq!(find("2015-07-29T19:29:03.8161Z").unwrap().bytes, 19);
    assert_eq!(find("21:27:07.7").unwrap().bytes, 8);
}

#[test]
fn a_day_of_two_digits_is_padded_like_the_one_before() {
    let mut zero = false;
    assert_eq!(after_letters(b"Dec 04 20:32:37", 0, &mut zero).unwrap().format.number(), 22);
    assert_eq!(after_letters(b"Dec 14 20:32:37", 0, &mut zero).unwrap().format.number(), 22);
    assert_eq!(after_letters(b"Dec  4 20:32:37", 0, &mut zero).unwrap().format.number(), 1);
    assert_eq!(after_letters(b"Dec 14 20:32:37", 0, &mut zero).unwrap().format.number(), 1);
}

#[test]
fn another_time_of_the_day_prints_over_the_one_before() {
    for number in 1..=26 {
        let format = Format::from_number(number).unwrap();
        let day = if format.layout().date == Date::None { 0 } else { 77 * format.units_of_day() };
        let scale = power(format.layout().digits);
        let (mut out, mut expected) = ([0; 40], [0; 40]);
        let width = format.print(day, &mut out);
        for second in (0..DAY).step_by(59).chain([DAY - 1]) {
            format.clock().print(second, width, &mut out);
            assert_eq!(format.print(day + second * scale, &mut expected), width);
            assert_eq!(out[..width], expected[..width], "format {number}");
        }
    }
}
