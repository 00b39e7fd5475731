//! Every rule that leads from a pull request to its fix, in a repository made for it; and the
//! eighteen bugs of the paper where a real history is at hand.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

mod common;

use std::path::Path;

use common::Made;
use git2::Oid;
use reproduceml_miner::history::index::{Index, Walked};
use reproduceml_miner::history::marks::Marks;
use reproduceml_miner::history::{HistoryError, clone};
use reproduceml_miner::resolve::{Change, Resolved, change, resolve};
use study::Resolution;

fn marks(repository: &str) -> Marks {
    let patterns = [
        "Pull Request resolved: https://github.com/{repository}/pull/{number}",
        "(#{number})",
        "Merge pull request #{number} from",
    ];
    Marks::new(repository, &patterns.map(String::from))
}

fn index(path: &Path, cache: &Path) -> Result<(Index, Walked), HistoryError> {
    let repository = clone::open(path)?;
    Index::update(&repository, "main", "v{version}", &marks("tinynn/tinynn"), cache, &|_| ())
}

struct World {
    made: Made,
    cache: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self { made: Made::new(), cache: tempfile::tempdir().unwrap() }
    }

    fn land(&mut self, message: &str) -> Oid {
        let content = message.len().to_string();
        self.made.commit("main", message, &[("tinynn/ops.py", &content)])
    }

    fn ask(&self, pr: u64) -> Resolved {
        let (index, _) = index(&self.made.path(), &self.cache.path().join("i")).unwrap();
        resolve(&index, pr)
    }

    /// Asserts resolution and fix, and that the buggy commit is the fix's first parent.
    fn expect(&self, pr: u64, resolution: Resolution, fix: Option<Oid>) {
        let resolved = self.ask(pr);
        assert_eq!(resolved.resolution, resolution, "#{pr}");
        let found = resolved.pair.map(|(fix, _)| Oid::from_bytes(&fix).unwrap());
        assert_eq!(found, fix, "#{pr}");
        if let Some((_, buggy)) = resolved.pair {
            let commit = self.made.repository.find_commit(fix.unwrap()).unwrap();
            assert_eq!(commit.parent_id(0).unwrap(), Oid::from_bytes(&buggy).unwrap());
        }
    }
}

#[test]
fn squash_and_trailer_are_unique() {
    let mut world = World::new();
    let squash = world.land("Fix one (#101)");
    let trailer = world.land("Fix two\n\nSummary:\nPull Request resolved: https://github.com/tinynn/tinynn/pull/102\n\nImported from OSS");
    let crlf = world.land("Fix three (#103)\r\n\r\nbody\r\n");
    world.expect(101, Resolution::Unique, Some(squash));
    world.expect(102, Resolution::Unique, Some(trailer));
    world.expect(103, Resolution::Unique, Some(crlf));
}

#[test]
fn what_is_mentioned_or_another_repositorys_is_not_found() {
    let mut world = World::new();
    world.land("Fix it, see #104 and https://github.com/tinynn/tinynn/pull/104\n\nfixes #104");
    world
        .land("Update x (#105)\n\nPull Request resolved: https://github.com/tinynn/other/pull/105");
    world.expect(104, Resolution::NotFound, None);
    world.expect(105, Resolution::NotFound, None);
    world.expect(999, Resolution::NotFound, None);
}

#[test]
fn a_revert_leaves_the_pair_and_says_that_the_bug_came_back() {
    let mut world = World::new();
    let fix = world.land("Fix lost thing (#106)");
    world.land(&format!("Revert \"Fix lost thing (#106)\" (#107)\n\nThis reverts commit {fix}."));
    let resolved = world.ask(106);
    assert!(resolved.taken_back);
    world.expect(106, Resolution::Unique, Some(fix));
}

#[test]
fn a_relanding_under_the_same_number_is_the_fix() {
    let mut world = World::new();
    world.land("Fix thing again (#108)\n\nfbshipit-source-id: 0123456789abcdef");
    world.land("Back out \"Fix thing again\"\n\nOriginal commit changeset: 0123456789ab");
    let again = world.land("Fix thing again (#108)\n\nfbshipit-source-id: fedcba9876543210");
    world.expect(108, Resolution::Relanded, Some(again));
}

#[test]
fn a_relanding_under_another_number_is_noticed() {
    let mut world = World::new();
    let first = world.land("Fix stride of views (#109)\n\nDifferential Revision: D77");
    world.land("Revert D77: Fix stride of views");
    world.land("[reland] Fix stride of views (#110)");
    world.expect(109, Resolution::Relanded, Some(first));
    let named = world.land("Fix the padding of pools (#111)");
    world.land(&format!("Revert \"x\"\n\nThis reverts commit {named}"));
    world.land("Reland padding (#112)\n\nIt was #111.");
    world.expect(111, Resolution::Relanded, Some(named));
}

#[test]
fn a_revert_of_the_revert_lets_the_fix_stand() {
    let mut world = World::new();
    let fix = world.land("Fix the sum of nothing (#113)");
    let revert =
        world.land(&format!("Revert \"Fix the sum of nothing\"\n\nThis reverts commit {fix}."));
    world.land(&format!(
        "Revert \"Revert \"Fix the sum of nothing\"\"\n\nThis reverts commit {revert}."
    ));
    assert!(!world.ask(113).taken_back);
    world.expect(113, Resolution::Unique, Some(fix));
}

#[test]
fn two_landings_taken_back_are_no_fix() {
    let mut world = World::new();
    for _ in 0..2 {
        let fix = world.land("Fix in vain the thing (#114)");
        world.land(&format!("Revert \"Fix in vain the thing\"\n\nThis reverts commit {fix}."));
    }
    world.expect(114, Resolution::NotFound, None);
}

#[test]
fn landed_in_parts_the_last_standing_part_counts() {
    let mut world = World::new();
    world.land("Fix in parts, one (#115)");
    let last = world.land("Fix in parts, two (#115)");
    world.expect(115, Resolution::Ambiguous, Some(last));
}

#[test]
fn a_fix_that_is_itself_a_revert_is_found() {
    let mut world = World::new();
    world.land("Faster convolution kernels (#116)");
    let fix = world.land("Revert \"Faster convolution kernels (#116)\" (#117)");
    world.expect(117, Resolution::Unique, Some(fix));
}

#[test]
fn a_release_branch_alone_is_a_cherry_pick() {
    let mut world = World::new();
    let pick = world.made.commit("release/1.0", "Fix for the release (#118)", &[("a.py", "1")]);
    world.land("Later");
    world.made.commit("feature", "Not landed (#119)", &[("b.py", "1")]);
    let both = world.land("On both (#120)");
    world.made.commit("release/1.0", "On both (#120)", &[("c.py", "1")]);
    world.expect(118, Resolution::CherryPicked, Some(pick));
    world.expect(119, Resolution::NotFound, None);
    world.expect(120, Resolution::Unique, Some(both));
}

#[test]
fn a_merge_commit_is_the_fix_and_its_first_parent_the_last_with_the_bug() {
    let mut world = World::new();
    let branch = world.made.commit("topic", "Work (#122)", &[("a.py", "1")]);
    let main = world.land("Meanwhile");
    let message = b"Merge pull request #121 from someone/topic\n\nFix it";
    let merge = world.made.commit_on("main", message, &[("a.py", "1")], vec![main, branch]);
    world.expect(121, Resolution::Unique, Some(merge));
    world.expect(122, Resolution::NotFound, None);
    let (index, _) = index(&world.made.path(), &world.cache.path().join("i")).unwrap();
    let pair = resolve(&index, 121).pair.unwrap();
    let change = change(&world.made.repository, pair).unwrap().unwrap();
    let paths: Vec<_> = change.files.iter().map(|f| f.path.as_str()).collect();
    assert_eq!(paths, ["a.py"], "what the merge brought to the main line");
}

#[test]
fn the_index_grows_by_new_commits_only_and_survives_a_rewritten_branch() {
    let mut world = World::new();
    let cache = world.cache.path().join("i");
    let base = world.land("Fix a (#1)");
    let gone = world.land("Fix b (#2)");
    let (_, first) = index(&world.made.path(), &cache).unwrap();
    assert_eq!((first.read, first.known), (3, 0));
    world.land("Fix c (#3)");
    let (_, second) = index(&world.made.path(), &cache).unwrap();
    assert_eq!((second.read, second.known), (1, 3));
    let (_, third) = index(&world.made.path(), &cache).unwrap();
    assert_eq!((third.read, third.known), (0, 4));
    let fresh = world.made.commit_on("main", b"Fix d (#4)", &[], vec![base]);
    let (after, walked) = index(&world.made.path(), &cache).unwrap();
    assert_eq!((walked.read, walked.known), (1, 2));
    assert!(after.landings(2).is_empty(), "{gone} is no longer on the main line");
    world.expect(4, Resolution::Unique, Some(fresh));
    std::fs::write(&cache, b"damaged").unwrap();
    let (_, rebuilt) = index(&world.made.path(), &cache).unwrap();
    assert_eq!((rebuilt.read, rebuilt.known), (3, 0));
}

#[test]
fn a_wrong_repository_is_said_plainly() {
    let world = World::new();
    let cache = world.cache.path().join("i");
    let say = |path: &Path| index(path, &cache).err().unwrap().to_string();
    let missing = world.cache.path().join("nothing");
    assert!(say(&missing).contains("--repo expects a clone"));
    let file = world.cache.path().join("file");
    std::fs::write(&file, "").unwrap();
    assert!(say(&file).contains("is a file"));
    let empty = tempfile::tempdir().unwrap();
    assert!(say(empty.path()).contains("is no git repository"));
    let repository = clone::open(&world.made.path()).unwrap();
    let of = |branch: &str| {
        let marks = marks("tinynn/tinynn");
        let found = Index::update(&repository, branch, "v{version}", &marks, &cache, &|_| ());
        found.err().unwrap().to_string()
    };
    let error = of("master");
    assert!(error.contains("no branch `master`; it has: main") && error.contains("--branch"));
    repository.remote("origin", "https://github.com/someone/else.git").unwrap();
    let warning = clone::wrong_remote(&repository, "tinynn/tinynn").unwrap();
    assert!(warning.contains("someone/else") && warning.contains("--repo"), "{warning}");
    assert_eq!(clone::wrong_remote(&repository, "fork/else"), None);
}

#[test]
fn a_file_is_counted_as_git_counts_it() {
    let mut world = World::new();
    world.made.commit("main", "One", &[("csrc/ops.c", "a\nb\nc\n"), ("tests/test_ops.py", "1\n")]);
    let files = [("csrc/ops.c", "a\nB\nc\nd\n"), ("tests/test_ops.py", "1\n2\n")];
    let fix = world.made.commit("main", "Fix (#130)", &files);
    let (index, _) = index(&world.made.path(), &world.cache.path().join("i")).unwrap();
    let resolved = resolve(&index, 130);
    let change: Change = change(&world.made.repository, resolved.pair.unwrap()).unwrap().unwrap();
    let lines: Vec<_> =
        change.files.iter().map(|f| (f.path.as_str(), f.added, f.removed)).collect();
    assert_eq!(lines, [("csrc/ops.c", 2, 1), ("tests/test_ops.py", 1, 0)]);
    assert_eq!(change.scope.kinds, ["cpp-cpu", "test"]);
    assert!(change.scope.needs_compile && !change.scope.python_only);
    assert_eq!(change.fix.as_str(), fix.to_string());
    assert!(change.fixed_at.ends_with("+01:00"), "{}", change.fixed_at);
}

/// Needs `REPRODUCEML_PYTORCH_CLONE`, `REPRODUCEML_PYTORCH_BRANCH` and
/// `REPRODUCEML_STUDY_BUGS` (pr, fix, buggy, date, scope and three flags).
#[test]
fn the_papers_bugs_are_traced_in_a_real_history() {
    let of = std::env::var_os;
    let (Some(path), Some(table)) = (of("REPRODUCEML_PYTORCH_CLONE"), of("REPRODUCEML_STUDY_BUGS"))
    else {
        eprintln!("SKIPPED: set REPRODUCEML_PYTORCH_CLONE and REPRODUCEML_STUDY_BUGS");
        return;
    };
    let branch = std::env::var("REPRODUCEML_PYTORCH_BRANCH").unwrap_or_else(|_| "main".into());
    let repository = clone::open(Path::new(&path)).unwrap();
    let cache = tempfile::tempdir().unwrap();
    let file = cache.path().join("i");
    let marks = marks("pytorch/pytorch");
    let (index, _) =
        Index::update(&repository, &branch, "v{version}", &marks, &file, &|_| ()).unwrap();
    let mut rows = 0;
    for row in csv::Reader::from_path(table).unwrap().records() {
        let row = row.unwrap();
        let pr = row[0].parse().unwrap();
        let resolved = resolve(&index, pr);
        assert_eq!(resolved.resolution, Resolution::Unique, "#{pr}");
        let change = change(&repository, resolved.pair.unwrap()).unwrap().unwrap();
        assert_eq!((change.fix.as_str(), change.buggy.as_str()), (&row[1], &row[2]), "#{pr}");
        let yes = |flag: bool| if flag { "yes" } else { "no" };
        let scope = &change.scope;
        let flags = [scope.python_only, scope.needs_compile, scope.needs_cuda].map(yes);
        assert_eq!(flags, [&row[5], &row[6], &row[7]], "#{pr}: {:?}", scope.kinds);
        assert_eq!(scope.not_in_artifact, pr == 31584, "#{pr}: only the Java fix is outside");
        rows += 1;
    }
    assert_eq!(rows, 18);
}
