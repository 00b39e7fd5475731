//! Asking: one question at a time, each answer written before the next one is asked.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use miner::labels::{Answer, Criterion, Label, Labels};
use study::{Bug, Study, StudyError, StudyLock};

use super::card::{self, Paint};
use super::input::{Input, Said};
use crate::failure::Failure;

/// How long a write waits for another one to end.
const PATIENCE: Duration = Duration::from_secs(10);

const HELP: &str = "y yes, n no, ? cannot tell, Enter keeps the answer in brackets, b back, \
s skip this bug for now, d show what the fix changed, w write a note, q quit. \
Each answer is kept at once.";

/// A bug with what is to be asked of it.
pub struct Task {
    /// The bug.
    pub bug: Bug,
    /// The questions.
    pub asked: Vec<Criterion>,
    /// What others say, where that is to be shown.
    pub others: Vec<Label>,
}

/// What came of a session.
#[derive(Debug, Default, serde::Serialize)]
pub struct Outcome {
    /// Answers given.
    pub answers: usize,
    /// Bugs whose every question was answered at the end.
    pub bugs: usize,
    /// Bugs that were to be asked.
    pub of: usize,
}

/// One rater at one terminal.
pub struct Session {
    study: Study,
    rater: String,
    clone: Option<PathBuf>,
    labels: Labels,
    input: Input,
    paint: Paint,
    outcome: Outcome,
}

impl Session {
    /// A session of `rater`; changes are shown from `clone`.
    pub fn new(study: Study, rater: String, clone: Option<PathBuf>, labels: Labels) -> Self {
        let (input, paint) = (Input::new(), Paint::new());
        Self { study, rater, clone, labels, input, paint, outcome: Outcome::default() }
    }

    /// Asks until all is answered or the rater has enough.
    ///
    /// # Errors
    /// If an answer cannot be kept, or Ctrl-C was pressed; what was answered before is kept.
    pub fn run(mut self, tasks: &[Task]) -> Result<Outcome, Failure> {
        eprintln!("{}", self.paint.dim(HELP));
        let mut place = 0;
        let mut from_behind = false;
        while let Some(task) = tasks.get(place) {
            card::bug(self.paint, &task.bug, &format!("{} of {}", place + 1, tasks.len()));
            card::others(self.paint, &task.others, &task.asked);
            let first = match from_behind {
                true => task.asked.len().saturating_sub(1),
                false => {
                    task.asked.iter().position(|c| self.answer(task, *c).is_none()).unwrap_or(0)
                }
            };
            from_behind = false;
            match self.ask(task, first)? {
                Said::Quit => break,
                Said::Back if place > 0 => {
                    place -= 1;
                    from_behind = true;
                }
                Said::Back => eprintln!("this is the first question"),
                _ => place += 1,
            }
        }
        let answered = |task: &&Task| task.asked.iter().all(|c| self.answer(task, *c).is_some());
        self.outcome.bugs = tasks.iter().filter(answered).count();
        self.outcome.of = tasks.len();
        Ok(self.outcome)
    }

    /// Asks the questions of a bug from the one at `place` on. Returns what leads away from it.
    fn ask(&mut self, task: &Task, mut place: usize) -> Result<Said, Failure> {
        while let Some(criterion) = task.asked.get(place).copied() {
            let current = self.answer(task, criterion);
            let number = format!("[{}/{}]", place + 1, task.asked.len());
            card::question(self.paint, &task.bug, criterion, &number, current);
            let said = self.input.next().map_err(unheard)?;
            match said {
                Said::Answer(answer) => {
                    self.echo(answer.as_str());
                    self.keep(task, |label| label.set(criterion, Some(answer)))?;
                    self.outcome.answers += 1;
                    place += 1;
                }
                Said::Keep if current.is_some() => {
                    self.echo("");
                    place += 1;
                }
                Said::Keep => {
                    self.echo("");
                    eprintln!("there is no answer to keep yet");
                }
                Said::Back if place > 0 => {
                    self.echo("back");
                    place -= 1;
                }
                Said::Back | Said::Skip | Said::Quit => {
                    self.echo("");
                    return Ok(said);
                }
                Said::Diff => {
                    self.echo("diff");
                    self.diff(&task.bug);
                }
                Said::Note(note) => self.note(task, note)?,
                Said::Help => {
                    self.echo("");
                    eprintln!("{HELP}");
                }
                Said::Odd(text) => {
                    self.echo("");
                    eprintln!("`{}` is no answer. {HELP}", card::clean(&text));
                }
            }
        }
        Ok(Said::Skip)
    }

    /// Ends the line of a question.
    fn echo(&self, word: &str) {
        eprintln!("{}", if self.input.is_terminal() { word } else { "" });
    }

    fn answer(&self, task: &Task, criterion: Criterion) -> Option<Answer> {
        self.labels.get(&task.bug.id, &self.rater)?.answer(criterion)
    }

    fn note(&mut self, task: &Task, given: Option<String>) -> Result<(), Failure> {
        self.echo("note");
        let note = match given {
            Some(note) => Some(note),
            None => {
                let before = self.labels.get(&task.bug.id, &self.rater);
                if let Some(label) = before.filter(|label| !label.note.is_empty()) {
                    eprintln!("the note so far: {}", card::clean(&label.note));
                }
                eprint!("note: ");
                self.input.line().map_err(unheard)?
            }
        };
        let Some(note) = note else { return Ok(()) };
        self.keep(task, |label| label.note = card::clean(&note))
    }

    fn diff(&self, bug: &Bug) {
        let (Some(buggy), Some(fix)) = (&bug.buggy, &bug.fix) else {
            return eprintln!("its fix was not found, so there is no change to show");
        };
        let Some(clone) = &self.clone else {
            return eprintln!("there is no clone to read the change from; name one with --repo");
        };
        match miner::patch::patch(clone, buggy, fix) {
            Ok(lines) => card::patch(self.paint, &lines),
            Err(error) => eprintln!("the change cannot be shown: {error}"),
        }
    }

    /// Changes the rater's label of a bug, in the file as it is now, and renews the selection.
    fn keep(&mut self, task: &Task, change: impl FnOnce(&mut Label)) -> Result<(), Failure> {
        let _lock = lock(&self.study)?;
        let file = self.study.labels_file();
        let mut labels = Labels::read(&file).map_err(Failure::input)?;
        let fresh = Label::new(task.bug.id.clone(), &self.rater);
        let mut label = match labels.get(&task.bug.id, &self.rater) {
            Some(before) => Label { at: fresh.at, ..before.clone() },
            None => fresh,
        };
        change(&mut label);
        labels.put(label);
        labels.write(&file).map_err(Failure::stage)?;
        self.labels = labels;
        crate::mine::select(&self.study)
    }
}

/// The study's lock, once whoever has it now is done, if that is soon.
pub fn lock(study: &Study) -> Result<StudyLock, Failure> {
    let until = Instant::now() + PATIENCE;
    loop {
        match study.lock() {
            Err(StudyError::Locked { .. }) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            other => return Ok(other?),
        }
    }
}

fn unheard(error: std::io::Error) -> Failure {
    match error.kind() {
        std::io::ErrorKind::Interrupted => Failure::Interrupted,
        _ => Failure::input(anyhow::anyhow!("standard input: {error}")),
    }
}
