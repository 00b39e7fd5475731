//! Every call of the program that README and docs show is one that the program takes.

use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::cli::Cli;

/// Calls of `reproduceml` in the blocks of shell of a page, with the line they begin at.
fn calls(text: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    let (mut shell, mut begun) = (false, None::<(usize, String)>);
    for (number, line) in (1..).zip(text.lines()) {
        if let Some(language) = line.trim_start().strip_prefix("```") {
            shell = !shell && matches!(language.trim(), "sh" | "bash" | "console");
            begun = None;
            continue;
        }
        if !shell {
            continue;
        }
        let (at, mut whole) = begun.take().unwrap_or((number, String::new()));
        whole.push_str(line.trim_end());
        if let Some(open) = whole.strip_suffix('\\') {
            begun = Some((at, format!("{open} ")));
            continue;
        }
        for command in words(&whole) {
            found.extend(called(&command).map(|arguments| (at, arguments)));
        }
    }
    found
}

/// The arguments of a call of the program, whatever stands before its name.
fn called(words: &[String]) -> Option<Vec<String>> {
    let before = |word: &&String| word.contains('=') || *word == "exec" || *word == "sudo";
    let at = words.iter().take_while(before).count();
    (words.get(at)? == "reproduceml").then(|| words.get(at..).unwrap_or_default().to_vec())
}

/// The commands of a line, each as its words; what a shell would put in is a word like another.
fn words(line: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let (mut word, mut quote, mut depth) = (None::<String>, None::<char>, 0_u32);
    let end = |word: &mut Option<String>, commands: &mut Vec<Vec<String>>| {
        if let (Some(word), Some(last)) = (word.take(), commands.last_mut()) {
            last.push(word);
        }
    };
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        if depth > 0 {
            match letter {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            continue;
        }
        match (quote, letter) {
            (Some(open), letter) if letter == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None | Some('"'), '$') if letters.peek() == Some(&'(') => {
                letters.next();
                depth = 1;
                word.get_or_insert_default().push('x');
            }
            (Some(_), letter) => word.get_or_insert_default().push(letter),
            (None, '#') if word.is_none() => break,
            (None, '>') => {
                // What follows names a file, which is no argument.
                if word.as_deref().is_some_and(|w| w.chars().all(|c| c.is_ascii_digit())) {
                    word = None;
                }
                end(&mut word, &mut commands);
                while letters.next_if(|c| *c == ' ' || *c == '>' || *c == '&').is_some() {}
                while letters.next_if(|c| !c.is_whitespace()).is_some() {}
            }
            (None, '|' | ';' | '&') => {
                end(&mut word, &mut commands);
                commands.push(Vec::new());
            }
            (None, letter) if letter.is_whitespace() => end(&mut word, &mut commands),
            (None, letter) => word.get_or_insert_default().push(letter),
        }
    }
    end(&mut word, &mut commands);
    commands
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = vec![root.join("README.md")];
    for folder in ["docs", "docs/guide"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        found.extend(
            entries
                .map(|entry| entry.unwrap().path())
                .filter(|path| path.extension().is_some_and(|extension| extension == "md")),
        );
    }
    found.sort();
    found
}

#[test]
fn every_call_in_the_documentation_is_taken() {
    let (mut seen, mut wrong) = (0, Vec::new());
    for page in pages() {
        for (line, arguments) in calls(&std::fs::read_to_string(&page).unwrap()) {
            seen += 1;
            // An artifact's identity stands as ID.
            let id = |word: String| if word == "ID" { "0".repeat(64) } else { word };
            let arguments: Vec<String> = arguments.into_iter().map(id).collect();
            if let Err(error) = Cli::command().try_get_matches_from(&arguments)
                && error.use_stderr()
            {
                let why = error.to_string();
                wrong.push(format!("{}:{line}: {arguments:?}\n{why}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 60, "only {seen} calls were found");
}

#[test]
fn calls_are_found_as_a_shell_would() {
    let page = "```sh\nA=$(cat t) reproduceml serve --dashboard '0.0.0.0:1' # reproduceml x\n\
                reproduceml man \\\n  dir > log 2>&1 && reproduceml \"gc\"\n```\n\
                reproduceml outside\n```toml\nreproduceml = 1\n```\n";
    let found: Vec<(usize, String)> =
        calls(page).into_iter().map(|(at, call)| (at, call.join(" "))).collect();
    assert_eq!(
        found,
        [
            (2, "reproduceml serve --dashboard 0.0.0.0:1".to_owned()),
            (3, "reproduceml man dir".to_owned()),
            (3, "reproduceml gc".to_owned()),
        ]
    );
}
