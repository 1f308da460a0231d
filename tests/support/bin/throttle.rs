//! The proxy of the tests as a program, for `tests/bench`: `throttle LISTEN UPSTREAM MB_PER_SECOND LATENCY_MS`.
//! Every connection is held to that rate, and every answer begins that late.

#![expect(clippy::unwrap_used, reason = "a bench that cannot go on says so by panicking")]
#![expect(dead_code, reason = "the bench needs the pace of the proxy and none of its faults")]

use std::time::Duration;

#[path = "../faults.rs"]
mod faults;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, listen, upstream, rate, latency] = arguments.as_slice() else {
        panic!("throttle LISTEN UPSTREAM MB_PER_SECOND LATENCY_MS");
    };
    let pace = faults::Pace {
        latency: Duration::from_millis(latency.parse().unwrap()),
        bytes_per_second: Some(rate.parse::<f64>().unwrap() * 1e6),
    };
    let _faults = faults::Faults::listen(listen.parse().unwrap(), upstream.parse().unwrap(), pace).unwrap();
    loop {
        std::thread::park();
    }
}
