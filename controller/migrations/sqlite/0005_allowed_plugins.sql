-- The plugin files whose commands may be sent.
CREATE TABLE allowed_plugins (
    plugin     TEXT NOT NULL,
    sha256     BLOB NOT NULL,
    note       TEXT NOT NULL DEFAULT '',
    operator   TEXT NOT NULL,
    allowed_at BIGINT NOT NULL,
    PRIMARY KEY (plugin, sha256)
);

-- Grows with each change, so that a process that changes the list twice at
-- once knows which is the newer.
CREATE TABLE allow_list (
    revision BIGINT NOT NULL
);

INSERT INTO allow_list (revision) VALUES (0);
