CREATE TABLE seeds (
    pair_key   TEXT NOT NULL,          -- experiment without evaluation and artifact
    seed_index INTEGER NOT NULL,       -- the run, or 0 where all runs share one seed
    seed       INTEGER NOT NULL,
    issued_at  TEXT NOT NULL,
    PRIMARY KEY (pair_key, seed_index)
) STRICT;

CREATE TABLE artifacts (
    id          TEXT PRIMARY KEY,      -- SHA-256 of the identity
    record      TEXT NOT NULL,         -- ArtifactRecord as JSON
    recorded_at TEXT NOT NULL
) STRICT;

CREATE TABLE builds (
    bug        TEXT NOT NULL,
    evaluation TEXT NOT NULL,
    artifact   TEXT NOT NULL REFERENCES artifacts (id),
    PRIMARY KEY (bug, evaluation)
) STRICT;

CREATE TABLE experiments (
    id         TEXT PRIMARY KEY,
    bug        TEXT NOT NULL,
    evaluation TEXT NOT NULL,
    attributes TEXT NOT NULL,          -- Experiment as JSON
    target     INTEGER NOT NULL,       -- runs asked for
    active     INTEGER NOT NULL,       -- 1 for the experiments of the newest plan
    invalid    TEXT,                   -- why its runs cannot be compared, if they cannot
    planned_at TEXT NOT NULL
) STRICT;
CREATE INDEX experiments_by_bug ON experiments (bug, evaluation);

CREATE TABLE runs (
    experiment  TEXT NOT NULL REFERENCES experiments (id),
    run         INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    status      TEXT NOT NULL,         -- running, finished, failed
    seed        INTEGER,
    started_at  TEXT NOT NULL,
    finished_at TEXT,
    reason      TEXT,                  -- why it failed, or what was odd though it finished
    manifest    TEXT,                  -- JSON
    result      TEXT,                  -- JSON
    PRIMARY KEY (experiment, run)
) STRICT;

CREATE TABLE epochs (
    experiment TEXT NOT NULL,
    run        INTEGER NOT NULL,
    epoch      INTEGER NOT NULL,       -- 0 is after initialisation
    loss_bits  TEXT,                   -- the loss as the 16 hexadecimal digits of its IEEE 754 bits
    digest     TEXT NOT NULL,          -- SHA-256 of the parameters
    seconds    REAL NOT NULL,
    extra      TEXT,                   -- JSON
    PRIMARY KEY (experiment, run, epoch),
    FOREIGN KEY (experiment, run) REFERENCES runs (experiment, run) ON DELETE CASCADE
) STRICT;

CREATE TABLE metrics (
    experiment TEXT NOT NULL,
    run        INTEGER NOT NULL,
    split      TEXT NOT NULL,
    name       TEXT NOT NULL,
    value      REAL,
    PRIMARY KEY (experiment, run, split, name),
    FOREIGN KEY (experiment, run) REFERENCES runs (experiment, run) ON DELETE CASCADE
) STRICT;

CREATE TABLE predictions (
    experiment TEXT NOT NULL,
    run        INTEGER NOT NULL,
    split      TEXT NOT NULL,
    digest     TEXT NOT NULL,          -- SHA-256 of the uncompressed predictions
    PRIMARY KEY (experiment, run, split),
    FOREIGN KEY (experiment, run) REFERENCES runs (experiment, run) ON DELETE CASCADE
) STRICT;

CREATE TABLE sessions (
    experiment TEXT NOT NULL,
    run        INTEGER NOT NULL,
    holder     TEXT NOT NULL,          -- the random name of the process that holds the run
    issued     INTEGER NOT NULL,       -- when its ticket was issued: nanoseconds since 1970
    PRIMARY KEY (experiment, run),
    FOREIGN KEY (experiment, run) REFERENCES runs (experiment, run) ON DELETE CASCADE
) STRICT;

CREATE TABLE session_arrays (
    experiment TEXT NOT NULL,
    run        INTEGER NOT NULL,
    name       TEXT NOT NULL,
    digest     TEXT NOT NULL,          -- SHA-256 of the bytes that the client said it has
    PRIMARY KEY (experiment, run, name),
    FOREIGN KEY (experiment, run) REFERENCES runs (experiment, run) ON DELETE CASCADE
) STRICT;

CREATE TABLE session_details (
    experiment TEXT NOT NULL,
    run        INTEGER NOT NULL,
    split      TEXT NOT NULL,
    details    TEXT NOT NULL,          -- metrics by class and the confusion matrix, as JSON
    PRIMARY KEY (experiment, run, split),
    FOREIGN KEY (experiment, run) REFERENCES runs (experiment, run) ON DELETE CASCADE
) STRICT;
