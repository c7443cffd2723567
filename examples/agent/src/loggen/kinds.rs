//! What each kind of service writes: access log, logfmt, JSON, key-value text with stack traces on one line, syslog.
//!
//! Values are skewed as real ones are: few users, products and paths make most of the lines, most requests are
//! quick and succeed, 1 to 4 lines in 100 tell of trouble.

use super::stamp::Stamp;
use super::text::Text;
use crate::random::Random;

/// What a service logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Access log, combined format with the request's time and id behind it.
    Access,
    /// logfmt of orders.
    Orders,
    /// JSON of payments.
    Payments,
    /// Key-value text of a JVM service.
    Sessions,
    /// Syslog of a node.
    Node,
    /// logfmt of database statements.
    Stock,
    /// Syslog of a mail server.
    Mail,
    /// JSON of searches.
    Search,
    /// Key-value text of a JVM worker, with stack traces over several lines.
    Work,
}

impl Kind {
    /// Writes a line.
    pub(super) fn write(self, out: &mut Text<'_>, random: &mut Random, stamp: &Stamp, host: &str) {
        match self {
            Self::Access => access(out, random, stamp),
            Self::Orders => orders(out, random, stamp),
            Self::Payments => payments(out, random, stamp),
            Self::Sessions => sessions(out, random, stamp),
            Self::Node => node(out, random, stamp, host),
            Self::Stock => stock(out, random, stamp),
            Self::Mail => mail(out, random, stamp, host),
            Self::Search => search(out, random, stamp),
            Self::Work => work(out, random, stamp),
        }
    }
}

/// One of `items`.
fn one<T: Copy>(random: &mut Random, items: &[T]) -> T {
    items[random.below(u32::try_from(items.len()).expect("tables are short")) as usize]
}

/// Below `bound`, and small more often than large.
fn skewed(random: &mut Random, bound: u32) -> u32 {
    let bound = random.below(bound) + 1;
    random.below(bound)
}

/// A time in microseconds: mostly around `typical`, now and then twenty times that.
fn micros(random: &mut Random, typical: u32) -> u32 {
    let slow = if random.below(50) == 0 { 20 } else { 1 };
    typical / 2 * slow + random.below(typical * slow)
}

/// Milliseconds with three decimals.
fn millis(out: &mut Text<'_>, micros: u32) {
    out.number(micros / 1_000).put(".").padded(micros % 1_000, 3);
}

fn access(out: &mut Text<'_>, random: &mut Random, stamp: &Stamp) {
    const AGENTS: [&str; 5] = [
        "Mozilla/5.0 (X11; Linux x86_64) Shopper/12.4",
        "Mozilla/5.0 (Macintosh; Intel) Shopper/12.3",
        "ShopApp/4.18 (Android 15)",
        "ShopApp/4.19 (iOS 18.2)",
        "uptime-probe/1.0",
    ];
    out.address(skewed(random, 1 << 20)).put(" - - ").put(stamp.access()).put(" \"");
    let roll = random.below(100);
    match roll {
        0..45 => out.put("GET /api/v1/products/").number(skewed(random, 20_000)),
        45..65 => {
            out.put("GET /static/app.").hex(u64::from(1 + skewed(random, 9)) * 0x9e37_79b9, 8).put(".js")
        }
        65..80 => {
            out.put("GET /api/v1/search?q=").put(one(random, &WORDS)).put("&page=").number(skewed(random, 9))
        }
        80..92 => out.put("POST /api/v1/cart/").hex(random.number(), 12).put("/items"),
        _ => out.put("POST /api/v1/checkout"),
    };
    let status = match random.below(200) {
        0..2 => "502",
        2..3 => "504",
        3..9 => "404",
        9..12 => "429",
        12..40 => "304",
        _ => "200",
    };
    out.put(" HTTP/1.1\" ").put(status).put(" ").number(skewed(random, 60_000)).put(" \"-\" \"");
    out.put(one(random, &AGENTS)).put("\" rt=");
    let micros = micros(random, 30_000);
    out.number(micros / 1_000_000).put(".").padded(micros % 1_000_000 / 1_000, 3);
    out.put(" id=").hex(random.number(), 16);
}

const WORDS: [&str; 8] =
    ["lamp", "desk", "garden+chair", "rain+coat", "kettle", "notebook", "bike+light", "tent"];

fn orders(out: &mut Text<'_>, random: &mut Random, stamp: &Stamp) {
    let (level, caller, message) = match random.below(100) {
        0 => ("error", "submit.go:188", "order not submitted: payments answered 503"),
        1..4 => ("warn", "price.go:73", "price changed while in cart"),
        4..40 => ("info", "cart.go:212", "item added"),
        40..80 => ("info", "cart.go:240", "cart priced"),
        _ => ("info", "submit.go:164", "order placed"),
    };
    out.put("ts=");
    stamp.rfc3339(out);
    out.put(" level=").put(level).put(" caller=").put(caller).put(" msg=\"").put(message).put("\" order=");
    out.number(4_000_000 + random.below(900_000)).put(" user=u").number(skewed(random, 50_000));
    out.put(" items=").number(1 + skewed(random, 9)).put(" total_cents=").number(99 + skewed(random, 40_000));
    out.put(" took=");
    millis(out, micros(random, 8_000));
    out.put("ms trace_id=").hex(random.number(), 16);
}

fn payments(out: &mut Text<'_>, random: &mut Random, stamp: &Stamp) {
    let (level, message) = match random.below(100) {
        0..2 => ("error", "upstream timeout"),
        2..6 => ("warn", "payment declined"),
        6..50 => ("info", "payment authorized"),
        50..90 => ("info", "payment captured"),
        _ => ("info", "refund issued"),
    };
    out.put("{\"time\":\"");
    stamp.rfc3339(out);
    out.put("\",\"level\":\"").put(level).put("\",\"msg\":\"").put(message);
    out.put("\",\"provider\":\"").put(one(random, &["cardhouse", "cardhouse", "bankline", "walletly"]));
    out.put("\",\"payment\":\"pay_")
        .hex(random.number(), 12)
        .put("\",\"amount\":")
        .number(99 + skewed(random, 40_000));
    out.put(",\"currency\":\"").put(one(random, &["EUR", "EUR", "USD", "GBP"]));
    out.put("\",\"attempt\":").number(1 + skewed(random, 3)).put(",\"latency_ms\":");
    out.number(micros(random, 180_000) / 1_000).put(",\"trace_id\":\"").hex(random.number(), 16).put("\"}");
}

fn sessions(out: &mut Text<'_>, random: &mut Random, stamp: &Stamp) {
    let failed = random.below(150) == 0;
    stamp.comma(out);
    out.put(if failed { " ERROR [pool-2-thread-" } else { " INFO  [pool-2-thread-" });
    out.number(1 + random.below(32)).put("] s.store.SessionStore - action=");
    out.put(one(random, &["load", "load", "refresh", "refresh", "create", "expire"]));
    out.put(" session=").hex(random.number(), 16).put(" user=u").number(skewed(random, 50_000));
    let shard = skewed(random, 16);
    if !failed {
        out.put(" shard=").number(shard).put(" ttl_s=1800 elapsed_us=").number(micros(random, 400));
        return;
    }
    out.put(" failed: s.store.ShardUnavailable: no reply from shard ").number(shard).put(" in 500 ms");
    for (method, line) in [("ShardClient.await(ShardClient", 118), ("SessionStore.load(SessionStore", 64)] {
        out.put("; at s.store.").put(method).put(".java:").number(line + random.below(3)).put(")");
    }
    out.put("; caused by: java.net.SocketTimeoutException: Read timed out");
}

fn node(out: &mut Text<'_>, random: &mut Random, stamp: &Stamp, host: &str) {
    out.put(stamp.syslog()).put(" ").put(host).put(" kubelet[").number(1_200 + random.below(4)).put("]: ");
    let pod = one(random, &["checkout", "payments", "sessions", "inventory", "search"]);
    let replica = skewed(random, 12);
    match random.below(100) {
        0 => out.put("E back-off restarting failed container, pod=shop/").put(pod).put("-").number(replica),
        1..10 => out.put("I volume mounted, name=config-").hex(random.number(), 8).put(" pod=shop/").put(pod),
        10..25 => out
            .put("I image already present, digest=sha256:")
            .hex(u64::from(replica), 16)
            .put(" pod=")
            .put(pod),
        _ => out.put("I probe succeeded, probe=readiness pod=shop/").put(pod).put("-").number(replica),
    };
    out.put(" took=");
    millis(out, micros(random, 3_000));
    out.put("ms");
}

fn stock(out: &mut Text<'_>, random: &mut Random, stamp: &Stamp) {
    let elapsed = micros(random, 1_500);
    let level = if elapsed > 20_000 { "warn" } else { "info" };
    out.put("ts=");
    stamp.rfc3339(out);
    out.put(" level=").put(level).put(" msg=");
    out.put(if level == "warn" { "\"slow statement\"" } else { "statement" }).put(" sql=\"");
    match random.below(3) {
        0 => out.put("SELECT on_hand FROM stock WHERE sku = $1").put("\" sku="),
        1 => out.put("UPDATE stock SET on_hand = on_hand - $2 WHERE sku = $1").put("\" sku="),
        _ => out.put("INSERT INTO reservation (sku, cart) VALUES ($1, $2)").put("\" sku="),
    };
    out.number(skewed(random, 20_000))
        .put(" rows=")
        .number(random.below(2))
        .put(" elapsed_us=")
        .number(elapsed);
}

fn mail(out: &mut Text<'_>, random: &mut Random, stamp: &Stamp, host: &str) {
    out.put(stamp.syslog()).put(" ").put(host).put(" smtp[").number(2_000 + random.below(16)).put("]: ");
    out.hex(random.number(), 10).put(": to=<u").number(skewed(random, 50_000)).put("@mail");
    let server = skewed(random, 40);
    out.number(server)
        .put(".example>, relay=mx")
        .number(server)
        .put(".example[")
        .address(server * 771)
        .put("]:25, delay=");
    let delay = micros(random, 900_000) / 10_000;
    out.number(delay / 100).put(".").padded(delay % 100, 2);
    if random.below(40) == 0 {
        out.put(", status=deferred (451 4.7.1 try again later)");
    } else {
        out.put(", status=sent (250 2.0.0 queued as ").hex(random.number(), 10).put(")");
    }
}

fn search(out: &mut Text<'_>, random: &mut Random, stamp: &Stamp) {
    let elapsed = micros(random, 25_000);
    out.put("{\"time\":\"");
    stamp.rfc3339(out);
    out.put("\",\"level\":\"").put(if elapsed > 300_000 { "warn" } else { "info" });
    out.put("\",\"msg\":\"search\",\"q\":\"")
        .put(one(random, &WORDS))
        .put("\",\"page\":")
        .number(skewed(random, 9));
    out.put(",\"hits\":").number(skewed(random, 3_000)).put(",\"index\":\"products-").number(random.below(4));
    out.put("\",\"took_us\":").number(elapsed).put(",\"trace_id\":\"").hex(random.number(), 16).put("\"}");
}

fn work(out: &mut Text<'_>, random: &mut Random, stamp: &Stamp) {
    const FRAMES: [(&str, u32); 6] = [
        ("shop.worker.Index.write(Index", 212),
        ("shop.worker.Batch.flush(Batch", 77),
        ("shop.store.Client.send(Client", 141),
        ("java.util.concurrent.FutureTask.run(FutureTask", 317),
        ("shop.worker.JobRunner.attempt(JobRunner", 64),
        ("java.lang.Thread.run(Thread", 1_583),
    ];
    let failed = random.below(4) == 0;
    stamp.comma(out);
    out.put(if failed { " ERROR [worker-" } else { " INFO  [worker-" }).number(1 + random.below(16));
    out.put("] s.worker.JobRunner - job=")
        .put(one(random, &["reindex", "reindex", "resize", "mailing", "export"]));
    out.put(" id=").hex(random.number(), 12).put(" attempt=").number(1 + skewed(random, 5));
    out.put(" queue_ms=").number(skewed(random, 4_000));
    if !failed {
        out.put(" took=");
        millis(out, micros(random, 90_000));
        out.put("ms");
        return;
    }
    out.put(" failed");
    let below = 3 + random.below(10);
    let cause = (below > 5).then(|| 3 + random.below(below - 4));
    for line in 0..below {
        if line == 0 {
            out.put("\nshop.worker.JobFailed: store answered 503 after ")
                .number(skewed(random, 30_000))
                .put(" ms");
        } else if Some(line) == cause {
            out.put("\nCaused by: java.net.SocketTimeoutException: Read timed out");
        } else {
            let (frame, number) = one(random, &FRAMES);
            out.put("\n\tat ").put(frame).put(".java:").number(number + random.below(3)).put(")");
        }
    }
}
