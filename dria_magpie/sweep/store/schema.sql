PRAGMA application_id = 1146246480;
PRAGMA user_version = 2;

CREATE TABLE facts (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;

-- What is counted; the texts of the dialogues are in `turns`, so that counting stays fast.
CREATE TABLE rows (
    number INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    seed INTEGER NOT NULL,
    status TEXT NOT NULL DEFAULT 'running' CHECK (status IN ('running', 'done', 'failed')),
    attempts INTEGER NOT NULL DEFAULT 1,
    origin TEXT NOT NULL,
    model TEXT NOT NULL DEFAULT '',
    node TEXT NOT NULL DEFAULT '',
    seconds REAL NOT NULL DEFAULT 0,
    turns INTEGER NOT NULL DEFAULT 0,
    prompt_tokens INTEGER NOT NULL DEFAULT 0,
    completion_tokens INTEGER NOT NULL DEFAULT 0,
    cut_off INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    error TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE turns (
    row INTEGER NOT NULL,
    position INTEGER NOT NULL,
    turn TEXT NOT NULL,
    PRIMARY KEY (row, position)
) STRICT, WITHOUT ROWID;

-- Where rows stand that are not done, without their turns.
CREATE TABLE states (
    row INTEGER PRIMARY KEY,
    state TEXT NOT NULL
) STRICT;

CREATE TABLE sessions (
    number INTEGER PRIMARY KEY,
    started REAL NOT NULL,
    seconds REAL NOT NULL DEFAULT 0,
    tokens_per_second REAL NOT NULL DEFAULT 0,
    rows_per_second REAL NOT NULL DEFAULT 0,
    quiet_seconds REAL NOT NULL DEFAULT 0,
    ending TEXT NOT NULL DEFAULT ''
) STRICT;
