//! A server on threads of its own, and a client that does nothing but read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;
use tokio::runtime::Builder;

/// The end of a body without `Content-Length`.
const LAST_CHUNK: &[u8] = b"\r\n0\r\n\r\n";

pub(crate) struct Server {
    address: SocketAddr,
}

impl Server {
    pub(crate) fn start(router: Router) -> Self {
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            // As `portcullis serve` does: reads are only made at once where other threads go on.
            let mut runtime = Builder::new_multi_thread();
            let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                sender.send(listener.local_addr().unwrap()).unwrap();
                // As `portcullis serve` does.
                let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
                let service = router.into_make_service_with_connect_info::<SocketAddr>();
                axum::serve(listener, service).await.unwrap();
            });
        });
        Self { address: receiver.recv().unwrap() }
    }

    pub(crate) fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        Connection { stream, buffer: vec![0; 256 * 1_024] }
    }
}

/// A connection that is kept, on which one request follows the other.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// Sends the request and returns the length of the response in bytes, head included.
    ///
    /// # Panics
    ///
    /// If the response is not a success.
    pub(crate) fn send(&mut self, request: &str) -> usize {
        self.stream.write_all(request.as_bytes()).unwrap();
        let mut read = 0;
        let head = loop {
            read += self.read_to(read);
            let text = &self.buffer[..read];
            if let Some(end) = text.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
        };
        let text = std::str::from_utf8(&self.buffer[..head]).unwrap().to_ascii_lowercase();
        assert!(text.starts_with("http/1.1 20"), "{text}");
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        if let Some(length) = length {
            let length: usize = length.parse().unwrap();
            while read < head + length {
                read += self.read_to(read);
            }
            return read;
        }
        if text.starts_with("http/1.1 204") {
            return read;
        }
        let mut total = read;
        let mut last = read;
        // The last bytes stay at the beginning, so that the end is in one piece.
        while !self.buffer[..last].ends_with(LAST_CHUNK) {
            let keep = last.min(LAST_CHUNK.len());
            self.buffer.copy_within(last - keep..last, 0);
            let more = self.read_to(keep);
            total += more;
            last = keep + more;
        }
        total
    }

    fn read_to(&mut self, place: usize) -> usize {
        let read = self.stream.read(&mut self.buffer[place..]).unwrap();
        assert!(read > 0, "the connection was closed");
        read
    }
}
