//! A connection to the server: TCP or a Unix socket.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Bytes in both directions.
pub trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

/// Connects to `unix:/path` or `tcp:host:port`; nothing waits longer than `timeout` for one read or
/// write.
///
/// # Errors
/// If nobody listens there, or it is no such address (kind `InvalidInput`).
pub fn dial(address: &str, timeout: Duration) -> io::Result<Box<dyn Stream>> {
    if let Some(path) = address.strip_prefix("unix:") {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        return Ok(Box::new(stream));
    }
    if let Some(place) = address.strip_prefix("tcp:") {
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{place} has no address"));
        for place in place.to_socket_addrs()? {
            match TcpStream::connect_timeout(&place, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(timeout))?;
                    stream.set_write_timeout(Some(timeout))?;
                    return Ok(Box::new(stream));
                }
                Err(error) => last = error,
            }
        }
        return Err(last);
    }
    let message = format!("the address {address:?} is neither unix:/path nor tcp:host:port");
    Err(io::Error::new(io::ErrorKind::InvalidInput, message))
}
