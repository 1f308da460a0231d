//! An HTTP proxy before a real server that misbehaves on cue, counts what it is asked for, and can be slow.
//!
//! It knows just enough HTTP/1.1 to tell one message from the next, and nothing of what the messages mean.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How one answer goes wrong.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// This status with this body instead of the server's answer; the text before it are further header lines.
    Answer(u16, &'static str, String),
    /// The connection breaks after this many bytes of the body.
    CutAfter(u64),
    /// Nothing more is sent after this many bytes of the body; the connection stays open.
    StallAfter(u64),
    /// The body has the right length, and one byte of every buffer is another.
    WrongBytes,
    /// The server does not hear of a range, so that it answers with everything.
    NoRange,
    /// The answer says that it is another range than it is.
    OtherRange,
}

impl Fault {
    /// A bare status.
    pub(crate) fn status(code: u16) -> Fault {
        Fault::Answer(code, "", String::new())
    }
}

/// When an answer goes wrong: the request line holds every word of `words`, for the next `times` requests.
#[derive(Debug)]
struct Rule {
    words: Vec<String>,
    times: usize,
    fault: Fault,
}

/// How slow every answer is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    /// Before the first byte.
    pub(crate) latency: Duration,
    /// Of one connection; unlimited when absent.
    pub(crate) bytes_per_second: Option<f64>,
}

#[derive(Debug)]
struct State {
    upstream: SocketAddr,
    pace: Pace,
    rules: Mutex<Vec<Rule>>,
    /// Request lines without the protocol: `GET /v2/`.
    seen: Mutex<Vec<String>>,
    /// Those lines, and how many bytes of a body each was answered with.
    sent: Mutex<Vec<(String, u64)>>,
    closed: Mutex<bool>,
}

/// The proxy; it stops listening when dropped.
#[derive(Debug)]
pub(crate) struct Faults {
    address: SocketAddr,
    state: Arc<State>,
}

impl Faults {
    /// Listens at `listen` (port 0 for any) and passes requests on to `upstream`.
    pub(crate) fn listen(listen: SocketAddr, upstream: SocketAddr, pace: Pace) -> io::Result<Faults> {
        let listener = TcpListener::bind(listen)?;
        let address = listener.local_addr()?;
        let state = Arc::new(State {
            upstream,
            pace,
            rules: Mutex::default(),
            seen: Mutex::default(),
            sent: Mutex::default(),
            closed: Mutex::new(false),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if *shared.closed.lock().unwrap() {
                    break;
                }
                let shared = Arc::clone(&shared);
                // A client that goes away is its own business.
                thread::spawn(move || shared.serve(client));
            }
        });
        Ok(Faults { address, state })
    }

    /// Listens on a loopback port of its own.
    pub(crate) fn before(upstream: SocketAddr) -> Faults {
        Faults::listen(([127, 0, 0, 1], 0).into(), upstream, Pace::default()).unwrap()
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on every request whose line (`GET /v2/…`) holds all the words of `words` meets this fault.
    /// The first rule that fits counts.
    pub(crate) fn always(&self, words: &str, fault: Fault) -> &Faults {
        self.times(usize::MAX, words, fault)
    }

    /// As [`Faults::always`], for the next `times` such requests only.
    pub(crate) fn times(&self, times: usize, words: &str, fault: Fault) -> &Faults {
        let words = words.split_whitespace().map(str::to_owned).collect();
        self.state.rules.lock().unwrap().push(Rule { words, times, fault });
        self
    }

    /// Forgets every rule.
    pub(crate) fn behave(&self) {
        self.state.rules.lock().unwrap().clear();
    }

    /// The requests so far whose line holds all the words of `words`.
    pub(crate) fn requests(&self, words: &str) -> Vec<String> {
        let seen = self.state.seen.lock().unwrap();
        seen.iter().filter(|line| words.split_whitespace().all(|word| line.contains(word))).cloned().collect()
    }

    /// The bytes of bodies that answered such requests.
    pub(crate) fn bytes(&self, words: &str) -> u64 {
        let sent = self.state.sent.lock().unwrap();
        let fits = |line: &str| words.split_whitespace().all(|word| line.contains(word));
        sent.iter().filter(|(line, _)| fits(line)).map(|(_, bytes)| bytes).sum()
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        *self.state.closed.lock().unwrap() = true;
        // Wakes the listener, which then sees that it is to end.
        let _ = TcpStream::connect(self.address);
    }
}

/// The first line and the headers of a message, and what they say about its body.
struct Head {
    line: String,
    headers: Vec<String>,
    length: Option<u64>,
}

impl Head {
    fn read(from: &mut impl BufRead) -> io::Result<Option<Head>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            match line.trim_end() {
                "" => break,
                text => lines.push(text.to_owned()),
            }
        }
        if lines.is_empty() {
            return Ok(None);
        }
        let line = lines.remove(0);
        let length = lines.iter().find_map(|header| {
            let (name, value) = header.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        lines.retain(|header| !header.to_ascii_lowercase().starts_with("connection:"));
        Ok(Some(Head { line, headers: lines, length }))
    }

    fn write(&self, to: &mut impl Write, connection: &str) -> io::Result<()> {
        let mut text = format!("{}\r\nConnection: {connection}\r\n", self.line);
        for header in &self.headers {
            text.push_str(header);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        to.write_all(text.as_bytes())
    }
}

impl State {
    fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut requests = BufReader::new(client.try_clone()?);
        // TLS is answered as any server without it does, so that the client knows.
        if requests.fill_buf()?.first() == Some(&TLS_HANDSHAKE) {
            return client.write_all(b"HTTP/1.0 400 Bad Request\r\n\r\n");
        }
        while let Some(mut request) = Head::read(&mut requests)? {
            let mut body = vec![0; usize::try_from(request.length.unwrap_or(0)).unwrap_or(0)];
            requests.read_exact(&mut body)?;
            let asked = request.line.rsplit_once(' ').map_or(request.line.as_str(), |(asked, _)| asked).to_owned();
            let fault = self.fault_for(&asked);
            self.seen.lock().unwrap().push(asked.clone());
            if matches!(fault, Some(Fault::NoRange)) {
                request.headers.retain(|header| !header.to_ascii_lowercase().starts_with("range:"));
            }
            pause(self.pace.latency);
            if let Some(Fault::Answer(status, headers, text)) = fault {
                let length = text.len();
                write!(client, "HTTP/1.1 {status} On Cue\r\n{headers}Content-Length: {length}\r\n\r\n")?;
                if !request.line.starts_with("HEAD ") {
                    client.write_all(text.as_bytes())?;
                }
                continue;
            }

            let mut upstream = TcpStream::connect(self.upstream)?;
            request.write(&mut upstream, "close")?;
            upstream.write_all(&body)?;
            let mut answers = BufReader::with_capacity(BUFFER, upstream);
            let Some(mut answer) = Head::read(&mut answers)? else { return Ok(()) };
            if matches!(fault, Some(Fault::OtherRange)) {
                answer.headers.retain(|header| !header.to_ascii_lowercase().starts_with("content-range:"));
                answer.headers.push("Content-Range: bytes 1-2/3".to_owned());
            }
            let empty =
                request.line.starts_with("HEAD ") || answer.line.contains(" 304 ") || answer.line.contains(" 204 ");
            let length = if empty { Some(0) } else { answer.length };
            answer.write(&mut client, if length.is_some() { "keep-alive" } else { "close" })?;
            let mut sent = 0;
            let relayed = self.relay(&mut answers, &mut client, length.unwrap_or(u64::MAX), fault, &mut sent);
            self.sent.lock().unwrap().push((asked, sent));
            relayed?;
            if length.is_none() {
                break;
            }
        }
        client.shutdown(Shutdown::Both)
    }

    /// Passes a body of `length` bytes on, at our pace, until it ends or the fault says otherwise.
    fn relay(
        &self,
        from: &mut impl BufRead,
        client: &mut TcpStream,
        length: u64,
        fault: Option<Fault>,
        sent: &mut u64,
    ) -> io::Result<()> {
        let begun = Instant::now();
        while *sent < length {
            let buffer = from.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            let mut take = buffer.len().min(usize::try_from(length - *sent).unwrap_or(usize::MAX));
            if let Some(Fault::CutAfter(limit) | Fault::StallAfter(limit)) = fault {
                take = take.min(usize::try_from(limit - *sent).unwrap_or(usize::MAX));
            }
            match fault {
                Some(Fault::WrongBytes) => {
                    let mut other = buffer[..take].to_vec();
                    other[take / 2] ^= 0x55;
                    client.write_all(&other)?;
                }
                _ => client.write_all(&buffer[..take])?,
            }
            from.consume(take);
            *sent += take as u64;
            match fault {
                Some(Fault::CutAfter(limit)) if *sent >= limit => {
                    client.shutdown(Shutdown::Both)?;
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                // The client's own end of patience is what ends this.
                Some(Fault::StallAfter(limit)) if *sent >= limit => {
                    let _ = client.read(&mut [0]);
                    return Err(io::ErrorKind::TimedOut.into());
                }
                _ => {}
            }
            if let Some(rate) = self.pace.bytes_per_second {
                pause(Duration::from_secs_f64(*sent as f64 / rate).saturating_sub(begun.elapsed()));
            }
        }
        Ok(())
    }

    fn fault_for(&self, asked: &str) -> Option<Fault> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules
            .iter_mut()
            .find(|rule| rule.times > 0 && rule.words.iter().all(|word| asked.contains(word.as_str())))?;
        rule.times -= usize::from(rule.times != usize::MAX);
        Some(rule.fault.clone())
    }
}

/// The first byte of a TLS record that begins a handshake.
const TLS_HANDSHAKE: u8 = 22;

/// Large enough that carrying a body costs little; a pace is kept buffer by buffer.
const BUFFER: usize = 128 << 10;

#[expect(clippy::disallowed_methods, reason = "being slow is what this proxy is for")]
fn pause(time: Duration) {
    if !time.is_zero() {
        thread::sleep(time);
    }
}
