//! Frames and messages between the server and its training clients.
