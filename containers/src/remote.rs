//! Daemons on other machines: through ssh, or over TCP with TLS.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;
use tokio::sync::Semaphore;

/// Connections that are opened at once: an ssh server turns away more than ten that have not logged
/// in (its `MaxStartups`).
const AT_ONCE: usize = 4;
/// After this long a connection is taken as opened.
const LET_IN: Duration = Duration::from_secs(3);

/// The program and the arguments that open a connection.
type Dial = (String, Vec<String>);

/// A local socket whose every connection is carried to a daemon elsewhere by a process of its own,
/// as `docker` itself does it: `ssh HOST docker system dial-stdio`. The ssh of this machine is
/// asked, so keys, agents, jumps and known hosts are as its user has set them up.
#[derive(Debug)]
pub(crate) struct Bridge {
    _folder: tempfile::TempDir,
    socket: PathBuf,
    said: Arc<Mutex<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Bridge {
    /// Listens; nothing is connected before somebody asks.
    pub(crate) fn start(dial: Dial) -> std::io::Result<Self> {
        // Others of this machine must not reach the daemon through it: the folder is this user's.
        let folder = tempfile::Builder::new().prefix("reproduceml-docker-").tempdir()?;
        let socket = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&socket)?;
        let said = Arc::new(Mutex::new(String::new()));
        let (dial, words) = (Arc::new(dial), said.clone());
        let begun = Arc::new(Semaphore::new(AT_ONCE));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(carry(stream, dial.clone(), words.clone(), begun.clone()));
            }
        });
        Ok(Self { _folder: folder, socket, said, task })
    }

    /// The address of the local socket.
    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// What the carrying process last complained of.
    pub(crate) fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Carries one connection until both directions have ended.
async fn carry(
    stream: UnixStream,
    dial: Arc<Dial>,
    said: Arc<Mutex<String>>,
    begun: Arc<Semaphore>,
) {
    let turn = begun.acquire_owned().await;
    let tell = |words: String| *said.lock().unwrap_or_else(PoisonError::into_inner) = words;
    let (program, arguments) = dial.as_ref();
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return tell(format!("{program} cannot be started: {error}")),
    };
    let (Some(mut input), Some(mut output), Some(errors)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return;
    };
    let (mut from, mut to) = stream.into_split();
    let up = async {
        let _ = tokio::io::copy(&mut from, &mut input).await;
        drop(input);
    };
    let down = async {
        let mut first = [0; 4096];
        // With the first answer it is let in; what answers late must not hold up the others.
        let read = tokio::time::timeout(LET_IN, output.read(&mut first)).await;
        drop(turn);
        match read {
            Ok(Ok(0) | Err(_)) => return,
            Ok(Ok(count)) => {
                let bytes = first.get(..count).unwrap_or_default();
                if to.write_all(bytes).await.is_err() {
                    return;
                }
            }
            Err(_) => {}
        }
        let _ = tokio::io::copy(&mut output, &mut to).await;
        let _ = to.shutdown().await;
    };
    let words = async {
        let mut lines = BufReader::new(errors).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if !line.trim().is_empty() {
                tell(line);
            }
        }
    };
    // When the process has ended, what still comes from this side has nowhere to go.
    tokio::select! {
        ((), ()) = async { tokio::join!(down, words) } => {}
        () = async { up.await; std::future::pending::<()>().await } => {}
    }
}

/// How to reach `ssh://[USER@]HOST[:PORT]`.
pub(crate) fn ssh(host: &str) -> Result<Dial, String> {
    let rest = host.strip_prefix("ssh://").unwrap_or(host).trim_end_matches('/');
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    let (name, port) = match place.rsplit_once(':') {
        Some((name, port)) if !name.ends_with(':') => {
            let port: u16 = port.parse().map_err(|_| format!("`{port}` is no port"))?;
            (name, Some(port))
        }
        _ => (place, None),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    // A name that begins with a dash would be an option.
    let plain = |text: &str| {
        !text.is_empty()
            && !text.starts_with('-')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-:%".contains(&b))
    };
    if !plain(name) || !user.is_none_or(plain) {
        return Err("expected ssh://USER@HOST:PORT".to_owned());
    }
    let mut arguments: Vec<String> =
        ["-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=10"].map(str::to_owned).into();
    if let Some(user) = user {
        arguments.extend(["-l".to_owned(), user.to_owned()]);
    }
    if let Some(port) = port {
        arguments.extend(["-p".to_owned(), port.to_string()]);
    }
    arguments.extend(["--", name, "docker", "system", "dial-stdio"].map(str::to_owned));
    // Like git's GIT_SSH: a program that is called with the same arguments.
    let program = std::env::var("REPRODUCEML_SSH").ok().filter(|program| !program.is_empty());
    Ok((program.unwrap_or_else(|| "ssh".to_owned()), arguments))
}

/// The folder with `ca.pem`, `cert.pem` and `key.pem`, if the daemon at `host` is asked over TLS:
/// as `docker` decides it.
pub(crate) fn certificates(host: &str) -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let tcp = host.starts_with("tcp://") && set("DOCKER_TLS_VERIFY").is_some();
    if !tcp && !host.starts_with("https://") {
        return None;
    }
    set("DOCKER_CERT_PATH")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&set("HOME")?).join(".docker")))
}

/// The first of the three files that is not there.
pub(crate) fn missing_certificate(folder: &Path) -> Option<PathBuf> {
    ["ca.pem", "cert.pem", "key.pem"]
        .map(|name| folder.join(name))
        .into_iter()
        .find(|path| !path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_becomes_arguments_and_never_an_option() {
        let (program, arguments) = ssh("ssh://me@build.example.org:2222").unwrap();
        assert_eq!(program, "ssh");
        let text = arguments.join(" ");
        assert!(text.contains("BatchMode=yes") && text.contains("-l me -p 2222"), "{text}");
        assert!(text.ends_with("-- build.example.org docker system dial-stdio"), "{text}");
        assert!(ssh("ssh://host").unwrap().1.join(" ").contains("-- host docker"));
        for bad in [
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://-x@h",
            "ssh://h:no",
            "ssh://a b",
            "ssh://h;x",
        ] {
            assert!(ssh(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn what_the_carrier_complains_of_is_known() {
        let dial = ("sh".to_owned(), vec!["-c".to_owned(), "echo no way >&2; exit 255".to_owned()]);
        let bridge = Bridge::start(dial).unwrap();
        let mut stream =
            UnixStream::connect(bridge.address().trim_start_matches("unix://")).await.unwrap();
        let mut text = String::new();
        AsyncReadExt::read_to_string(&mut stream, &mut text).await.unwrap();
        assert_eq!(text, "");
        assert_eq!(bridge.said(), "no way");
    }

    #[tokio::test]
    async fn bytes_go_both_ways() {
        let bridge = Bridge::start(("cat".to_owned(), vec![])).unwrap();
        let mut stream =
            UnixStream::connect(bridge.address().trim_start_matches("unix://")).await.unwrap();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        let mut text = String::new();
        AsyncReadExt::read_to_string(&mut stream, &mut text).await.unwrap();
        assert_eq!(text, "hello");
    }
}
