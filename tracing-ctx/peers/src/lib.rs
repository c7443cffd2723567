//! What all libraries are given: headers, lists and requests made from one seed, so that every run measures
//! the same, and so many of them that no branch predictor learns them by heart.

use http::header::{HeaderMap, HeaderName, HeaderValue};

/// How many different inputs go round.
pub const INPUTS: usize = 1024;

/// SplitMix64 (Steele, Lea and Flood, 2014).
pub struct Seeded(u64);

impl Seeded {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound as u64) as usize
    }
}

/// Valid `traceparent` headers with random ids and each combination of the two named flags.
pub fn traceparents() -> Vec<String> {
    let mut seeded = Seeded::new(1);
    (0..INPUTS).map(|_| traceparent(&mut seeded)).collect()
}

fn traceparent(seeded: &mut Seeded) -> String {
    let (high, low, span) = (seeded.draw(), seeded.draw(), seeded.draw());
    format!("00-{high:016x}{low:016x}-{span:016x}-{:02x}", seeded.draw() & 3)
}

/// The same number of headers, half of them invalid in one of twelve ways, in no order.
pub fn mixed_traceparents() -> Vec<String> {
    let mut seeded = Seeded::new(2);
    (0..INPUTS)
        .map(|_| {
            let valid = traceparent(&mut seeded);
            if seeded.draw() & 1 == 0 { valid } else { spoil(valid, &mut seeded) }
        })
        .collect()
}

/// Headers that no library accepts, each invalid in one of eight ways.
pub fn invalid_traceparents() -> Vec<String> {
    let mut seeded = Seeded::new(3);
    (0..INPUTS)
        .map(|_| {
            let (way, valid) = (seeded.below(8), traceparent(&mut seeded));
            spoil_in_way(way, valid, &mut seeded)
        })
        .collect()
}

fn spoil(valid: String, seeded: &mut Seeded) -> String {
    let way = seeded.below(12);
    spoil_in_way(way, valid, seeded)
}

fn spoil_in_way(way: usize, mut valid: String, seeded: &mut Seeded) -> String {
    match way {
        0 => valid.replace_range(0..2, "ff"),
        1 => valid.replace_range(3..35, &"0".repeat(32)),
        2 => valid.replace_range(36..52, &"0".repeat(16)),
        3 => replace(&mut valid, 3 + seeded.below(32), "g"),
        4 => replace(&mut valid, 36 + seeded.below(16), " "),
        5 => replace(&mut valid, 53 + seeded.below(2), "x"),
        6 => replace(&mut valid, 35, ":"),
        7 => valid.clear(),
        // What follows are headers that some of the others take for valid.
        8 => valid.truncate(seeded.below(55)),
        9 => valid.push('-'),
        10 => valid = valid.to_uppercase(),
        _ => replace(&mut valid, 3, "+"),
    }
    valid
}

fn replace(text: &mut String, at: usize, with: &str) {
    text.replace_range(at..=at, with);
}

/// Different `tracestate` lists of so many members, keys of 3 to 14 bytes and values of 8 to 32.
pub fn tracestates(lists: usize, members: usize) -> Vec<String> {
    const KEY: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789_-*/";
    const VALUE: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/:;.~_-";
    let mut seeded = Seeded::new(4);
    let mut text = |alphabet: &[u8], least: usize, most: usize| {
        let len = least + seeded.below(most - least + 1);
        (0..len).map(|_| char::from(alphabet[seeded.below(alphabet.len())])).collect::<String>()
    };
    let mut list = || {
        // The number keeps the keys of a list apart.
        let member = |n| format!("{}{n:02}{}={}", 'k', text(KEY, 0, 11), text(VALUE, 8, 32));
        (0..members).map(member).collect::<Vec<_>>().join(",")
    };
    (0..lists).map(|_| list()).collect()
}

/// Header maps of a usual request: six fields, and the two of the trace if `traced`.
pub fn requests(traced: bool) -> Vec<HeaderMap> {
    let usual = [
        ("host", "ingest.example.com"),
        ("user-agent", "shipper/1.4.2"),
        ("accept", "*/*"),
        ("content-type", "application/x-protobuf"),
        ("content-length", "1834"),
        ("x-scope-orgid", "tenant-17"),
    ];
    let request = |(traceparent, tracestate): (String, String)| {
        let mut headers = HeaderMap::new();
        for (name, value) in usual {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        if traced {
            headers.insert("traceparent", HeaderValue::try_from(traceparent).expect("printable"));
            headers.insert("tracestate", HeaderValue::try_from(tracestate).expect("printable"));
        }
        headers
    };
    traceparents().into_iter().zip(tracestates(INPUTS, 3)).map(request).collect()
}
