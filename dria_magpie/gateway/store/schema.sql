PRAGMA application_id = 1146246487;
PRAGMA user_version = 1;

CREATE TABLE keys (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    digest TEXT NOT NULL UNIQUE, -- the key itself is nowhere
    created REAL NOT NULL,
    used REAL
) STRICT;

-- A task is: accepted, then finished (it has an item, and no workflow), then delivered.
CREATE TABLE tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    key INTEGER NOT NULL REFERENCES keys ON DELETE CASCADE,
    id TEXT NOT NULL,
    burst INTEGER NOT NULL, -- those that came together
    identity INTEGER NOT NULL,
    public_key BLOB NOT NULL,
    models TEXT NOT NULL,
    received REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    workflow TEXT,
    state TEXT,
    item TEXT,
    refused INTEGER NOT NULL DEFAULT 0,
    finished REAL,
    delivered REAL,
    UNIQUE (key, id)
) STRICT;
