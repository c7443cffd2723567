//! Lines of our own making, the same ones every time.

/// How many lines a set has.
const LINES: u64 = 10_000;
/// How many it has that is to fill a chunk.
const MANY: u64 = 40_000;

/// Makes the line of a number.
pub(crate) type Line = fn(u64) -> String;

/// One kind of lines each, with its name.
pub(crate) const KINDS: [(&str, Line); 5] =
    [("access", access), ("logfmt", logfmt), ("json", json), ("traces", trace), ("pairs", pairs)];

pub(crate) fn some(line: Line) -> Vec<Vec<u8>> {
    (0..LINES).map(|n| line(n).into_bytes()).collect()
}

pub(crate) fn many(line: Line) -> Vec<Vec<u8>> {
    (0..MANY).map(|n| line(n).into_bytes()).collect()
}

/// The 64 bits of splitmix64 for a number.
pub(crate) fn mix(n: u64) -> u64 {
    let n = n.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let n = (n ^ n >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let n = (n ^ n >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    n ^ n >> 31
}

/// Numbers that depend on nothing but a line and their place in it.
struct Random(u64);

impl Random {
    fn of(line: u64) -> Self {
        Self(line << 16)
    }

    fn draw(&mut self) -> u64 {
        self.0 += 1;
        mix(self.0)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.draw() % most
    }

    /// Few of them often, and many seldom.
    fn skewed(&mut self, most: u64) -> u64 {
        let share = self.below(most) + 1;
        self.below(share)
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        values[usize::try_from(self.skewed(values.len() as u64)).unwrap()]
    }
}

const PATHS: [&str; 8] = [
    "/",
    "/api/v1/query_range",
    "/api/v1/push",
    "/static/app.js",
    "/login",
    "/metrics",
    "/ready",
    "/images/logo.png",
];
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
    "curl/8.5.0",
    "Prometheus/2.53.0",
];
const SERVICES: [&str; 6] = ["gateway", "billing", "search", "accounts", "mailer", "scheduler"];
const LEVELS: [&str; 4] = ["info", "debug", "warn", "error"];
const MESSAGES: [&str; 8] = [
    "request done",
    "cache miss",
    "connection reset by peer",
    "flushed chunk",
    "retrying after timeout",
    "user signed in",
    "lease renewed",
    "payload rejected: too large",
];

fn clock(n: u64) -> (u64, u64, u64) {
    (n / 720_000 % 24, n / 12_000 % 60, n / 200 % 60)
}

fn access(n: u64) -> String {
    let mut random = Random::of(n);
    let (hour, minute, second) = clock(n);
    let host = [10, random.below(4), random.skewed(256), random.below(256)];
    let (path, agent) = (random.pick(&PATHS), random.pick(&AGENTS));
    let [status, bytes] = [random.pick(&[200, 200, 200, 304, 404, 500]), random.skewed(200_000)];
    format!(
        "{}.{}.{}.{} - - [07/Mar/2026:{hour:02}:{minute:02}:{second:02} +0000] \"GET {path}?id={} HTTP/1.1\" {status} \
         {bytes} \"-\" \"{agent}\"",
        host[0],
        host[1],
        host[2],
        host[3],
        random.skewed(5000)
    )
}

fn logfmt(n: u64) -> String {
    let mut random = Random::of(n);
    let (hour, minute, second) = clock(n);
    let start = format!(
        "ts=2026-03-07T{hour:02}:{minute:02}:{second:02}.{:03}Z level={} caller={}.go:{} msg=\"{}\"",
        n * 5 % 1000,
        random.pick(&LEVELS),
        random.pick(&SERVICES),
        20 + random.skewed(12) * 7,
        random.pick(&MESSAGES)
    );
    match random.skewed(4) {
        0 => format!(
            "{start} traceID={:016x} duration={}.{:03}ms",
            random.draw(),
            random.skewed(300),
            random.below(1000)
        ),
        1 => format!("{start} tenant=team-{} bytes={}", random.skewed(40), random.skewed(1 << 20)),
        2 => format!(
            "{start} attempt={} err=\"dial tcp 10.0.{}.{}:9095: i/o timeout\"",
            random.below(5),
            random.below(8),
            random.below(256)
        ),
        _ => start,
    }
}

fn json(n: u64) -> String {
    let mut random = Random::of(n);
    let (hour, minute, second) = clock(n);
    format!(
        "{{\"time\":\"2026-03-07T{hour:02}:{minute:02}:{second:02}.{:06}Z\",\"level\":\"{}\",\"service\":\"{}\",\"pod\":\"{}-{:05x}\",\
         \"message\":\"{}\",\"user\":{},\"trace_id\":\"{:016x}{:016x}\",\"elapsed_ms\":{}}}",
        n * 5000 % 1_000_000,
        random.pick(&LEVELS),
        random.pick(&SERVICES),
        random.pick(&SERVICES),
        mix(random.skewed(30)) & 0xFFFFF,
        random.pick(&MESSAGES),
        random.skewed(20_000),
        random.draw(),
        random.draw(),
        random.skewed(900)
    )
}

/// The first line of a trace is followed by its frames.
fn trace(n: u64) -> String {
    let (trace, frame) = (n / 12, n % 12);
    let mut random = Random::of(if frame == 0 { n } else { mix(trace) % 40 * 12 + frame });
    if frame == 0 {
        let (hour, minute, second) = clock(n);
        return format!(
            "2026-03-07 {hour:02}:{minute:02}:{second:02},{:03} ERROR [worker-{}] com.example.{}.Handler - java.io.IOException: {}",
            n * 5 % 1000,
            random.skewed(16),
            random.pick(&SERVICES),
            random.pick(&MESSAGES)
        );
    }
    format!(
        "\tat com.example.{}.{}.call(Worker.java:{})",
        random.pick(&SERVICES),
        random.pick(&["Pool", "Task", "Channel", "Codec", "Router"]),
        random.skewed(400)
    )
}

/// Many names and values, in an order of their own for each kind of event.
fn pairs(n: u64) -> String {
    let mut random = Random::of(n);
    let mut line = format!("event={}", random.pick(&["open", "close", "read", "write", "sync", "rename"]));
    let shift = random.skewed(4);
    for name in 0..6 {
        line += &match (name + shift) % 6 {
            0 => format!(" pid={}", 400 + random.skewed(60)),
            1 => format!(" path=/var/lib/{}/{:08x}.db", random.pick(&SERVICES), random.draw() >> 32),
            2 => format!(" size={}", random.skewed(1 << 22)),
            3 => format!(" user={}", random.pick(&["root", "postgres", "www-data", "nobody", "backup"])),
            4 => format!(" took={}us", random.skewed(50_000)),
            _ => format!(" result={}", random.pick(&["ok", "EAGAIN", "ENOSPC", "EIO"])),
        };
    }
    line
}
