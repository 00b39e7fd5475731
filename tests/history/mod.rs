//! A study with notes and a small history of its own, and a GitHub that serves notes.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::common::{Told, call, program};

/// Three releases of notes: five entries with four pull requests, one of them in no commit.
pub const NOTES: [(&str, &str); 3] = [
    (
        "v0.1.0",
        "# tinynn 0.1\n\n## Bug Fixes\n\n### Layers\n- Fix a crash in pooling (#1)\n\
         - Wrong gradient and wrong sum (#2, #3)\n- A typo\n\n## New Features\n- Something new (#4)\n",
    ),
    ("v0.1.1", "- Again the pooling (#1)\n- Fix the optimizer (#5)\n"),
    ("v0.2.0", "## New Features\n- Something newer (#6)\n"),
];

/// A study about tinynn in a folder of its own, with `upstream` and `notes` beside it.
pub struct World {
    folder: tempfile::TempDir,
}

impl World {
    /// The study, its notes and its history.
    pub fn new() -> Self {
        let world = Self { folder: tempfile::tempdir().unwrap() };
        call(&["init", path(&world.study()), "--framework", "tinynn"]).expect(&[0]);
        world.edit("clone = \"upstream/tinynn\"", "");
        world.edit("notes = \"upstream/notes\"", "");
        std::fs::create_dir(world.notes()).unwrap();
        for (tag, body) in NOTES {
            std::fs::write(world.notes().join(format!("{tag}.md")), body).unwrap();
        }
        make_history(&world.clone());
        world
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn study(&self) -> PathBuf {
        self.folder.path().join("study")
    }

    pub fn notes(&self) -> PathBuf {
        self.folder.path().join("notes")
    }

    pub fn clone(&self) -> PathBuf {
        self.folder.path().join("upstream")
    }

    /// Replaces text of study.toml.
    pub fn edit(&self, from: &str, to: &str) {
        let file = self.study().join("study.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains(from), "study.toml has no `{from}`:\n{text}");
        std::fs::write(file, text.replacen(from, to, 1)).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(&["--study", path(&self.study())]);
        command.args(arguments).env_remove("GITHUB_TOKEN").env_remove("REPRODUCEML_GITHUB_API");
        command
    }

    pub fn call(&self, arguments: &[&str]) -> Told {
        Told::of(self.command(arguments).output().unwrap())
    }

    /// Calls the program and types `input`.
    pub fn typed(&self, arguments: &[&str], input: &str) -> Told {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Told::of(child.wait_with_output().unwrap())
    }

    /// `mine` on notes and history without network, as JSON.
    pub fn mined(&self) -> serde_json::Value {
        let (notes, clone) = (self.notes(), self.clone());
        let arguments = ["mine", "--notes", path(&notes), "--repo", path(&clone), "--offline"];
        self.call(&[&arguments[..], &["--format", "json"]].concat()).expect(&[0]).json()
    }
}

/// A path as an argument.
pub fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs git, which must succeed.
pub fn git(arguments: &[&str]) {
    let output = Command::new("git").args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Six commits on `main`: the begin, and the fixes of 1, 2, 3 and 5.
fn make_history(folder: &Path) {
    git(&["init", "-q", "-b", "main", path(folder)]);
    let commits = [
        ("Begin", "README.md", "tinynn\n"),
        ("Fix pooling (#1)", "tinynn/pool.py", "def pool(x):\n    return max(x)\n"),
        ("Right gradient (#2)", "csrc/grad.c", "double grad(double x) { return 2 * x; }\n"),
        ("Right sum (#3)", "docs/sum.md", "Sums\n"),
        ("Something new (#4)", "tinynn/new.py", "new = 1\n"),
        ("Other work", "tinynn/new.py", "new = 2\n"),
    ];
    let mut stream = String::new();
    for (place, (message, file, content)) in commits.iter().enumerate() {
        let when = 1_577_836_800 + 60 * place;
        stream += &format!(
            "commit refs/heads/main\ncommitter A <a@example.org> {when} +0100\n\
             data {}\n{message}\nM 644 inline {file}\ndata {}\n{content}\n",
            message.len(),
            content.len()
        );
    }
    let mut child = Command::new("git")
        .args(["-C", path(folder), "fast-import", "--quiet"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(stream.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}

/// A GitHub of this test: answers each request by `script`, which is given its head.
pub struct GitHub {
    pub base: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl GitHub {
    pub fn new(script: impl Fn(&str) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let seen = heads.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let (mut head, mut byte) = (Vec::new(), [0u8; 1]);
                while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).to_lowercase();
                let answer = script(&head);
                seen.lock().unwrap().push(head);
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { base, heads }
    }

    /// The heads of the requests so far, in small letters.
    pub fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

/// An answer as GitHub sends it.
pub fn answer(status: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers: String = headers.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
    )
}
