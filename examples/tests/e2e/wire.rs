//! HTTP/1.1 written by hand, for fields that no client would send and to see those that are sent byte by byte.

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::process::PATIENCE;

/// What stands before a body, and the body.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The first line.
    pub(crate) start: String,
    /// The fields in their order, names as they are written.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Message {
    /// Reads one message, the body by its `content-length`; `None` at the end of the stream.
    pub(crate) async fn read(stream: impl AsyncRead + Unpin) -> Option<Self> {
        let mut stream = BufReader::new(stream);
        let mut start = String::new();
        stream.read_line(&mut start).await.ok().filter(|read| *read > 0)?;
        let mut message =
            Self { start: start.trim_end().to_owned(), fields: Vec::new(), body: String::new() };
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
            let line = line.trim_end_matches("\r\n");
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').expect("a field has a colon");
            message.fields.push((name.to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned()));
        }
        let mut body = vec![0; message.field("content-length").map_or(0, |len| len.parse().unwrap())];
        stream.read_exact(&mut body).await.ok()?;
        message.body = String::from_utf8(body).unwrap();
        Some(message)
    }

    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let fields = self.fields.iter().filter(|field| field.0.eq_ignore_ascii_case(name));
        fields.map(|field| field.1.as_str()).collect()
    }

    /// The value of a field that there is once at most.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} is there {} times: {self:?}", all.len());
        all.first().copied()
    }

    /// The number in the first line of a response.
    pub(crate) fn status(&self) -> u16 {
        self.start.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

/// The response to a POST with exactly these fields besides those that HTTP itself needs.
pub(crate) async fn post(address: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Message {
    let mut text = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in fields {
        text += &format!("{name}: {value}\r\n");
    }
    if !fields.iter().any(|field| field.0 == "content-length") {
        text += &format!("content-length: {}\r\n", body.len());
    }
    text += "\r\n";
    exchange(address, &(text + body)).await
}

/// The response to whatever `text` is.
pub(crate) async fn exchange(address: &str, text: &str) -> Message {
    let answered = tokio::time::timeout(PATIENCE, async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        Message::read(stream).await
    });
    answered.await.expect("it answers in time").unwrap_or_else(|| panic!("no answer to {text}"))
}

#[tokio::test]
async fn an_empty_field_is_one_of_the_fields() {
    let text = "HTTP/1.1 200 OK\r\ntracestate:\r\nbaggage: \r\ncontent-length: 2\r\n\r\n[]";
    let message = Message::read(text.as_bytes()).await.unwrap();
    assert_eq!((message.field("tracestate"), message.field("baggage")), (Some(""), Some("")));
    assert_eq!(message.body, "[]");
}
