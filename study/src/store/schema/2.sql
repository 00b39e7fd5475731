-- Layout 2: the evaluation `aa`, allowances, endings of runs, runs that were made again.

ALTER TABLE experiments ADD COLUMN unpaired TEXT;                       -- how its runs differ from the other side's in more than the artifact; none once they agree
ALTER TABLE experiments ADD COLUMN allowed TEXT NOT NULL DEFAULT '[]';  -- factors that may differ between the sides, as JSON
ALTER TABLE experiments ADD COLUMN tolerated TEXT;                      -- what differs and is allowed to
ALTER TABLE runs ADD COLUMN ending TEXT;                                -- how its process ended, if not with status 0

-- Finished runs that were made again, since they could not be compared.
CREATE TABLE superseded (
    experiment    TEXT NOT NULL REFERENCES experiments (id),
    run           INTEGER NOT NULL,
    attempt       INTEGER NOT NULL,
    reason        TEXT NOT NULL,
    record        TEXT NOT NULL,       -- the run with its epochs, metrics and digests, as JSON
    superseded_at TEXT NOT NULL,
    PRIMARY KEY (experiment, run, attempt)
) STRICT;

-- Until now one column held both kinds of reason.
UPDATE experiments SET unpaired = invalid, invalid = NULL
WHERE invalid LIKE 'run % differs between the sides in %';
